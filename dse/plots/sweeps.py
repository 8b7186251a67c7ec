"""Figures of a sweep: fronts, maps over two axes, curves along one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dse.plots.curves import plot_curves, plot_scaling
from dse.plots.documents import Drawn
from dse.plots.maps import grid_of, plot_contours, plot_heat_map
from dse.plots.pareto import Objective, plot_front, plot_projections
from dse.result import SweepResult
from dse.space.space import Objective as Goal
from simulator.core.errors import InputError
from simulator.core.units import DIMENSIONS, format_quantity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Scale", "draw_curves", "draw_map", "draw_pareto", "draw_projections", "draw_scaling", "scale_of"]

_MOST_SERIES = 10
_PANEL = 2.35  # inches
_WORDS = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "end to end"}
_NAMES = {
    "limit": "power limit",
    "hourly": "price of an hour",
    "cost_per_million": "price of a million tokens",
}
_FEW, _SHORT = 12, 28  # designs of a front that are named, and characters of a name
_THROUGHPUT = {
    "tokens_per_s": "throughput (tokens/s)",
    "tokens_per_s_per_device": "throughput (tokens/s per device)",
    "output_tokens_per_s": "throughput (tokens/s)",
    "request_rate": "throughput (requests/s)",
    "goodput": "goodput (requests/s)",
}


class Scale:
    """How a column is written on an axis: its label with the unit, and the factor from SI."""

    def __init__(self, label: str, factor: float) -> None:
        self.label = label
        self.factor = factor


def scale_of(result: SweepResult, column: str) -> Scale:
    """Return label and factor that suit the values of a column: ``tpot_s`` in milliseconds is "TPOT (ms)"."""
    dimension = result.dimension(column)
    words = column.removeprefix("margin:").replace("_", " ")
    if dimension == "1":
        return Scale(_THROUGHPUT.get(column, words), 1.0)
    if column in result.metrics:  # the last word is the unit
        name = column.rpartition("_")[0]
        words = _NAMES.get(name) or " ".join(_WORDS.get(word, word) for word in name.split("_"))
    values = result.points[column]
    largest = float(np.nanmax(np.abs(values))) if len(values) else 1.0
    what = DIMENSIONS[dimension]
    prefixes = sorted((size, prefix) for prefix, size in what.prefixes.items() if "i" not in prefix and prefix != "µ")
    size, prefix = next((pair for pair in reversed(prefixes) if pair[0] <= largest), (1.0, ""))
    return Scale(f"{words} ({prefix}{next(iter(what.units))})", 1.0 / size)


def draw_pareto(result: SweepResult, x: str | None = None, y: str | None = None) -> Drawn:
    """Draw all feasible points in two metrics and the front in these two, its knee marked.

    Parameters
    ----------
    result : SweepResult
        The sweep.
    x, y : str, optional
        Metrics; the first two objectives when not given.

    Raises
    ------
    InputError
        If a metric is unknown, or the sweep has one objective and no metric is named.
    """
    names = [goal.metric for goal in result.space.objectives]
    if (x is None or y is None) and len(names) < 2:
        raise InputError(f"{result.space.name} has the one objective {names[0]}: name two metrics with --x and --y")
    x = x or next(name for name in names if name != y)
    first, second = result.objective(x), result.objective(y or next(name for name in names if name != x))
    columns, objectives = _scaled(result, (first, second))
    front = result.front_of((first, second))
    knee = result.knee_of((first, second), front)
    kept = result.feasible
    figure = _figure()
    place = None if knee is None else int(np.flatnonzero(np.flatnonzero(kept) == knee)[0])
    shown = {name: column[kept] for name, column in columns.items()}
    fronts = {condition: mask[kept] for condition, mask in result.conditions(front).items()}
    named = _names(result, front) if len(fronts) == 1 else {}
    positions = np.cumsum(kept) - 1
    labels = {int(positions[index]): name for index, name in named.items()}
    plot_front(figure.add_subplot(), shown, objectives[0], objectives[1], fronts, place, labels)
    return Drawn(figure, _rows(result, front, (first.metric, second.metric), knee))


def _names(result: SweepResult, front: NDArray[np.bool_]) -> dict[int, str]:
    """Return what to call the designs of a small front: the values of their axes, or the number of the point."""
    chosen = np.flatnonzero(front)
    if len(chosen) > _FEW:
        return {}
    axes = [path for axis in result.space.axes if len(axis) > 1 for path in axis.paths]
    names = {}
    for index in chosen:
        values = " ".join(_written(result.points[path][index]) for path in axes)
        names[int(index)] = values if len(values) <= _SHORT else f"point {result.points['index'][index]}"
    return names


def _written(value: object) -> str:
    return format(value, ".4g") if isinstance(value, float) else str(value)


def draw_projections(result: SweepResult) -> Drawn:
    """Draw the front in all objectives, a panel per pair of them."""
    goals = result.space.objectives
    if len(goals) < 3:
        raise InputError(f"{result.space.name} has {len(goals)} objectives: `plot pareto` shows them in one panel")
    columns, objectives = _scaled(result, goals)
    front = result.front_of(goals)
    knee = result.knee_of(goals, front)
    kept = result.feasible
    figure = _figure((_PANEL * len(goals) * (len(goals) - 1) / 2.0, _PANEL))
    place = None if knee is None else int(np.flatnonzero(np.flatnonzero(kept) == knee)[0])
    plot_projections(figure, {n: c[kept] for n, c in columns.items()}, objectives, front[kept], place)
    return Drawn(figure, _rows(result, front, [goal.metric for goal in goals], knee))


def draw_map(result: SweepResult, x: str | None, y: str | None, z: str | None, contours: bool) -> Drawn:
    """Draw a metric over two axes, the best over all others at each place.

    Parameters
    ----------
    result : SweepResult
        The sweep.
    x, y : str, optional
        Axes; the first two when not given.
    z : str, optional
        Metric; the first objective when not given.
    contours : bool
        Contours instead of cells.

    Raises
    ------
    InputError
        If a name is unknown or there are fewer than two axes.
    """
    axes = [axis.paths[0] for axis in result.space.axes if len(axis) > 1]
    if (x is None or y is None) and len(axes) < 2:
        raise InputError(f"{result.space.name} sweeps {len(axes)} axis: a map needs two")
    x = result.check(x or next(a for a in axes if a != y), result.axes)
    y = result.check(y or next(a for a in axes if a != x), result.axes)
    goal = result.objective(z or result.space.objectives[0].metric)
    best = _best(result, (x, y), goal)
    scales = [scale_of(result, name) for name in (x, y, goal.metric)]
    columns = {
        name: column[best] * scale.factor if column.dtype.kind == "f" else column[best]
        for name, scale in zip((x, y, goal.metric), scales, strict=True)
        for column in [result.points[name]]
    }
    xs, ys, values = grid_of(columns, x, y, goal.metric)
    others = [path for path in axes if path not in (x, y) and len(set(result.points[path].tolist())) > 1]
    label = scales[2].label + (f", best over {len(others)} other ax{'is' if len(others) == 1 else 'es'}" * bool(others))
    figure = _figure()
    draw = plot_contours if contours else plot_heat_map
    draw(figure.add_subplot(), xs, ys, values, (scales[0].label, scales[1].label, label))
    mask = np.zeros(len(result.points["index"]), dtype=bool)
    mask[best] = True
    return Drawn(figure, _rows(result, mask, [goal.metric], None))


def draw_curves(
    result: SweepResult, x: str | None, y: str | None, series: str | None, limit: float | None = None
) -> Drawn:
    """Draw one metric against another or against an axis, a curve per value of a third: latency against throughput.

    Raises
    ------
    InputError
        If a name is unknown, there are too many series, or points of a curve share their x.
    """
    x, y = x or "tokens_per_s", y or "tpot_s"
    known = (*result.axes, *result.metrics)
    scales = [scale_of(result, result.check(name, known)) for name in (x, y)]
    groups = _groups(result, series)
    curves = {}
    for name, members in groups.items():
        picked = members[result.feasible[members]]
        xs, ys = (result.points[c][picked] * s.factor for c, s in zip((x, y), scales, strict=True))
        curves[name] = list(zip(xs.tolist(), ys.tolist(), strict=True))
    figure = _figure()
    scaled_limit = None if limit is None else limit * scales[1].factor
    plot_curves(figure.add_subplot(), curves, (scales[0].label, scales[1].label), limit=scaled_limit)
    rows = [{"series": name, x: a, y: b} for name, points in curves.items() for a, b in points]
    return Drawn(figure, rows)


def draw_scaling(result: SweepResult, metric: str | None, series: str | None) -> Drawn:
    """Draw the best throughput at each number of devices over that of the fewest.

    Raises
    ------
    InputError
        If a name is unknown or the sweep has one number of devices only.
    """
    goal = result.objective(metric or "tokens_per_s")
    found: dict[str, dict[int, float]] = {}
    for name, members in _groups(result, series).items():
        for i in members[result.feasible[members]]:
            count, value = int(result.points["devices"][i]), float(result.points[goal.metric][i])
            best = found.setdefault(name, {})
            best[count] = max(best.get(count, value), value)
    if len({count for values in found.values() for count in values}) < 2:
        raise InputError(
            f"{result.space.name} has one number of devices: sweep run.tp, run.ep or run.dp to see scaling"
        )
    figure = _figure()
    plot_scaling(figure.add_subplot(), found, f"{scale_of(result, goal.metric).label} over the fewest")
    rows = [{"series": s, "devices": n, goal.metric: v} for s, values in found.items() for n, v in values.items()]
    return Drawn(figure, rows)


def _groups(result: SweepResult, series: str | None) -> dict[str, NDArray[np.int64]]:
    """Return the points of each value of an axis, in the order of the sweep."""
    everything = np.arange(len(result.points["index"]))
    if series is None:
        return {result.space.name: everything}
    column = result.points[result.check(series, result.axes)]
    values = list(dict.fromkeys(column.tolist()))
    if len(values) > _MOST_SERIES:
        raise InputError(f"{series} has {len(values)} values, more than {_MOST_SERIES} curves: fix some with --where")
    dimension = result.dimension(series)
    names = [
        value
        if isinstance(value, str)
        else format_quantity(value, dimension)
        if dimension != "1"
        else f"{series.removeprefix('run.').replace('_', ' ')} {value:g}"
        for value in values
    ]
    return {str(name): everything[column == value] for name, value in zip(names, values, strict=True)}


def _best(result: SweepResult, keys: tuple[str, str], goal: Goal) -> NDArray[np.int64]:
    """Return the position of the best feasible point at each pair of values."""
    best: dict[tuple[Any, Any], int] = {}
    values = result.points[goal.metric] * (-1.0 if goal.maximise else 1.0)
    pairs = list(zip(*(result.points[key].tolist() for key in keys), strict=True))
    for i in np.flatnonzero(result.feasible & np.isfinite(values)):
        if pairs[i] not in best or values[i] < values[best[pairs[i]]]:
            best[pairs[i]] = int(i)
    if not best:
        raise InputError(f"{result.space.name}: no feasible point to draw")
    return np.array(sorted(best.values()), dtype=np.int64)


def _scaled(result: SweepResult, goals: Sequence[Goal]) -> tuple[dict[str, NDArray[Any]], list[Objective]]:
    if not result.feasible.any():
        raise InputError(f"{result.space.name}: no feasible point to draw")
    columns, objectives = {}, []
    for goal in goals:
        scale = scale_of(result, goal.metric)
        columns[goal.metric] = result.points[goal.metric] * scale.factor
        objectives.append(Objective(goal.metric, scale.label, goal.maximise))
    return columns, objectives


def _rows(
    result: SweepResult, mask: NDArray[np.bool_], metrics: Sequence[str], knee: int | None
) -> list[dict[str, Any]]:
    """Return the points of a mask with their settings, SI."""
    columns = ["index", *result.axes, *metrics]
    return [
        {**{name: result.points[name][i].item() if hasattr(result.points[name][i], "item") else result.points[name][i]
            for name in columns}, "knee": i == knee}
        for i in np.flatnonzero(mask)
    ]  # fmt: skip


def _figure(size: tuple[float, float] | None = None) -> Figure:
    from matplotlib.figure import Figure

    return Figure(layout="constrained") if size is None else Figure(layout="constrained", figsize=size)
