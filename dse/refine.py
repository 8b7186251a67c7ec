"""Two levels of detail: what a sweep found best at one is simulated again at another and ranked anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dse.evaluate import comparable
from dse.explorers.nsga2 import crowding
from dse.metrics import shown_metric
from dse.pareto import ranks
from dse.store import Store
from dse.sweep import Outcome, Plan, Progress, run_sweep
from simulator.core.errors import InputError

__all__ = ["Refined", "refine", "refined_text"]

#: Folder of the second sweep within that of the first.
FOLDER = "refined"
_MOST_READ = 2_000_000  # stored points that are looked through for what comes after the front


@dataclass(frozen=True, slots=True)
class Refined:
    """The same points at two levels, in the same order."""

    screened: Outcome
    level: str
    indices: NDArray[np.int64]
    before: NDArray[np.float64]  # (points, objectives) as the metrics have them
    after: NDArray[np.float64]
    kept: NDArray[np.bool_]  # still on the front


def refine(
    plan: Plan, outcome: Outcome, points: int, level: str, report: Callable[[Progress], None] = lambda progress: None
) -> Refined:
    """Simulate the best ``points`` of a sweep again, at another level.

    The best are the front; if it is larger, those of it that are least crowded; if it is smaller, what comes next in
    rank of the points that were stored.

    Raises
    ------
    InputError
        If the level is the one that was swept, or nothing was feasible.
    """
    settled = plan.settled()
    if settled.level == level:
        raise InputError(
            f"the sweep was run at level {level} itself: refine at another, or sweep with --level analytic"
        )
    if not len(outcome.front.indices):
        raise InputError("nothing is feasible: there is nothing to refine")
    space = outcome.space
    indices, values = _candidates(Store(plan.folder, space), outcome, points)
    chosen = np.sort(indices[_best(values, points)])
    search = replace(plan.search, explorer="exhaustive", keep="all", tier="points", shard=1, points=None)
    second = run_sweep(
        replace(plan, folder=plan.folder / FOLDER, level=level, search=search, chosen=tuple(chosen.tolist())), report
    )
    store = Store(plan.folder / FOLDER, space)
    shards = [store.read(number) for number in range(len(chosen))]
    names = [objective.metric for objective in space.objectives]
    after = np.array([[shard.metrics[name][0] for name in names] for shard in shards])
    first = _rows(Store(plan.folder, space), outcome, chosen, names)
    return Refined(outcome, level, chosen, first, after, np.isin(chosen, second.front.indices))


def _candidates(store: Store, outcome: Outcome, points: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return what may be among the best: the front, and where it is small all feasible points that were stored."""
    front = outcome.front
    if len(front.indices) >= points or outcome.tally.points > _MOST_READ:
        return front.indices, comparable(outcome.space, front.indices, front.metrics)
    shards = [shard.take(shard.feasible) for shard in store.shards()]
    values = [comparable(outcome.space, shard.indices, shard.metrics) for shard in shards]
    return np.concatenate([shard.indices for shard in shards]), np.concatenate(values)


def _best(values: NDArray[np.float64], points: int) -> NDArray[np.int64]:
    """Return the rows of lowest rank, the less crowded first within one."""
    rank = ranks(values, points)
    distance = np.zeros(len(values))
    for level in np.unique(rank):
        members = np.flatnonzero(rank == level)
        distance[members] = crowding(values[members])
    return np.lexsort((-distance, rank))[:points]


def _rows(store: Store, outcome: Outcome, chosen: NDArray[np.int64], names: list[str]) -> NDArray[np.float64]:
    """Return what the first sweep said of the points, in order."""
    found: dict[int, list[float]] = {}
    wanted = set(chosen.tolist())
    for shard in [outcome.front, *([] if wanted <= set(outcome.front.indices.tolist()) else store.shards())]:
        for row in np.flatnonzero(np.isin(shard.indices, chosen)):
            found[int(shard.indices[row])] = [float(shard.metrics[name][row]) for name in names]
    return np.array([found[index] for index in chosen.tolist()])


def refined_text(refined: Refined) -> str:
    """Return both levels side by side."""
    space = refined.screened.space
    names = [objective.metric for objective in space.objectives]
    heads = ["point", *(f"{name} {when}" for name in names for when in ("before", refined.level)), "front"]
    rows = []
    for index, before, after, kept in zip(refined.indices, refined.before, refined.after, refined.kept, strict=True):
        cells = [
            shown_metric(name, value) if np.isfinite(value) else "-"
            for name, *pair in zip(names, before, after, strict=True)
            for value in pair
        ]
        rows.append([str(index), *cells, "stays" if kept else "falls"])
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    lines = ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in [heads, *rows]]
    change = np.nanmedian(np.abs(refined.after / refined.before - 1.0), axis=0)
    told = ", ".join(f"{name} {value:.1%}" for name, value in zip(names, change, strict=True))
    stay = f"{int(refined.kept.sum())} of {len(refined.indices)} points are on the front at level {refined.level}"
    return "\n".join(["", *lines, f"{stay}; median change: {told}"])
