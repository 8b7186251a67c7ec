"""Placement: which unit of a system runs an operator, and whether several share it.

A policy is a function from an operator and the units' answers to the pieces that run; to add one, write it and list it
in ``POLICIES``. Pieces of one operator run at the same time, unless their units must take turns on one memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hwmodels.device import Cost
from hwmodels.spec import PlacementSpec
from hwmodels.system import Unit
from simulator.core.errors import InputError, UnknownNameError, UnsupportedError
from simulator.core.names import suggest
from workloads.operators import KV_CACHE, Attention, GroupedGemm, Operator, Role, total_bytes
from workloads.splitting import expert_counts, share_attention, split_experts, split_heads, split_sequences

__all__ = ["POLICIES", "Choices", "Piece", "place"]


@dataclass(frozen=True, slots=True)
class Piece:
    """An operator, or a part of one, on a unit (by its number)."""

    unit: int
    operator: Operator


Pieces = tuple[Piece, ...]


@dataclass(slots=True)
class Choices:
    """What a policy may ask: who can run an operator, how long it takes there, how long pieces take together."""

    units: Sequence[Unit]
    rules: PlacementSpec
    _costs: dict[tuple[int, Operator], Cost | None] = field(default_factory=dict)

    def cost(self, unit: int, operator: Operator) -> Cost | None:
        """Cost of an operator on one device of a unit, which takes its share; None where the device cannot run it."""
        key = (unit, operator)
        try:
            return self._costs[key]  # one hash: that of an operator takes longer than most of what is asked here
        except KeyError:
            pass
        try:
            cost = self.units[unit].planner.cost(self.of_one_device(unit, operator))
        except UnsupportedError:
            cost = None
        self._costs[key] = cost
        return cost

    def of_one_device(self, unit: int, operator: Operator) -> Operator:
        """Return what one of a unit's devices does of an operator of one rank."""
        devices = max(1, round(self.units[unit].per_rank))
        return share_attention(operator, devices) if isinstance(operator, Attention) else operator

    def ranks(self, unit: int) -> float:
        """Ranks whose work one device of the unit does, one after the other."""
        return max(1.0, 1.0 / self.units[unit].per_rank)

    def time_s(self, unit: int, operator: Operator) -> float:
        """Time of an operator on a unit; infinite where it cannot run."""
        cost = self.cost(unit, operator)
        return float("inf") if cost is None else cost.time_s * self.ranks(unit)

    def able(self, operator: Operator) -> list[int]:
        """Units that reach what an operator reads and can compute it."""
        return [u for u in range(len(self.units)) if self._reaches(u, operator) and self.cost(u, operator) is not None]

    def _reaches(self, unit: int, operator: Operator) -> bool:
        held, kinds = self.units[unit].holds, self.units[unit].runs
        if kinds is not None and operator.kind not in kinds:
            return False
        stored = {needed for tensor in operator.tensors if (needed := _stored(tensor.role, operator)) is not None}
        if self.units[unit].memory == self.units[0].memory:
            return stored <= held and (unit == 0 or operator.kind not in ("collective", "transfer"))
        # Work goes to another memory only for what lies there.
        return bool(stored) and stored <= held

    def together_s(self, pieces: Pieces) -> float:
        """Time of pieces that start together: the longest, or what a section of a shared memory has to serve.

        Units that take turns on sections as they need them finish after the longest of any unit's and any section's
        work (preemptive open shop, Gonzalez and Sahni 1976, Journal of the ACM 23:4).
        """
        times = [self.time_s(piece.unit, piece.operator) for piece in pieces]
        busy_s: dict[tuple[str, int], float] = {}
        for piece, time_s in zip(pieces, times, strict=True):
            where = self._sections(piece.operator)
            for section in {0, self.rules.sections - 1}:  # those of running sequences are alike, and so are the others
                key = (self.units[piece.unit].memory, section)
                if section in where:
                    busy_s[key] = busy_s.get(key, 0.0) + time_s / len(where)
        return max(*times, *busy_s.values())

    def _sections(self, operator: Operator) -> range:
        """Sections of a memory that an operator's data lies in: prompts apart from what running sequences cached."""
        every, cached = self.rules.sections, self.rules.kv_sections
        if cached is None or cached == every or not isinstance(operator, Attention):
            return range(every)
        return range(cached) if max(g.q_len for g in operator.groups) == 1 else range(cached, every)


def _stored(role: Role, operator: Operator) -> str | None:
    """Return what a tensor belongs to that must lie in memory before: weights or cache."""
    if role in (Role.WEIGHT, Role.SCALES):
        return "weights"
    if role is Role.KV_READ and not _fresh(operator):
        return "kv"
    return None


def _fresh(operator: Operator) -> bool:
    """Whether all that attention reads was computed in this step: prompts with nothing cached."""
    if not isinstance(operator, Attention):
        return False
    return operator.kv_source != KV_CACHE or all(g.q_len > 1 and g.kv_len <= g.q_len for g in operator.groups)


