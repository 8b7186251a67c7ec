"""Compiled walk through the space of mappings, level by level from the outermost.

At each *depth* the walk chooses what happens between one level and the next: how the level's block is spread over the
instances below, which block one of them gets, and in which order the level loops over blocks. Words that pass between
the levels above are then known. Importing this module imports numba.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hwmodels.spatial import nest
from hwmodels.spatial.mapper.space import APART, CAPACITY, RELEVANT
from hwmodels.spatial.nest import exchanged_words, exchanges_below, footprint
from simulator.core.formula import register_formulas
from simulator.core.jit import kernel_jit

__all__ = [
    "SOURCES",
    "Walk",
    "begin",
    "enter",
    "list_blocks",
    "new_walk",
    "next_block",
    "next_order",
    "next_spread",
    "take",
    "take_units",
]

register_formulas()
SOURCES = [Path(__file__), Path(nest.__file__)]
_compiled = kernel_jit(SOURCES, allocates=False)

#: Columns of ``choice``: row of the spread, row of the order, one past the last such row, 1 before the first block.
_SPREAD, _ORDER, _ORDERS, _FRESH = 0, 1, 2, 3


#: What the walk's tables hold, by first index: loop bounds in time and over instances, ranks from the outermost loop
#: inwards, extents of one instance, place of each extent among its candidates and how many those are.
TEMPORAL, SPATIAL, ORDER, BLOCKS, _DIGITS, _CANDIDATES = range(6)

#: Of each tensor: words of the level's block; words that the instances below one of the last level that keeps it touch
#: together; exchanges of the block; instances that hold sums of the same result; instances that need words of their
#: own, at least; the last level so far that keeps it; words that reach that, which no boundary below undercuts.
HELD, _JOINT, _TIMES, COPIES, DISTINCT, PARENT, FLOW = range(7)

READ, WRITTEN = 0, 1


class Walk(NamedTuple):
    """State by depth: the choices, and what they make known."""

    kept: Any  # bool (levels, tensors)
    ranks: Any  # int64 (6, levels + 1, ranks)
    candidates: Any  # int64 (levels, ranks, most divisors)
    choice: Any  # int64 (levels, 4)
    tensors: Any  # int64 (7, levels + 1, tensors)
    words: Any  # int64 (2, levels + 1, levels): read and written, as far as known before the choice at that depth
    instances: Any  # int64 (levels + 1,)
    points: Any  # int64 (levels + 1,): product of the loops above
    overflow: Any  # float64 (levels,): fewest words that a refused block would have needed


def new_walk(levels: int, ranks: int, tensors: int, most_divisors: int) -> Walk:
    """Return room for a walk."""
    return Walk(
        np.ones((levels, tensors), np.bool_),
        np.ones((6, levels + 1, ranks), np.int64),
        np.ones((levels, ranks, most_divisors), np.int64),
        np.zeros((levels, 4), np.int64),
        np.ones((7, levels + 1, tensors), np.int64),
        np.zeros((2, levels + 1, levels), np.int64),
        np.ones(levels + 1, np.int64),
        np.ones(levels + 1, np.int64),
        np.full(levels, np.inf),
    )


@_compiled
def begin(problem: Any, walk: Walk) -> None:
    """Stand before the first choice: the outermost level has everything."""
    walk.ranks[:] = 1
    for rank in range(walk.ranks.shape[2]):
        walk.ranks[BLOCKS, 0, rank] = problem.bounds[rank]
        walk.ranks[ORDER, :, rank] = rank
    walk.words[:] = 0
    walk.instances[0] = 1
    walk.points[0] = 1
    for tensor in range(walk.kept.shape[1]):
        walk.tensors[HELD, 0, tensor] = footprint(problem.terms, tensor, walk.ranks[BLOCKS], walk.ranks[SPATIAL], 0, 0)
        walk.tensors[_TIMES, 0, tensor] = 1
        walk.tensors[COPIES, 0, tensor] = 1
        walk.tensors[DISTINCT, 0, tensor] = 1
        walk.tensors[PARENT, 0, tensor] = 0
        walk.tensors[FLOW, 0, tensor] = _least_words(problem, tensor, walk, 0)


@_compiled
def _least_words(problem: Any, tensor: int, walk: Walk, level: int) -> int:
    """Fewest words that all parts of a level's block have together, however it is cut.

    The footprint itself, except where a stride skips words: there cutting may leave out those between.
    """
    if not problem.strided[tensor]:
        return int(walk.tensors[HELD, level, tensor])
    terms = problem.terms
    words, longest, dimension = 1, 1, 0
    for term in range(terms.shape[1]):
        if terms[tensor, term, 0] != dimension:
            words *= longest
            longest, dimension = 1, terms[tensor, term, 0]
        if terms[tensor, term, 2] > 0:
            longest = max(longest, walk.ranks[BLOCKS, level, terms[tensor, term, 1]])
    return words * longest


@_compiled
def enter(space: Any, walk: Walk, depth: int) -> None:
    """Stand before the first spread at a depth."""
    walk.choice[depth, _SPREAD] = space.spread_start[depth] - 1
    walk.choice[depth, _ORDER] = 0
    walk.choice[depth, _ORDERS] = 0
    walk.ranks[_CANDIDATES, depth, 0] = 0


@_compiled
def next_spread(problem: Any, space: Any, walk: Walk, depth: int) -> bool:
    """Take the next way to spread a block over the instances below; False after the last."""
    row = walk.choice[depth, _SPREAD] + 1
    while row < space.spread_start[depth + 1]:
        divides = True
        for rank in range(walk.ranks.shape[2]):
            divides = divides and walk.ranks[BLOCKS, depth, rank] % space.spreads[row, rank] == 0
        if divides:
            break
        row += 1
    walk.choice[depth, _SPREAD] = row
    if row == space.spread_start[depth + 1]:
        return False
    instances = walk.instances[depth]
    for rank in range(walk.ranks.shape[2]):
        walk.ranks[SPATIAL, depth, rank] = space.spreads[row, rank]
        instances *= space.spreads[row, rank]
    walk.instances[depth + 1] = instances
    for tensor in range(walk.kept.shape[1]):
        copies, distinct = walk.tensors[COPIES, depth, tensor], walk.tensors[DISTINCT, depth, tensor]
        for rank in range(walk.ranks.shape[2]):
            copies *= 1 if problem.marks[RELEVANT, tensor, rank] else walk.ranks[SPATIAL, depth, rank]
            distinct *= walk.ranks[SPATIAL, depth, rank] if problem.marks[APART, tensor, rank] else 1
        walk.tensors[COPIES, depth + 1, tensor] = copies
        walk.tensors[DISTINCT, depth + 1, tensor] = distinct
    return True


@_compiled
def list_blocks(space: Any, walk: Walk, depth: int) -> None:
    """List the extents that one instance below may get, now that the spread is chosen."""
    walk.choice[depth, _FRESH] = 1
    for rank in range(walk.ranks.shape[2]):
        whole = walk.ranks[BLOCKS, depth, rank] // walk.ranks[SPATIAL, depth, rank]
        given = space.fixed[depth, rank]
        count = 0
        if given > 0:
            if whole % given == 0 and whole // given % space.least[depth + 1, rank] == 0:
                walk.candidates[depth, rank, 0] = whole // given
                count = 1
        else:
            for extent in space.divisors[rank]:
                if extent > 0 and whole % extent == 0 and extent % space.least[depth + 1, rank] == 0:
                    walk.candidates[depth, rank, count] = extent
                    count += 1
        walk.ranks[_CANDIDATES, depth, rank] = count
        walk.ranks[_DIGITS, depth, rank] = 0
        if count == 0:
            walk.ranks[_CANDIDATES, depth, 0] = 0
            return
        walk.ranks[BLOCKS, depth + 1, rank] = walk.candidates[depth, rank, 0]


@_compiled
def next_block(problem: Any, space: Any, walk: Walk, depth: int) -> bool:
    """Take the next block that fits, and the first order of the loops it leaves; False after the last."""
    if walk.ranks[_CANDIDATES, depth, 0] == 0:
        return False
    while walk.choice[depth, _FRESH] == 1 or _count_on(walk, depth):
        walk.choice[depth, _FRESH] = 0
        words = _held(problem, walk, depth + 1)
        if words > problem.machine[CAPACITY, depth + 1]:
            walk.overflow[depth + 1] = min(walk.overflow[depth + 1], words)
            _pass_over_larger(walk, depth)
        elif depth + 2 < walk.kept.shape[0] or _cannot_grow(problem, space, walk, depth):
            _set_loops(problem, space, walk, depth)
            return True
    walk.ranks[_CANDIDATES, depth, 0] = 0
    return False


@_compiled
def _count_on(walk: Walk, depth: int) -> bool:
    """Take the next combination of extents, the first rank counting fastest; False after the last."""
    for rank in range(walk.ranks.shape[2]):
        last = walk.ranks[_DIGITS, depth, rank] + 1 == walk.ranks[_CANDIDATES, depth, rank]
        walk.ranks[_DIGITS, depth, rank] = 0 if last else walk.ranks[_DIGITS, depth, rank] + 1
        walk.ranks[BLOCKS, depth + 1, rank] = walk.candidates[depth, rank, walk.ranks[_DIGITS, depth, rank]]
        if not last:
            return True
    return False


@_compiled
def _held(problem: Any, walk: Walk, level: int) -> int:
    """Words that a level's block needs of the tensors that it keeps."""
    blocks, spatial = walk.ranks[BLOCKS], walk.ranks[SPATIAL]
    words = 0
    for tensor in range(walk.kept.shape[1]):
        if walk.kept[level, tensor]:
            words += footprint(problem.terms, tensor, blocks, spatial, level, level)
    return words


