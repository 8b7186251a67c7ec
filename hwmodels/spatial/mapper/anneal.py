"""Compiled simulated annealing over mappings: a first good one, and all there is for spaces too large to exhaust.

A state is what a mapping chooses: loops, spread and order of every level, and which tensors are kept. A move changes
one of these. Importing this module imports numba.
"""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hwmodels.spatial.mapper.branch import BRANCH_SOURCES, EVALUATED, Best, beats, cost, note, objective
from hwmodels.spatial.mapper.space import CAPACITY, RELEVANT
from hwmodels.spatial.nest import FILLS, READS, UPDATES, block_extents, count_words, footprint
from simulator.core.jit import kernel_jit

__all__ = ["ROUND", "State", "anneal", "new_state"]

_compiled = kernel_jit([*BRANCH_SOURCES, Path(__file__)], allocates=False)

#: Moves from hot to cold; the next round starts from the best state, less hot.
ROUND = 20_000

#: Moves at one temperature.
_STEADY = 100

#: Temperatures of the logarithm of the objective: doubling it is common at first, a tenth of a percent at last.
_HOT, _WARM, _COLD = 1.0, 0.3, 0.001

#: Share of the moves that change loops, spreads and orders; the rest change which tensors are kept.
_LOOPS, _SPREADS, _ORDERS = 0.5, 0.75, 0.9

#: Kept choices tried until the smallest blocks fit.
_TRIES = 1000


class State(NamedTuple):
    """A mapping and room to evaluate it."""

    temporal: Any  # int64 (levels, ranks)
    spatial: Any
    order: Any
    pick: Any  # int64 (levels,): which order of those that the loops leave
    kept: Any  # int64 (1,): row of the table of kept tensors
    blocks: Any  # int64 (levels + 1, ranks)
    counts: Any  # int64 (levels, tensors, 3)
    room: Any  # float64 (3, levels)


def new_state(levels: int, ranks: int, tensors: int) -> State:
    """Return room for a state."""
    shape = (levels, ranks)
    return State(
        np.ones(shape, np.int64),
        np.ones(shape, np.int64),
        np.zeros(shape, np.int64),
        np.zeros(levels, np.int64),
        np.zeros(1, np.int64),
        np.ones((levels + 1, ranks), np.int64),
        np.zeros((levels, tensors, 3), np.int64),
        np.zeros((3, levels)),
    )


@_compiled
def _copy(to: State, source: State) -> None:
    """Copy what a state chooses; loops, since slices of a few numbers are dear."""
    to.kept[0] = source.kept[0]
    for level in range(to.temporal.shape[0]):
        to.pick[level] = source.pick[level]
        for rank in range(to.temporal.shape[1]):
            to.temporal[level, rank] = source.temporal[level, rank]
            to.spatial[level, rank] = source.spatial[level, rank]


@_compiled
def _refit(problem: Any, space: Any, state: State, rank: int) -> bool:
    """Make a rank's loops multiply to what its spreads leave: inner ones stay as far as they divide, the rest goes out.

    False if the bound or the factors asked for do not allow that.
    """
    levels = state.temporal.shape[0]
    left = problem.bounds[rank]
    for level in range(levels):
        factor = state.spatial[level, rank] * max(space.fixed[level, rank], 1)
        if left % factor > 0:
            return False
        left //= factor
    outermost = -1
    for level in range(levels - 1, -1, -1):
        if space.fixed[level, rank] > 0:
            state.temporal[level, rank] = space.fixed[level, rank]
        else:
            state.temporal[level, rank] = math.gcd(state.temporal[level, rank], left)
            left //= state.temporal[level, rank]
            outermost = level
    if left > 1 and outermost < 0:
        return False
    if left > 1:
        state.temporal[outermost, rank] *= left
    return True


@_compiled
def _evaluate(problem: Any, space: Any, kept: Any, state: State) -> tuple[bool, float, float]:
    """Return whether a state fits, its energy in joule and cycles."""
    levels, ranks = state.temporal.shape
    tensors = problem.terms.shape[0]
    block_extents(state.temporal, state.spatial, state.blocks)
    for level in range(1, levels):
        held = 0
        for tensor in range(tensors):
            if kept[level, tensor]:
                held += footprint(problem.terms, tensor, state.blocks, state.spatial, level, level)
        if held > problem.machine[CAPACITY, level]:
            return False, 0.0, 0.0
    for level in range(levels):
        subset = 0
        for rank in range(ranks):
            subset |= (1 << rank) if state.temporal[level, rank] > 1 else 0
        first = space.order_start[level, subset]
        row = first + state.pick[level] % (space.order_start[level, subset + 1] - first)
        for position in range(ranks):
            state.order[level, position] = space.orders[row, position]
        for tensor in range(tensors):
            state.counts[level, tensor, READS] = 0
            state.counts[level, tensor, FILLS] = 0
            state.counts[level, tensor, UPDATES] = 0
    marks = problem.marks[RELEVANT]
    count_words(problem.terms, marks, state.temporal, state.order, state.spatial, kept, state.blocks, state.counts)
    units = 1.0
    for level in range(levels):
        state.room[:, level] = 0.0
        for tensor in range(tensors):
            state.room[0, level] += state.counts[level, tensor, READS]
            state.room[1, level] += state.counts[level, tensor, FILLS] + state.counts[level, tensor, UPDATES]
        state.room[2, level] = units
        for rank in range(ranks):
            units *= state.spatial[level, rank]
    energy_J, cycles = cost(problem, state.room[0], state.room[1], state.room[2], units)
    return True, energy_J, cycles


