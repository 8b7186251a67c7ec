"""The space of mappings as arrays: divisors, orders up to symmetry, ways to fill an array, tensors kept.

Two loop orders of one level differ only in which loops stand innermost without indexing a tensor, since those leave its
block where it is. Of the orders of a level, a search therefore needs those alone whose reuse no other order contains.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwmodels.spatial.mapper.constraints import LevelConstraint
from hwmodels.spatial.mapping import NestMachine, tensor_terms
from simulator.core.errors import UnsupportedError
from workloads.einsum import Einsum

__all__ = [
    "OBJECTIVES",
    "Problem",
    "Space",
    "divisors",
    "keep_choices",
    "prime_factors",
    "problem_of",
    "reuse_orders",
    "space_of",
]

#: What to make small, and by what to choose among equals: energy x cycles; energy, cycles; cycles, energy.
OBJECTIVES = ("edp", "energy", "cycles")

#: Ranks longer than 1; orders are tabled for every subset of them.
_MOST_RANKS = 10

#: Longest rank: its factors are found by trial.
_LONGEST = 2**32

#: Ways to fill one axis of an array, and ways to keep tensors, that are tabled.
_MOST_ROWS = 200_000

#: Ways to fill an array that are tabled; with more, only full ones are, and the search is no longer exhaustive.
_MOST_SPREADS = 2_000_000


#: First index of a problem's marks: the rank indexes the tensor; it does so alone, so each step of it is another word.
RELEVANT, APART = 0, 1

#: First index of a problem's machine, in the order of :class:`~hwmodels.spatial.mapping.MemoryLevel`.
CAPACITY, READ_RATE, WRITE_RATE, READ_J, WRITE_J = range(5)


class Problem(NamedTuple):
    """Einsum, machine and objective as the kernels take them. Ranks of bound 1 are left out."""

    terms: NDArray[np.int64]  # (tensors, terms, 3): dimension, rank, coefficient
    marks: NDArray[np.bool_]  # (2, tensors, ranks): RELEVANT, APART
    strided: NDArray[np.bool_]  # (tensors,): an index skips words
    grows_badly: NDArray[np.bool_]  # (ranks,): an index skips words along it
    bounds: NDArray[np.int64]  # (ranks,)
    macs: int
    machine: NDArray[np.float64]  # (5, levels): CAPACITY in words, rates in words per cycle, energies per word
    mac_J: float
    objective: int  # index into OBJECTIVES


class Space(NamedTuple):
    """What a mapping may choose."""

    fixed: NDArray[np.int64]  # (levels, ranks): temporal factors that are given; 0 where free
    least: NDArray[np.int64]  # (levels, ranks): product of the factors that are given at a level and below
    divisors: NDArray[np.int64]  # (ranks, most divisors): ascending, then zeros
    orders: NDArray[np.int64]  # (rows, ranks): from the outermost loop to the innermost
    order_start: NDArray[np.int64]  # (levels, subsets of ranks + 1): rows by level and by which ranks are looped over
    spreads: NDArray[np.int64]  # (rows, ranks): factors over an array, the largest products first
    spread_start: NDArray[np.int64]  # (levels + 1,)
    most_spread: NDArray[np.int64]  # (levels,)
    complete: bool  # whether nothing that could be best is left out


def divisors(number: int) -> list[int]:
    """Return the divisors of a number, ascending."""
    found = [1]
    for prime, group in itertools.groupby(prime_factors(number)):
        powers = [prime**exponent for exponent in range(len(list(group)) + 1)]
        found = [a * b for a in found for b in powers]
    return sorted(found)


def prime_factors(number: int) -> list[int]:
    """Return the prime factors of a number, ascending, each as often as it divides."""
    found, candidate = [], 2
    while candidate * candidate <= number:
        while number % candidate == 0:
            found.append(candidate)
            number //= candidate
        candidate += 1
    return [*found, number] if number > 1 else found


def problem_of(einsum: Einsum, machine: NestMachine, objective: str) -> tuple[Problem, list[str]]:
    """Return the arrays of a problem, and the ranks that they count.

    Raises
    ------
    UnsupportedError
        If the einsum has too many ranks, or too long ones.
    """
    ranks = [rank for rank, bound in einsum.bounds.items() if bound > 1] or list(einsum.bounds)[:1]
    if len(ranks) > _MOST_RANKS:
        raise UnsupportedError(f"{len(ranks)} ranks longer than 1: the mapper takes up to {_MOST_RANKS}; merge some")
    for rank in ranks:
        if einsum.bounds[rank] > _LONGEST:
            raise UnsupportedError(
                f"rank {rank} has bound {einsum.bounds[rank]}, the mapper takes up to 2^32: split it"
            )
    indices = [[[pair for pair in index if pair[0] in ranks] for index in t.indices] for t in einsum.tensors]
    skipping = [{rank for index in tensor for rank, step in index if step > 1} for tensor in indices]
    alone = [{index[0][0] for index in tensor if len(index) == 1} for tensor in indices]
    return Problem(
        tensor_terms(einsum, ranks),
        np.array([_table([tensor.ranks for tensor in einsum.tensors], ranks), _table(alone, ranks)]),
        np.array([bool(found) for found in skipping], np.bool_),
        np.array(_table(skipping, ranks).any(axis=0)),
        np.array([einsum.bounds[rank] for rank in ranks], np.int64),
        einsum.macs,
        np.array([level[1:6] for level in machine.levels], np.float64).T.copy(),
        machine.mac_J,
        OBJECTIVES.index(objective),
    ), ranks


def _table(sets: Sequence[Collection[str]], ranks: Sequence[str]) -> NDArray[np.bool_]:
    """Return which rank is in which set."""
    return np.array([[rank in found for rank in ranks] for found in sets], np.bool_)


def reuse_orders(relevant: NDArray[np.bool_], ranks: Sequence[int]) -> list[tuple[int, ...]]:
    """Return orders of ``ranks``, outermost first, such that every order's reuse is contained in that of one of them.

    Built from the innermost loop outwards: a tensor is *still* as long as no loop so far indexes it. Loops that index
    no still tensor cost nothing and come first; then each choice that leaves another set of tensors still is tried.
    """
    found: dict[tuple[int, ...], None] = {}

    def grow(inner: tuple[int, ...], still: NDArray[np.bool_]) -> None:
        free = tuple(r for r in ranks if r not in inner and not (still & relevant[:, r]).any())
        inner = (*inner, *free) if still.any() else inner
        rest = [r for r in ranks if r not in inner]
        nexts = {tuple(still & ~relevant[:, r]): r for r in reversed(rest)}
        choices = [(np.array(after), r) for after, r in nexts.items() if any(after)]
        for after, rank in sorted(choices, key=lambda choice: choice[1]):
            grow((*inner, rank), after)
        if not choices:
            found[tuple(reversed((*inner, *rest)))] = None

    grow((), np.ones(len(relevant), np.bool_))
    return list(found)


def space_of(problem: Problem, ranks: Sequence[str], machine: NestMachine, rules: Sequence[LevelConstraint]) -> Space:
    """Return the space of mappings that obey ``rules``, one per level."""
    count = len(ranks)
    dividing = [divisors(int(bound)) for bound in problem.bounds]
    table = np.zeros((count, max(map(len, dividing))), np.int64)
    for row, values in zip(table, dividing, strict=True):
        row[: len(values)] = values
    fixed = np.zeros((len(rules), count), np.int64)
    for row, rule in zip(fixed, rules, strict=True):
        for rank, bound in rule.temporal:
            if rank in ranks:
                row[ranks.index(rank)] = bound
    given = np.maximum(fixed, 1)
    for row, rule in zip(given, rules, strict=True):
        for rank, bound in rule.spatial:
            if rank in ranks:
                row[ranks.index(rank)] *= bound
    orders, order_start = _orders(problem, ranks, rules)
    spreads = [_spreads(dividing, ranks, level.below, rule) for level, rule in zip(machine.levels, rules, strict=True)]
    return Space(
        fixed,
        np.ascontiguousarray(np.cumprod(given[::-1], axis=0)[::-1]),
        table,
        orders,
        order_start,
        np.concatenate([both for both, _ in spreads]),
        np.cumsum([0, *(len(both) for both, _ in spreads)]),
        np.array([int(both.prod(axis=1).max(initial=1)) for both, _ in spreads], np.int64),
        all(complete for _, complete in spreads),
    )


def _orders(
    problem: Problem, ranks: Sequence[str], rules: Sequence[LevelConstraint]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    count = len(ranks)
    rows: list[tuple[int, ...]] = []
    start = np.zeros((len(rules), 2**count + 1), np.int64)
    tabled: dict[tuple[str, ...], list[list[tuple[int, ...]]]] = {}
    for level, rule in enumerate(rules):
        if rule.innermost not in tabled:
            given = [ranks.index(rank) for rank in rule.innermost if rank in ranks]
            tabled[rule.innermost] = [_orders_of(problem.marks[RELEVANT], subset, given) for subset in range(2**count)]
        for subset, orders in enumerate(tabled[rule.innermost]):
            start[level, subset] = len(rows)
            rows += [(*(r for r in range(count) if r not in order), *order) for order in orders]
        start[level, -1] = len(rows)
    return np.array(rows, np.int64).reshape(-1, count), start


def _orders_of(relevant: NDArray[np.bool_], subset: int, given: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the orders of the ranks of ``subset`` (a bit each) with those ``given`` innermost, outermost first."""
    looped = [rank for rank in range(relevant.shape[1]) if subset >> rank & 1]
    inner = tuple(rank for rank in given if rank in looped)
    still = ~relevant[:, list(inner)].any(axis=1)
    outer = reuse_orders(relevant[still], [rank for rank in looped if rank not in inner])
    return [(*order, *inner) for order in outer]


