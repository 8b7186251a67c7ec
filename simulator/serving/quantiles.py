"""Quantiles of a stream of numbers in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Quantiles"]

_EXACT = 1 << 18  # numbers kept as they are
_LEAST = 1e-6
_PER_DECADE = 460  # bins of 0.5 % beyond that
_DECADES = 14


class Quantiles:
    """Mean, extremes and quantiles: exact up to a quarter of a million numbers, within 0.25 % beyond."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.largest = 0.0
        self._kept: list[Floats] = []
        self._bins: NDArray[np.int64] | None = None

    def add(self, values: Floats) -> None:
        """Take numbers of at least 0 in."""
        if values.size == 0:
            return
        self.count += values.size
        self.total += float(values.sum())
        self.largest = max(self.largest, float(values.max()))
        if self._bins is None and self.count <= _EXACT:
            self._kept.append(values.copy())
            return
        self._count_kept()
        self._count(values)

    def merge(self, other: Quantiles) -> None:
        """Take all numbers of another in: what comes out is what they had come to in any other order."""
        if other.count == 0:
            return
        self.count += other.count
        self.total += other.total
        self.largest = max(self.largest, other.largest)
        self._kept += other._kept
        if other._bins is not None:
            self._bins = other._bins + (0 if self._bins is None else self._bins)
        if self._bins is not None or self.count > _EXACT:
            self._count_kept()

    @property
    def mean(self) -> float:
        """Mean; 0 of nothing."""
        return self.total / self.count if self.count else 0.0

    def at(self, *shares: float) -> list[float]:
        """Return the numbers below which these shares lie, linearly between neighbours; 0 of nothing."""
        import numpy as np

        if self.count == 0:
            return [0.0] * len(shares)
        if self._bins is None:
            return [float(value) for value in np.quantile(np.concatenate(self._kept), shares)]
        ranks = np.searchsorted(np.cumsum(self._bins), np.array(shares) * (self.count - 1), side="right")
        return [float(min(_LEAST * 10.0 ** ((rank + 0.5) / _PER_DECADE), self.largest)) for rank in ranks]

    def _count_kept(self) -> None:
        for kept in self._kept:
            self._count(kept)
        self._kept.clear()

    def _count(self, values: Floats) -> None:
        import numpy as np

        size = _PER_DECADE * _DECADES
        if self._bins is None:
            self._bins = np.zeros(size, dtype=np.int64)
        bins = np.log10(np.maximum(values, _LEAST) / _LEAST) * _PER_DECADE
        self._bins += np.bincount(np.minimum(bins.astype(np.int64), size - 1), minlength=size)
