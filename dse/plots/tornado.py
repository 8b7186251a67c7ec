"""What a metric is sensitive to: one bar per parameter, the most important on top."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dse.plots.figure import plain_text
from dse.plots.marks import mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_tornado"]

_LABEL_SIZE = 5.5
_LEAST = 0.05  # per cent: rounds to nothing


def plot_tornado(axes: Axes, changes: Mapping[str, Mapping[str, float]], label: str) -> Axes:
    """Draw the change of one or more metrics by parameter.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    changes : mapping of mappings
        By parameter, the relative change of each metric (fraction, signed); every parameter has the same metrics.
    label : str
        What was done: ``"change for 10 % more"``.

    Returns
    -------
    Axes
        The same; parameters sorted by their largest change.
    """
    order = sorted(changes, key=lambda name: max((abs(v) for v in changes[name].values()), default=0.0))
    metrics = list(next(iter(changes.values()), {}))
    height = 0.8 / max(len(metrics), 1)
    reach = max((abs(100.0 * v) for values in changes.values() for v in values.values()), default=0.0) or 1.0
    for index, metric in enumerate(metrics):
        style = mark(index)
        places = [y + ((len(metrics) - 1) / 2.0 - index) * height for y in range(len(order))]
        widths = [100.0 * changes[name][metric] for name in order]
        axes.barh(
            places,
            widths,
            height,
            color=style.color,
            hatch=style.hatch,
            edgecolor="black",
            linewidth=0.4,
            label=plain_text(metric),
        )
        for y, width in zip(places, widths, strict=True):
            if abs(width) < _LEAST:
                continue
            axes.annotate(
                f"{width:+.1f}",
                (width, y),
                xytext=(2 if width >= 0 else -2, 0),
                textcoords="offset points",
                ha="left" if width >= 0 else "right",
                va="center",
                fontsize=_LABEL_SIZE,
            )
    axes.axvline(0.0, color="0.2", linewidth=0.7)
    axes.set_xlim(-1.25 * reach, 1.25 * reach)
    axes.set_yticks(range(len(order)), [plain_text(name) for name in order], parse_math=False)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"{label} (%)")
    if len(metrics) > 1:
        axes.legend(loc="best")
    return axes