def _spreads(
    dividing: Sequence[Sequence[int]], ranks: Sequence[str], below: tuple[int, int], rule: LevelConstraint
) -> tuple[NDArray[np.int64], bool]:
    """Return the factors over an array, the largest products first, and whether these are all."""
    spread = dict(rule.spatial)
    allowed = [
        values if rule.spatial_ranks is None or rank in rule.spatial_ranks or rank in spread else [1]
        for rank, values in zip(ranks, dividing, strict=True)
    ]
    along_x, along_y = (_vectors(allowed, most) for most in below)
    complete = len(along_x) * len(along_y) <= _MOST_SPREADS
    if not complete:
        along_x, along_y = _fullest(along_x), _fullest(along_y)
    both = (along_x[:, None, :] * along_y[None, :, :]).reshape(-1, len(ranks))
    divides = np.ones(len(both), np.bool_)
    for column, (rank, values) in enumerate(zip(ranks, dividing, strict=True)):
        divides &= values[-1] % both[:, column] == 0
        if rank in spread:
            divides &= both[:, column] == spread[rank]
    # One number names a row: there are fewer than 2^60, since all bounds together make at most 2^53 points.
    places = np.cumprod([1, *(values[-1] + 1 for values in dividing[:-1])])
    _, first = np.unique(both[divides] @ places, return_index=True)
    both = both[divides][first]
    return both[np.argsort(-both.prod(axis=1), kind="stable")], complete