@_compiled
def _pass_over_larger(walk: Walk, depth: int) -> None:
    """Go to the last combination that contains this one in every extent that counts faster than the others."""
    for rank in range(walk.ranks.shape[2]):
        smallest = walk.ranks[_DIGITS, depth, rank] == 0
        walk.ranks[_DIGITS, depth, rank] = walk.ranks[_CANDIDATES, depth, rank] - 1
        if not smallest:
            return


@_compiled
def _cannot_grow(problem: Any, space: Any, walk: Walk, depth: int) -> bool:
    """Whether the innermost level's block is as large as it can be along every rank.

    Loops moved into the innermost level pass no boundary any more, and leave those above it with longer runs: unless
    cutting saves words that a stride skips, a block that can grow is never better than the grown one.
    """
    level = depth + 1
    for rank in range(walk.ranks.shape[2]):
        if space.fixed[level, rank] > 0 or problem.grows_badly[rank]:
            continue
        extent = walk.ranks[BLOCKS, level, rank]
        for digit in range(walk.ranks[_DIGITS, depth, rank] + 1, walk.ranks[_CANDIDATES, depth, rank]):
            larger = walk.candidates[depth, rank, digit]
            if larger % extent == 0:
                walk.ranks[BLOCKS, level, rank] = larger
                fits = _held(problem, walk, level) <= problem.machine[CAPACITY, level]
                walk.ranks[BLOCKS, level, rank] = extent
                if fits:
                    return False
                break
    return True


