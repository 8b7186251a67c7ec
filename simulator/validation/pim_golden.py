"""Memory that computes against golden runs of other simulators, row by row, each with a tolerance of its own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwmodels.catalog import load_hardware
from hwmodels.dram.device import Dram
from hwmodels.dram.standard import load_dram
from hwmodels.pim.aim import AimRun, gemv_instructions, parse_instructions, run_aim
from hwmodels.pim.attacc import attention_entries, program_entries, reference_controller, reference_table
from hwmodels.pim.channel import PimTable, run_stream, stream
from hwmodels.pim.hbm_pim import elementwise_ticks, gemv_ticks
from hwmodels.pim.spec import PimSpec
from hwmodels.pim.table import pim_dram, tables
from simulator.core.errors import InputError, SpecError, SpecProblem
from simulator.core.names import suggest
from simulator.validation.table import Kind, Row, Table, parse_rows, read_table

__all__ = ["TOLERANCES", "PimCase", "PimReplay", "replay_pim"]

#: Largest relative difference of a row's cycles by the simulator it is of; None: shown, not judged.
TOLERANCES: dict[str, float | None] = {
    "attacc_ramulator2": 0.0,  # run on cases of our own
    "attacc_authors_cache": None,  # differs from its own code by up to 5 %, and contradicts itself
    "aim_simulator": 0.0,
    "pimsimulator_hbmpim": 0.05,  # of the vendor's simulator, which is for research only: not part of this repository
}

_REQUIRED = ("sim", "case_id", "kind", "program", "level", "refresh", "tick_ps", "cycles")
_COUNTS = {"n_mac": ("MACAB", "MACSB", "MACPB"), "n_wrgb": ("WRGB",), "n_mvsb": ("MVSB",), "n_mvgb": ("MVGB",)}
_COUNTS |= {"n_sfm": ("SFM",)}


@dataclass(frozen=True, slots=True)
class PimCase:
    """One golden row: expected, simulated, and what else is known of it.

    Attributes
    ----------
    tolerance
        Largest relative difference that agrees; None: not judged.
    differences
        Other numbers of the row that differ: name, expected, simulated.
    with_refresh
        Cycles with the refresh that the reference leaves out.
    """

    place: str
    name: str
    sim: str
    golden: int
    simulated: int
    tolerance: float | None
    compared: int
    differences: tuple[tuple[str, int, int], ...]
    with_refresh: int | None = None

    @property
    def relative(self) -> float:
        """Difference relative to the golden cycles."""
        return (self.simulated - self.golden) / self.golden

    @property
    def agrees(self) -> bool:
        """Whether the row is within its tolerance, its counts exactly; True where it is not judged."""
        return self.tolerance is None or (abs(self.relative) <= self.tolerance and not self.differences)


@dataclass(frozen=True, slots=True)
class PimReplay:
    """What a file of golden runs says."""

    file: str
    cases: tuple[PimCase, ...]

    @property
    def ok(self) -> bool:
        """Whether every row that is judged agrees."""
        return all(case.agrees for case in self.cases)

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as plain data."""
        return {
            "replay": "pim",
            "file": self.file,
            "cases": [
                {
                    "case": case.name,
                    "place": case.place,
                    "sim": case.sim,
                    "expected_cycles": case.golden,
                    "simulated_cycles": case.simulated,
                    "difference_cycles": case.simulated - case.golden,
                    "relative_difference": case.relative,
                    "tolerance": case.tolerance,
                    "judged": case.tolerance is not None,
                    "numbers_compared": case.compared,
                    "differences": [
                        {"column": name, "expected": expected, "simulated": simulated}
                        for name, expected, simulated in case.differences
                    ],
                    "with_refresh_cycles": case.with_refresh,
                    "agrees": case.agrees,
                }
                for case in self.cases
            ],
            "judged_cases": sum(case.tolerance is not None for case in self.cases),
            "exact_cases": sum(case.relative == 0.0 and not case.differences for case in self.cases),
            "agrees": self.ok,
        }


def replay_pim(path: Path) -> PimReplay:
    """Run every row of a file and compare.

    Raises
    ------
    SpecError
        If the file is not what it must be.
    """
    table = read_table(path)
    return PimReplay(str(path), tuple(_compare(row) for row in parse_rows(table, _kinds(table))))


def _kinds(table: Table) -> dict[str, Kind]:
    missing = [name for name in _REQUIRED if name not in table.header]
    if missing:
        near = suggest(missing[0], table.header, most=1)
        hint = f" (there is {near[0]!r})" if near else ""
        message = f"column {missing[0]!r} is missing{hint}; needs {', '.join(_REQUIRED)}"
        raise SpecError([SpecProblem(table.file, 1, 1, "", message)])
    kinds: dict[str, Kind] = dict.fromkeys(table.header, Kind.FREE)
    return kinds | {"sim": Kind.TEXT, "cycles": Kind.COUNT, "tick_ps": Kind.COUNT}


