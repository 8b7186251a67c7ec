"""Compiled branch and bound: every mapping of the space is evaluated, or excluded by one that is no worse.

What is left open below a partial mapping costs at least this: no boundary moves fewer words than the one above it, a
multiply-add needs its operands once per sharing unit, and no array holds more units than it can. Importing this module
imports numba.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hwmodels.spatial.mapper.space import READ_J, READ_RATE, WRITE_J, WRITE_RATE
from hwmodels.spatial.mapper.walk import (
    COPIES,
    DISTINCT,
    FLOW,
    HELD,
    ORDER,
    PARENT,
    READ,
    SOURCES,
    SPATIAL,
    TEMPORAL,
    WRITTEN,
    Walk,
    begin,
    enter,
    list_blocks,
    next_block,
    next_order,
    next_spread,
    take,
    take_units,
)
from hwmodels.spatial.nest import level_cycles, level_energy_J, whole_cycles
from simulator.core.jit import kernel_jit

__all__ = [
    "BRANCH_SOURCES",
    "EVALUATED",
    "EXCLUDED",
    "Best",
    "beats",
    "cost",
    "explore",
    "new_best",
    "objective",
    "start",
]

BRANCH_SOURCES = [*SOURCES, Path(__file__)]
_compiled = kernel_jit(BRANCH_SOURCES, allocates=False)

#: What the kernels count, by index: mappings evaluated in full, and partial ones that a bound excluded.
EVALUATED, EXCLUDED = 0, 1

_EDP, _ENERGY = 0, 1


class Best(NamedTuple):
    """The best mapping so far."""

    value: Any  # float64 (2,): objective, and what decides among equals; infinite: none yet
    temporal: Any  # int64 (levels, ranks)
    order: Any
    spatial: Any
    kept: Any  # bool (levels, tensors)


def new_best(levels: int, ranks: int, tensors: int) -> Best:
    """Return room for a mapping."""
    shape = (levels, ranks)
    return Best(
        np.full(2, np.inf),
        np.ones(shape, np.int64),
        np.zeros(shape, np.int64),
        np.ones(shape, np.int64),
        np.ones((levels, tensors), np.bool_),
    )


@_compiled
def cost(problem: Any, read: Any, written: Any, instances: Any, units: float) -> tuple[float, float]:
    """Energy in joule and whole cycles, of words and instances by level."""
    cycles = problem.macs / units
    energy_J = problem.macs * problem.mac_J
    machine = problem.machine
    for level in range(machine.shape[1]):
        read_rate = machine[READ_RATE, level] * instances[level]
        write_rate = machine[WRITE_RATE, level] * instances[level]
        cycles = max(cycles, level_cycles(read[level], written[level], read_rate, write_rate))
        energy_J += level_energy_J(read[level], written[level], machine[READ_J, level], machine[WRITE_J, level])
    return energy_J, float(whole_cycles(cycles))


@_compiled
def _bound(problem: Any, space: Any, walk: Walk, depth: int, spread: int, room: Any) -> tuple[float, float]:
    """Return an energy and cycles that no mapping with the choices so far undercuts.

    Blocks are known before ``depth``, spreads before ``spread``; ``room`` is a float64 array of shape (3, levels).
    """
    levels = walk.kept.shape[0]
    for level in range(levels):
        room[0, level] = walk.words[READ, depth, level]
        room[1, level] = walk.words[WRITTEN, depth, level]
        if level <= spread:
            room[2, level] = walk.instances[level]
        else:
            room[2, level] = room[2, level - 1] * space.most_spread[level - 1]
    units = float(walk.instances[levels])
    if spread < levels:
        units = room[2, levels - 1] * space.most_spread[levels - 1]
    output = walk.kept.shape[1] - 1
    for tensor in range(walk.kept.shape[1]):
        parent, flow = walk.tensors[PARENT, depth, tensor], float(walk.tensors[FLOW, depth, tensor])
        for child in range(depth + 1, levels):
            if walk.kept[child, tensor]:
                if tensor == output:
                    room[1, parent] += flow
                else:
                    room[0, parent] += flow
                    room[1, child] += flow
                parent = child
        # Below the innermost level that keeps it, a word serves at most the units that share it.
        decided = min(parent, spread)
        apart = walk.tensors[DISTINCT, spread, tensor] / walk.tensors[DISTINCT, decided, tensor]
        sent = max(flow, problem.macs * apart * room[2, parent] / units)
        if tensor == output:
            copies = walk.tensors[COPIES, decided, tensor] * room[2, parent] / room[2, decided]
            room[1, parent] += sent
            room[0, parent] += max(0.0, sent - walk.tensors[HELD, 0, tensor] * copies)
        else:
            room[0, parent] += sent
    return cost(problem, room[0], room[1], room[2], units)


@_compiled
def objective(problem: Any, energy_J: float, cycles: float) -> tuple[float, float]:
    """Return what is to be small, and what decides among equals."""
    if problem.objective == _EDP:
        return energy_J * cycles, energy_J
    return (energy_J, cycles) if problem.objective == _ENERGY else (cycles, energy_J)


@_compiled
def beats(problem: Any, energy_J: float, cycles: float, best: Best) -> bool:
    """Whether a mapping of that energy and time is better than the best so far."""
    first, second = objective(problem, energy_J, cycles)
    return bool(first < best.value[0] or (first == best.value[0] and second < best.value[1]))


@_compiled
def note(problem: Any, mapping: tuple[Any, Any, Any], kept: Any, energy_J: float, cycles: float, best: Best) -> None:
    """Make a mapping (temporal, order, spatial) the best so far."""
    temporal, order, spatial = mapping
    best.value[0], best.value[1] = objective(problem, energy_J, cycles)
    for level in range(kept.shape[0]):
        for rank in range(temporal.shape[1]):
            best.temporal[level, rank] = temporal[level, rank]
            best.order[level, rank] = order[level, rank]
            best.spatial[level, rank] = spatial[level, rank]
        for tensor in range(kept.shape[1]):
            best.kept[level, tensor] = kept[level, tensor]


@_compiled
def start(problem: Any, space: Any, walk: Walk, room: Any, floors: Any) -> tuple[float, float]:
    """Stand before the first choice; return the objective that no mapping with the walk's kept tensors undercuts."""
    begin(problem, walk)
    enter(space, walk, 0)
    energy_J, cycles = _bound(problem, space, walk, 0, 0, room)
    floors[0] = energy_J
    return objective(problem, energy_J, cycles)


