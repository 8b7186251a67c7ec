"""Figures and the page of a sweep: the points drawn are those of the sweep, the best of each cell, the right front."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from dse.page.page import page_html
from dse.page.sweep import sweep_page
from dse.result import SweepResult, load_result
from simulator.cli import main
from simulator.core.errors import InputError

FILE = """\
schema: ridgeline/space/v1
name: small
question: does bandwidth pay?
base:
  model: opt-125m
  hardware: h100x2
  run: {input_tokens: 32, output_tokens: 3}
axes:
  hbm.bandwidth: {from: 2 TB/s, to: 4 TB/s, steps: 3}
  run.batch: [1, 64]
  run.tp: [1, 2]
  run.kv: [bf16, fp8]
objectives: {tpot_s: min, tokens_per_s: max, energy_per_token_J: min}
constraints:
  power: {metric: power_per_device_W, at_most: 500 W}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sweep") / "small.yaml"
    file.write_text(FILE, encoding="utf-8")
    assert main(["sweep", str(file), "--out", str(file.with_suffix(""))]) == 0
    return file.with_suffix("")


@pytest.fixture(scope="module")
def result(folder: Path) -> SweepResult:
    return load_result(folder)


def rows(figure: Path) -> list[dict[str, str]]:
    with figure.with_suffix(".csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_every_point_comes_back(result: SweepResult) -> None:
    assert result.stored == result.space.size == len(result.points["index"]) == 24
    assert list(result.points["index"]) == list(range(24))
    assert set(result.front["index"]) <= set(result.points["index"])
    front = result.front_of(result.space.objectives)
    assert set(result.points["index"][front]) == set(result.front["index"])


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("pareto", []),
        ("pareto", ["--x", "tokens_per_s", "--y", "power_W"]),
        ("projections", []),
        ("heat-map", ["--z", "tokens_per_s"]),
        ("contours", ["--x", "hbm.bandwidth", "--y", "run.batch"]),
        ("curves", ["--series", "hbm.bandwidth", "--where", "run.kv=fp8", "--where", "run.tp=2", "--limit", "0.001"]),
        ("scaling", ["--where", "run.batch=64"]),
    ],
)
def test_kinds(kind: str, options: list[str], folder: Path, tmp_path: Path) -> None:
    figure = tmp_path / "f.svg"
    assert main(["plot", kind, str(folder), *options, "--out", str(figure)]) == 0
    assert figure.stat().st_size > 3000 and rows(figure)
    assert json.loads(figure.with_suffix(".manifest.json").read_text())["of"]


def test_a_map_shows_the_best_of_each_cell(folder: Path, result: SweepResult, tmp_path: Path) -> None:
    figure = tmp_path / "m.pdf"
    assert main(["plot", "heat-map", str(folder), "--x", "run.batch", "--y", "run.tp", "-o", str(figure)]) == 0
    found = {(float(r["run.batch"]), float(r["run.tp"])): float(r["tpot_s"]) for r in rows(figure)}
    points = result.points
    for (batch, tp), value in found.items():
        cell = (points["run.batch"] == batch) & (points["run.tp"] == tp) & result.feasible
        assert value == pytest.approx(points["tpot_s"][cell].min())
    assert len(found) == 4


def test_where_keeps_only_what_it_says(result: SweepResult) -> None:
    part = result.where(["hbm.bandwidth=3 TB/s", "run.kv=fp8"])
    assert len(part.points["index"]) == 4 and set(part.points["hbm.bandwidth"]) == {3e12}
    for wrong, words in (("hbm.bandwith=3 TB/s", "did you mean"), ("run.tp=3", "takes 1, 2")):
        with pytest.raises(InputError, match=words):
            result.where([wrong])


def test_the_knee_is_on_the_front(result: SweepResult) -> None:
    goals = result.space.objectives
    front = result.front_of(goals)
    knee = result.knee_of(goals, front)
    assert knee is not None and front[knee]
    assert result.knee_of(goals, np.zeros_like(front)) is None


def test_the_page_holds_front_limits_and_provenance(folder: Path, result: SweepResult, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert main(["report", str(folder), "--out", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert text == page_html(sweep_page(result))
    assert "does bandwidth pay?" in text and "power_per_device_W" in text and text.count("<figure") >= 5
    for index in result.front["index"]:
        assert f'data-value="{index}"' in text


def test_a_page_of_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "opt-125m", "h200", "--out", "4", "--json"]) == 0
    document = tmp_path / "r.json"
    document.write_text(capsys.readouterr().out, encoding="utf-8")
    assert main(["report", str(document)]) == 0
    assert "opt-125m on NVIDIA H200" in document.with_suffix(".html").read_text(encoding="utf-8")


def test_fronts_of_conditions_stand_beside_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "apart.yaml"
    file.write_text(FILE.replace("name: small", "name: apart\nfor_each: [run.batch]"), encoding="utf-8")
    assert main(["sweep", str(file), "--out", str(tmp_path / "apart")]) == 0
    result = load_result(tmp_path / "apart")
    front = result.front_of(result.space.objectives)
    assert set(result.points["index"][front]) == set(result.front["index"])
    assert set(result.points["run.batch"][front]) == {1.0, 64.0}
    assert result.knee_of(result.space.objectives, front) is None
    assert main(["report", str(tmp_path / "apart")]) == 0
    assert "With run.batch 64: " in (tmp_path / "apart" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plot", "pareto", "{here}"], "holds no sweep"),
        (["plot", "pareto", "{sweep}", "--x", "tpt_s"], "did you mean 'tpot_s'"),
        (["plot", "heat-map", "{sweep}", "--x", "run.batchh"], "did you mean 'run.batch'"),
        (["plot", "contours", "{sweep}", "--x", "run.kv", "--y", "run.tp"], "heat map instead"),
        (["plot", "scaling", "{sweep}", "--where", "run.tp=1"], "one number of devices"),
        (["report", "{here}"], "holds no sweep"),
        (["report", "none"], "No such file"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    arguments: list[str], words: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [argument.format(here=tmp_path, sweep=folder) for argument in arguments]
    output = ["-o", str(tmp_path / "x.pdf")] if arguments[0] == "plot" else []
    assert main([*filled, *output]) == 2
    assert words in capsys.readouterr().err


def test_a_damaged_sweep_is_refused(folder: Path, tmp_path: Path) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "shards" / "00000000.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="damaged"):
        load_result(broken)
