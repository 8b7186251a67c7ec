"""What a user asks of a mapping, level by level."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hwmodels.spatial.mapping import Loops, MemoryLevel, NestMachine
from simulator.core.errors import InputError
from workloads.einsum import Einsum

__all__ = ["LevelConstraint", "level_rules"]


class LevelConstraint(NamedTuple):
    """What a mapping must say of one level; what is not named is free."""

    temporal: Loops = ()  # (rank, bound) of loops at this level
    spatial: Loops = ()  # (rank, bound) spread over the instances below
    spatial_ranks: frozenset[str] | None = None  # the only other ranks that may be spread; None: any
    innermost: tuple[str, ...] = ()  # the innermost loops of this level, the outermost of them first
    keep: frozenset[str] = frozenset()  # tensors that the level must keep
    bypass: frozenset[str] = frozenset()  # tensors that must pass it by


def level_rules(
    einsum: Einsum, machine: NestMachine, constraints: Mapping[str, LevelConstraint]
) -> tuple[LevelConstraint, ...]:
    """Return the constraint of every level, checked.

    Raises
    ------
    InputError
        If a constraint names what does not exist or contradicts another.
    """
    names = [level.name for level in machine.levels]
    for name in constraints:
        if name not in names:
            raise InputError(f"constraint on {name!r}: {machine.name} has levels {', '.join(names)}")
    rules = tuple(constraints.get(name, LevelConstraint()) for name in names)
    for name, rule in zip(names, rules, strict=True):
        _check_names(einsum, name, rule)
    if rules[0].bypass:
        raise InputError(f"{names[0]}: the outermost level keeps every tensor")
    for rank, bound in einsum.bounds.items():
        given = math.prod(b for rule in rules for r, b in (*rule.temporal, *rule.spatial) if r == rank)
        if bound % given:
            raise InputError(f"rank {rank}: the factors asked for multiply to {given}, which does not divide {bound}")
    return rules


def _check_names(einsum: Einsum, name: str, rule: LevelConstraint) -> None:
    tensors = {tensor.name for tensor in einsum.tensors}
    looped, spread = [rank for rank, _ in rule.temporal], [rank for rank, _ in rule.spatial]
    for rank in (*looped, *spread, *(rule.spatial_ranks or ()), *rule.innermost):
        if rank not in einsum.bounds:
            raise InputError(f"{name}: no rank {rank!r}; ranks are {', '.join(einsum.bounds)}")
    for what, ranks in (("temporal", looped), ("spatial", spread), ("innermost", rule.innermost)):
        if len(set(ranks)) < len(ranks):
            raise InputError(f"{name}: a rank is named twice in {what}")
    for rank, bound in (*rule.temporal, *rule.spatial):
        if bound < 1:
            raise InputError(f"{name}: rank {rank} is asked for with bound {bound}, must be at least 1")
    for tensor in (*rule.keep, *rule.bypass):
        if tensor not in tensors:
            raise InputError(f"{name}: no tensor {tensor!r}; tensors are {', '.join(sorted(tensors))}")
    if rule.keep & rule.bypass:
        raise InputError(f"{name}: {min(rule.keep & rule.bypass)} is both to be kept and to pass by")


def reason(einsum: Einsum, machine: NestMachine, rules: Sequence[LevelConstraint], needed: Sequence[float]) -> str:
    """Say why no mapping is valid, from the fewest words that each level refused (infinite where it refused none)."""
    levels = machine.levels
    for level, rule in zip(levels, rules, strict=True):
        if rule.spatial:
            asked = ", ".join(f"{rank} {bound}-fold" for rank, bound in rule.spatial)
            if not packs([bound for _, bound in rule.spatial], level.below):
                x, y = level.below
                return f"{level.name}: spreading {asked} does not fit {x} x {y} instances: ask for less"
    for rank, bound in einsum.bounds.items():
        asked_for = math.prod(b for rule in rules for r, b in (*rule.temporal, *rule.spatial) if r == rank)
        if asked_for < bound and not any(_free(rank, level, rule) for level, rule in zip(levels, rules, strict=True)):
            free = f"no level is free for the rest of {bound}"
            return f"rank {rank}: the factors asked for multiply to {asked_for} and {free}"
    refused = [
        f"{level.name} holds {level.words:g} words, the smallest block tried needs {words:g}"
        f" of {_kept_names(einsum, rule)}: bypass a tensor there, loosen a factor asked for, or enlarge it"
        for level, rule, words in zip(levels, rules, needed, strict=True)
        if math.isfinite(words)
    ]
    return "; ".join(refused) or "the factors asked for cannot be completed to the bounds: leave a rank free at a level"


def _free(rank: str, level: MemoryLevel, rule: LevelConstraint) -> bool:
    """Whether a level may take any factor of a rank, as loops or over the array below."""
    spread = rule.spatial_ranks is None or rank in rule.spatial_ranks
    taken = {r for r, _ in rule.temporal}, {r for r, _ in rule.spatial}
    return rank not in taken[0] or (spread and math.prod(level.below) > 1 and rank not in taken[1])


def _kept_names(einsum: Einsum, rule: LevelConstraint) -> str:
    return ", ".join(tensor.name for tensor in einsum.tensors if tensor.name not in rule.bypass)


def packs(bounds: Sequence[int], below: tuple[int, int]) -> bool:
    """Whether loops can be laid along two axes of an array, each rank cut in two where need be."""
    return lay_out(bounds, below) is not None


def lay_out(bounds: Sequence[int], below: tuple[int, int]) -> tuple[tuple[int, int], ...] | None:
    """Cut bounds into factors along x and y whose products fit the array; None where they do not."""
    if not bounds:
        return ()
    first, *rest = bounds
    for along_x in range(min(first, below[0]), 0, -1):
        along_y = first // along_x
        if first % along_x == 0 and along_y <= below[1]:
            after = lay_out(rest, (below[0] // along_x, below[1] // along_y))
            if after is not None:
                return ((along_x, along_y), *after)
    return None
