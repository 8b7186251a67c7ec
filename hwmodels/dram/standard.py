"""DRAM standards as data: organisations, speed bins and the constraint table by name, resolved to one channel."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from hwmodels.dram.device import Constraint, Dram
from simulator.core.document import Node, read_tree
from simulator.core.errors import InputError, SpecError, SpecProblem, UnknownNameError
from simulator.core.names import match_name, suggest
from simulator.core.quantity import Quantity
from simulator.core.specfile import SpecRecord, annotate, merge, validate

__all__ = ["DramStandard", "load_dram", "load_standard", "resolve", "standards"]

_SPECS = Path(__file__).parents[1] / "specs" / "dram"
_PS = 1e12

Seconds = Annotated[float, Quantity("s")]
Joules = Annotated[float, Quantity("J")]
Watts = Annotated[float, Quantity("W")]
PerByte = Annotated[float, Quantity("J/B", zero=True)]
Clocks = Annotated[int, Field(ge=0, lt=1 << 22)]
Count = Annotated[int, Field(ge=1, le=1 << 24)]
Words = Annotated[tuple[str, ...], Field(strict=False)]


class Organisation(SpecRecord):
    """How a channel is made up: densities in Mbit, widths in bits, nodes of each level, rows, columns of one word."""

    density_Mb: Count
    dq: Count
    channel_width: Count
    rank: Count = 1
    pseudochannel: Count = 1
    sid: Count = 1
    bundle: Count = 1  # of banks that compute together, between rank and bank group
    bankgroup: Count = 1
    bank: Count
    row: Count
    column: Count


class Speed(SpecRecord):
    """A speed bin: its clock, and timings in clocks."""

    clock_s: Seconds
    clocks: dict[str, Clocks]


class Derived(SpecRecord):
    """A timing given in seconds: rounded up to clocks, by density where it depends on it.

    ``per: Sid`` looks up the density of one stack; ``per: Bank`` shares the time among the banks of a refresh unit.
    """

    time_s: Seconds | None = None
    by_density_Mb: dict[str, Seconds] | None = None
    at_least: Clocks = 0
    per: Literal["Sid", "Bank"] | None = None


class Row(SpecRecord):
    """A row of the constraint table; the latency is a sum of timings and whole numbers."""

    scope: str
    prev: Words
    next: Words
    latency: str
    window: Count = 1
    sibling: bool = False


def _amperes(text: object) -> float:
    """Read a current written as ``57 mA``."""
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?) mA", text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"expected a current, e.g. '57 mA', got {text!r}")
    return float(match[1]) / 1000.0


Amperes = Annotated[float, BeforeValidator(_amperes)]


class Currents(SpecRecord):
    """Supply voltage, and currents as datasheets number them, in amperes of one device."""

    vdd_V: Annotated[float, Quantity("V")]
    idd0: Amperes
    idd2n: Amperes
    idd3n: Amperes
    idd4r: Amperes
    idd4w: Amperes
    idd5b: Amperes


class Chain(SpecRecord):
    """Energy of an activation with its precharge, and per bit of each stage data passes in the device."""

    activate_J: Joules
    cell: PerByte
    bank_group: PerByte
    channel: PerByte


class EnergySpec(SpecRecord):
    """Where energy goes: from currents, or from a chain of stages with background and refresh beside it."""

    currents: Currents | None = None
    chain: Chain | None = None
    devices: float | None = None
    background_W: Watts | None = None
    background_closed_W: Watts | None = None
    refresh_J: Joules | None = None
    interface: PerByte = 0.0


class Default(SpecRecord):
    """What a standard's name alone stands for."""

    organisation: str
    speed: str


