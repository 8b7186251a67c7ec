"""The line that tells how far a command is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from simulator.cli import main, progress

COMPARE = ["compare", "gpt2", "h200", "t4", "--in", "8", "--out", "2"]
SERVE = ["serve", "gpt2", "h200", "--rate", "5", "--lengths", "8:4", "--requests", "20"]


def test_nothing_is_told_but_to_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "_EVERY_S", 0.0)
    assert main(COMPARE) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (COMPARE, ["NVIDIA H200: step 1 of", "NVIDIA T4: step"]),
        (["simulate", *COMPARE[1:3], "--out", "2"], ["NVIDIA H200: step 2 of", "more hbm: NVIDIA H200"]),
        (SERVE, ["NVIDIA H200: step times, 9 so far", "20 requests done"]),
    ],
)
def test_a_terminal_is_told_and_left_clean(
    command: list[str], told: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_EVERY_S", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert main([*command, "--json"]) == 0
    out, err = capsys.readouterr()
    json.loads(out)
    assert all(line in err for line in told)
    assert err.endswith("\r\033[K")


def test_a_comparison_looks_at_every_system_before_it_simulates_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: Any) -> None:
        raise AssertionError("nothing may be simulated")

    monkeypatch.setattr("simulator.api.simulate.simulate", fail)
    assert main([*COMPARE[:4], "fusemax-cloud", *COMPARE[4:], "--level", "cycle"]) == 2
    assert "have no cycle level" in capsys.readouterr().err
