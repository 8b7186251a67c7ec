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

__all__ = ["spread"]


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
def spread(n: Integers, y: Floats, column: int, start: float, end: float, amount: float) -> None:
    """Add an amount, evenly over the bins between two moments."""
    while end >= y[BIN_S] * SERIES_BINS:
        fold(n, y)
    width = y[BIN_S]
    at = n[SERIES_AT] + column
    first, last = int(start / width), int(end / width)
    if first == last or end <= start:
        y[at + last * SERIES_SIZE] += amount
        return
    rate = amount / (end - start)
    y[at + first * SERIES_SIZE] += rate * ((first + 1) * width - start)
    for i in range(first + 1, last):
        y[at + i * SERIES_SIZE] += rate * width
    y[at + last * SERIES_SIZE] += rate * (end - last * width)
