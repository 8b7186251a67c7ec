"""Explorers that choose all their points in advance: every point, a coarser grid, and samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from dse.explorers.explorer import Indices
from dse.space.space import Space

__all__ = ["SAMPLERS", "Everything", "Listed", "grid", "latin_hypercube", "random_points", "sobol"]


class Everything:
    """The first ``points`` of a space in order, without ever listing them."""

    adaptive = False

    def __init__(self, points: int, round_points: int) -> None:
        self.total = points
        self._round = round_points
        self._next = 0

    def ask(self) -> Indices | None:
        """Return the next range of indices."""
        if self._next >= self.total:
            return None
        start, self._next = self._next, min(self._next + self._round, self.total)
        return np.arange(start, self._next, dtype=np.int64)

    def tell(self, indices: Indices, values: NDArray[np.float64], violation: NDArray[np.float64]) -> None:
        """Learn nothing: all points are looked at anyway."""


class Listed(Everything):
    """Points from a list."""

    def __init__(self, indices: Indices, round_points: int) -> None:
        super().__init__(len(indices), round_points)
        self._indices = indices

    def ask(self) -> Indices | None:
        """Return the next part of the list."""
        positions = super().ask()
        return None if positions is None else self._indices[positions]


def grid(space: Space, points: int, seed: int = 0) -> Indices:
    """Return a grid with ends included, the longest axes thinned out until there are at most ``points``."""
    lengths = list(space.lengths)
    while math.prod(lengths) > points and max(lengths) > 1:
        lengths[lengths.index(max(lengths))] -= 1
    picks = [
        np.unique(np.rint(np.linspace(0, length - 1, count)).astype(np.int64))
        for length, count in zip(space.lengths, lengths, strict=True)
    ]
    return space.indices(np.stack([c.ravel() for c in np.meshgrid(*picks, indexing="ij")], axis=1))


def random_points(space: Space, points: int, seed: int) -> Indices:
    """Return ``points`` different points, each as likely as any other."""
    generator = np.random.default_rng(seed)
    if space.size <= 4 * points:
        return generator.permutation(space.size)[:points].astype(np.int64)
    found = np.empty(0, dtype=np.int64)
    while len(found) < points:
        more = generator.integers(0, space.size, size=points, dtype=np.int64)
        found = _first_of_each(np.concatenate((found, more)))
    return found[:points]


def sobol(space: Space, points: int, seed: int) -> Indices:
    """Return the cells that a scrambled Sobol sequence falls into, each once (Owen 1998)."""
    from scipy.stats import qmc

    sequence = qmc.Sobol(len(space.axes), scramble=True, rng=np.random.default_rng(seed))
    return _cells(space, sequence.random_base2(max(math.ceil(math.log2(points)), 0)))[:points]


def latin_hypercube(space: Space, points: int, seed: int) -> Indices:
    """Return the cells of a Latin hypercube sample, each once: every axis is covered evenly (McKay et al. 1979)."""
    from scipy.stats import qmc

    return _cells(space, qmc.LatinHypercube(len(space.axes), rng=np.random.default_rng(seed)).random(points))


def _cells(space: Space, sample: NDArray[np.float64]) -> Indices:
    """Return the points that samples in the unit cube fall into."""
    lengths = np.array(space.lengths, dtype=np.float64)
    codes = np.minimum((sample * lengths).astype(np.int64), (lengths - 1).astype(np.int64))
    return _first_of_each(space.indices(codes))


def _first_of_each(indices: Indices) -> Indices:
    """Drop what came before, keeping the order."""
    _, first = np.unique(indices, return_index=True)
    return indices[np.sort(first)]


#: Samplers by name: of a space, a number of points and a seed, the indices.
SAMPLERS: Mapping[str, Callable[[Space, int, int], Indices]] = {
    "grid": grid,
    "random": random_points,
    "sobol": sobol,
    "lhs": latin_hypercube,
}
