"""Serving: memory does not grow with the number of requests, written down or not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from simulator.core.errors import InputError
from simulator.serving import layout, output
from simulator.serving.cluster import Cluster, Pool, Server
from simulator.serving.memory import new_memory
from simulator.serving.output import COLUMNS, RequestWriter

_RUN = """
import resource, sys
from pathlib import Path
from simulator.serving.arrivals import Stream
from simulator.serving.cluster import Cluster, Pool, Server
from simulator.serving.lengths import parse_lengths
from simulator.serving.output import RequestWriter
from simulator.serving.run import prepare, run_cluster
from simulator.serving.tally import Slo, Tally

server = Server(name="x", cost=lambda step: (1e-3, 1.0), blocks=4000, sequences=64, budget=8192)
cluster = Cluster(pools=[Pool(server, 4)], router="round-robin")
prepared = prepare(cluster, 100)
for count in (100, int(sys.argv[2]), int(sys.argv[3])):
    source = Stream(lengths=parse_lengths("40-60:1-3"), rate=20_000.0, count=count)
    tally = Tally(Slo())
    with RequestWriter(Path(sys.argv[1])) as writer:
        run_cluster(prepared, source, on_finished=lambda rows: (tally.add(rows), writer.add(rows)))
    print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 1000)
"""


def test_three_times_the_requests_take_no_more_memory(tmp_path: Path) -> None:
    path = tmp_path / "requests.parquet"
    some, many = 300_000, 900_000
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(path), str(some), str(many)], capture_output=True, text=True, check=True
    )
    peak_kB = {int(count): int(peak) for count, peak in (line.split() for line in done.stdout.splitlines())}
    rows_kB = (many - some) * layout.RESULT_SIZE * 8 // 1000
    assert peak_kB[many] - peak_kB[some] < 0.1 * rows_kB
    table = pq.read_metadata(path)
    assert table.num_rows == many
    assert table.num_row_groups < 20


def test_rows_are_written_whole_whatever_pieces_they_come_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_GROUP", 7)
    rows = np.arange(40.0 * layout.RESULT_SIZE).reshape(40, layout.RESULT_SIZE)
    path = tmp_path / "requests.parquet"
    with RequestWriter(path) as writer:
        for first, last in ((0, 3), (3, 3), (3, 20), (20, 21), (21, 40)):
            writer.add(rows[first:last])
    table = pq.read_table(path)
    for name, field, _ in COLUMNS:
        assert table[name].to_pylist() == rows[:, field].tolist()
    assert pq.read_metadata(path).num_row_groups == 6


def test_an_interrupted_run_leaves_no_file_that_looks_whole(tmp_path: Path) -> None:
    path = tmp_path / "requests.parquet"
    with pytest.raises(KeyboardInterrupt), RequestWriter(path) as writer:
        writer.add(np.zeros((3, layout.RESULT_SIZE)))
        raise KeyboardInterrupt
    assert not path.exists()


def test_more_servers_than_memory_holds_are_refused() -> None:
    many = Server(name="x", cost=lambda step: (1.0, 1.0), blocks=100_000, prefix_cache=True)
    with pytest.raises(InputError, match="4096 servers of 256 sequences take"):
        new_memory(Cluster(pools=[Pool(many, 4096)]), (many,), (), 0)