class DramStandard(SpecRecord):
    """One standard, as in ``specs/dram/*.yaml``."""

    name: str
    levels: Words
    refresh_level: str
    slots: Literal["single", "dual", "half-clock", "split-activate"]
    ticks_per_clock: Literal[1, 2]
    burst_length: Count
    read_latency: str
    command_clocks: dict[str, float] = Field(default_factory=dict)
    buses: Annotated[tuple[Words, ...], Field(strict=False)] = ()
    default: Default
    organisations: dict[str, Organisation]
    speeds: dict[str, Speed]
    derived: dict[str, Derived] = Field(default_factory=dict)
    constraints: Annotated[tuple[Row, ...], Field(strict=False)]
    energy: EnergySpec


def standards() -> dict[str, Path]:
    """Return the bundled standards by name."""
    return {path.stem: path for path in sorted(_SPECS.glob("*.yaml"))}


@lru_cache(maxsize=32)
def load_standard(name: str) -> DramStandard:
    """Read a bundled standard, or one in a file of the same form.

    Raises
    ------
    UnknownNameError
        If there is none of that name.
    SpecError
        With every problem of the file.
    """
    known = standards()
    path = Path(name) if name.endswith((".yaml", ".yml", ".json")) else known[match_name(name, known, "DRAM standard")]
    return validate(*_tree(path))


def _tree(path: Path) -> tuple[Node, type[DramStandard], list[SpecProblem]]:
    """Return the annotated tree of a standard, on top of its base."""
    root, problems = read_tree(path, path.name if path.parent == _SPECS else None)
    if root is None:
        raise SpecError(problems)
    tree, more = annotate(root)
    problems = [*problems, *more]
    base = tree.value.pop("base", None) if isinstance(tree.value, dict) else None
    if base is not None:
        if base.value not in standards() or _SPECS / f"{base.value}.yaml" == path:
            problems.append(SpecProblem(*base.place, "base", f"expected one of {', '.join(standards())}"))
            raise SpecError(problems)
        below, _, more = _tree(standards()[str(base.value)])
        problems += more
        if isinstance(below.value, dict):
            for key in ("organisations", "speeds"):
                below.value.pop(key)
        tree = merge(below, tree)
    return tree, DramStandard, problems


@lru_cache(maxsize=256)
def load_dram(
    standard: str, organisation: str | None = None, speed: str | None = None, ranks: int | None = None
) -> Dram:
    """Return one channel of a bundled standard with every number resolved.

    Parameters
    ----------
    standard
        ``"ddr4"``, ``"hbm3"``, ... as in :func:`standards`.
    organisation, speed
        Keys of the standard's tables; its default when None.
    ranks
        Ranks on the channel, of standards that have ranks; as in the organisation when None.

    Raises
    ------
    UnknownNameError
        If a name is not known.
    InputError
        If a standard without ranks is given some.
    """
    spec = load_standard(standard)
    chosen = organisation or spec.default.organisation
    bin_ = speed or spec.default.speed
    for what, name, table in (("organisation", chosen, spec.organisations), ("speed", bin_, spec.speeds)):
        if name not in table:
            raise UnknownNameError(f"{spec.name} {what}", name, suggest(name, table), sorted(table))
    shape = spec.organisations[chosen]
    if ranks is not None and ranks != shape.rank:
        if "Rank" not in spec.levels or not 1 <= ranks <= 8:
            raise InputError(f"{spec.name} with {ranks} ranks: it has none, or at most 8")
        shape = shape.model_copy(update={"rank": ranks})
    return resolve(spec, chosen, shape, bin_)


