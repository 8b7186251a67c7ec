"""The best mapping of an einsum on a machine: the entry to the mapper."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwmodels.spatial.mapper.constraints import LevelConstraint, lay_out, level_rules, reason
from hwmodels.spatial.mapper.space import OBJECTIVES, Problem, Space, keep_choices, prime_factors, problem_of, space_of
from hwmodels.spatial.mapping import LevelMapping, MappingCost, NestMachine, evaluate_mapping
from simulator.core.errors import InputError
from workloads.einsum import Einsum

if TYPE_CHECKING:
    from hwmodels.spatial.mapper.anneal import State
    from hwmodels.spatial.mapper.branch import Best
    from hwmodels.spatial.mapper.walk import Walk

__all__ = ["DEFAULT_BUDGET", "MappingSearch", "Progress", "best_mapping", "described_mapping", "prime_table"]

#: Steps of a search: mappings evaluated and partial ones excluded.
DEFAULT_BUDGET = 4_000_000

#: Annealing ends when so many rounds in a row find nothing better: before branch and bound, and where that is not
#: finished when this share of the budget is spent.
_PATIENCE, _LAST_PATIENCE = 6, 24
_BRANCHED = 0.75

#: Steps between two reports of progress.
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
    def steps(self) -> int:
        """Steps of the search."""
        return self.evaluated + self.excluded

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

    First annealing, until a few rounds find nothing better; then branch and bound, until nothing is left or three
    quarters of the budget are spent; then, if something is left, annealing again. Same arguments, same result: no clock
    is involved. Results are remembered.

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


@dataclass(slots=True)
class _Search:
    """A search under way: the arrays that the kernels share."""

    task: _Task
    problem: Problem
    space: Space
    choices: NDArray[np.bool_]  # (rows, levels, tensors): which tensors are kept
    best: Best
    walk: Walk
    states: tuple[State, State, State]
    counts: NDArray[np.int64]
    listener: Callable[[Progress], None] | None
    rounds: int = 0  # of annealing, so far

    @property
    def steps(self) -> int:
        """Steps so far."""
        return int(self.counts.sum())

    def tell(self) -> None:
        """Tell the listener how far the search is."""
        if self.listener is not None:
            evaluated, excluded = self.counts.tolist()
            self.listener(Progress(evaluated, excluded, float(self.best.value[0])))


def _search(task: _Task, listener: Callable[[Progress], None] | None) -> MappingSearch:
    from hwmodels.spatial.mapper.anneal import new_state
    from hwmodels.spatial.mapper.branch import new_best
    from hwmodels.spatial.mapper.walk import new_walk

    problem, ranks = problem_of(task.einsum, task.machine, task.objective)
    space = space_of(problem, ranks, task.machine, task.rules)
    sizes = len(task.rules), len(ranks), len(task.einsum.tensors)
    search = _Search(
        task,
        problem,
        space,
        keep_choices([tensor.name for tensor in task.einsum.tensors], task.rules),
        new_best(*sizes),
        new_walk(*sizes, space.divisors.shape[1]),
        (new_state(*sizes), new_state(*sizes), new_state(*sizes)),
        np.zeros(2, np.int64),
        listener,
    )
    _anneal(search, _PATIENCE)
    left = _branch(search)
    if _undercuts(left, search.best):
        _anneal(search, _LAST_PATIENCE)
    finished = not _undercuts(left, search.best)
    proven, value = finished and space.complete, float(search.best.value[0])
    open_bound = float(left[0, 0]) if len(left) else float("inf")
    evaluated, excluded = search.counts.tolist()
    if not np.isfinite(value):
        why = reason(task.einsum, task.machine, task.rules, search.walk.overflow.tolist())
        if not finished:
            why = f"none found in {evaluated + excluded} steps, more may exist; {why}"
        return MappingSearch(None, None, task.objective, proven, open_bound, evaluated, excluded, why)
    mapping = described_mapping(task.einsum, task.machine, ranks, search.best)
    cost = evaluate_mapping(task.einsum, task.machine, mapping)
    found = MappingSearch(mapping, cost, task.objective, proven, open_bound, evaluated, excluded, "")
    found = replace(found, lower_bound=found.value if proven else min(open_bound, found.value))
    return replace(found, explanation=_explanation(task, found))


def _anneal(search: _Search, patience: int) -> None:
    """Anneal until ``patience`` rounds in a row find nothing better or the budget is spent."""
    from hwmodels.spatial.mapper.anneal import anneal

    best, primes = search.best, prime_table(search.problem)
    idle = 0
    while idle < patience and (search.rounds == 0 or search.steps < search.task.budget):
        before, first = float(best.value[0]), search.rounds == 0
        seed = (search.task.seed * 1_000_003 + search.rounds) % 2**32
        anneal(search.problem, search.space, search.choices, primes, best, search.states, search.counts, first, seed)
        search.rounds += 1
        search.tell()
        idle = 0 if best.value[0] < before else idle + 1


def _undercuts(left: NDArray[np.float64], best: Best) -> bool:
    """Whether something better than the best may be left."""
    return len(left) > 0 and tuple(left[0]) < tuple(best.value)


def _branch(search: _Search) -> NDArray[np.float64]:
    """Evaluate or exclude all that is left, as far as the budget goes; return bounds of the rest, the least first."""
    from hwmodels.spatial.mapper.branch import explore, start

    problem, space, walk, best = search.problem, search.space, search.walk, search.best
    budget = max(1, int(_BRANCHED * search.task.budget))
    levels = len(search.task.rules)
    room, floors = np.zeros((3, levels)), np.zeros(levels)
    bounds = np.zeros((len(search.choices), 2))
    for row, kept in enumerate(search.choices):
        walk.kept[:] = kept
        bounds[row] = start(problem, space, walk, room, floors)
    rows = np.lexsort((bounds[:, 1], bounds[:, 0]))
    if not space.complete:
        bounds = np.concatenate([bounds, bounds[rows[:1]]])  # what is left out is bounded only by that
    while len(rows) and tuple(bounds[rows[0]]) < tuple(best.value) and search.steps < budget:
        walk.kept[:] = search.choices[rows[0]]
        start(problem, space, walk, room, floors)
        depth = 0
        while depth >= 0 and search.steps < budget:
            limit = min(budget, search.steps + _CHUNK)
            depth = explore(problem, space, walk, depth, best, room, floors, search.counts, limit)
            search.tell()
        if depth < 0:
            rows = rows[1:]
    return bounds[rows] if space.complete else np.concatenate([bounds[-1:], bounds[rows]])


def prime_table(problem: Problem) -> NDArray[np.int64]:
    """Return the prime divisors of each bound, then zeros."""
    found = [sorted(set(prime_factors(int(bound)))) for bound in problem.bounds]
    table = np.zeros((len(found), max(1, *map(len, found))), np.int64)
    for row, primes in zip(table, found, strict=True):
        row[: len(primes)] = primes
    return table


def described_mapping(
    einsum: Einsum, machine: NestMachine, ranks: Sequence[str], best: Best
) -> tuple[LevelMapping, ...]:
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
        gap = found.value / found.lower_bound - 1.0 if found.lower_bound > 0.0 else float("inf")
        sure = f"best of a search that stopped after {found.steps} steps ({steps}); at most {gap:.1%} from the optimum"
    told = f"{sure}; bound by {cost.bound}, {cost.utilisation:.0%} of the units busy"
    if cost.total_J == 0.0:
        return told
    share = max(cost.energy_J, key=lambda part: cost.energy_J[part])
    return f"{told}; {cost.energy_J[share] / cost.total_J:.0%} of the energy in {share}"
