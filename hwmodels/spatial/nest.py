"""Loop nests on a tree of memories: words moved at every level, from nothing but the order and bounds of loops.

A machine is a list of levels from DRAM to the registers beside each multiply-add unit; below each level its contents
may be spread over instances of the next. A mapping cuts every rank of an einsum into a temporal factor per level and a
spatial factor between levels. A level holds of each tensor the block that the loops at and below it touch, and
exchanges it when a loop above it moves to another block: loops that do not index the tensor, as long as they are
innermost, leave it where it is.

Source: the counting rules of Timeloop (Parashar et al., ISPASS 2019; version 3.0.3 checked column by column). A block
of a sliding window is exchanged whole, though it overlaps the one before, and counted from its first word to its last;
blocks that instances hold at one time count as adjacent.

These formulas take arrays of whole numbers, one mapping each, so that a search compiles them into its loop.
"""

from __future__ import annotations

import math
from typing import Any

from simulator.core.formula import formula

__all__ = [
    "FILLS",
    "READS",
    "UPDATES",
    "block_extents",
    "count_words",
    "exchange",
    "exchanged_words",
    "footprint",
    "level_cycles",
    "level_energy_J",
    "surviving",
    "whole_cycles",
]

#: Last axis of the counts: words sent down, words received from above, words received from below.
READS, FILLS, UPDATES = 0, 1, 2

#: Compiled loops may divide by a reciprocal: a quotient this close above a whole number is that number.
_ROUNDING = 1.0 - 1e-12


@formula
def block_extents(temporal: Any, spatial: Any, blocks: Any) -> None:
    """Fill ``blocks`` with how far one instance of each level reaches along each rank.

    Parameters
    ----------
    temporal, spatial : int64 arrays of shape (levels, ranks)
        Loop bounds at each level, and below it.
    blocks : int64 array of shape (levels + 1, ranks)
        Receives the extents; the last row is a multiply-add unit's, all ones.
    """
    levels, ranks = temporal.shape
    for rank in range(ranks):
        blocks[levels, rank] = 1
        for level in range(levels - 1, -1, -1):
            blocks[level, rank] = blocks[level + 1, rank] * temporal[level, rank] * spatial[level, rank]


@formula
def footprint(window: Any, block: Any, spatial: Any, first: int, last: int) -> int:
    """Words of a tensor, from the first to the last, that neighbouring instances touch together.

    Parameters
    ----------
    window : int64 array of shape (dimensions, ranks)
        Coefficient of each rank in each index of the tensor; rows of zeros for dimensions it does not have.
    block : int64 array of shape (ranks,)
        Extents that one instance of level ``last`` touches.
    spatial : int64 array of shape (levels, ranks)
        Loop bounds below each level.
    first, last
        The instances are those that one instance of level ``first`` feeds; one alone where the two are the same.
    """
    words = 1
    for dimension in range(window.shape[0]):
        reach = 1
        for rank in range(window.shape[1]):
            if window[dimension, rank] > 0:
                extent = block[rank]
                for level in range(first, last):
                    extent *= spatial[level, rank]
                reach += window[dimension, rank] * (extent - 1)
        words *= reach
    return words


@formula
def surviving(relevant: Any, temporal: Any, order: Any, level: int) -> int:
    """How often a tensor's block at ``level`` is exchanged.

    The bounds of the loops above it, without the innermost run of loops that do not index the tensor.
    ``order[level]`` lists ranks from the outermost loop to the innermost.
    """
    times, running = 1, True
    for above in range(level - 1, -1, -1):
        for position in range(temporal.shape[1] - 1, -1, -1):
            rank = order[above, position]
            if temporal[above, rank] == 1:
                continue
            if relevant[rank]:
                running = False
            if not running:
                times *= temporal[above, rank]
    return times


