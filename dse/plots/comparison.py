"""Systems side by side for one request: time and energy per token, split by what bounds and by where it goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dse.plots.bars import plot_breakdown
from dse.plots.figure import check_path, paper_style, plain_text, save_figure
from simulator.api.compare import ComparedSystem, compared
from simulator.api.report import Report
from simulator.core.provenance import provenance

__all__ = ["save_comparison"]


def save_comparison(reports: Sequence[Report], path: Path, command: Sequence[str] = ()) -> list[Path]:
    """Draw a stacked bar per system for time and for energy, and write figure, data and manifest.

    Raises
    ------
    InputError
        If the path does not end in a known format or cannot be written.
    """
    check_path(path)
    systems = compared(reports)
    rows = [
        {
            "system": row.hardware,
            "what": what,
            "part": part,
            "per_token": value,
            "unit": unit,
        }
        for row, report in zip(systems, reports, strict=True)
        for what, unit, parts in (("time", "s", _times(row, report)), ("energy", "J", _energies(row, report)))
        for part, value in parts.items()
    ]
    named = {f"hardware {index}": report.system for index, report in enumerate(reports)}
    with paper_style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.0, 2.6), layout="constrained")
        time, energy = figure.subplots(1, 2)
        pairs = list(zip(systems, reports, strict=True))
        times = {row.hardware: {k: v * 1e3 for k, v in _times(row, report).items()} for row, report in pairs}
        plot_breakdown(time, times, "time per token of the batch (ms)")
        plot_breakdown(energy, {row.hardware: _energies(row, report) for row, report in pairs}, "energy per token (J)")
        first = reports[0]
        title = f"{first.model}, batch {first.request.batch}"
        figure.suptitle(plain_text(title), fontsize=8, parse_math=False)
        return save_figure(figure, path, rows, provenance(named, command))


def _times(row: ComparedSystem, report: Report) -> dict[str, float]:
    """Latency over the tokens of one sequence, by what bounds operators."""
    tokens = report.tokens / report.request.batch
    return {bound: share * row.latency_s / tokens for bound, share in row.bounds.items()}


def _energies(row: ComparedSystem, report: Report) -> dict[str, float]:
    return {part: joules / report.tokens for part, joules in row.energy_parts_J.items()}