@_compiled
def _move(problem: Any, space: Any, choices: Any, primes: Any, state: State) -> bool:
    """Change a state at random; False if that is no move."""
    levels, ranks = state.temporal.shape
    kind, level = random.random(), random.randrange(levels)
    if kind < _LOOPS:
        rank, other = random.randrange(ranks), random.randrange(levels)
        prime = primes[rank, random.randrange(primes.shape[1])]
        if prime == 0 or space.fixed[other, rank] > 0:
            return False
        for _ in range(levels):  # the next level that has the factor
            level = (level + 1) % levels
            if level != other and space.fixed[level, rank] == 0 and state.temporal[level, rank] % prime == 0:
                state.temporal[level, rank] //= prime
                state.temporal[other, rank] *= prime
                return True
        return False
    if kind < _SPREADS:
        first, last = space.spread_start[level], space.spread_start[level + 1]
        if last - first < 2:
            return False
        row = first + random.randrange(last - first)
        for rank in range(ranks):
            if state.spatial[level, rank] != space.spreads[row, rank]:
                state.spatial[level, rank] = space.spreads[row, rank]
                if not _refit(problem, space, state, rank):
                    return False
        return True
    if kind < _ORDERS:
        state.pick[level] = random.randrange(1 << 30)
        return bool(level + 1 < levels)
    state.kept[0] = random.randrange(choices.shape[0])
    return bool(choices.shape[0] > 1)


@_compiled
def _begin(problem: Any, space: Any, choices: Any, state: State) -> bool:
    """Put all loops outermost and spread nothing that is not asked for; False if no such state fits."""
    state.temporal[:] = 1
    for level in range(state.temporal.shape[0]):
        row = space.spread_start[level + 1] - 1  # the smallest product
        if row < space.spread_start[level]:
            return False
        for rank in range(state.temporal.shape[1]):
            state.spatial[level, rank] = space.spreads[row, rank]
    for rank in range(state.temporal.shape[1]):
        if not _refit(problem, space, state, rank):
            return False
    for attempt in range(_TRIES):
        state.kept[0] = attempt if attempt < choices.shape[0] else random.randrange(choices.shape[0])
        fits, _, _ = _evaluate(problem, space, choices[state.kept[0]], state)
        if fits:
            return True
    return False


@_compiled
def anneal(
    problem: Any,
    space: Any,
    choices: Any,
    primes: Any,
    best: Best,
    states: tuple[State, State, State],
    counts: Any,
    first: bool,
    seed: int,
) -> None:
    """Anneal once from hot to cold and note the best mapping.

    Parameters
    ----------
    choices : bool array of shape (rows, levels, tensors)
        Which tensors are kept.
    primes : int64 array of shape (ranks, most primes)
        Prime divisors of each bound, then zeros.
    states
        Room for the current and the tried state; the best one, where the next call goes on.
    first
        Whether this is the first call for ``best``.
    """
    state, tried, top = states
    random.seed(seed)
    if first and not _begin(problem, space, choices, top):
        return
    if not first and not np.isfinite(best.value[0]):
        return
    _copy(state, top)
    _, energy_J, cycles = _evaluate(problem, space, choices[state.kept[0]], state)
    if beats(problem, energy_J, cycles, best):
        note(problem, (state.temporal, state.order, state.spatial), choices[state.kept[0]], energy_J, cycles, best)
    here, hot = math.log(objective(problem, energy_J, cycles)[0]), _HOT if first else _WARM
    temperature = hot
    for move in range(ROUND):
        if move % _STEADY == 0:
            temperature = hot * (_COLD / hot) ** (move / ROUND)
        _copy(tried, state)
        if not _move(problem, space, choices, primes, tried):
            continue
        kept = choices[tried.kept[0]]
        fits, energy_J, cycles = _evaluate(problem, space, kept, tried)
        if not fits:
            continue
        counts[EVALUATED] += 1
        value = math.log(objective(problem, energy_J, cycles)[0])
        if value <= here or random.random() < math.exp((here - value) / temperature):
            here = value
            _copy(state, tried)
            if beats(problem, energy_J, cycles, best):
                note(problem, (tried.temporal, tried.order, tried.spatial), kept, energy_J, cycles, best)
                _copy(top, tried)