def _vectors(allowed: Sequence[Sequence[int]], most: int) -> NDArray[np.int64]:
    """Return every choice of one value per rank with a product of at most ``most``."""
    rows: list[tuple[tuple[int, ...], int]] = [((), 1)]
    for values in allowed:
        rows = [((*row, value), size * value) for row, size in rows for value in values if size * value <= most]
        if len(rows) > _MOST_ROWS:
            raise UnsupportedError(
                f"more than {_MOST_ROWS} ways to fill {most} instances: name the ranks to spread (spatial_ranks)"
            )
    return np.array([row for row, _ in rows], np.int64).reshape(-1, len(allowed))


def _fullest(vectors: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the vectors of the largest products, and the one that spreads nothing."""
    largest_first = np.argsort(-vectors.prod(axis=1), kind="stable")
    rows = [*largest_first[: int(_MOST_SPREADS**0.5) - 1].tolist(), int(largest_first[-1])]
    return vectors[rows, :]


def keep_choices(tensors: Sequence[str], rules: Sequence[LevelConstraint]) -> NDArray[np.bool_]:
    """Return which tensors each level may keep, all of them first; the outermost keeps all."""
    choices: list[list[tuple[bool, ...]]] = [[(True,)] * len(tensors)]
    for rule in rules[1:]:
        free = (True, False)
        choices.append([(True,) if t in rule.keep else (False,) if t in rule.bypass else free for t in tensors])
    flat = list(itertools.chain.from_iterable(choices))
    ways = math.prod(map(len, flat))
    if ways > _MOST_ROWS:
        raise UnsupportedError(f"{ways} ways to keep tensors: say of some levels which they keep and which pass by")
    rows = list(itertools.product(*flat))
    return np.array(rows, np.bool_).reshape(-1, len(rules), len(tensors))
