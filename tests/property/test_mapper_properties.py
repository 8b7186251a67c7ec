"""The mapper: against every mapping of small spaces, and what must hold of any search."""

import itertools
import math
import re
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels.spatial.mapper.constraints import LevelConstraint
from hwmodels.spatial.mapper.search import best_mapping
from hwmodels.spatial.mapper.space import OBJECTIVES, divisors
from hwmodels.spatial.mapping import LevelMapping, MappingCost, MemoryLevel, NestMachine, evaluate_mapping
from workloads.einsum import Einsum, parse_einsum

#: Einsums with bounds small enough to try everything.
SMALL = (
    ("Z[m,n] += A[m,k] * W[k,n]", {"m": 4, "n": 3, "k": 2}),
    ("Z[m,n] += A[m,k] * W[k,n]", {"m": 2, "n": 2, "k": 6}),
    ("Z[b,m] += A[b,m,k] * W[b,k]", {"b": 2, "m": 4, "k": 2}),
    ("Z[p] += I[p+r] * W[r]", {"p": 6, "r": 4}),
    ("Z[p] += I[2*p+r] * W[r]", {"p": 6, "r": 2}),
    ("Z[n,p] += I[3*p] * W[n]", {"n": 4, "p": 4}),
)


def every_mapping(
    einsum: Einsum, machine: NestMachine, bypass: tuple[frozenset[str], ...]
) -> Iterator[tuple[LevelMapping, ...]]:
    """Yield all mappings: all factors at all levels and axes, in all orders."""
    ranks = list(einsum.bounds)
    levels = len(machine.levels)
    cuts = [list(factorisations(bound, 3 * levels)) for bound in einsum.bounds.values()]
    for cut in itertools.product(*cuts):
        by_slot = list(zip(*cut, strict=True))
        temporal, along = by_slot[:levels], (by_slot[levels : 2 * levels], by_slot[2 * levels :])
        if any(
            math.prod(axis[level]) > machine.levels[level].below[number]
            for number, axis in enumerate(along)
            for level in range(levels)
        ):
            continue
        loops = [[(r, b) for r, b in zip(ranks, factors, strict=True) if b > 1] for factors in temporal]
        spread = [
            tuple(tuple((r, b) for r, b in zip(ranks, axis[level], strict=True) if b > 1) for axis in along)
            for level in range(levels)
        ]
        for orders in itertools.product(*(itertools.permutations(level) for level in loops[:-1])):
            named = zip((*orders, tuple(loops[-1])), spread, bypass, strict=True)
            yield tuple(LevelMapping(order, axes, passing) for order, axes, passing in named)


def factorisations(number: int, slots: int) -> Iterator[tuple[int, ...]]:
    if slots == 1:
        yield (number,)
        return
    for first in divisors(number):
        for rest in factorisations(number // first, slots - 1):
            yield (first, *rest)


def standing(cost: MappingCost, objective: str) -> tuple[float, float]:
    energy, cycles = cost.total_J, float(cost.cycles)
    return {"edp": (energy * cycles, energy), "energy": (energy, cycles), "cycles": (cycles, energy)}[objective]


@st.composite
def machines(draw: st.DrawFn) -> NestMachine:
    """Draw two or three levels; at most one of them feeds an array, so that there are not too many mappings."""
    count = draw(st.sampled_from((2, 3, 3)))
    wide = draw(st.integers(0, count - 1))
    rate, energy = st.sampled_from((0.5, 1.0, 4.0, math.inf)), st.sampled_from((0.0, 1.0, 3.0, 50.0))
    levels = []
    for level in range(count):
        words = math.inf if level == 0 else float(draw(st.integers(2, 20)))
        below = draw(st.sampled_from(((2, 1), (2, 2), (3, 2)))) if level == wide else (1, 1)
        levels.append(MemoryLevel(f"L{level}", words, draw(rate), draw(rate), draw(energy), draw(energy), below))
    return NestMachine("drawn", tuple(levels), 1.0)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.sampled_from(SMALL), machines(), st.sampled_from(OBJECTIVES), st.data())
def test_nothing_beats_what_is_found(
    small: tuple[str, dict[str, int]], machine: NestMachine, objective: str, data: st.DataObject
) -> None:
    einsum = parse_einsum(*small)
    names = [tensor.name for tensor in einsum.tensors]
    rank, asked = data.draw(st.sampled_from(sorted(einsum.bounds))), data.draw(st.sampled_from(machine.levels)).name
    factor = data.draw(st.sampled_from([0, *divisors(einsum.bounds[rank])]))
    bypass = (frozenset(), *(data.draw(st.frozensets(st.sampled_from(names))) for _ in machine.levels[1:]))
    rules = {
        level.name: LevelConstraint(bypass=passing, keep=frozenset(names) - passing)
        for level, passing in zip(machine.levels, bypass, strict=True)
    }
    if factor > 0:
        rules[asked] = rules[asked]._replace(temporal=((rank, factor),))
    level = [level.name for level in machine.levels].index(asked)
    mappings = [
        mapping
        for mapping in every_mapping(einsum, machine, bypass)
        if factor == 0 or dict(mapping[level].temporal).get(rank, 1) == factor
    ]
    costs = [evaluate_mapping(einsum, machine, mapping) for mapping in mappings]
    best = min((standing(cost, objective) for cost in costs if cost.fits), default=None)
    found = best_mapping(einsum, machine, objective, rules, budget=200_000)
    assert found.proven
    if best is None:
        assert found.mapping is None
        assert re.search("holds|no level is free", found.explanation)
    else:
        assert found.cost is not None
        assert found.cost.fits
        assert standing(found.cost, objective) == pytest.approx(best, rel=1e-9)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SMALL), machines(), st.sampled_from(OBJECTIVES), st.integers(0, 2**31))
def test_the_compiled_cost_is_that_of_the_plain_evaluation(
    small: tuple[str, dict[str, int]], machine: NestMachine, objective: str, seed: int
) -> None:
    """What the kernels noted of the best mapping, and what `replay mapping`'s model says of it."""
    from hwmodels.spatial.mapper.anneal import anneal, new_state
    from hwmodels.spatial.mapper.branch import new_best
    from hwmodels.spatial.mapper.search import described_mapping, prime_table
    from hwmodels.spatial.mapper.space import keep_choices, problem_of, space_of

    einsum, rules = parse_einsum(*small), [LevelConstraint()] * len(machine.levels)
    problem, ranks = problem_of(einsum, machine, objective)
    choices = keep_choices([tensor.name for tensor in einsum.tensors], rules)
    sizes = len(rules), len(ranks), len(einsum.tensors)
    best, counts = new_best(*sizes), np.zeros(2, np.int64)
    states = (new_state(*sizes), new_state(*sizes), new_state(*sizes))
    space = space_of(problem, ranks, machine, rules)
    anneal(problem, space, choices, prime_table(problem), best, states, counts, True, seed)
    cost = evaluate_mapping(einsum, machine, described_mapping(einsum, machine, ranks, best))
    assert cost.fits
    assert tuple(best.value) == pytest.approx(standing(cost, objective), rel=1e-12)
    if objective == "cycles":
        assert best.value[0] == cost.cycles
