"""Systems side by side: rows are the reports' own figures, ratios are to the first, cost by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from simulator.api.compare import compared, comparison_document, comparison_text
from simulator.api.report import Report
from simulator.api.simulate import simulate
from simulator.cli import main


@pytest.fixture(scope="module")
def reports() -> list[Report]:
    names = ("h100x4", "h200x4", "duplex-x4", "h100")
    return [simulate("llama-3-70b", name, input_tokens=512, output_tokens=64, batch=32) for name in names]


def test_rows_are_the_reports(reports: list[Report]) -> None:
    rows = compared(reports)
    for row, report in zip(rows, reports, strict=True):
        assert (row.ttft_s, row.tpot_s, row.latency_s) == (report.ttft_s, report.tpot_s, report.latency_s)
        assert row.speedup == reports[0].latency_s / report.latency_s
        assert row.energy_per_token_J * report.tokens == pytest.approx(report.total_energy_J)
        assert sum(row.bounds.values()) == pytest.approx(1.0)
        assert list(row.bounds.values()) == sorted(row.bounds.values(), reverse=True)
    assert rows[0].speedup == rows[0].energy_gain == 1.0
    assert [row.fits for row in rows] == [True, True, True, False]
    assert [row.devices for row in rows] == [4, 4, 8, 1]


def test_cost_by_hand(reports: list[Report]) -> None:
    h100x4, _, duplex, _ = compared(reports)
    report = reports[0]
    assert h100x4.price_USD is not None
    years = report.latency_s / (365.25 * 24 * 3600)
    expected = h100x4.price_USD * years / 5 + report.total_energy_J / 3.6e6 * 0.0804
    assert h100x4.cost_per_million_tokens_USD == pytest.approx(expected / report.tokens * 1e6)
    assert duplex.price_USD is duplex.cost_per_million_tokens_USD is None  # nobody sells Logic-PIM


def test_text_and_document(reports: list[Report]) -> None:
    text = comparison_text(reports)
    assert max(map(len, text.splitlines())) <= 105
    assert "1.00x" in text
    assert "DOES NOT FIT" in text
    document = json.loads(json.dumps(comparison_document(reports), allow_nan=False))
    assert [row["hardware"] for row in document["systems"]] == [report.hardware for report in reports]


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figure = tmp_path / "compare.svg"
    options = ["--in", "128", "--out", "8", "--plot", str(figure)]
    assert main(["compare", "llama-3-8b", "h200", "duplex", *options, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    with figure.with_suffix(".csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for system in document["systems"]:
        times = [float(r["per_token"]) for r in rows if (r["system"], r["what"]) == (system["hardware"], "time")]
        assert sum(times) == pytest.approx(system["latency_s"] / 8)
    assert main(["compare", "llama-3-8b", "h200", "h2000"]) == 2
    assert "did you mean" in capsys.readouterr().err
    assert main(["compare", "llama-3-8b", "h200", "--plot", str(tmp_path / "x.txt")]) == 2
    assert main(["compare", "llama-3-70b", "h100"]) == 1
