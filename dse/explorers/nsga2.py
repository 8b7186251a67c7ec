"""NSGA-II (Deb et al. 2002) on integer-coded spaces, vectorised, with an archive so that no point is asked for twice.

A design is its position on each axis. Parents win tournaments by feasibility, then rank, then crowding distance;
children cross position by position, or move along the difference of two others (Storn and Price 1997), and mutate by a
step to a neighbour or a jump anywhere. The whole front found so far stays among the parents.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dse.explorers.explorer import Indices
from dse.explorers.samplers import latin_hypercube, random_points
from dse.pareto import ranks
from dse.space.space import Space

__all__ = ["Nsga2", "crowding"]

_CROSSED = 0.9  # of the children (Deb et al. 2002, section IV)
_MOVED = 0.3  # of the children, instead of crossed; on numbers it finds the front in half the points
_MOVE = 0.5  # of the difference of two parents
_JUMPS = 0.3  # of the mutations; the others step to a neighbour
_TRIES = 8  # rounds of offspring before new points are drawn at random


class Nsga2:
    """Rounds of ``population`` points until ``points`` were asked for or the whole space was."""

    adaptive = True

    def __init__(self, space: Space, points: int, population: int, seed: int) -> None:
        self.space = space
        self.total = points
        self._population = min(population, points)
        self._generator = np.random.default_rng(seed)
        self._lengths = np.array(space.lengths, dtype=np.int64)
        self._asked: set[int] = set()
        self._codes = np.empty((0, len(space.axes)), dtype=np.int64)
        self._values = np.empty((0, len(space.objectives) + (2 if space.for_each else 0)))
        self._violation = np.empty(0)
        self._place = np.empty(0, dtype=np.int64)

    def ask(self) -> Indices | None:
        """Return the next generation: at first a Latin hypercube, then children of the best."""
        wanted = min(self._population, self.total - len(self._asked))
        if wanted <= 0:
            return None
        if len(self._codes) == 0:
            seed = int(self._generator.integers(2**31))
            chosen = latin_hypercube(self.space, wanted, seed).tolist()
        else:
            chosen = self._offspring(wanted)
        chosen += self._fresh(wanted - len(chosen), set(chosen))
        self._asked.update(chosen)
        return np.array(chosen, dtype=np.int64)

    def tell(self, indices: Indices, values: NDArray[np.float64], violation: NDArray[np.float64]) -> None:
        """Add a generation to the archive and keep its best as parents."""
        usable = np.isfinite(values).all(axis=1)
        codes = np.concatenate((self._codes, self.space.codes(indices[usable])))
        values = np.concatenate((self._values, values[usable]))
        violation = np.concatenate((self._violation, violation[usable]))
        order, rank = _order(values, violation, self._population)
        # The whole front stays, however large: it is what is looked for.
        front = np.flatnonzero((violation == 0) & (rank == 0))
        keep = np.union1d(order[: self._population], front)
        self._codes, self._values, self._violation = codes[keep], values[keep], violation[keep]
        self._place = np.argsort(np.argsort(order)[keep])  # of each parent, from best to worst

    def _offspring(self, wanted: int) -> list[int]:
        """Return children of tournament winners that were not asked for before."""
        chosen: dict[int, None] = {}
        for _ in range(_TRIES):
            mothers, fathers, others = (self._codes[self._winners(2 * wanted)] for _ in range(3))
            moved = np.rint(mothers + _MOVE * (fathers - others)).astype(np.int64).clip(0, self._lengths - 1)
            chance = self._generator.random(len(mothers))[:, None]
            children = self._mutated(np.where(chance < _MOVED, moved, self._crossed(mothers, fathers)))
            for index in self.space.indices(children).tolist():
                if index not in self._asked and len(chosen) < wanted:
                    chosen[index] = None
            if len(chosen) == wanted:
                break
        return list(chosen)

    def _winners(self, count: int) -> NDArray[np.int64]:
        """Return the better of two parents drawn at random, ``count`` times."""
        pairs = self._generator.integers(0, len(self._place), size=(count, 2))
        return np.where(self._place[pairs[:, 0]] <= self._place[pairs[:, 1]], pairs[:, 0], pairs[:, 1])

    def _crossed(self, mothers: NDArray[np.int64], fathers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Take each position from either parent."""
        crossed = self._generator.random(len(mothers))[:, None] < _CROSSED
        from_father = self._generator.random(mothers.shape) < 0.5
        return np.where(crossed & from_father, fathers, mothers)

    def _mutated(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Change one position in the mean: to a neighbour, or to anywhere on its axis."""
        changed = self._generator.random(codes.shape) < 1.0 / max(codes.shape[1], 1)
        reach = np.maximum(self._lengths // 8, 1)
        step = self._generator.integers(1, reach + 1, size=codes.shape)
        step = np.where(self._generator.random(codes.shape) < 0.5, -step, step)
        neighbour = np.clip(codes + step, 0, self._lengths - 1)
        anywhere = self._generator.integers(0, self._lengths, size=codes.shape)
        jump = self._generator.random(codes.shape) < _JUMPS
        return np.where(changed, np.where(jump, anywhere, neighbour), codes)

    def _fresh(self, count: int, taken: set[int]) -> list[int]:
        """Return points that were never asked for, drawn at random."""
        found: list[int] = []
        taken = taken | self._asked
        while len(found) < count:
            seed = int(self._generator.integers(2**31))
            draw = min(self.space.size, count + len(taken))
            new = [i for i in random_points(self.space, draw, seed).tolist() if i not in taken]
            found += new[: count - len(found)]
            taken.update(found)
            if draw == self.space.size:
                break
        return found


def _ranks(values: NDArray[np.float64], violation: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Rank by constrained domination: the feasible first, by front; then the others, by how much they violate.

    Only the best ``most`` are told apart.
    """
    feasible = violation == 0
    rank = np.empty(len(values), dtype=np.int64)
    rank[feasible] = ranks(values[feasible], most)
    worst = int(rank[feasible].max()) + 1 if feasible.any() else 0
    _, by_violation = np.unique(violation[~feasible], return_inverse=True)
    rank[~feasible] = worst + by_violation
    return rank


def _order(
    values: NDArray[np.float64], violation: NDArray[np.float64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows best first, by rank and the less crowded first within one; and their ranks."""
    rank = _ranks(values, violation, most)
    distance = np.zeros(len(values))
    for level in np.unique(rank):
        members = np.flatnonzero(rank == level)
        distance[members] = crowding(values[members])
    return np.lexsort((np.arange(len(values)), -distance, rank)), rank


def crowding(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the crowding distance of each row within its front (Deb et al. 2002, section III-B); ends are infinite."""
    distance = np.zeros(len(values))
    for column in values.T:
        order = np.argsort(column, kind="stable")
        extent = column[order[-1]] - column[order[0]]
        distance[order[[0, -1]]] = np.inf
        if extent > 0 and len(values) > 2:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / extent
    return distance
