"""The figures of the FuseMax study, in the paper's form: use of the arrays, speed-up, energy, area against latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from dse.plots.bars import plot_breakdown, plot_speedups
from dse.plots.curves import plot_curves
from dse.studies.fusemax_setup import EndToEnd, study_setup
from dse.studies.study import StudyFigure
from hwmodels.spatial.binding import load_binding

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["study_figures"]

#: Model and length of the figure by einsum.
_SHOWN = ("BERT", 65536)

_Runs = Mapping[tuple[str, str, int], EndToEnd]


def study_figures(runs: _Runs, sweep: Sequence[Mapping[str, Any]]) -> list[StudyFigure]:
    """Return the figures."""
    speed, energy = _ratios(runs, "speed-up"), _ratios(runs, "energy")
    use = [
        {
            "design": name,
            "model": model,
            "length": length,
            "use_2d": result.attention.array_2d_s / result.attention.time_s,
            "use_1d": result.attention.array_1d_s / result.attention.time_s,
        }
        for (name, model, length), result in runs.items()
    ]
    einsums = [
        {
            "design": name,
            "einsum": einsum.name,
            "use_2d": result.attention.cycles[einsum.name] / study_setup().machine.clock_Hz / result.attention.time_s,
        }
        for (name, model, length), result in runs.items()
        if (model, length) == _SHOWN
        for einsum in load_binding(study_setup().designs[name].binding).einsums
        if einsum.on_2d
    ]
    front = [{key: row[key] for key in ("model", "columns", "area_mm2", "latency_s")} for row in sweep]
    return [
        StudyFigure(name="utilisation", rows=use, draw=partial(_draw_use, use)),
        StudyFigure(name="utilisation-by-einsum", rows=einsums, draw=partial(_draw_einsums, einsums)),
        StudyFigure(name="attention-speedup", rows=speed, draw=partial(_draw_ratios, speed, "speed-up over FLAT")),
        StudyFigure(name="attention-energy", rows=energy, draw=partial(_draw_ratios, energy, "energy over FLAT")),
        StudyFigure(name="area-latency", rows=front, draw=partial(_draw_front, front)),
    ]


def _length(length: int) -> str:
    return f"{length // 1024}K" if length < 2**20 else f"{length // 2**20}M"


def _ratios(runs: _Runs, what: str) -> list[dict[str, Any]]:
    rows = []
    for (name, model, length), result in runs.items():
        base = runs["FLAT", model, length]
        if what == "speed-up":
            ratio = base.attention.time_s / result.attention.time_s
        else:
            ratio = result.attention_J / base.attention_J
        rows.append({"design": name, "model": model, "length": length, "ratio": ratio})
    return rows


def _draw_ratios(rows: Sequence[Mapping[str, Any]], label: str) -> Figure:
    import matplotlib.pyplot as plt

    models = list(study_setup().models)
    figure, panels = plt.subplots(2, 2, figsize=(7.0, 4.8), sharey=True, layout="constrained")
    for axes, model in zip(panels.flat, models, strict=True):
        groups: dict[str, dict[str, float]] = {}
        for row in rows:
            if row["model"] == model:
                groups.setdefault(_length(row["length"]), {})[row["design"]] = row["ratio"]
        plot_speedups(axes, groups, label, mean=False)
        axes.get_legend().remove()
        axes.set_title(model)
    panels[0, 0].set_ylim(0.0, 1.25 * max(row["ratio"] for row in rows))  # shared by all panels
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names))
    return figure


def _draw_use(rows: Sequence[Mapping[str, Any]]) -> Figure:
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(7.0, 2.6), sharey=True, layout="constrained")
    for axes, column, label in zip(panels, ("use_2d", "use_1d"), ("2D array", "1D array"), strict=True):
        series: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            if row["model"] == "BERT":
                series.setdefault(row["design"], []).append((float(row["length"]), row[column]))
        plot_curves(axes, series, ("tokens", f"use of the {label}"))
        axes.set_ylim(0.0, 1.05)
        if axes is not panels[0]:
            axes.get_legend().remove()
    return figure


def _draw_einsums(rows: Sequence[Mapping[str, Any]]) -> Figure:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(4.5, 2.8), layout="constrained")
    bars: dict[str, dict[str, float]] = {}
    for row in rows:
        bars.setdefault(row["design"], {})[row["einsum"]] = row["use_2d"]
    plot_breakdown(axes, bars, "use of the 2D array, BERT, 64K")
    return figure


def _draw_front(rows: Sequence[Mapping[str, Any]]) -> Figure:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(3.5, 2.6), layout="constrained")
    series: dict[str, list[tuple[float, float]]] = {}
    names: dict[str, list[str]] = {}
    for row in rows:
        series.setdefault(row["model"], []).append((row["area_mm2"] / 100.0, row["latency_s"]))
        names.setdefault(row["model"], []).append(f"{row['columns']}")
    plot_curves(axes, series, ("area at 45 nm, cm2", "attention of 256K tokens, s"), {"XLM": names["XLM"]})
    return figure
