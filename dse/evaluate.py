"""Evaluate points of a space: metrics, signed margins and who is on the front, shard by shard.

A shard is a list of indices and nothing else decides its result, so that it may be computed anywhere, in any order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.metrics import METRICS, measure
from dse.pareto import non_dominated
from dse.space.paths import arguments_of
from dse.space.space import Constraint, Space
from simulator.core.errors import RidgelineError

__all__ = ["MEMORY", "Shard", "Tally", "all_constraints", "evaluate_shard", "metric_names", "to_minimise"]

Column = NDArray[np.float64]

#: Every design must hold its model, asked for or not.
MEMORY = Constraint("memory", "memory_fill", 1.0, True)


def all_constraints(space: Space) -> tuple[Constraint, ...]:
    """Return the constraints of a space, with that of memory unless it has its own."""
    own = any(constraint.metric == MEMORY.metric for constraint in space.constraints)
    return space.constraints if own else (MEMORY, *space.constraints)


def metric_names(space: Space) -> list[str]:
    """Return the names of all metrics of a point: those of every report, then the file's own."""
    return [*METRICS, *space.metrics]


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the points of a shard."""

    points: int
    feasible: int
    refused: Mapping[str, int]  # no such design: why, and how many
    rejected: Mapping[str, int]  # by constraint; a point may fail several
    closest: tuple[int, float, str] | None  # of the infeasible ones: index, its worst margin, whose that is
    nearest: Mapping[str, float]  # by constraint, the best margin of any point

    def __add__(self, other: Tally) -> Tally:
        both = [t.closest for t in (self, other) if t.closest is not None]
        names = self.rejected.keys() | other.rejected.keys()
        return Tally(
            points=self.points + other.points,
            feasible=self.feasible + other.feasible,
            refused=dict(sorted((Counter(self.refused) + Counter(other.refused)).items())),
            rejected={n: self.rejected.get(n, 0) + other.rejected.get(n, 0) for n in sorted(names)},
            closest=max(both, key=lambda c: (c[1], -c[0])) if both else None,
            nearest={
                n: max(t.nearest[n] for t in (self, other) if n in t.nearest)
                for n in sorted(self.nearest.keys() | other.nearest.keys())
            },
        )

    @classmethod
    def empty(cls) -> Tally:
        """Return the tally of no points."""
        return cls(0, 0, {}, {}, None, {})


@dataclass(frozen=True, slots=True)
class Shard:
    """Evaluated points: a column per metric and margin, NaN where a design was refused, and the front among them."""

    indices: NDArray[np.int64]
    metrics: Mapping[str, Column]
    margins: Mapping[str, Column]
    feasible: NDArray[np.bool_]
    front: NDArray[np.bool_]
    tally: Tally

    def take(self, mask: NDArray[np.bool_]) -> Shard:
        """Return some of the points, the tally still being that of all."""
        return Shard(
            self.indices[mask],
            {name: column[mask] for name, column in self.metrics.items()},
            {name: column[mask] for name, column in self.margins.items()},
            self.feasible[mask],
            self.front[mask],
            self.tally,
        )


def to_minimise(space: Space, metrics: Mapping[str, Column]) -> NDArray[np.float64]:
    """Return the objectives as columns to be made small, shape (points, objectives)."""
    columns = [-metrics[o.metric] if o.maximise else metrics[o.metric] for o in space.objectives]
    return np.stack(columns, axis=1)


def evaluate_shard(space: Space, indices: NDArray[np.int64], level: str | None = None) -> Shard:
    """Evaluate points one by one with :func:`simulator.simulate`.

    Parameters
    ----------
    space : Space
    indices : (points,) int
    level : str, optional
        Level of detail, in place of that of the space.
    """
    metrics, refused = _simulated(space, indices, level)
    codes = space.codes(indices)
    known: dict[str, Any] = {**space.numbers(codes), **metrics}
    for name, expression in space.metrics.items():
        column = np.broadcast_to(expression(known), (len(indices),)).copy()
        metrics[name] = known[name] = column
    return judged(space, indices, metrics, refused)


def judged(space: Space, indices: NDArray[np.int64], metrics: dict[str, Column], refused: Mapping[str, int]) -> Shard:
    """Put margins, feasibility, front and tally to metrics."""
    constraints = all_constraints(space)
    margins = {constraint.name: constraint.margin(metrics[constraint.metric]) for constraint in constraints}
    values = to_minimise(space, metrics)
    has_value = np.asarray(np.isfinite(values).all(axis=1), dtype=np.bool_)
    table = np.stack(list(margins.values()), axis=1)
    feasible = has_value & np.asarray((table >= 0).all(axis=1), dtype=np.bool_)
    front = np.zeros(len(indices), dtype=np.bool_)
    front[feasible] = non_dominated(values[feasible])
    return Shard(indices, metrics, margins, feasible, front, _tally(indices, margins, has_value, feasible, refused))


def _tally(
    indices: NDArray[np.int64],
    margins: Mapping[str, Column],
    has_value: NDArray[np.bool_],
    feasible: NDArray[np.bool_],
    refused: Mapping[str, int],
) -> Tally:
    names = list(margins)
    closest = None
    failed = has_value & ~feasible
    if failed.any():
        table = np.stack([margins[name][failed] for name in names], axis=1)
        worst = table.min(axis=1)
        best = int(np.argmax(worst))
        closest = (int(indices[failed][best]), float(worst[best]), names[int(np.argmin(table[best]))])
    return Tally(
        points=len(indices),
        feasible=int(feasible.sum()),
        refused=dict(sorted(refused.items())),
        rejected={name: int((has_value & ~(margins[name] >= 0)).sum()) for name in sorted(names)},
        closest=closest,
        nearest={name: float(margins[name][has_value].max()) for name in sorted(names)} if has_value.any() else {},
    )


def _simulated(space: Space, indices: NDArray[np.int64], level: str | None) -> tuple[dict[str, Column], Counter[str]]:
    """Simulate each point; a design that is refused leaves NaN behind and its reason."""
    from simulator.api.simulate import simulate

    metrics = {name: np.full(len(indices), np.nan) for name in METRICS}
    refused: Counter[str] = Counter()
    for row, index in enumerate(indices):
        try:
            arguments = arguments_of(space, space.settings(int(index)))
            if level is not None:
                arguments["level"] = level
            found = measure(simulate(**arguments, elasticity=False))
        except RidgelineError as error:
            refused[_reason(str(error))] += 1
            continue
        for name, value in found.items():
            metrics[name][row] = value
    return metrics, refused


def _reason(message: str) -> str:
    """Return a message with its numbers taken out, so that alike reasons count as one."""
    first = message.splitlines()[0]
    return re.sub(r"(?<![\w.])\d+(\.\d+)?(e[+-]?\d+)?(?![\w])", "#", first)[:160]
