"""Evaluate points of a space: metrics, signed margins and who is on the front, shard by shard.

A shard is a list of indices and nothing else decides its result, so that it may be computed anywhere, in any order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.metrics import METRICS, SERVING
from dse.pareto import non_dominated
from dse.points import simulate_points
from dse.space.space import Constraint, Space

__all__ = ["MEMORY", "Shard", "Tally", "all_constraints", "comparable", "evaluate_shard", "metric_names", "to_minimise"]

Column = NDArray[np.float64]

#: Every design must hold its model, asked for or not.
MEMORY = Constraint("memory", "memory_fill", 1.0, True)


def all_constraints(space: Space) -> tuple[Constraint, ...]:
    """Return the constraints of a space, with that of memory unless it has its own; servers need none."""
    own = space.serve is not None or any(constraint.metric == MEMORY.metric for constraint in space.constraints)
    return space.constraints if own else (MEMORY, *space.constraints)


def metric_names(space: Space) -> list[str]:
    """Return the names of all metrics of a point: those of every report, then the file's own."""
    return [*(METRICS if space.serve is None else SERVING), *space.metrics]


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


def comparable(space: Space, indices: NDArray[np.int64], metrics: Mapping[str, Column]) -> NDArray[np.float64]:
    """Return the objectives to be made small, so that points of different conditions do not dominate each other.

    Two columns more, a number for the condition and its negative: where it differs, each is better in one of them.
    """
    values = to_minimise(space, metrics)
    if not space.for_each:
        return values
    condition = space.condition(space.codes(indices)).astype(np.float64)
    return np.column_stack((values, condition, -condition))


def evaluate_shard(
    space: Space, indices: NDArray[np.int64], level: str = "analytic", tier: str = "points", keep: str = "all"
) -> Shard:
    """Evaluate points and keep some of them.

    Parameters
    ----------
    space : Space
    indices : (points,) int
    level : {"analytic", "roofline", "cycle"}
        Detail of the device models.
    tier : {"points", "compiled"}
        One by one, or as columns of compiled models.
    keep : {"all", "feasible", "front"}
        Which points the shard holds in the end; its tally is of all. A front holds only the metrics asked for.
    """
    if tier == "compiled":
        from dse.compiled import compiled_metrics, compiled_points

        known = compiled_metrics()
        wanted = _asked_for(space) & set(known) if keep == "front" else known
        metrics, refused = compiled_points(space, indices, [name for name in known if name in wanted])
    else:
        metrics, refused = simulate_points(space, indices, level)
    if space.metrics:
        columns: dict[str, Any] = {**space.numbers(space.codes(indices)), **metrics}
        for name, expression in space.metrics.items():
            metrics[name] = columns[name] = np.broadcast_to(expression(columns), (len(indices),)).copy()
    shard = judged(space, indices, metrics, refused)
    if keep == "all":
        return shard
    return shard.take(shard.front if keep == "front" else shard.feasible)


def _asked_for(space: Space) -> set[str]:
    """Return the metrics that objectives, constraints and expressions name."""
    named = {objective.metric for objective in space.objectives}
    named |= {constraint.metric for constraint in all_constraints(space)}
    return named | {name for expression in space.metrics.values() for name in expression.names}


def judged(space: Space, indices: NDArray[np.int64], metrics: dict[str, Column], refused: Mapping[str, int]) -> Shard:
    """Put margins, feasibility, front and tally to metrics."""
    constraints = all_constraints(space)
    margins = {constraint.name: constraint.margin(metrics[constraint.metric]) for constraint in constraints}
    values = comparable(space, indices, metrics)
    has_value = np.asarray(np.isfinite(values).all(axis=1), dtype=np.bool_)
    feasible = has_value.copy()
    for margin in margins.values():
        feasible &= margin >= 0
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
    closest = None
    worst = np.minimum.reduce(list(margins.values())) if margins else np.full(len(indices), np.nan)
    failed = has_value & ~feasible & np.isfinite(worst)
    if failed.any():
        row = int(np.argmax(np.where(failed, worst, -np.inf)))
        broken = min(margins, key=lambda name: float(margins[name][row]))
        closest = (int(indices[row]), float(worst[row]), broken)
    names = sorted(margins)
    return Tally(
        points=len(indices),
        feasible=int(feasible.sum()),
        refused=dict(sorted(refused.items())),
        rejected={name: int((has_value & ~(margins[name] >= 0)).sum()) for name in names},
        closest=closest,
        nearest={name: float(np.nanmax(margins[name])) for name in names if np.isfinite(margins[name]).any()},
    )
