"""The best mapping of an einsum on a machine: the entry to the mapper."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hwmodels.spatial.mapper.constraints import LevelConstraint, lay_out, level_rules, reason
from hwmodels.spatial.mapper.space import OBJECTIVES, keep_choices, problem_of, space_of
from hwmodels.spatial.mapping import LevelMapping, MappingCost, NestMachine, evaluate_mapping
from simulator.core.errors import InputError
from workloads.einsum import Einsum

if TYPE_CHECKING:
    from hwmodels.spatial.mapper.branch import Best

__all__ = ["DEFAULT_BUDGET", "MappingSearch", "Progress", "best_mapping"]

#: Steps of a search: mappings evaluated and partial ones excluded.
DEFAULT_BUDGET = 4_000_000

_CHUNK = 500_000


class Progress(NamedTuple):
    """How far a search is."""

    evaluated: int
    excluded: int
    best: float  # objective in joule, cycles or joule-cycles; infinite: none yet


@dataclass(frozen=True, slots=True)
class MappingSearch:
    """What a search found, and how sure that is."""

    mapping: tuple[LevelMapping, ...] | None  # None: nothing is valid, ``explanation`` says why
    cost: MappingCost | None
    objective: str
    proven: bool  # nothing better exists in the space searched (for None: nothing at all)
    lower_bound: float  # of the objective: no mapping undercuts it
    evaluated: int  # mappings evaluated in full
    excluded: int  # partial mappings below which a bound left nothing better
    explanation: str

    @property
    def value(self) -> float:
        """The objective of the mapping; infinite where there is none."""
        if self.cost is None:
            return float("inf")
        energy_J, cycles = self.cost.total_J, float(self.cost.cycles)
        return {"edp": energy_J * cycles, "energy": energy_J, "cycles": cycles}[self.objective]


def best_mapping(
    einsum: Einsum,
    machine: NestMachine,
    objective: str = "edp",
    constraints: Mapping[str, LevelConstraint] = MappingProxyType({}),
    seed: int = 0,
    budget: int = DEFAULT_BUDGET,
    progress: Callable[[Progress], None] | None = None,
) -> MappingSearch:
    """Search the mapping that makes the objective smallest.

    Same arguments, same result: the search stops by ``budget``, never by the clock. Results are remembered.

    Parameters
    ----------
    einsum, machine
        What runs where. Factors divide the bounds exactly: pad a bound that is prime.
    objective
        ``edp`` (energy x cycles), ``energy`` (fewest cycles among equals) or ``cycles`` (least energy among equals).
    constraints
        By name of a level.
    seed
        Of the random part.
    budget
        Most steps: mappings evaluated and partial ones excluded by a bound.
    progress
        Called now and then, unless the result is already known.

    Raises
    ------
    InputError
        If an argument is wrong. That nothing is valid is a result.
    """
    if objective not in OBJECTIVES:
        raise InputError(f"objective {objective!r}: known: {', '.join(OBJECTIVES)}")
    if budget < 1:
        raise InputError(f"budget: {budget} steps, must be at least 1")
    rules = level_rules(einsum, machine, constraints)
    task = _Task(einsum, machine, objective, rules, seed, budget)
    if task.key not in _remembered:
        if len(_remembered) >= _MOST_REMEMBERED:
            _remembered.clear()
        _remembered[task.key] = _search(task, progress)
    return _remembered[task.key]


_MOST_REMEMBERED = 10_000
_remembered: dict[tuple[Hashable, ...], MappingSearch] = {}


class _Task(NamedTuple):
    einsum: Einsum
    machine: NestMachine
    objective: str
    rules: tuple[LevelConstraint, ...]
    seed: int
    budget: int

    @property
    def key(self) -> tuple[Hashable, ...]:
        """What decides the result."""
        return (tuple(self.einsum.bounds.items()), self.einsum.tensors, *self[1:])


def _search(task: _Task, progress: Callable[[Progress], None] | None) -> MappingSearch:
    from hwmodels.spatial.mapper.branch import EVALUATED, EXCLUDED, explore, new_best, start
    from hwmodels.spatial.mapper.walk import new_walk

    einsum, machine, rules = task.einsum, task.machine, task.rules
    problem, ranks = problem_of(einsum, machine, task.objective)
    space = space_of(problem, ranks, machine, rules)
    levels, tensors = len(rules), len(einsum.tensors)
    best = new_best(levels, len(ranks), tensors)
    walk = new_walk(levels, len(ranks), tensors, space.divisors.shape[1])
    room, floors, counts = np.zeros((3, levels)), np.zeros(levels), np.zeros(2, np.int64)

    choices = keep_choices([tensor.name for tensor in einsum.tensors], rules)
    bounds = np.zeros((len(choices), 2))
    for row, kept in enumerate(choices):
        walk.kept[:] = kept
        bounds[row] = start(problem, space, walk, room, floors)
    left = list(np.lexsort((bounds[:, 1], bounds[:, 0])))
    while left and tuple(bounds[left[0]]) < tuple(best.value) and counts.sum() < task.budget:
        walk.kept[:] = choices[left[0]]
        start(problem, space, walk, room, floors)
        depth = 0
        while depth >= 0 and counts.sum() < task.budget:
            limit = min(task.budget, int(counts.sum()) + _CHUNK)
            depth = explore(problem, space, walk, depth, best, room, floors, counts, limit)
            if progress is not None:
                progress(Progress(int(counts[EVALUATED]), int(counts[EXCLUDED]), float(best.value[0])))
        if depth < 0:
            left.pop(0)
    open_bound = min((float(bounds[row, 0]) for row in left), default=float("inf"))
    finished = not left or tuple(bounds[left[0]]) >= tuple(best.value)
    proven = finished and space.complete
    evaluated, excluded = int(counts[EVALUATED]), int(counts[EXCLUDED])
    if not np.isfinite(best.value[0]):
        why = reason(einsum, machine, rules, walk.overflow.tolist())
        if not finished:
            why = f"none found in {task.budget} steps, more may exist; {why}"
        return MappingSearch(None, None, task.objective, proven, open_bound, evaluated, excluded, why)
    mapping = _mapping(einsum, machine, ranks, best)
    cost = evaluate_mapping(einsum, machine, mapping)
    lower = float(best.value[0]) if proven else min(open_bound, float(best.value[0]))
    found = MappingSearch(mapping, cost, task.objective, proven, lower, evaluated, excluded, "")
    return replace(found, explanation=_explanation(task, found))


def _mapping(einsum: Einsum, machine: NestMachine, ranks: Sequence[str], best: Best) -> tuple[LevelMapping, ...]:
    """Return the mapping that arrays describe."""
    mapped = []
    for level, memory in enumerate(machine.levels):
        loops = [(ranks[r], int(best.temporal[level, r])) for r in best.order[level]]
        spread = [int(bound) for bound in best.spatial[level]]
        laid = lay_out(spread, memory.below)
        if laid is None:  # the space holds no other
            raise AssertionError(f"{memory.name}: {spread} does not fit {memory.below}")
        axes = tuple(tuple((ranks[r], cut[axis]) for r, cut in enumerate(laid) if cut[axis] > 1) for axis in (0, 1))
        passing = frozenset(t.name for t, kept in zip(einsum.tensors, best.kept[level], strict=True) if not kept)
        mapped.append(LevelMapping(tuple(loop for loop in loops if loop[1] > 1), axes if any(axes) else (), passing))
    return tuple(mapped)


def _explanation(task: _Task, found: MappingSearch) -> str:
    """Say how sure the result is, and what bounds the mapping."""
    cost = found.cost
    assert cost is not None
    steps = f"{found.evaluated} mappings evaluated, {found.excluded} partial ones excluded by bounds"
    if found.proven:
        sure = f"optimal: {steps}"
    else:
        gap = found.value / found.lower_bound - 1.0
        sure = f"best of a search that stopped after {task.budget} steps ({steps}); at most {gap:.1%} from the optimum"
    share = max(cost.energy_J, key=lambda part: cost.energy_J[part])
    return (
        f"{sure}; bound by {cost.bound}, {cost.utilisation:.0%} of the units busy; "
        f"{cost.energy_J[share] / cost.total_J:.0%} of the energy in {share}"
    )
