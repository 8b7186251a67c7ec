"""`ridgeline sweep` and `explain` as a person meets them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dse.space.file import bundled_spaces, load_space
from simulator.cli import main

FILE = """\
schema: ridgeline/space/v1
name: tiny
question: Does it work?
base: {model: opt-125m, hardware: h200, run: {input_tokens: 32, output_tokens: 3}}
axes:
  hbm.bandwidth: {from: 2 TB/s, to: 4 TB/s, steps: 3}
  run.batch: [1, 4]
objectives: {tpot_s: min, tokens_per_s: max}
"""


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(FILE, encoding="utf-8")
    return path


def test_sweep_then_explain(space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert main(["sweep", str(space), "--out", out]) == 0
    said = capsys.readouterr().out
    assert "tiny: Does it work?" in said
    assert "6 points = 2 x 3; all looked at" in said
    assert "knee" in said or "best" in said
    command = said.strip().splitlines()[-1].removeprefix("next: ridgeline ").split()
    assert main(command) == 0
    assert "TPOT" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "ridgeline/report/v1"
    assert main([*command, "--elasticities", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"]
    assert main(["sweep", str(space), "--out", out]) == 2
    assert "go on with it by --resume" in capsys.readouterr().err
    assert main(["sweep", str(space), "--out", out, "--resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["points"] == 6


def test_dry_run_runs_nothing(space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", str(space), "--dry-run", "--out", str(tmp_path / "none"), "--explorer", "lhs"]) == 0
    assert "chosen by lhs, seed 0" in capsys.readouterr().out
    assert not (tmp_path / "none").exists()


def test_nothing_feasible_is_exit_code_1(space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limit = "constraints: {power: {metric: power_W, at_most: 1 W}}\n"
    space.write_text(FILE + limit, encoding="utf-8")
    assert main(["sweep", str(space), "--out", str(tmp_path / "out"), "--limit", "4"]) == 1
    assert "nothing is feasible; closest comes point" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    [
        ["sweep"],
        ["sweep", "no-such-space"],
        ["sweep", "no/such/file.yaml"],
        ["sweep", "quickstart", "--limit", "0"],
        ["sweep", "quickstart", "--explorer", "guess"],
        ["explain", "no/such/folder", "3"],
    ],
)
def test_mistakes_are_exit_code_2(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.slow
def test_interrupting_says_how_to_resume(space: Path, tmp_path: Path) -> None:
    space.write_text(
        FILE.replace("steps: 3", "steps: 400").replace("axes:", "search: {shard: 2}\naxes:"), encoding="utf-8"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-m", "simulator", "sweep", str(space), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    for _ in range(600):
        if (out / "shards" / "00000001.parquet").exists():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in error
    assert f"what is done is in {out}. Go on with: " in error
    assert error.rstrip().endswith("--resume")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(bundled_spaces()))
def test_ready_made_spaces_at_reduced_size(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / name)
    assert main(
        [
            "sweep",
            name,
            "--explorer",
            "grid",
            "--limit",
            "2" if name in ("prefill-decode", "equal-budget") else "6",
            "--keep",
            "all",
            "--out",
            out,
        ]
    ) in (0, 1)
    assert "points = " in capsys.readouterr().out


def test_every_ready_made_space_says_what_it_found() -> None:
    found = (Path(__file__).parents[2] / "results" / "spaces" / "README.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(): line for line in found.splitlines() if line.startswith("| ")}
    assert set(bundled_spaces()) <= set(rows)
    for name, path in bundled_spaces().items():
        assert f"| {load_space(path).size:,} |" in rows[name]
