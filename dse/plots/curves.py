"""Curves: latency against throughput, scaling over devices, distributions; each series with its marker and line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dse.plots.figure import plain_text
from dse.plots.marks import mark
from dse.plots.scales import set_log, wants_log
from simulator.core.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_curves", "plot_distributions", "plot_scaling"]

_INSIDE = 4  # series whose legend has room inside the axes
_LABEL_SIZE = 5.5


def plot_curves(
    axes: Axes,
    series: Mapping[str, Sequence[tuple[float, float]]],
    labels: tuple[str, str],
    point_names: Mapping[str, Sequence[str]] | None = None,
    limit: float | None = None,
) -> Axes:
    """Draw y against x for each series, in the order of its points: latency against throughput as the batch grows.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    series : mapping of sequences of (x, y)
        Points of each series in the order they are joined.
    labels : two str
        Of x and y, with units.
    point_names : mapping of sequences, optional
        What is written beside first and last point of a series ("batch 1").
    limit : float, optional
        A line to stay below: a latency target.

    Returns
    -------
    Axes
        The same; an axis that spans much is logarithmic.
    """
    for index, (name, points) in enumerate(series.items()):
        style = mark(index)
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            color=style.color,
            linestyle=style.line,
            marker=style.marker,
            markeredgecolor="black",
            markeredgewidth=0.3,
            label=plain_text(name),
        )
        texts = (point_names or {}).get(name, ())
        for i in {0, len(points) - 1} if len(texts) == len(points) else ():
            axes.annotate(
                plain_text(texts[i]), points[i], xytext=(3, 3), textcoords="offset points", fontsize=_LABEL_SIZE
            )
    if limit is not None:
        axes.axhline(limit, color="0.2", linewidth=0.7, linestyle="--", zorder=1)
        axes.annotate("limit", (0.01, limit), xycoords=("axes fraction", "data"), va="bottom", fontsize=_LABEL_SIZE)
    every = np.array([point for points in series.values() for point in points]).reshape(-1, 2)
    if wants_log(every[:, 0]):
        set_log(axes, "x", every[:, 0])
    if wants_log(every[:, 1]):
        set_log(axes, "y", every[:, 1])
    axes.set(xlabel=labels[0], ylabel=labels[1])
    if len(series) > _INSIDE:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    elif len(series) > 1:
        axes.legend(loc="best")
    return axes


def plot_scaling(axes: Axes, series: Mapping[str, Mapping[int, float]], label: str, devices: str = "devices") -> Axes:
    """Draw throughput over that of the smallest system against the number of devices, with the line of perfect scaling.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    series : mapping of mappings
        By series, throughput (any unit, positive) by number of devices.
    label : str
        Of y: ``"throughput over one device"``.
    devices : str
        What is counted along x.

    Returns
    -------
    Axes
        The same, log-log to base 2.

    Raises
    ------
    InputError
        If a throughput is not positive.
    """
    counts = sorted({count for values in series.values() for count in values})
    relative = {}
    for name, values in series.items():
        first = min(values)
        if min(values.values()) <= 0.0:
            raise InputError(f"scaling of {name!r}: throughput must be positive, got {min(values.values())}")
        relative[name] = [(float(n), values[n] / values[first] * first / counts[0]) for n in sorted(values)]
    plot_curves(axes, relative, (devices, label))
    ideal = [count / counts[0] for count in counts]
    axes.plot(counts, ideal, color="0.4", linewidth=0.7, linestyle=":", zorder=1, label="perfect")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.legend(loc="best")
    return axes


def plot_distributions(axes: Axes, series: Mapping[str, Sequence[float]], label: str) -> Axes:
    """Draw the empirical distribution function of each series: the share of values that are at most x."""
    for index, (name, values) in enumerate(series.items()):
        ordered = sorted(values)
        shares = [(i + 1) / len(ordered) for i in range(len(ordered))]
        style = mark(index)
        axes.plot(
            ordered, shares, drawstyle="steps-post", color=style.color, linestyle=style.line, label=plain_text(name)
        )
    axes.set(xlabel=label, ylabel="share of all", ylim=(0.0, 1.0))
    every = np.array([value for values in series.values() for value in values])
    if wants_log(every):
        set_log(axes, "x", every)
    axes.legend(loc="best")
    return axes
