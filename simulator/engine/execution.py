"""One pipeline stage of a step on the units of one rank: time, energy, what each unit did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hwmodels.device import Cost, Kernel
from hwmodels.system import System, Unit
from simulator.engine.lowering import LaunchedKernel
from simulator.engine.placement import Choices, Piece, place
from simulator.engine.schedule import PlacedKernel, Timed, schedule
from simulator.engine.timeline import Timeline

__all__ = ["Launched", "StageRun", "UnitUse", "execute"]


@dataclass(frozen=True, slots=True)
class Launched:
    """What ran: a kernel, or the piece of one that a unit took; of one device of the unit."""

    kernel: LaunchedKernel
    unit: str
    cost: Cost
    repeat: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitUse:
    """What a unit or a link of one rank did in a stage."""

    name: str
    busy_s: float
    energy_J: Mapping[str, float]  # by part, waiting included


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRun:
    """A pipeline stage on one rank, once for one micro-batch."""

    time_s: float
    clock_Hz: float  # of the first unit
    energy_J: Mapping[str, float]  # by part, all units of the rank; while it runs
    launched: tuple[Launched, ...]
    units: tuple[UnitUse, ...]
    timeline: Timeline = field(default_factory=Timeline)  # where several units work; else kernels follow each other


def execute(system: System, kernels: Sequence[LaunchedKernel], parts: int = 1) -> StageRun:
    """Run what a stage launches, ``parts`` times where parts of the batch take turns.

    A lone unit runs the kernels back to back. Several get what the placement gives them, each at the clock that its own
    power limit leaves while it works, and draw their idle power while they wait.

    Raises
    ------
    InputError
        If an operator can run on no unit.
    """
    if len(system.units) == 1:
        return _alone(system.units[0], kernels)
    return _together(system, kernels, parts)


def _alone(unit: Unit, kernels: Sequence[LaunchedKernel]) -> StageRun:
    execution = unit.device.execute([launched.kernel for launched in kernels])
    return StageRun(
        time_s=execution.time_s,
        clock_Hz=execution.clock_Hz,
        energy_J=execution.energy_J,
        launched=tuple(
            Launched(launched, unit.name, cost, launched.kernel.repeat)
            for launched, cost in zip(kernels, execution.costs, strict=True)
        ),
        units=(UnitUse(name=unit.name, busy_s=execution.time_s, energy_J=execution.energy_J),),
    )


def _together(system: System, kernels: Sequence[LaunchedKernel], parts: int) -> StageRun:
    rules = system.spec.placement
    assert rules is not None
    choices = Choices(system.units, rules)
    placed = [place(launched.kernel.operator, choices) for launched in kernels]
    works = [_work(unit, number, kernels, placed, choices) for number, unit in enumerate(system.units)]
    timed = _timed(kernels, placed, works, choices)
    done = schedule(timed, system.units, rules.sections, parts, rules.head_groups)
    host_s = parts * sum(launched.kernel.repeat * launched.kernel.host_s for launched in kernels)
    time_s = max(done.time_s, host_s)
    uses = [*(_use(work, parts, time_s, done) for work in works), *_links(done, {u.name for u in system.units})]
    energy_J: dict[str, float] = {}
    for use in uses:
        for part, joules in use.energy_J.items():
            energy_J[part] = energy_J.get(part, 0.0) + joules
    return StageRun(
        time_s=time_s,
        clock_Hz=works[0].clock_Hz,
        energy_J={"idle": 0.0, **energy_J},
        launched=tuple(
            Launched(
                replace(kernel.launched, kernel=replace(kernel.launched.kernel, operator=piece.operator)),
                system.units[piece.unit].name,
                piece.cost,
                kernel.launched.kernel.repeat * parts,
            )
            for kernel in timed
            for piece in kernel.pieces
        ),
        units=tuple(uses),
        timeline=done,
    )


@dataclass(frozen=True, slots=True)
class _Work:
    """All pieces of one unit, run for one part of the batch."""

    unit: Unit
    clock_Hz: float
    busy_s: float  # of one device
    energy_J: Mapping[str, float]  # of one device, while it is busy
    costs: Mapping[Piece, Cost]


def _work(
    unit: Unit, number: int, kernels: Sequence[LaunchedKernel], placed: Sequence[Sequence[Piece]], choices: Choices
) -> _Work:
    """Run a unit's pieces, so that its clock and energy are those of this mix."""
    ranks = choices.ranks(number)
    mine = [
        (piece, Kernel(choices.of_one_device(number, piece.operator), round(launched.kernel.repeat * ranks)))
        for launched, pieces in zip(kernels, placed, strict=True)
        for piece in pieces
        if piece.unit == number
    ]
    if not mine:
        return _Work(unit, unit.device.max_clock_Hz, 0.0, {}, {})
    execution = unit.device.execute([kernel for _, kernel in mine])
    costs = {piece: cost for (piece, _), cost in zip(mine, execution.costs, strict=True)}
    return _Work(unit, execution.clock_Hz, execution.time_s, execution.energy_J, costs)


def _timed(
    kernels: Sequence[LaunchedKernel],
    placed: Sequence[tuple[Piece, ...]],
    works: Sequence[_Work],
    choices: Choices,
) -> list[PlacedKernel]:
    """Give every piece its time: as costed at its unit's clock, longer where sections of a memory hold it up."""
    timed = []
    for launched, pieces in zip(kernels, placed, strict=True):
        alone_s = max(choices.time_s(piece.unit, piece.operator) for piece in pieces)
        turns = choices.rules.sections == 1  # then the schedule lets units take turns on the memory
        held = 1.0 if turns or len(pieces) == 1 else choices.together_s(pieces) / alone_s
        costs = [works[piece.unit].costs[piece] for piece in pieces]
        timed.append(
            PlacedKernel(
                launched,
                tuple(
                    Timed.of(piece.unit, piece.operator, cost, cost.time_s * choices.ranks(piece.unit) * held)
                    for piece, cost in zip(pieces, costs, strict=True)
                ),
            )
        )
    return timed


def _use(work: _Work, parts: int, time_s: float, done: Timeline) -> UnitUse:
    """What the devices of a unit that serve one rank did and drew over a stage."""
    unit = work.unit
    energy_J = {part: joules * parts * unit.per_rank for part, joules in work.energy_J.items()}
    waiting_s = max(0.0, time_s - work.busy_s * parts)
    energy_J["idle"] = energy_J.get("idle", 0.0) + unit.device.idle_W * unit.per_rank * waiting_s
    return UnitUse(name=unit.name, busy_s=done.busy_s(unit.name), energy_J=energy_J)


def _links(done: Timeline, units: set[str]) -> list[UnitUse]:
    """What the links between memories carried."""
    links: dict[str, dict[str, float]] = {}
    for span, times in done.weighted():
        if span.resource not in units:
            energy_J = links.setdefault(span.resource, {})
            for part, joules in span.cost.energy_J.items():
                energy_J[part] = energy_J.get(part, 0.0) + joules * times
    return [UnitUse(name=name, busy_s=done.busy_s(name), energy_J=energy_J) for name, energy_J in links.items()]