def resolve(spec: DramStandard, organisation: str, shape: Organisation, speed: str) -> Dram:
    """Turn a standard, an organisation and a speed bin into numbers.

    Timings in clocks become ticks. A constraint counts between the ends of two commands on their bus: one that takes
    ``a`` ticks before one that takes ``b`` waits ``a - b`` longer from start to start. A command keeps its bus busy.
    """
    chosen = spec.speeds[speed]
    clock_ps = round(chosen.clock_s * _PS)
    per = spec.ticks_per_clock
    clocks = {**{n: _clocks(d, n, spec, shape, clock_ps) for n, d in spec.derived.items()}, **chosen.clocks}
    timings = {name: value * per for name, value in clocks.items()}
    lengths = {command: round(value * per) for command, value in spec.command_clocks.items()}
    rows = [row for given in spec.constraints for row in _adjusted(given, timings, lengths, per, spec.name)]
    counts = {"Channel": 1, "Rank": shape.rank, "PseudoChannel": shape.pseudochannel, "Sid": shape.sid}
    counts |= {"Bundle": shape.bundle, "BankGroup": shape.bankgroup, "Bank": shape.bank}
    return Dram(
        standard=spec.name,
        organisation=organisation,
        speed=speed,
        levels=spec.levels,
        counts=tuple(counts[level] for level in spec.levels),
        refresh_level=spec.refresh_level,
        rows=shape.row,
        bursts_per_row=shape.column // spec.burst_length,
        burst_B=shape.channel_width * spec.burst_length // 8,
        tick_s=clock_ps / _PS / per,
        slots=spec.slots,
        timings=timings,
        read_latency=_sum(spec.read_latency, timings, spec.name),
        constraints=(*_bus_rows(spec, lengths, per), *rows),
    )


def _clocks(derived: Derived, name: str, spec: DramStandard, shape: Organisation, clock_ps: int) -> int:
    """Return a timing given in seconds as clocks, rounded up."""
    time_s = derived.time_s
    if derived.by_density_Mb is not None:
        density = shape.density_Mb // (shape.sid if derived.per == "Sid" else 1)
        fits = [limit for limit in map(int, derived.by_density_Mb) if density <= limit]
        if not fits:
            raise InputError(f"{spec.name}: {name} is not known for {density} Mbit")
        time_s = derived.by_density_Mb[str(min(fits))]
    if time_s is None:
        raise InputError(f"{spec.name}: {name} needs a time or by_density_Mb")
    shares = shape.sid * shape.bankgroup * shape.bank if derived.per == "Bank" else 1
    return max(derived.at_least, math.ceil(round(time_s * _PS) / shares / clock_ps))


_TERM = re.compile(r"\s*([+-]?)\s*(\w+)")


def _sum(text: str, timings: Mapping[str, int], where: str) -> int:
    """Return the value of a sum of timings and whole numbers of ticks."""
    total, end = 0, 0
    for term in _TERM.finditer(text):
        name = term[2]
        if term.start() != end or not (name.isdigit() or name in timings):
            break
        value = int(name) * timings.get("_clock", 1) if name.isdigit() else timings[name]
        total, end = total + (-value if term[1] == "-" else value), term.end()
    if end != len(text.rstrip()):
        raise InputError(f"{where}: {text!r} is not a sum of known timings ({', '.join(sorted(timings))})")
    return total


def _adjusted(
    row: Row, timings: Mapping[str, int], lengths: Mapping[str, int], per: int, where: str
) -> list[Constraint]:
    """Return a row in ticks, split where the lengths of its commands differ."""
    nominal = _sum(row.latency, {**timings, "_clock": per}, where)
    groups: dict[int, tuple[list[str], list[str]]] = {}
    for before in row.prev:
        for after in row.next:
            latency = nominal + lengths.get(before, per) - lengths.get(after, per)
            first, then = groups.setdefault(latency, ([], []))
            first.extend([before] if before not in first else [])
            then.extend([after] if after not in then else [])
    return [
        Constraint(row.scope, tuple(first), tuple(then), latency, row.window, row.sibling)
        for latency, (first, then) in groups.items()
    ]


def _bus_rows(spec: DramStandard, lengths: Mapping[str, int], per: int) -> list[Constraint]:
    """Return how long commands keep their bus busy, where that is more than one tick."""
    every = sorted({command for row in spec.constraints for command in (*row.prev, *row.next)})
    rows = []
    for bus in spec.buses or (tuple(every),):
        for length in sorted({lengths.get(command, per) for command in bus} - {1}):
            before = tuple(command for command in bus if lengths.get(command, per) == length)
            rows.append(Constraint("Channel", before, tuple(bus), length))
    return rows
