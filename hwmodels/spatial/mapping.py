"""One mapping of an einsum onto a machine: checked, counted, timed, with energy by level."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwmodels.spatial.nest import (
    FILLS,
    READS,
    UPDATES,
    block_extents,
    count_words,
    level_cycles,
    level_energy_J,
    whole_cycles,
)
from simulator.core.errors import InputError
from workloads.einsum import Einsum

__all__ = [
    "LevelMapping",
    "Loops",
    "MappingCost",
    "MemoryLevel",
    "NestMachine",
    "Words",
    "evaluate_mapping",
    "nest_arrays",
    "tensor_terms",
]

Loops: TypeAlias = tuple[tuple[str, int], ...]


class MemoryLevel(NamedTuple):
    """One instance of a memory, and what it feeds."""

    name: str
    words: float  # capacity; infinite where nothing limits it
    read_words_per_cycle: float  # infinite where nothing limits it
    write_words_per_cycle: float
    read_J: float  # per word
    write_J: float
    below: tuple[int, int] = (1, 1)  # instances of the next level that it feeds, along x and y


@dataclass(frozen=True, slots=True)
class NestMachine:
    """Memories from the outermost to the one beside each multiply-add unit, and that unit (one per cycle)."""

    name: str
    levels: tuple[MemoryLevel, ...]
    mac_J: float

    @property
    def units(self) -> int:
        """Multiply-add units."""
        return math.prod(x * y for level in self.levels for x, y in [level.below])


class LevelMapping(NamedTuple):
    """What a mapping says of one level."""

    temporal: Loops  # (rank, bound) from the outermost loop to the innermost
    spatial: tuple[Loops, ...] = ()  # over the instances below: the loops along x, and those along y
    bypass: frozenset[str] = frozenset()  # tensors that this level does not keep

    @property
    def spread(self) -> Loops:
        """The loops along both axes."""
        return tuple(loop for axis in self.spatial for loop in axis)


class Words(NamedTuple):
    """Words of one tensor at one level, over all instances in use."""

    reads: int  # sent down, or read to be added to
    fills: int  # received from above
    updates: int  # received from below


@dataclass(frozen=True, slots=True)
class MappingCost:
    """What a mapping costs."""

    words: Mapping[tuple[str, str], Words]  # by level and tensor
    cycles: int
    bound: str  # what needs these cycles: "compute", or a level
    macs: int
    instances: Mapping[str, int]  # in use, by level
    utilisation: float  # multiply-adds over units x cycles
    energy_J: Mapping[str, float]  # by level, and "mac"
    margin_words: Mapping[str, float]  # capacity less what the mapping keeps there; negative: does not fit

    @property
    def total_J(self) -> float:
        """Energy of all levels and multiply-adds."""
        return sum(self.energy_J.values())

    @property
    def fits(self) -> bool:
        """Whether every level holds what the mapping keeps there."""
        return all(margin >= 0.0 for margin in self.margin_words.values())


class NestArrays(NamedTuple):
    """A mapping as :func:`hwmodels.spatial.nest.count_words` takes it."""

    terms: NDArray[np.int64]
    relevant: NDArray[np.bool_]
    temporal: NDArray[np.int64]
    order: NDArray[np.int64]
    spatial: NDArray[np.int64]
    kept: NDArray[np.bool_]
    blocks: NDArray[np.int64]


def tensor_terms(einsum: Einsum, ranks: Sequence[str]) -> NDArray[np.int64]:
    """Return what adds up to the indices of the tensors: (dimension, rank, coefficient), shape (tensors, terms, 3).

    Ranks are numbered as in ``ranks``; those left out are taken to have one step.
    """
    rows = [
        [(d, ranks.index(r), c) for d, index in enumerate(tensor.indices) for r, c in index if r in ranks]
        for tensor in einsum.tensors
    ]
    terms = np.zeros((len(rows), max(map(len, rows)), 3), np.int64)
    for row, found in zip(terms, rows, strict=True):
        row[:, 0] = -1
        row[: len(found)] = np.array(found, np.int64).reshape(-1, 3)
    return terms


def nest_arrays(einsum: Einsum, mapping: Sequence[LevelMapping]) -> NestArrays:
    """Return the arrays of a mapping, without checking it."""
    ranks = list(einsum.bounds)
    shape = (len(mapping), len(ranks))
    temporal, spatial = np.ones(shape, np.int64), np.ones(shape, np.int64)
    order = np.zeros(shape, np.int64)
    for level, mapped in enumerate(mapping):
        for rank, bound in mapped.temporal:
            temporal[level, ranks.index(rank)] *= bound
        for rank, bound in mapped.spread:
            spatial[level, ranks.index(rank)] *= bound
        named = [ranks.index(rank) for rank, _ in mapped.temporal]
        order[level] = [*(i for i in range(len(ranks)) if i not in named), *named]
    kept = np.array([[t.name not in level.bypass for t in einsum.tensors] for level in mapping], np.bool_)
    blocks = np.ones((len(mapping) + 1, len(ranks)), np.int64)
    block_extents(temporal, spatial, blocks)
    relevant = np.array([[rank in tensor.ranks for rank in ranks] for tensor in einsum.tensors], np.bool_)
    return NestArrays(tensor_terms(einsum, ranks), relevant, temporal, order, spatial, kept, blocks)


def evaluate_mapping(einsum: Einsum, machine: NestMachine, mapping: Sequence[LevelMapping]) -> MappingCost:
    """Count words, cycles and energy of a mapping.

    Every level moves words in both directions at once, under the multiply-adds: the slowest bounds the time. What does
    not fit is a result with a negative margin.

    Raises
    ------
    InputError
        If the mapping is not one of this einsum on this machine.
    """
    _check(einsum, machine, mapping)
    arrays = nest_arrays(einsum, mapping)
    counts = np.zeros((len(mapping), len(einsum.tensors), 3), np.int64)
    count_words(*arrays, counts)
    instances, running = [], 1
    for mapped in mapping:
        instances.append(running)
        running *= math.prod(bound for _, bound in mapped.spread)
    times = {"compute": einsum.macs / running}
    energy_J = {"mac": einsum.macs * machine.mac_J}
    for level, words, number in zip(machine.levels, counts, instances, strict=True):
        read, written = int(words[:, READS].sum()), int(words[:, [FILLS, UPDATES]].sum())
        rates = level.read_words_per_cycle * number, level.write_words_per_cycle * number
        times[level.name] = level_cycles(read, written, *rates)
        energy_J[level.name] = level_energy_J(read, written, level.read_J, level.write_J)
    bound = max(times, key=lambda name: times[name])
    cycles = whole_cycles(times[bound])
    return MappingCost(
        words={
            (level.name, tensor.name): Words(*counts[i, j].tolist())
            for i, level in enumerate(machine.levels)
            for j, tensor in enumerate(einsum.tensors)
        },
        cycles=cycles,
        bound=bound,
        macs=einsum.macs,
        instances={level.name: number for level, number in zip(machine.levels, instances, strict=True)},
        utilisation=einsum.macs / (cycles * machine.units),
        energy_J=energy_J,
        margin_words=_margins(einsum, machine, mapping),
    )


def _margins(einsum: Einsum, machine: NestMachine, mapping: Sequence[LevelMapping]) -> dict[str, float]:
    """Return for each level its capacity less the blocks that it keeps."""
    extents = dict.fromkeys(einsum.bounds, 1)
    margins: dict[str, float] = {}
    for level, mapped in zip(reversed(machine.levels), reversed(mapping), strict=True):
        for rank, bound in (*mapped.temporal, *mapped.spread):
            extents[rank] *= bound
        held = sum(tensor.words(extents) for tensor in einsum.tensors if tensor.name not in mapped.bypass)
        margins[level.name] = level.words - held
    return dict(reversed(margins.items()))


def _check(einsum: Einsum, machine: NestMachine, mapping: Sequence[LevelMapping]) -> None:
    if len(mapping) != len(machine.levels):
        raise InputError(f"{len(mapping)} levels mapped, {machine.name} has {len(machine.levels)}")
    names = {tensor.name for tensor in einsum.tensors}
    product = dict.fromkeys(einsum.bounds, 1)
    for level, mapped in zip(machine.levels, mapping, strict=True):
        for rank, bound in (*mapped.temporal, *mapped.spread):
            if rank not in product:
                raise InputError(f"{level.name}: no rank {rank!r}; ranks are {', '.join(product)}")
            if bound < 1:
                raise InputError(f"{level.name}: rank {rank} has bound {bound}, must be at least 1")
            product[rank] *= bound
        looped = [rank for rank, _ in mapped.temporal]
        if len(set(looped)) < len(looped):
            raise InputError(f"{level.name}: a rank is looped over twice")
        if len(mapped.spatial) > len(level.below):
            raise InputError(f"{level.name}: spread along {len(mapped.spatial)} axes, an array has x and y")
        for axis, loops, most in zip("xy", mapped.spatial, level.below, strict=False):
            spread = math.prod(bound for _, bound in loops)
            if spread > most:
                ranks = ", ".join(rank for rank, _ in loops)
                raise InputError(f"{level.name}: {ranks} spread {spread}-fold along {axis}, there are {most} instances")
        if not mapped.bypass <= names:
            raise InputError(f"{level.name}: no tensor {min(mapped.bypass - names)!r} to bypass")
    if mapping[0].bypass:
        raise InputError(f"{machine.levels[0].name}: the outermost level keeps every tensor")
    for rank, bound in einsum.bounds.items():
        if product[rank] != bound:
            raise InputError(f"rank {rank}: factors multiply to {product[rank]}, its bound is {bound}")