@_compiled
def explore(
    problem: Any, space: Any, walk: Walk, depth: int, best: Best, room: Any, floors: Any, counts: Any, limit: int
) -> int:
    """Go on with a walk until everything is evaluated or excluded, or ``limit`` steps are counted.

    Parameters
    ----------
    depth
        Where the walk stands: 0 after :func:`start`.
    room, floors
        Float64 arrays of shape (3, levels) and (levels,): room to work in, and the least energy above each depth.
    counts : int64 array of 2
        Grows.

    Returns
    -------
    int
        The depth at which to go on, -1 at the end.
    """
    levels = walk.kept.shape[0]
    alone = space.most_spread[levels - 1] == 1  # nothing is open below the last level but one
    while depth >= 0 and counts[EVALUATED] + counts[EXCLUDED] < limit:
        chosen = depth + 1 < levels and (next_order(space, walk, depth) or next_block(problem, space, walk, depth))
        if chosen:
            take(problem, walk, depth)
        elif not next_spread(problem, space, walk, depth):
            depth -= 1
            continue
        elif depth + 1 == levels:
            if take_units(problem, space, walk):
                counts[EVALUATED] += 1
                _compare(problem, walk, best)
            continue
        elif not beats(problem, floors[depth], _fewest_cycles(problem, space, walk, depth), best):
            counts[EXCLUDED] += 1  # and with it the smaller spreads that follow
            depth -= 1
            continue
        if not (chosen and alone and depth + 2 == levels):
            energy_J, cycles = _bound(problem, space, walk, depth + 1 if chosen else depth, depth + 1, room)
            if not beats(problem, energy_J, cycles, best):
                counts[EXCLUDED] += 1
                continue
            floors[min(depth + 1, levels - 1)] = energy_J
        if chosen:
            depth += 1
            enter(space, walk, depth)
        else:
            list_blocks(space, walk, depth)
    return depth


@_compiled
def _fewest_cycles(problem: Any, space: Any, walk: Walk, depth: int) -> float:
    """Cycles of the multiply-adds with the spread at a depth and the largest below."""
    units = float(walk.instances[depth + 1])
    for level in range(depth + 1, walk.kept.shape[0]):
        units *= space.most_spread[level]
    return float(whole_cycles(problem.macs / units))


@_compiled
def _compare(problem: Any, walk: Walk, best: Best) -> None:
    """Evaluate the whole mapping at which the walk stands, and note it if it is the best."""
    levels = walk.kept.shape[0]
    units = float(walk.instances[levels])
    energy_J, cycles = cost(problem, walk.words[READ, levels], walk.words[WRITTEN, levels], walk.instances, units)
    if beats(problem, energy_J, cycles, best):
        mapping = walk.ranks[TEMPORAL], walk.ranks[ORDER], walk.ranks[SPATIAL]
        note(problem, mapping, walk.kept, energy_J, cycles, best)
