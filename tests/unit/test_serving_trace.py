"""Traces of requests: what is read, and what is said of files that are wrong."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.core.errors import RidgelineError
from simulator.serving.requests import INPUT, OUTPUT, SESSION
from simulator.serving.trace_file import Trace, read_trace

HEADER = "arrival_s,context_tokens,generated_tokens\n"


def test_azure_columns_and_time_stamps_are_read(tmp_path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(HEADER + "10.5,374,44\n12.5,396,109\n")
    requests = read_trace(file)
    assert requests.arrival_s.tolist() == [0.0, 2.0]
    assert requests.columns[:, [INPUT, OUTPUT]].tolist() == [[374, 44], [396, 109]]
    file.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,1,2\n"
    )
    assert read_trace(file).arrival_s[1] == pytest.approx(4.314579)


def test_sessions_and_groups_do_not_share_keys(tmp_path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(
        "arrival_s,input_tokens,output_tokens,session,prefix_group,prefix_tokens\n0,10,2,0,0,5\n1,9,2,1,0,99\n"
    )
    columns = read_trace(file).columns
    assert set(columns[:, SESSION]).isdisjoint(columns[:, SESSION + 1])
    assert columns[:, SESSION + 2].tolist() == [5, 9]  # no more of a prefix than there is input


def test_a_trace_plays_at_the_rate_asked_for(tmp_path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(HEADER + "".join(f"{i},100,10\n" for i in range(11)))
    (chunk,) = Trace(read_trace(file)).at_rate(11.0).chunks()
    assert chunk.arrival_s[-1] == pytest.approx(1.0)
    assert np.diff(chunk.arrival_s) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        (HEADER, "no rows"),
        ("a,b\n1,2\n", "no column arrival_s"),
        (HEADER + "0,1,1\n-1,1,1\n", ":3:"),
        (HEADER + "nan,1,1\n", "nan"),
        (HEADER + "inf,1,1\n", "inf"),
        (HEADER + "2,1,1\n1,1,1\n", "sort by arrival"),
        (HEADER + "0,1000000000000,1\n", "from 1 to 2147483648"),
        (HEADER + "0,0,1\n", "from 1"),
        (HEADER + "0,1,-3\n", "from 1"),
        (HEADER + "0,1.5,3\n", "whole number"),
        (HEADER + "0,x,3\n", "'x'"),
        (HEADER + "0,1\n0,1,1,1,1\n", ""),
        (HEADER + "0,1,1,7,7\n", "more cells than the header"),
        (HEADER + "1e300,1,1\n", "from 0 to 1e+100"),
        (HEADER + "2023-11-16 18:15:46,1,1\nlater,1,1\n", "'later'"),
        (HEADER + "2023-11-16 18:15:46,1,1\n2023-11-16 18:15:45,1,1\n", "before the row above"),
        ("arrival_s,input_tokens,output_tokens,priority\n0,1,1,8\n", "0 to 7"),
        ("\x00\x01\x02", ""),
    ],
)
def test_malformed_traces_are_refused_with_their_place(tmp_path, text: str, said: str) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(text)
    with pytest.raises(RidgelineError, match=r"trace\.csv") as caught:
        read_trace(file)
    assert said in str(caught.value)


def test_missing_files_are_refused(tmp_path) -> None:
    with pytest.raises(RidgelineError, match="cannot be read"):
        read_trace(tmp_path / "none.csv")
