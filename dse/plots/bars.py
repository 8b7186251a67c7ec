"""Bars: where time or energy goes, and how many times faster one system is than another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dse.plots.figure import plain_text
from dse.plots.marks import MOST_SERIES, mark
from simulator.core.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["fold_parts", "geometric_mean", "plot_breakdown", "plot_speedups"]

_GROUP_WIDTH = 0.8  # of the distance between groups
_LEAST_SHARE = 0.01  # of the tallest bar; smaller parts are drawn together
_LABEL_SIZE = 5.5
_HEADROOM = 1.08
_SLANTED = 4  # more bars than this, or longer names, and names are slanted
_LONG_NAME = 10
OTHER = "other"
MEAN = "geomean"


def geometric_mean(values: Sequence[float]) -> float:
    """Return exp(mean(log(values))), the mean that ratios are averaged with.

    Raises
    ------
    InputError
        If there is no value or one is not positive.
    """
    if not values or min(values) <= 0.0:
        raise InputError(f"a geometric mean needs positive values, got {list(values)}")
    return math.exp(sum(math.log(value) for value in values) / len(values))


def fold_parts(bars: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Order parts by their largest share, and put small ones and those too many to tell apart under "other".

    Parameters
    ----------
    bars : mapping of mappings
        By bar, each part's value (not negative).

    Returns
    -------
    dict
        The same bars, every one with the same parts in the same order; sums are kept.
    """
    names = list(dict.fromkeys(part for parts in bars.values() for part in parts))
    totals = {bar: sum(parts.values()) for bar, parts in bars.items()}
    largest = {
        name: max((parts.get(name, 0.0) / totals[bar] for bar, parts in bars.items() if totals[bar] > 0), default=0.0)
        for name in names
    }
    kept = sorted((name for name in names if largest[name] >= _LEAST_SHARE), key=lambda name: -largest[name])
    if len(kept) > MOST_SERIES:
        kept = kept[: MOST_SERIES - 1]
    folded = {}
    for bar, parts in bars.items():
        folded[bar] = {name: parts.get(name, 0.0) for name in kept if name != OTHER}
        rest = sum(value for name, value in parts.items() if name not in folded[bar])
        if len(kept) < len(names) or OTHER in kept:
            folded[bar][OTHER] = rest
    return folded


def plot_breakdown(axes: Axes, bars: Mapping[str, Mapping[str, float]], label: str) -> Axes:
    """Draw one stacked bar per system or phase, its parts hatched, its total on top.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    bars : mapping of mappings
        By bar, each part's value; parts may be missing in some bars.
    label : str
        What is added up, with its unit: ``"time per token (ms)"``.

    Returns
    -------
    Axes
        The same.
    """
    folded = fold_parts(bars)
    names = list(folded)
    base = [0.0] * len(names)
    for index, part in enumerate(next(iter(folded.values()), {})):
        heights = [folded[name][part] for name in names]
        style = mark(index)
        axes.bar(
            range(len(names)),
            heights,
            0.6,
            bottom=base,
            color=style.color,
            hatch=style.hatch,
            edgecolor="black",
            linewidth=0.4,
            label=plain_text(part),
        )
        base = [below + height for below, height in zip(base, heights, strict=True)]
    for index, total in enumerate(base):
        axes.text(index, total, f" {total:.3g}", ha="center", va="bottom", fontsize=_LABEL_SIZE)
    axes.set_ylabel(label)
    axes.set_ylim(0.0, (max(base, default=0.0) or 1.0) * _HEADROOM)
    _name_bars(axes, names)
    handles, labels = axes.get_legend_handles_labels()  # in the order of the stack, top first
    axes.legend(handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5))
    return axes


def plot_speedups(
    axes: Axes, groups: Mapping[str, Mapping[str, float]], label: str = "speed-up", mean: bool = True
) -> Axes:
    """Draw grouped bars of ratios with a line at 1 and, last, the geometric mean over the groups.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    groups : mapping of mappings
        By group (a model), each series' (a system's) ratio, larger than 0; every group has the same series.
    label : str
        What the ratio is of: ``"speed-up over H100"``.
    mean : bool
        Whether the group of geometric means is drawn.

    Returns
    -------
    Axes
        The same.

    Raises
    ------
    InputError
        If groups have different series or a ratio is not positive.
    """
    series = list(next(iter(groups.values()), {}))
    for name, values in groups.items():
        if list(values) != series:
            raise InputError(f"group {name!r} has {list(values)}, the first one {series}: give all the same series")
    shown = {name: list(values.values()) for name, values in groups.items()}
    means = [geometric_mean([values[i] for values in shown.values()]) for i in range(len(series))]
    if mean and len(shown) > 1:
        shown[MEAN] = means
    width = _GROUP_WIDTH / max(len(series), 1)
    for index, name in enumerate(series):
        style = mark(index)
        left = [x + (index - (len(series) - 1) / 2.0) * width for x in range(len(shown))]
        heights = [values[index] for values in shown.values()]
        axes.bar(
            left,
            heights,
            width,
            color=style.color,
            hatch=style.hatch,
            edgecolor="black",
            linewidth=0.4,
            label=plain_text(name),
        )
        for x, height in zip(left, heights, strict=True):
            axes.text(x, height, f" {height:.2f}", ha="center", va="bottom", rotation=90, fontsize=_LABEL_SIZE)
    axes.axhline(1.0, color="0.2", linewidth=0.7, linestyle="--", zorder=1)
    if MEAN in shown:
        axes.axvline(len(shown) - 1.5, color="0.5", linewidth=0.5)
    axes.set_ylabel(label)
    tallest = max((max(values) for values in shown.values()), default=1.0)
    axes.set_ylim(0.0, max(tallest, 1.0) * 1.22)
    _name_bars(axes, list(shown))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(len(series), 4))
    return axes


def _name_bars(axes: Axes, names: Sequence[str]) -> None:
    slanted = len(names) > _SLANTED or max((len(name) for name in names), default=0) > _LONG_NAME
    axes.set_xticks(
        range(len(names)),
        [plain_text(name) for name in names],
        rotation=30 if slanted else 0,
        ha="right" if slanted else "center",
        rotation_mode="anchor",
        parse_math=False,
    )
    axes.grid(visible=False, axis="x")
    axes.set_xlim(-0.6, len(names) - 0.4)
