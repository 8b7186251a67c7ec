"""A metric over two axes of a sweep, as a heat map of every point or as contours between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dse.plots.scales import set_log, wants_log
from simulator.core.errors import InputError

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes

__all__ = ["grid_of", "plot_contours", "plot_heat_map"]

_MOST_NUMBERS = 100  # cells of a heat map that are still written out
_MOST_TICKS = 12
_CELL_SIZE = 5.0
_LEVELS = 9
_COLORS = "cividis"  # even in lightness: the same order in grey and to the colour-blind


def grid_of(
    points: Mapping[str, npt.NDArray[Any]], x: str, y: str, z: str
) -> tuple[list[Any], list[Any], npt.NDArray[Any]]:
    """Arrange a column as a matrix over the distinct values of two others.

    Parameters
    ----------
    points : mapping of arrays, each (n,)
        Columns of a sweep.
    x, y, z : str
        Names of the columns.

    Returns
    -------
    xs, ys : list
        Distinct values, ascending where they are numbers, else in order of appearance.
    values : array (len(ys), len(xs))
        The column ``z``; NaN where the sweep has no such point.

    Raises
    ------
    InputError
        If a column is missing or two points share a cell: other axes must be fixed first.
    """
    import numpy as np

    for name in (x, y, z):
        if name not in points:
            raise InputError(f"no column {name!r} in the result; there are {', '.join(points)}")
    xs, ys = _distinct(points[x]), _distinct(points[y])
    column, row = ({value: i for i, value in enumerate(values)} for values in (xs, ys))
    values = np.full((len(ys), len(xs)), np.nan)
    for a, b, value in zip(points[x].tolist(), points[y].tolist(), points[z].tolist(), strict=True):
        i, j = row[b], column[a]
        if not np.isnan(values[i, j]):
            raise InputError(f"several points have {x} = {a} and {y} = {b}: fix the other axes (--where AXIS=VALUE)")
        values[i, j] = value
    return xs, ys, values


def plot_heat_map(
    axes: Axes, xs: Sequence[Any], ys: Sequence[Any], values: npt.NDArray[Any], labels: tuple[str, str, str]
) -> Axes:
    """Draw a cell per point, with its number where cells are few.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    xs, ys : sequence
        Values of the axes, of any type.
    values : array (len(ys), len(xs))
        What is shown; NaN is left white.
    labels : three str
        Of x, y and the colour bar.

    Returns
    -------
    Axes
        The same.
    """
    import numpy as np
    from matplotlib.colors import LogNorm

    known = values[np.isfinite(values)]
    norm = LogNorm() if wants_log(known) else None
    image = axes.imshow(values, origin="lower", aspect="auto", cmap=_COLORS, norm=norm)
    if values.size <= _MOST_NUMBERS:
        _write_numbers(axes, image, values)
    for ticks, axis in ((xs, axes.xaxis), (ys, axes.yaxis)):
        step = -(-len(ticks) // _MOST_TICKS)
        places = range(0, len(ticks), step)
        axis.set_ticks(list(places), [_tick(ticks[i]) for i in places])
    axes.grid(visible=False)
    _label(axes, image, labels)
    return axes


def plot_contours(
    axes: Axes, xs: Sequence[float], ys: Sequence[float], values: npt.NDArray[Any], labels: tuple[str, str, str]
) -> Axes:
    """Draw filled contours with labelled lines; both axes are numbers, two of each at the least.

    Raises
    ------
    InputError
        If an axis has fewer than two values or holds something else than numbers.
    """
    import numpy as np
    from matplotlib.ticker import LogLocator, MaxNLocator

    for name, ticks in ((labels[0], xs), (labels[1], ys)):
        if len(ticks) < 2 or not all(isinstance(tick, (int, float)) for tick in ticks):
            raise InputError(f"contours need two or more numbers along {name}; draw a heat map instead")
    known = values[np.isfinite(values)]
    log = wants_log(known)
    locator = LogLocator(subs=(1.0, 2.0, 5.0)) if log else MaxNLocator(_LEVELS)
    filled = axes.contourf(xs, ys, values, locator=locator, cmap=_COLORS)
    if len(list(filled.levels)) > 2:
        lines = axes.contour(xs, ys, values, levels=filled.levels, colors="black", linewidths=0.4)
        axes.clabel(lines, fontsize=_CELL_SIZE, fmt="%.3g")
    if wants_log(np.asarray(xs, dtype=float)):
        set_log(axes, "x", np.asarray(xs, dtype=float))
    if wants_log(np.asarray(ys, dtype=float)):
        set_log(axes, "y", np.asarray(ys, dtype=float))
    axes.grid(visible=False)
    _label(axes, filled, labels)
    return axes


def _label(axes: Axes, drawn: Any, labels: tuple[str, str, str]) -> None:
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    figure: Any = axes.figure
    figure.colorbar(drawn, ax=axes, label=labels[2])


def _write_numbers(axes: Axes, image: Any, values: npt.NDArray[Any]) -> None:
    import numpy as np

    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            red, green, blue, _ = image.cmap(image.norm(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5  # luma of ITU-R BT.601
            axes.text(
                j, i, f"{value:.3g}", ha="center", va="center", fontsize=_CELL_SIZE, color="white" if dark else "black"
            )


def _distinct(values: npt.NDArray[Any]) -> list[Any]:
    found = list(dict.fromkeys(values.tolist()))
    return sorted(found) if all(isinstance(value, (int, float)) for value in found) else found


def _tick(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
