"""Pareto fronts of any dimension, exact: which points no other is at least as good as in everything.

All values are to be made small; maximised ones are negated before they come here. Of points with equal values the first
stays (the lowest index, when rows are in order of their index), or all of them where that is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Front", "hypervolume", "knee", "merge_fronts", "non_dominated", "ranks", "reference_point"]

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]

_FEW = 256  # below this, comparing all with all at once beats starting the compiler


def non_dominated(values: Values, duplicates: str = "first") -> Mask:
    """Return which rows no other row dominates.

    A row dominates another if it is nowhere larger and somewhere smaller.

    Parameters
    ----------
    values : (points, objectives) float
        To be made small; finite.
    duplicates : {"first", "all"}
        Which of equal rows stay.

    Raises
    ------
    ValueError
        If a value is not finite: such a point cannot be compared.
    """
    values = np.ascontiguousarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("values on a front must be finite")
    if len(values) <= _FEW:
        mask = _compare_all(values)
    else:
        mask = np.zeros(len(values), dtype=np.bool_)
        mask[_scan_kernel()(values)] = True
    if duplicates == "all" and mask.any():
        kept = values[mask]
        equal = {row.tobytes() for row in kept + 0.0}
        return np.array([(row + 0.0).tobytes() in equal for row in values], dtype=np.bool_)
    return mask


def _compare_all(values: Values) -> Mask:
    """Compare every row with every other: the plain definition."""
    nowhere_larger = (values[:, None, :] <= values[None, :, :]).all(axis=2)
    somewhere_smaller = (values[:, None, :] < values[None, :, :]).any(axis=2)
    earlier_equal = np.triu(nowhere_larger & nowhere_larger.T, k=1)
    fallen = ((nowhere_larger & somewhere_smaller) | earlier_equal).any(axis=0)
    return np.asarray(np.logical_not(fallen), dtype=np.bool_)


def _scan(values: Any) -> Any:
    """Scan the rows once, keeping those not dominated so far; return their numbers in order.

    A member of the window that dominates moves to its head: most rows fall to the first few comparisons.
    """
    count, objectives = values.shape
    window = np.empty(count, dtype=np.int64)
    size = 0
    for row in range(count):
        keep = True
        position = 0
        while position < size:
            member = window[position]
            member_smaller = False
            row_smaller = False
            for objective in range(objectives):
                if values[member, objective] < values[row, objective]:
                    member_smaller = True
                elif values[member, objective] > values[row, objective]:
                    row_smaller = True
            if not row_smaller:  # dominated, or equal to an earlier one
                keep = False
                window[position] = window[0]
                window[0] = member
                break
            if not member_smaller:  # the member falls
                size -= 1
                window[position] = window[size]
            else:
                position += 1
        if keep:
            window[size] = row
            size += 1
    return np.sort(window[:size])


@cache
def _scan_kernel() -> Any:
    from simulator.core.jit import kernel_jit

    return kernel_jit([Path(__file__)])(_scan)


def _meet(indices: Any, values: Any, new_indices: Any, new_values: Any) -> Any:
    """Return which members of one front and which of another stay when the two meet."""
    objectives = values.shape[1]
    stays = np.ones(len(indices), dtype=np.bool_)
    enters = np.ones(len(new_indices), dtype=np.bool_)
    for new in range(len(new_indices)):
        for old in range(len(indices)):
            if not stays[old]:
                continue
            old_smaller = False
            new_smaller = False
            for objective in range(objectives):
                if values[old, objective] < new_values[new, objective]:
                    old_smaller = True
                elif values[old, objective] > new_values[new, objective]:
                    new_smaller = True
            if not new_smaller and (old_smaller or indices[old] < new_indices[new]):
                enters[new] = False
                break
            if not old_smaller:
                stays[old] = False
    return stays, enters


@cache
def _meet_kernel() -> Any:
    from simulator.core.jit import kernel_jit

    return kernel_jit([Path(__file__)])(_meet)


class Front:
    """A front that grows as results come in, in memory of the size of the front alone."""

    def __init__(self, objectives: int) -> None:
        self.indices: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.values: Values = np.empty((0, objectives))

    def __len__(self) -> int:
        return len(self.indices)

    def add(self, indices: NDArray[np.int64], values: Values) -> None:
        """Merge points in; the result does not depend on the order in which they come."""
        mine = (self.indices, self.values)
        if len(self) * len(indices) <= _FEW**2:
            self.indices, self.values = merge_fronts([mine, (indices, values)])
            return
        # Members do not dominate each other: only they and the newcomers have to meet.
        new = merge_fronts([(indices, values)])
        stays, enters = _meet_kernel()(*mine, *new)
        indices = np.concatenate((mine[0][stays], new[0][enters]))
        order = np.argsort(indices, kind="stable")
        self.indices = indices[order]
        self.values = np.concatenate((mine[1][stays], new[1][enters]))[order]


def merge_fronts(parts: Sequence[tuple[NDArray[np.int64], Values]]) -> tuple[NDArray[np.int64], Values]:
    """Return the front of several sets of points, in order of their indices."""
    indices = np.concatenate([part[0] for part in parts])
    values = np.concatenate([part[1] for part in parts])
    order = np.argsort(indices, kind="stable")
    indices, values = indices[order], values[order]
    mask = non_dominated(values)
    return indices[mask], values[mask]


def ranks(values: Values, most: int | None = None) -> NDArray[np.int64]:
    """Return the rank of each row: 0 on the front, 1 on the front of what is left without it, and so on.

    Ranking stops once ``most`` rows have one; the rest share the next rank. Equal rows share theirs.
    """
    rank = np.full(len(values), -1, dtype=np.int64)
    left = np.arange(len(values))
    level = 0
    while len(left) and (most is None or len(values) - len(left) < most):
        mask = non_dominated(values[left], duplicates="all")
        rank[left[mask]] = level
        left = left[~mask]
        level += 1
    rank[left] = level
    return rank


def reference_point(front: Values, beyond: float = 0.1) -> Values:
    """Return a point worse than every one of a front: its worst values, and a share of its extent further."""
    worst, best = front.max(axis=0), front.min(axis=0)
    extent = np.where(worst > best, worst - best, np.maximum(np.abs(worst), 1.0))
    found: Values = worst + beyond * extent
    return found


def hypervolume(front: Values, reference: Values) -> float:
    """Return the volume between a front and a reference point that is worse than it.

    Exact: slices along the last objective, down to a staircase in three dimensions and an area in two.

    Parameters
    ----------
    front : (points, objectives) float
        Any points; dominated ones add nothing, and neither do those not better than the reference in everything.
    reference : (objectives,) float

    Examples
    --------
    >>> hypervolume(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([2.0, 2.0]))
    3.0
    """
    inside = front[(front < reference).all(axis=1)]
    if len(inside) == 0:
        return 0.0
    inside = inside[non_dominated(inside)]
    return _volume(inside, np.asarray(reference, dtype=np.float64))


def _volume(front: Values, reference: Values) -> float:
    objectives = front.shape[1]
    if objectives == 1:
        return float(reference[0] - front[:, 0].min())
    if objectives == 2:
        ordered = front[np.lexsort((front[:, 1], front[:, 0]))]
        heights = np.minimum.accumulate(ordered[:, 1])
        widths = np.append(ordered[1:, 0], reference[0]) - ordered[:, 0]
        return float((widths * (reference[1] - heights)).sum())
    ordered = front[np.argsort(front[:, -1], kind="stable")]
    ends = np.append(ordered[1:, -1], reference[-1])
    total = 0.0
    below = np.empty((0, objectives - 1))
    area = 0.0
    for row, end in zip(ordered, ends, strict=True):
        # What the slices so far cover grows by one point.
        below = np.vstack((below, row[:-1]))
        below = below[non_dominated(below)]
        area = _volume(below, reference[:-1])
        total += area * (end - row[-1])
    return total


def knee(front: Values) -> int:
    """Return the row of a front that lies farthest below the plane through its extreme points.

    Objectives are first scaled to the extent of the front, so that the plane is where they add up to one.
    """
    best, worst = front.min(axis=0), front.max(axis=0)
    extent = np.where(worst > best, worst - best, 1.0)
    return int(np.argmin(((front - best) / extent).sum(axis=1)))