@_compiled
def _set_loops(problem: Any, space: Any, walk: Walk, depth: int) -> None:
    """Set the loops that the block leaves to this level, and their first order."""
    blocks, spatial = walk.ranks[BLOCKS], walk.ranks[SPATIAL]
    below, subset, points = depth + 1, 0, walk.points[depth]
    for rank in range(walk.ranks.shape[2]):
        loops = blocks[depth, rank] // (spatial[depth, rank] * blocks[below, rank])
        walk.ranks[TEMPORAL, depth, rank] = loops
        points *= loops
        if loops > 1:
            subset |= 1 << rank
    walk.points[below] = points
    for tensor in range(walk.kept.shape[1]):
        parent = walk.tensors[PARENT, depth, tensor]
        walk.tensors[HELD, below, tensor] = footprint(problem.terms, tensor, blocks, spatial, below, below)
        walk.tensors[_JOINT, below, tensor] = footprint(problem.terms, tensor, blocks, spatial, parent, below)
    walk.choice[depth, _ORDERS] = space.order_start[depth, subset + 1]
    walk.choice[depth, _ORDER] = space.order_start[depth, subset]
    _set_order(space, walk, depth)


@_compiled
def _set_order(space: Any, walk: Walk, depth: int) -> None:
    row = walk.choice[depth, _ORDER]
    for position in range(walk.ranks.shape[2]):
        walk.ranks[ORDER, depth, position] = space.orders[row, position]