def place(operator: Operator, choices: Choices) -> Pieces:
    """Return the pieces of an operator that the system's policy chooses.

    Raises
    ------
    InputError
        If no unit can run it.
    """
    policy = POLICIES.get(choices.rules.policy)
    if policy is None:
        raise UnknownNameError(
            "placement policy", choices.rules.policy, suggest(choices.rules.policy, POLICIES), list(POLICIES)
        )
    pieces = policy(operator, choices)
    if not pieces:
        names = ", ".join(unit.name for unit in choices.units)
        raise InputError(f"no unit can run {operator.name} ({operator.kind}) with what it holds: units are {names}")
    return pieces


def _by_phase(operator: Operator) -> tuple[Operator, ...]:
    """Return attention of prompts and of single queries apart; anything else is one."""
    if not isinstance(operator, Attention):
        return (operator,)
    prompts = [group for group in operator.groups if group.q_len > 1]
    if not prompts or len(prompts) == len(operator.groups):
        return (operator,)
    ordered = replace(operator, groups=(*prompts, *(g for g in operator.groups if g.q_len == 1)))
    return split_sequences(ordered, len(prompts))


def _fixed(operator: Operator, choices: Choices) -> Pieces:
    """Place by kind, as written; ``attention/prompt`` may differ from ``attention``."""
    names = [unit.name for unit in choices.units]
    kinds = choices.rules.kinds
    pieces = []
    for part in _by_phase(operator):
        able = choices.able(part)
        prompt = isinstance(part, Attention) and part.groups[0].q_len > 1
        by_kind: dict[str, str] = {str(kind): name for kind, name in kinds.items()}
        wanted = by_kind.get(part.kind, names[0])
        wanted = by_kind.get(f"{part.kind}/prompt", wanted) if prompt else wanted
        unit = names.index(wanted)
        if able:
            pieces.append(Piece(unit if unit in able else able[0], part))
    return tuple(pieces)


def _fastest(operator: Operator, choices: Choices) -> Pieces:
    """Place on the unit that takes least time."""
    parts = _by_phase(operator)
    best = [min(choices.able(p), key=lambda unit: choices.time_s(unit, p), default=None) for p in parts]
    return tuple(Piece(unit, part) for unit, part in zip(best, parts, strict=True) if unit is not None)


def _intensity(operator: Operator, choices: Choices) -> Pieces:
    """Place operators of few FLOP per byte on the last unit that can run them, the others on the first."""
    threshold = choices.rules.intensity
    if threshold is None:
        raise InputError(
            "placement policy intensity needs intensity, the FLOP per byte below which operators leave the first unit"
        )
    pieces = []
    for part in _by_phase(operator):
        able = choices.able(part)
        matrix = part.flops > 0 and part.flops / total_bytes(part) < threshold
        if able:
            pieces.append(Piece(able[-1] if matrix else able[0], part))
    return tuple(pieces)


def _co_processing(operator: Operator, choices: Choices) -> Pieces:
    """Place as fast as can be, splitting attention and experts where two units together finish sooner.

    Prompts and single queries may run on different units; experts with few tokens move to another unit until both
    finish together; KV heads are shared out likewise.
    """
    able = choices.able(operator)
    candidates: list[Pieces] = [(Piece(unit, operator),) for unit in able]
    candidates.append(_fastest(operator, choices))
    if isinstance(operator, GroupedGemm):
        most = len(expert_counts(operator.load)) - 1
        candidates += [
            _balanced(choices, a, b, most, lambda n: split_experts(operator, n)) for a, b in _pairs(able) if most >= 1
        ]
    if isinstance(operator, Attention):
        most = operator.kv_heads - 1
        candidates += [
            _balanced(choices, a, b, most, lambda n: split_heads(operator, n)) for a, b in _pairs(able) if most >= 1
        ]
    return min((c for c in candidates if c), key=choices.together_s, default=())


def _pairs(units: Sequence[int]) -> Iterator[tuple[int, int]]:
    return ((a, b) for a in units for b in units if a != b)


def _balanced(
    choices: Choices, first: int, second: int, most: int, split: Callable[[int], tuple[Operator, Operator]]
) -> Pieces:
    """Move shares from one unit to another, 1 to ``most`` of them, until both finish together.

    The first unit's time falls and the second's grows with what is moved: the best is beside where they cross.
    """

    def pieces(number: int) -> Pieces:
        stays, moves = split(number)
        return Piece(first, stays), Piece(second, moves)

    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        stays, moves = pieces(middle)
        if choices.time_s(first, stays.operator) > choices.time_s(second, moves.operator):
            low = middle + 1
        else:
            high = middle
    return min((pieces(n) for n in {max(1, low - 1), low}), key=choices.together_s)


#: Policies by the name that specifications give.
POLICIES: Mapping[str, Callable[[Operator, Choices], Pieces]] = {
    "fixed": _fixed,
    "fastest": _fastest,
    "intensity": _intensity,
    "co-processing": _co_processing,
}
