"""Logarithmic axes with ticks that can be read: 1, 2 and 5 written out over few decades, powers of ten over many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes

__all__ = ["set_log", "wants_log"]

_WIDE = 30.0  # a range wider than this factor is drawn on a logarithmic axis
_FEW_DECADES = 300.0  # a range narrower than this factor is labelled at 1, 2 and 5
_PLAIN = (1e-4, 1e6)  # numbers that are written out


def wants_log(values: npt.NDArray[Any]) -> bool:
    """Tell whether a column of positive numbers spans more than one and a half decades."""
    return bool(len(values)) and bool(values.min() > 0.0) and bool(values.max() > _WIDE * values.min())


def set_log(axes: Axes, which: Literal["x", "y"], values: npt.NDArray[Any]) -> None:
    """Make an axis logarithmic, with ticks for the range of ``values`` (positive numbers)."""
    from matplotlib.ticker import FuncFormatter, LogFormatterSciNotation, LogLocator, NullFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = float(values.min()), float(values.max())
    few = high < _FEW_DECADES * low
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    plain = few and low >= _PLAIN[0] and high <= _PLAIN[1]
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:,.10g}") if plain else LogFormatterSciNotation(labelOnlyBase=not few)
    )
    axis.set_minor_formatter(NullFormatter())
