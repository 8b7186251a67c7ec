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
    "exchanged_words",
    "exchanges_below",
    "footprint",
    "level_cycles",
    "level_energy_J",
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
def footprint(terms: Any, tensor: int, blocks: Any, spatial: Any, first: int, level: int) -> int:
    """Words of a tensor, from the first to the last, that neighbouring instances of a level touch together.

    Parameters
    ----------
    terms : int64 array of shape (tensors, terms, 3)
        What adds up to a tensor's indices: dimension (ascending), rank, coefficient; unused rows have coefficient 0.
    tensor
        Which tensor.
    blocks : int64 array of shape (levels + 1, ranks)
        Of :func:`block_extents`.
    spatial : int64 array of shape (levels, ranks)
        Loop bounds below each level.
    first, level
        The instances are those that one instance of level ``first`` feeds; one alone where the two are the same.
    """
    words, reach, dimension = 1, 1, 0
    for term in range(terms.shape[1]):
        if terms[tensor, term, 0] != dimension:
            words *= reach
            reach, dimension = 1, terms[tensor, term, 0]
        rank = terms[tensor, term, 1]
        extent = blocks[level, rank]
        for above in range(first, level):
            extent *= spatial[above, rank]
        reach += terms[tensor, term, 2] * (extent - 1)
    return words * reach


@formula
def exchanges_below(relevant: Any, tensor: int, temporal: Any, order: Any, level: int, times: int, points: int) -> int:
    """How often a tensor's block below a level is exchanged.

    Loops move on to another block, except those of the innermost run that do not index the tensor: they leave the block
    where it is, at this level and, if it has no other loops, at those above.

    Parameters
    ----------
    relevant : bool array of shape (tensors, ranks)
        Ranks that index each tensor.
    tensor
        Which tensor.
    temporal, order : int64 arrays of shape (levels, ranks)
        Loop bounds at each level by rank, and ranks from the outermost loop to the innermost.
    level
        Which level.
    times
        How often the level's own block is exchanged.
    points
        Product of all loops above the level.
    """
    moved, running = 1, True
    for position in range(order.shape[1] - 1, -1, -1):
        rank = order[level, position]
        if temporal[level, rank] > 1:
            running = running and not relevant[tensor, rank]
            if not running:
                moved *= temporal[level, rank]
    return times if running else points * moved


@formula
def exchanged_words(
    times: int, parents: int, joint: int, children: int, block: int, first: int, output: bool
) -> tuple[int, int, int]:
    """Words between the level that keeps a tensor and the next one that does.

    Instances that need the same word get it at once (multicast), and sums of the same result are added on the way up
    (spatial reduction): parents move what their children touch together, children what each touches alone. Inputs go
    down. Sums go up, and come back to be added to, except on the first visit of each.

    Parameters
    ----------
    times
        How often the child's block is exchanged.
    parents, joint
        Instances of the parent, and the words that the children of one touch together.
    children, block
        Instances of the child, and the words that one touches; the child may be the multiply-add unit.
    first
        Words that are visited for the first time.
    output
        Whether the tensor is summed up.

    Returns
    -------
    tuple of int
        Words read at parents, written at parents, written at children.
    """
    sent, received = times * parents * joint, times * children * block
    if output:
        # Each index of an output is one rank: its children together hold a whole number of copies of what was sent.
        return sent - first, sent, (sent - first) * (received // sent)
    return sent, 0, received


@formula
def count_words(
    terms: Any, relevant: Any, temporal: Any, order: Any, spatial: Any, kept: Any, blocks: Any, counts: Any
) -> None:
    """Count the words that all instances of each level move.

    Parameters
    ----------
    terms : int64 array of shape (tensors, terms, 3)
        As in :func:`footprint`; the last tensor is the output.
    relevant : bool array of shape (tensors, ranks)
        Ranks that index each tensor.
    temporal, order, spatial : int64 arrays of shape (levels, ranks)
        As in :func:`footprint` and :func:`exchanges_below`.
    kept : bool array of shape (levels, tensors)
        False where a tensor passes a level by; the outermost keeps all.
    blocks : int64 array of shape (levels + 1, ranks)
        Of :func:`block_extents`.
    counts : int64 array of shape (levels, tensors, 3), zero
        Receives reads, fills and updates.
    """
    tensors, levels, ranks = terms.shape[0], temporal.shape[0], temporal.shape[1]
    for tensor in range(tensors):
        output = tensor == tensors - 1
        whole = footprint(terms, tensor, blocks, spatial, 0, 0)
        parent, parents, copies = 0, 1, 1  # instances of the parent; those that hold sums of the same result
        children, apart, times, points = 1, 1, 1, 1  # the same of the next level; its exchanges; loops above it
        for child in range(1, levels + 1):
            above = child - 1
            times = exchanges_below(relevant, tensor, temporal, order, above, times, points)
            for rank in range(ranks):
                points *= temporal[above, rank]
                children *= spatial[above, rank]
                apart *= 1 if relevant[tensor, rank] else spatial[above, rank]
            if child == levels:
                times = points  # a multiply-add unit keeps nothing
            elif not kept[child, tensor]:
                continue
            joint = footprint(terms, tensor, blocks, spatial, parent, child)
            block = footprint(terms, tensor, blocks, spatial, child, child)
            read, written, filled = exchanged_words(times, parents, joint, children, block, whole * copies, output)
            counts[parent, tensor, READS] += read
            counts[parent, tensor, UPDATES] += written
            if child < levels:
                counts[child, tensor, FILLS] += filled
            parent, parents, copies = child, children, apart


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
