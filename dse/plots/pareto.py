"""Design points between two or more objectives: all of them as a cloud, the front as a line, the knee marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

from dse.plots.labels import Label, place_labels
from dse.plots.marks import mark
from dse.plots.scales import set_log, wants_log
from simulator.core.errors import InputError

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

__all__ = ["Objective", "plot_front", "plot_projections"]

_CLOUD = 4000  # points of the cloud that are drawn; more only darken it
_KNEE_SIZE = 90.0
_LABEL_SIZE = 5.0
_KNEE_RADIUS = 5.0  # points
_INSIDE = 4  # fronts whose legend has room inside the axes


class Objective(NamedTuple):
    """One axis: the column, what is written beside it, and whether more is better."""

    column: str
    label: str
    maximise: bool = False


def plot_front(
    axes: Axes,
    points: Mapping[str, npt.NDArray[Any]],
    x: Objective,
    y: Objective,
    fronts: Mapping[str, npt.NDArray[Any]],
    knee: int | None = None,
    names: Mapping[int, str] | None = None,
) -> Axes:
    """Draw a cloud of designs and their front, or one for each condition, in two objectives.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    points : mapping of arrays, each (n,)
        Columns of all points.
    x, y : Objective
        What the axes show.
    fronts : mapping of arrays of bool, (n,)
        Which points no other beats, by condition ("" where there is none).
    knee : int, optional
        Index of the point to mark as the knee.
    names : mapping, optional
        Labels of some points, by index.

    Returns
    -------
    Axes
        The same; better is towards the arrow in the corner.

    Raises
    ------
    InputError
        If a column is missing.
    """
    import numpy as np

    xs, ys = (_column(points, objective.column) for objective in (x, y))
    inside = np.flatnonzero(~np.any(list(fronts.values()), axis=0)) if fronts else np.arange(len(xs))
    step = max(1, len(inside) // _CLOUD)
    axes.scatter(xs[inside[::step]], ys[inside[::step]], s=4, color="0.72", linewidths=0, label="designs", zorder=2)
    for number, (condition, front) in enumerate(fronts.items()):
        style = mark(number)
        chosen = np.flatnonzero(front)
        order = chosen[np.lexsort((ys[chosen], xs[chosen]))]
        axes.plot(
            xs[order],
            ys[order],
            drawstyle=_staircase(x, y),
            color=style.color,
            linewidth=0.9,
            marker=style.marker,
            markersize=3.5,
            markeredgecolor="black",
            markeredgewidth=0.3,
            label=condition or "front",
            zorder=4,
        )
    _mark_knee(axes, xs, ys, knee)
    _scales(axes, x, y, xs, ys)
    if len(fronts) > _INSIDE:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    else:
        axes.legend(loc="best")
    if names:
        axes.figure.draw_without_rendering()  # type: ignore[union-attr]
        labels = [Label(text, float(xs[i]), float(ys[i])) for i, text in names.items()]
        legend = axes.get_legend()
        taken = [legend.get_window_extent()] if legend else []
        if knee is not None:
            taken.append(_around(axes, float(xs[knee]), float(ys[knee])))
        place_labels(axes, labels, taken, [], _LABEL_SIZE)
    return axes


def _around(axes: Axes, x: float, y: float) -> Bbox:
    """Return the region of the knee's marker in display coordinates."""
    from matplotlib.transforms import Bbox

    at_x, at_y = axes.transData.transform((x, y))
    radius = _KNEE_RADIUS * axes.figure.dpi / 72.0
    return Bbox.from_extents(at_x - radius, at_y - radius, at_x + radius, at_y + radius)


def plot_projections(
    figure: Figure,
    points: Mapping[str, npt.NDArray[Any]],
    objectives: Sequence[Objective],
    front: npt.NDArray[Any],
    knee: int | None = None,
) -> list[Axes]:
    """Draw a front in three or more objectives as one panel per pair of them.

    A point of the front may lie inside the cloud of a panel: it is there for an objective that the panel does not show.
    """
    pairs = list(combinations(objectives, 2))
    panels: list[Axes] = []
    for index, (x, y) in enumerate(pairs):
        axes = figure.add_subplot(1, len(pairs), index + 1)
        xs, ys = (_column(points, objective.column) for objective in (x, y))
        axes.scatter(xs[~front], ys[~front], s=3, color="0.72", linewidths=0, zorder=2, label="designs")
        axes.scatter(
            xs[front], ys[front], s=10, color=mark(0).color, edgecolors="black", linewidths=0.3, zorder=3, label="front"
        )
        _mark_knee(axes, xs, ys, knee)
        _scales(axes, x, y, xs, ys)
        panels.append(axes)
    panels[0].legend(loc="best")
    return panels


def _mark_knee(axes: Axes, xs: npt.NDArray[Any], ys: npt.NDArray[Any], knee: int | None) -> None:
    if knee is not None:
        look: dict[str, Any] = {"marker": "*", "color": mark(1).color, "edgecolors": "black", "linewidths": 0.5}
        axes.scatter(xs[knee], ys[knee], s=_KNEE_SIZE, label="knee", zorder=5, **look)


def _column(points: Mapping[str, npt.NDArray[Any]], name: str) -> npt.NDArray[Any]:
    import numpy as np

    if name not in points:
        raise InputError(f"no column {name!r} in the result; there are {', '.join(points)}")
    return np.asarray(points[name], dtype=float)


def _staircase(x: Objective, y: Objective) -> str:
    """Between two designs of the front the worse of both is what can be had for sure."""
    if x.maximise:
        return "steps-pre"
    return "steps-post"


def _scales(axes: Axes, x: Objective, y: Objective, xs: npt.NDArray[Any], ys: npt.NDArray[Any]) -> None:
    if wants_log(xs):
        set_log(axes, "x", xs)
    if wants_log(ys):
        set_log(axes, "y", ys)
    axes.set_xlabel(f"{x.label} ({'more' if x.maximise else 'less'} is better)")
    axes.set_ylabel(f"{y.label} ({'more' if y.maximise else 'less'} is better)")