def _compare(row: Row) -> PimCase:
    sim = row.text("sim")
    if sim not in _RUNS:
        raise row.error("sim", f"expected one of {', '.join(_RUNS)}, got {sim[:40]!r}")
    try:
        return _RUNS[sim](row)
    except InputError as error:
        raise row.error("program" if "program" in str(error) or "GEMV" in str(error) else "kind", str(error)) from None


def _dram(row: Row, name: str, speed: str | None = None) -> Dram:
    dram = load_dram(str(tables()[name]), None, speed)
    if round(dram.tick_s * 1e12) != row.number("tick_ps"):
        raise row.error("tick_ps", f"expected {dram.tick_s * 1e12:.0f}, the clock of {dram.name}")
    return dram


def _case(row: Row, simulated: int, pairs: dict[str, tuple[int, int]], with_refresh: int | None = None) -> PimCase:
    differing = tuple((name, *pair) for name, pair in pairs.items() if pair[0] != pair[1])
    name = str(row.values["case_id"]) or row.place
    tolerance = TOLERANCES[row.text("sim")]
    golden = int(row.number("cycles"))
    return PimCase(
        row.place, name, row.text("sim"), golden, simulated, tolerance, 1 + len(pairs), differing, with_refresh
    )


def _attacc(row: Row) -> PimCase:
    level, kind = _cell(row, "level"), _cell(row, "kind")
    limited = _whole(row, "power_limit", 1)
    table = reference_table(_dram(row, "hbm3-pim", "HBM3_5200_limited" if limited else "HBM3_5200"))
    channels = _whole(row, "channels", 16)
    if not 1 <= channels <= 16:
        raise row.error("channels", f"expected 1 to 16, got {channels}")
    if kind == "micro":
        entries = program_entries(_cell(row, "program"), channels)
        level = "bank"
    elif kind == "attention":
        sizes = [_whole(row, column) for column in ("L", "nhead_per_hbm", "dhead", "dbyte")]
        entries = attention_entries(level, *sizes)
        channels = 16
    else:
        raise row.error("kind", f"expected micro or attention, got {kind[:40]!r}")
    counts = Counter(entry.command for entry in entries)
    units = 1 if level == "bank" else table.dram.banks
    controller = reference_controller(level, _whole(row, "refresh", 0) == 1)
    run = run_stream(table, stream(table, entries), controller, channels, units)
    pairs = {
        column: (_whole(row, column), sum(counts[name] for name in names))
        for column, names in _COUNTS.items()
        if str(row.values.get(column, "")).strip()
    }
    return _case(row, run.ticks, pairs)


def _aim(row: Row) -> PimCase:
    table = PimTable(_dram(row, "gddr6-aim"))
    program = _cell(row, "program")
    gemv = re.fullmatch(r"GEMV M=(\d{1,6}) K=(\d{1,6}) channels=(\d{1,4})", program)
    if gemv is not None:
        outputs, inputs, channels = map(int, gemv.groups())
        instructions = gemv_instructions(outputs, inputs, channels)
    else:
        named = re.search(r",\s*(\d{1,4}) channels?\s*$", program)
        channels = int(named[1]) if named else 1
        instructions = parse_instructions(program)
    traced = 4 * sum(instruction.size for instruction in instructions) + 8
    run: AimRun = run_aim(table, instructions, refresh=False, traced=traced)
    golden = re.findall(r"(\w+):(\d{1,9})", str(row.values.get("commands", "")))
    pairs = {name: (int(count), run.commands[name] * channels) for name, count in golden}
    return _case(row, run.ticks, pairs, run_aim(table, instructions, refresh=True).ticks)


def _hbm_pim(row: Row) -> PimCase:
    spec = load_hardware("hbm-pim").device
    assert isinstance(spec, PimSpec)
    if round(pim_dram(spec).tick_s * 1e12) != row.number("tick_ps"):
        raise row.error("tick_ps", f"expected {pim_dram(spec).tick_s * 1e12:.0f}, the clock of {spec.name}")
    program = _cell(row, "program")
    gemv = re.fullmatch(r"GEMV out=(\d{1,7}) in=(\d{1,7})", program)
    simple = re.fullmatch(r"([A-Z]+) n=(\d{1,10})", program)
    if gemv is not None:
        return _case(row, gemv_ticks(spec, int(gemv[1]), int(gemv[2])), {})
    if simple is not None:
        return _case(row, elementwise_ticks(spec, simple[1], int(simple[2])), {})
    raise row.error("program", f"expected 'GEMV out=.. in=..' or 'ADD n=..', got {program[:40]!r}")


_RUNS: dict[str, Callable[[Row], PimCase]] = {
    "attacc_ramulator2": _attacc,
    "attacc_authors_cache": _attacc,
    "aim_simulator": _aim,
    "pimsimulator_hbmpim": _hbm_pim,
}


def _cell(row: Row, column: str) -> str:
    return str(row.values.get(column, "")).strip()


def _whole(row: Row, column: str, empty: int | None = None) -> int:
    text = _cell(row, column)
    if not text and empty is not None:
        return empty
    if not text.isdecimal() or len(text) > 9:
        raise row.error(column, f"expected a whole number of at least 0, got {text[:40]!r}")
    return int(text)