@formula
def exchange(
    window: Any,
    relevant: Any,
    temporal: Any,
    order: Any,
    spatial: Any,
    block: Any,
    parent: int,
    child: int,
    parents: int,
) -> tuple[int, int]:
    """Words that pass between the level that keeps a tensor and the next one that does: (at parents, at children).

    Instances that need the same word get it at once (multicast), and sums of the same result are added on the way up
    (spatial reduction): that is the difference of the two.

    Parameters
    ----------
    window, block, spatial
        As in :func:`footprint`; the block is the child's.
    relevant : bool array of shape (ranks,)
        Ranks that index the tensor.
    temporal, order : int64 arrays of shape (levels, ranks)
        As in :func:`surviving`.
    parent, child
        Levels; the child may be the multiply-add unit, which keeps nothing.
    parents
        Instances of the parent.
    """
    levels, ranks = temporal.shape
    children = parents
    for level in range(parent, child):
        for rank in range(ranks):
            children *= spatial[level, rank]
    if child < levels:
        times = surviving(relevant, temporal, order, child)
    else:
        times = 1
        for level in range(levels):
            for rank in range(ranks):
                times *= temporal[level, rank]
    sent = times * parents * footprint(window, block, spatial, parent, child)
    return sent, times * children * footprint(window, block, spatial, child, child)


@formula
def exchanged_words(sent: int, received: int, first: int, output: bool) -> tuple[int, int, int]:
    """Split an exchange into (read at parents, written at parents, written at children).

    Inputs go down. Sums go up, and come back to be added to except on the ``first`` visit of each, which finds none.
    """
    if output:
        # Each index of an output is one rank: its children together hold a whole number of copies of what was sent.
        return sent - first, sent, (sent - first) * (received // sent)
    return sent, 0, received


@formula
def count_words(
    windows: Any, relevant: Any, temporal: Any, order: Any, spatial: Any, kept: Any, blocks: Any, counts: Any
) -> None:
    """Count the words that all instances of each level move.

    Parameters
    ----------
    windows : int64 array of shape (tensors, dimensions, ranks)
        As in :func:`footprint`; the last tensor is the output.
    relevant : bool array of shape (tensors, ranks)
        Ranks that index each tensor.
    temporal, order, spatial : int64 arrays of shape (levels, ranks)
        As in :func:`footprint` and :func:`surviving`.
    kept : bool array of shape (levels, tensors)
        False where a tensor passes a level by; the outermost keeps all.
    blocks : int64 array of shape (levels + 1, ranks)
        Of :func:`block_extents`.
    counts : int64 array of shape (levels, tensors, 3), zero
        Receives reads, fills and updates.
    """
    tensors, levels, ranks = windows.shape[0], temporal.shape[0], temporal.shape[1]
    for tensor in range(tensors):
        output = tensor == tensors - 1
        whole = footprint(windows[tensor], blocks[0], spatial, 0, 0)
        parent, parents, copies = 0, 1, 1  # instances of the parent; those that hold sums of the same result
        for child in range(1, levels + 1):
            if child < levels and not kept[child, tensor]:
                continue
            sent, received = exchange(
                windows[tensor], relevant[tensor], temporal, order, spatial, blocks[child], parent, child, parents
            )
            read, written, filled = exchanged_words(sent, received, whole * copies, output)
            counts[parent, tensor, READS] += read
            counts[parent, tensor, UPDATES] += written
            if child < levels:
                counts[child, tensor, FILLS] += filled
            for level in range(parent, child):
                for rank in range(ranks):
                    parents *= spatial[level, rank]
                    copies *= 1 if relevant[tensor, rank] else spatial[level, rank]
            parent = child


@formula
def level_cycles(read: int, written: int, read_words_per_cycle: float, write_words_per_cycle: float) -> float:
    """Cycles a level needs to move its words, both directions at once; rates are of all instances together."""
    return max(read / read_words_per_cycle, written / write_words_per_cycle)


@formula
def whole_cycles(cycles: float) -> int:
    """Return a time as whole cycles, rounded up."""
    return math.ceil(cycles * _ROUNDING)


@formula
def level_energy_J(read: int, written: int, read_J: float, write_J: float) -> float:
    """Energy of a level's words."""
    return read * read_J + written * write_J
