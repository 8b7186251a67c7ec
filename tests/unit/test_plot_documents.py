"""Figures of documents: from the command line, with their numbers beside them, and clear refusals of other files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from simulator import simulate
from simulator.api.trace import write_trace
from simulator.cli import main


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("documents")
    report = simulate("llama-3-8b", "h200", batch=4, output_tokens=8)
    document = report.to_json()
    comparison = {
        "schema": "ridgeline/comparison/v1",
        "model": "llama-3-8b",
        "request": {"batch": 4},
        "systems": [
            {"hardware": "h100", "speedup": 1.0, "energy_gain": 1.0, "energy_parts_J": {"hbm": 2.0}},
            {"hardware": "h200", "speedup": 1.4, "energy_gain": 1.1, "energy_parts_J": {"hbm": 1.5}},
        ],
    }
    found = {name: folder / f"{name}.json" for name in ("report", "comparison", "trace", "list", "text")}
    found["report"].write_text(json.dumps(document))
    found["comparison"].write_text(json.dumps(comparison))
    write_trace(report, found["trace"])
    found["list"].write_text("[1]")
    found["text"].write_text("no json")
    return found


def rows(figure: Path) -> list[dict[str, str]]:
    with figure.with_suffix(".csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize(
    ("kind", "names", "options"),
    [
        ("breakdown", ["report"], []),
        ("breakdown", ["report", "comparison"], ["--of", "energy"]),
        ("speedups", ["comparison", "comparison", "comparison"], []),
        ("speedups", ["comparison"], ["--of", "energy"]),
        ("tornado", ["report"], []),
        ("timeline", ["trace"], ["--to", "0.002"]),
    ],
)
def test_kinds(kind: str, names: list[str], options: list[str], files: dict[str, Path], tmp_path: Path) -> None:
    figure = tmp_path / "f.svg"
    assert main(["plot", kind, *(str(files[name]) for name in names), *options, "--out", str(figure)]) == 0
    assert figure.stat().st_size > 1000 and rows(figure)
    manifest = json.loads(figure.with_suffix(".manifest.json").read_text())
    assert manifest["command"][:3] == ["ridgeline", "plot", kind] and manifest["of"]


def test_a_breakdown_adds_up_to_the_report(files: dict[str, Path], tmp_path: Path) -> None:
    document: dict[str, Any] = json.loads(files["report"].read_text())
    for of, total in (("time", document["latency_s"]), ("energy", document["energy_J"])):
        assert main(["plot", "breakdown", str(files["report"]), "--of", of, "-o", str(tmp_path / "b.pdf")]) == 0
        assert sum(float(row[of]) for row in rows(tmp_path / "b.pdf")) == pytest.approx(total, rel=1e-6)


def test_a_timeline_is_cut_at_its_window(files: dict[str, Path], tmp_path: Path) -> None:
    figure = tmp_path / "t.png"
    assert main(["plot", "timeline", str(files["trace"]), "--from", "1e-4", "--to", "3e-4", "-o", str(figure)]) == 0
    found = [(float(row["start_s"]), float(row["duration_s"])) for row in rows(figure)]
    assert min(start for start, _ in found) >= 1e-4
    assert max(start + duration for start, duration in found) <= 3e-4 * (1 + 1e-12)


def test_energy_roofline(tmp_path: Path) -> None:
    figure = tmp_path / "e.png"
    assert main(["plot", "energy-roofline", "t4", "-o", str(figure)]) == 0
    values = {row["what"]: float(row["value"]) for row in rows(figure)}
    assert values["bandwidth_Bps"] == 320e9 and values["flop_J"] > 0
    assert main(["plot", "energy-roofline", "h200", "--model", "gpt2", "--out", "4", "-o", str(figure)]) == 0
    assert all(float(row["energy_J_per_flop"]) > 0 for row in rows(figure))


def test_predicted_against_measured(tmp_path: Path) -> None:
    table = Path(__file__).resolve().parents[2] / "hwmodels" / "measured" / "h200" / "h200_vector.csv"
    figure = tmp_path / "a.png"
    assert main(["plot", "accuracy", "h200", str(table), "-o", str(figure)]) == 0
    found = rows(figure)
    assert len(found) == 168 and all(float(row["predicted"]) > 0 for row in found)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["breakdown", "{trace}"], "expected a report or a comparison"),
        (["breakdown", "{comparison}"], "holds no time by operator"),
        (["speedups", "{report}"], "expected a comparison"),
        (["tornado", "{list}"], "expected a report"),
        (["tornado", "{text}"], "no JSON document"),
        (["timeline", "none.json"], "No such file"),
        (["timeline", "{trace}", "--from", "1e9"], "nothing runs"),
        (["timeline", "{trace}", "--from", "x"], "invalid float"),
        (["timeline", "{trace}", "--from", "nan"], "is not before"),
        (["timeline", "{trace}", "--from", "2", "--to", "1"], "is not before"),
        (["energy-roofline", "pim-gpt"], "pim"),
        (["energy-roofline", "h200", "-o", "x.doc"], ".pdf"),
        (["pie", "x"], "invalid choice"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    arguments: list[str], words: str, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    filled = [argument.format(**files) for argument in arguments]
    assert main(["plot", *filled]) == 2
    assert words in capsys.readouterr().err
