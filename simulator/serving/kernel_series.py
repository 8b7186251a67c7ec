"""Sums over bins of time: a fixed number of bins, which double their width when a run outgrows them."""

from __future__ import annotations

from simulator.serving.kernel_cost import part
from simulator.serving.layout import (
    BIN_S,
    SERIES_AT,
    SERIES_BINS,
    SERIES_SIZE,
    Floats,
    Integers,
)

__all__ = ["bin_of", "spread"]


@part
def fold(n: Integers, y: Floats) -> None:
    """Add up neighbouring bins."""
    half, at = SERIES_BINS // 2, n[SERIES_AT]
    for i in range(half):
        for column in range(SERIES_SIZE):
            left = at + 2 * i * SERIES_SIZE + column
            y[at + i * SERIES_SIZE + column] = y[left] + y[left + SERIES_SIZE]
    y[at + half * SERIES_SIZE : at + SERIES_BINS * SERIES_SIZE] = 0.0
    y[BIN_S] *= 2.0


@part
def bin_of(n: Integers, y: Floats, moment: float) -> int:
    """Return the row of the bin that holds a moment."""
    while moment >= y[BIN_S] * SERIES_BINS:
        fold(n, y)
    return n[SERIES_AT] + int(moment / y[BIN_S]) * SERIES_SIZE


@part
def spread(n: Integers, y: Floats, column: int, start: float, end: float, amount: float) -> None:
    """Add an amount, evenly over the bins between two moments."""
    last = bin_of(n, y, end)
    first = bin_of(n, y, start)
    if first == last or end <= start:
        y[last + column] += amount
        return
    width = y[BIN_S]
    rate = amount / (end - start)
    number = (first - n[SERIES_AT]) // SERIES_SIZE
    y[first + column] += rate * ((number + 1) * width - start)
    for row in range(first + SERIES_SIZE, last, SERIES_SIZE):
        y[row + column] += rate * width
    y[last + column] += rate * (end - (last - n[SERIES_AT]) // SERIES_SIZE * width)
