"""Reported against simulated: what is judged, what is only shown, and how a study is written."""

from __future__ import annotations

import json
import sys
import types

import pytest

from dse.studies import Comparison, Study, StudyFigure
from dse.studies.study import study_document, study_text
from simulator.cli import main


def _compare(**given: object) -> Comparison:
    settings = {"what": "speed-up", "reported": 2.0, "simulated": 2.1, "source": "abstract", **given}
    return Comparison(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reported", "simulated", "error"),
    [
        (2.0, 2.1, 0.05),
        (2.0, 1.0, -0.5),
        ((2.0, 3.0), 2.5, 0.0),
        ((2.0, 3.0), 1.0, -0.5),
        ((2.0, 3.0), 3.3, 0.1),
        ((2.0, 4.0), (1.8, 4.8), 0.2),
        (None, 1.0, None),
    ],
)
def test_error(reported: object, simulated: object, error: float | None) -> None:
    found = _compare(reported=reported, simulated=simulated).error
    assert found == (None if error is None else pytest.approx(error))


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ({"tolerance": 0.06}, "within"),
        ({"tolerance": 0.04}, "missed"),
        ({}, "shown"),
        ({"tolerance": 0.04, "confidence": "recalled"}, "shown"),
        ({"tolerance": 0.04, "confidence": "secondary"}, "shown"),
        ({"tolerance": 0.04, "reported": None}, "shown"),
    ],
)
def test_only_retrieved_figures_with_a_tolerance_are_judged(given: dict[str, object], verdict: str) -> None:
    assert _compare(**given).verdict == verdict


def _study(tolerance: float) -> Study:
    def draw() -> object:
        from matplotlib.figure import Figure

        figure = Figure()
        figure.subplots().plot([1, 2])
        return figure

    return Study(
        name="paper",
        paper="A. Author, A Paper, 2024",
        comparisons=[_compare(tolerance=tolerance, note="because")],
        tables={"All of it": [{"model": "a", "time_ms": 1.23456}, {"model": "b", "time_ms": None}]},
        notes=["an assumption"],
        figures=[StudyFigure(name="bars", rows=[{"x": 1}], draw=draw)],  # type: ignore[arg-type]
    )


def test_text_holds_both_figures_and_the_verdict() -> None:
    text = study_text(_study(0.01))
    assert "2x" in text and "2.1x" in text and "+5.0 %" in text and "missed (1 %)" in text
    assert "because" in text and "1.235" in text and "an assumption" in text
    json.dumps(study_document(_study(0.01)), allow_nan=False)


def test_a_terminal_is_spared_long_tables() -> None:
    text = study_text(_study(0.01), most_rows=1)
    assert "1.235" in text and "1 more rows: --out" in text
    assert "more rows" not in study_text(_study(0.01))


@pytest.mark.parametrize(("tolerance", "code"), [(0.06, 0), (0.04, 1)])
def test_command(tolerance: float, code: int, tmp_path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    import dse.studies

    monkeypatch.setitem(dse.studies.STUDIES, "paper", "a paper")
    module = types.SimpleNamespace(run=lambda data, progress: _study(tolerance))
    monkeypatch.setitem(sys.modules, "dse.studies.paper", module)
    assert main(["reproduce", "paper", "--out", str(tmp_path / "new" / "folder")]) == code
    written = {p.name for p in (tmp_path / "new" / "folder" / "paper").iterdir()}
    assert written == {"README.md", "study.json", "bars.pdf", "bars.png", "bars.csv", "bars.manifest.json"}
    assert ("missed: paper" in capsys.readouterr().err) == bool(code)