@_compiled
def next_order(space: Any, walk: Walk, depth: int) -> bool:
    """Take the next order of the loops; False after the last."""
    if walk.choice[depth, _ORDER] + 1 >= walk.choice[depth, _ORDERS]:
        return False
    walk.choice[depth, _ORDER] += 1
    _set_order(space, walk, depth)
    return True


@_compiled
def take(problem: Any, walk: Walk, depth: int) -> None:
    """Count what the choice at a depth makes known: the words between the next level and those above."""
    levels = walk.kept.shape[0]
    child, output = depth + 1, walk.kept.shape[1] - 1
    for level in range(levels):
        walk.words[READ, child, level] = walk.words[READ, depth, level]
        walk.words[WRITTEN, child, level] = walk.words[WRITTEN, depth, level]
    relevant, temporal, order = problem.marks[RELEVANT], walk.ranks[TEMPORAL], walk.ranks[ORDER]
    for tensor in range(walk.kept.shape[1]):
        before = walk.tensors[_TIMES, depth, tensor]
        times = exchanges_below(relevant, tensor, temporal, order, depth, before, walk.points[depth])
        walk.tensors[_TIMES, child, tensor] = times
        parent = walk.tensors[PARENT, depth, tensor]
        if not walk.kept[child, tensor]:
            walk.tensors[PARENT, child, tensor] = parent
            walk.tensors[FLOW, child, tensor] = walk.tensors[FLOW, depth, tensor]
            continue
        children = walk.instances[child]
        read, written, filled = exchanged_words(
            times,
            walk.instances[parent],
            walk.tensors[_JOINT, child, tensor],
            children,
            walk.tensors[HELD, child, tensor],
            walk.tensors[HELD, 0, tensor] * walk.tensors[COPIES, parent, tensor],
            tensor == output,
        )
        walk.words[READ, child, parent] += read
        walk.words[WRITTEN, child, parent] += written
        walk.words[WRITTEN, child, child] += filled
        walk.tensors[PARENT, child, tensor] = child
        walk.tensors[FLOW, child, tensor] = times * children * _least_words(problem, tensor, walk, child)


@_compiled
def take_units(problem: Any, space: Any, walk: Walk) -> bool:
    """Count the words between the multiply-add units and the levels, after the last spread.

    False if the innermost level's loops are not those that a constraint asks for.
    """
    levels, ranks = walk.kept.shape[0], walk.ranks.shape[2]
    last, output = levels - 1, walk.kept.shape[1] - 1
    points = walk.points[last]
    for rank in range(ranks):
        loops = walk.ranks[BLOCKS, last, rank] // walk.ranks[SPATIAL, last, rank]
        if space.fixed[last, rank] > 0 and space.fixed[last, rank] != loops:
            return False
        walk.ranks[TEMPORAL, last, rank] = loops
        points *= loops
    for level in range(levels):
        walk.words[READ, levels, level] = walk.words[READ, last, level]
        walk.words[WRITTEN, levels, level] = walk.words[WRITTEN, last, level]
    for tensor in range(walk.kept.shape[1]):
        parent = walk.tensors[PARENT, last, tensor]
        joint = footprint(problem.terms, tensor, walk.ranks[BLOCKS], walk.ranks[SPATIAL], parent, levels)
        first = walk.tensors[HELD, 0, tensor] * walk.tensors[COPIES, parent, tensor]
        parents, units = walk.instances[parent], walk.instances[levels]
        read, written, _ = exchanged_words(points, parents, joint, units, 1, first, tensor == output)
        walk.words[READ, levels, parent] += read
        walk.words[WRITTEN, levels, parent] += written
    return True
