"""Serving: distributions of latency, load and power over time, and latency and goodput against the rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.plots.figure import paper_style, save_figure
from simulator.core.errors import InputError
from simulator.serving.report import ServeReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simulator.validation.serving.comparison import ServingReplay

__all__ = ["save_points", "save_rates", "save_run"]

_METRICS = (("ttft", "TTFT"), ("tpot", "TPOT"), ("e2e", "end to end"))
_PANEL_INCHES = (3.4, 2.3)
#: Of the models in a scatter.
MARKERS = ("o", "s", "^", "v", "D", "P", "X", "<", ">", "*")


def _panels(rows: int, columns: int) -> tuple[Any, list[Axes]]:
    from matplotlib.figure import Figure

    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, index + 1) for index in range(rows * columns)]


def save_run(report: ServeReport, path: Path) -> list[Path]:
    """Draw a run: latency CDFs, requests and token rates and power over time; with CSV and manifest beside it.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    with paper_style():
        figure, (cdf, load, tokens, power) = _panels(2, 2)
        for name, label in _METRICS:
            cdf.plot(report.percentiles[name], [i / 100.0 for i in range(101)], label=label)
        for name, limit in report.slo.stated.items():
            cdf.axvline(limit, color="0.6", linewidth=0.7, linestyle=":")
            cdf.annotate(f"SLO {name.upper()}", (limit, 0.02), rotation=90, fontsize=6, color="0.4")
        cdf.set(xscale="log", xlabel="seconds", ylabel="share of requests", ylim=(0.0, 1.0))
        cdf.legend()
        times = [(i + 0.5) * report.bin_s for i in range(len(report.series["power_W"]))]
        load.plot(times, report.series["running"], label="in a step")
        load.plot(times, report.series["waiting"], label="waiting")
        load.set(xlabel="time (s)", ylabel="requests")
        load.legend()
        tokens.plot(times, report.series["output_tokens_per_s"], label="output")
        tokens.plot(times, report.series["prompt_tokens_per_s"], label="prompts")
        tokens.set(xlabel="time (s)", ylabel="tokens/s")
        tokens.legend()
        power.plot(times, report.series["power_W"])
        power.axhline(report.average_W, color="0.6", linewidth=0.7, linestyle=":")
        power.set(xlabel="time (s)", ylabel="power (W)", ylim=(0.0, None))
        rows = [
            {"time_s": time_s, **{name: values[i] for name, values in report.series.items()}}
            for i, time_s in enumerate(times)
        ]
        return save_figure(figure, path, rows, {"provenance": dict(report.provenance)})


def save_rates(points: Sequence[tuple[float, ServeReport]], path: Path) -> list[Path]:
    """Draw TTFT, TPOT, goodput and power against the rate of requests; with CSV and manifest beside it.

    Parameters
    ----------
    points
        Rates in rising order, requests per second, and the report at each.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    rates = [rate for rate, _ in points]
    with paper_style():
        figure, (ttft, tpot, goodput, power) = _panels(2, 2)
        for axes, name, label in ((ttft, "ttft", "TTFT (s)"), (tpot, "tpot", "TPOT (s)")):
            for field, style in (("p50", "-"), ("p90", "--"), ("p99", ":")):
                values = [getattr(report.metrics[name], field) for _, report in points]
                axes.plot(rates, values, linestyle=style, marker="o", markersize=2, label=field)
            limit = points[0][1].slo.stated.get(name)
            if limit is not None:
                axes.axhline(limit, color="0.6", linewidth=0.7)
            axes.set(xlabel="requests/s", ylabel=label, yscale="log")
            axes.legend()
        goodput.plot(rates, [report.goodput for _, report in points], marker="o", markersize=2)
        goodput.plot(rates, rates, color="0.6", linewidth=0.7)
        goodput.set(xlabel="requests/s", ylabel="within the SLO, requests/s")
        power.plot(rates, [report.average_W for _, report in points], marker="o", markersize=2)
        power.set(xlabel="requests/s", ylabel="average power (W)", ylim=(0.0, None))
        rows = [
            {
                "rate": rate,
                "good_share": report.good_share,
                "goodput": report.goodput,
                "average_W": report.average_W,
                **{
                    f"{name}_{field}_s": getattr(report.metrics[name], field)
                    for name in ("ttft", "tpot", "e2e")
                    for field in ("mean", "p50", "p90", "p99")
                },
            }
            for rate, report in points
        ]
        return save_figure(figure, path, rows, {"provenance": dict(points[-1][1].provenance)})


def save_points(replay: ServingReplay, path: Path) -> list[Path]:
    """Draw simulated over measured TTFT and TPOT of published points; with CSV beside it.

    Raises
    ------
    InputError
        If the comparison has no points, or the file cannot be written.
    """
    if not replay.points:
        raise InputError(
            "only published points are drawn: this file has requests of servers, or none that can be served"
        )
    from matplotlib import colormaps

    models = sorted({point.model for point in replay.points})
    limits = {family["metric"]: family["limit"] for family in replay.families if family["limit"] is not None}
    with paper_style():
        figure, panels = _panels(1, 2)
        for axes, metric in zip(panels, ("ttft_ms", "tpot_ms"), strict=True):
            values: list[float] = []
            for index, model in enumerate(models):
                members = [point for point in replay.points if point.model == model]
                measured = [getattr(point, metric) for point in members]
                simulated = [getattr(point, f"simulated_{metric}") for point in members]
                marker, color = MARKERS[index % len(MARKERS)], colormaps["tab10"](index % 10)
                axes.plot(measured, simulated, marker, color=color, markersize=2, alpha=0.5, label=model)
                values += [*measured, *simulated]
            low, high = min(values), max(values)
            axes.plot([low, high], [low, high], color="0.4", linewidth=0.7)
            limit = limits.get(metric[:4].upper())
            if limit is not None:
                axes.fill_between(
                    [low, high],
                    [low * (1 - limit), high * (1 - limit)],
                    [low * (1 + limit), high * (1 + limit)],
                    color="0.9",
                    linewidth=0.0,
                    label=f"within {limit:.0%}",
                )
            name = metric[:4].upper()
            axes.set(xscale="log", yscale="log", xlabel=f"measured {name} (ms)", ylabel=f"simulated {name} (ms)")
        panels[0].legend(fontsize=5)
        rows = [asdict(point) for point in replay.points]
        return save_figure(figure, path, rows, {"file": replay.file, "reference": replay.reference})
