"""DRAM channels against golden runs of Ramulator 2.1, row by row and counter by counter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwmodels.dram.controller import Controller
from hwmodels.dram.device import Dram
from hwmodels.dram.requests import Requests, Stream, field_counts, parse_mapping
from hwmodels.dram.run import DramRun, simulate
from hwmodels.dram.standard import load_dram, load_standard
from hwmodels.dram.timings_file import device_key, read_timings
from hwmodels.dram.trace_file import read_requests
from simulator.core.errors import InputError, SpecError, SpecProblem, UnknownNameError
from simulator.core.names import suggest
from simulator.validation.table import Kind, Row, Table, parse_rows, read_table

__all__ = ["Cell", "DramCase", "DramReplay", "golden_case", "replay_dram"]

_PRINTED = 5.1e-5  # averages and bandwidths are printed with four digits
_MOST_REQUESTS = 50_000_000  # some gigabytes of requests

_REQUIRED = ("standard", "org", "timing", "mapping", "pattern", "n_requests", "footprint_blocks", "cycles")
_NAMES = ("standard", "org", "timing", "mapping", "pattern")
_COUNTS = ("n_requests", "footprint_blocks")

#: Columns that say how the run was set up, with what they mean where they are missing or empty.
_SETTINGS = {
    "scheduler": "FRFCFS",
    "row_policy": "Open",
    "refresh": "off",
    "read_queue": "32",
    "write_queue": "32",
    "inject_per_cycle": "1",
    "stride": "1",
    "chunk": "1",
    "keep_pct": "0",
    "seed": "0",
    "write_spec": "0",
    "gap": "0",
    "cap": "4",
}
_SCHEDULERS = {"FRFCFS": "fr-fcfs", "FRFCFS-RowHit": "fr-fcfs-row-hit", "InOrder": "in-order"}
_PAGES = {"Open": "open", "ClosedCAP": "capped", "Closed": "closed"}
_REFRESHES = {"off": "off", "on": "all-bank", "all-bank": "all-bank", "per-bank": "per-bank"}


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of a golden row beside ours."""

    column: str
    golden: float
    simulated: float

    @property
    def relative(self) -> float:
        """Difference relative to the golden number; that of a zero is all or nothing."""
        if abs(self.simulated - self.golden) <= (_PRINTED if self.golden != int(self.golden) else 0.0):
            return 0.0
        return (self.simulated - self.golden) / self.golden if self.golden else float("inf")


@dataclass(frozen=True, slots=True)
class DramCase:
    """One golden row: expected, simulated, and every other number that differs."""

    place: str
    name: str
    device: str
    cycles: Cell
    compared: int
    differences: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class DramReplay:
    """What a file of golden runs says of the engine."""

    file: str
    tolerance: float
    cases: tuple[DramCase, ...]

    def agrees(self, case: DramCase) -> bool:
        """Whether every number of a case is within the tolerance."""
        return all(abs(cell.relative) <= self.tolerance for cell in (case.cycles, *case.differences))

    @property
    def ok(self) -> bool:
        """Whether every case agrees."""
        return all(self.agrees(case) for case in self.cases)

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as plain data."""
        return {
            "replay": "dram",
            "file": self.file,
            "tolerance": self.tolerance,
            "cases": [
                {
                    "case": case.name,
                    "place": case.place,
                    "device": case.device,
                    "expected_cycles": int(case.cycles.golden),
                    "simulated_cycles": int(case.cycles.simulated),
                    "difference_cycles": int(case.cycles.simulated - case.cycles.golden),
                    "relative_difference": case.cycles.relative,
                    "numbers_compared": case.compared,
                    "differences": [
                        {"column": c.column, "expected": c.golden, "simulated": c.simulated} for c in case.differences
                    ],
                    "agrees": self.agrees(case),
                }
                for case in self.cases
            ],
            "exact_cases": sum(not case.differences and case.cycles.relative == 0 for case in self.cases),
            "agrees": self.ok,
        }


def replay_dram(path: Path, timings: Path | None = None, tolerance: float = 0.0) -> DramReplay:
    """Run every row of a file and compare.

    Parameters
    ----------
    path
        Golden rows.
    timings
        Their devices; ``<stem>_timings.yaml`` beside the rows when None, and the bundled standards for what is in
        neither.
    tolerance
        Largest relative difference of any number that still agrees.

    Raises
    ------
    SpecError
        If a file is not what it must be.
    """
    if not 0.0 <= tolerance < 1.0:
        raise InputError(f"tolerance must be from 0 to 1, got {tolerance:g}")
    table = read_table(path)
    rows = parse_rows(table, _kinds(table))
    beside = path.with_name(f"{path.stem}_timings.yaml")
    source = timings if timings is not None else beside if beside.is_file() else None
    devices = read_timings(source) if source is not None else {}
    return DramReplay(str(path), tolerance, tuple(_compare(row, devices) for row in rows))


def _kinds(table: Table) -> dict[str, Kind]:
    """Return the kind of each column; what is not compared may hold anything."""
    missing = [name for name in _REQUIRED if name not in table.header]
    if missing:
        near = suggest(missing[0], table.header, most=1)
        hint = f" (there is {near[0]!r})" if near else ""
        message = f"column {missing[0]!r} is missing{hint}; needs {', '.join(_REQUIRED)}"
        raise SpecError([SpecProblem(table.file, 1, 1, "", message)])
    kinds: dict[str, Kind] = dict.fromkeys(table.header, Kind.FREE)
    kinds |= dict.fromkeys(_NAMES, Kind.TEXT)
    return kinds | dict.fromkeys(_COUNTS, Kind.COUNT) | {"cycles": Kind.COUNT}


def _setting(row: Row, name: str) -> str:
    return (row.text(name).strip() if name in row.values else "") or _SETTINGS[name]


def _whole(row: Row, name: str) -> int:
    text = _setting(row, name)
    if not text.isdecimal() or len(text) > 18:
        raise row.error(name, f"expected a whole number of at least 0, got {text[:40]!r}")
    return int(text)


def _choice(row: Row, name: str, known: dict[str, str]) -> str:
    text = _setting(row, name)
    if text not in known:
        raise row.error(name, f"expected one of {', '.join(known)}, got {text[:40]!r}")
    return known[text]


def golden_case(row: Row, devices: dict[str, Dram]) -> tuple[Dram, Controller, Requests]:
    """Return device, controller and requests of a golden row.

    Raises
    ------
    SpecError
        If a cell does not say one.
    """
    rank_bits = sum(int(bits) for bits in re.findall(r"ra(\d{1,2})", row.text("mapping")))
    ranks = 1 << min(rank_bits, 8)
    key = device_key(row.text("standard"), row.text("org"), row.text("timing"), ranks)
    dram = devices.get(key)
    if dram is None:
        try:
            spec = load_standard(row.text("standard"))
            has_ranks = "Rank" in spec.levels
            dram = load_dram(row.text("standard"), row.text("org"), row.text("timing"), ranks if has_ranks else None)
        except (UnknownNameError, InputError) as error:
            raise row.error("timing", f"{key} is in no file of timings; {error}") from None
    if row.integer("n_requests") > _MOST_REQUESTS:
        raise row.error("n_requests", f"{row.integer('n_requests')} requests, at most {_MOST_REQUESTS}")
    try:
        parse_mapping(row.text("mapping"), field_counts(dram))
    except InputError as error:
        raise row.error("mapping", str(error)) from None
    return dram, _controller(row), _requests(row)


def _requests(row: Row) -> Requests:
    """Return the requests of a row: of its pattern, or with ``trace:NAME`` of a trace file beside the row's."""
    pattern = row.text("pattern")
    if pattern.startswith("trace:"):
        requests = read_requests(Path(row.file).parent / pattern.removeprefix("trace:"))
        if len(requests) != row.integer("n_requests"):
            raise row.error("n_requests", f"{row.integer('n_requests')} requests, the trace holds {len(requests)}")
        return requests
    try:
        stream = Stream(
            pattern=pattern,
            requests=row.integer("n_requests"),
            footprint_blocks=row.integer("footprint_blocks"),
            stride=_whole(row, "stride"),
            chunk=_whole(row, "chunk"),
            keep_pct=_whole(row, "keep_pct"),
            seed=_whole(row, "seed"),
            writes=_setting(row, "write_spec"),
            gap=_whole(row, "gap"),
        )
    except InputError as error:
        raise row.error("pattern", str(error)) from None
    return stream.generate()


def _controller(row: Row) -> Controller:
    try:
        return Controller(
            scheduler=_choice(row, "scheduler", _SCHEDULERS),
            page=_choice(row, "row_policy", _PAGES),
            cap=_whole(row, "cap"),
            refresh=_choice(row, "refresh", _REFRESHES),
            read_queue=_whole(row, "read_queue"),
            write_queue=_whole(row, "write_queue"),
            inject_per_cycle=_whole(row, "inject_per_cycle"),
        )
    except InputError as error:
        raise row.error("read_queue" if "queue" in str(error) else "inject_per_cycle", str(error)) from None


def _compare(row: Row, devices: dict[str, Dram]) -> DramCase:
    dram, controller, requests = golden_case(row, devices)
    digest = row.values.get("req_sha1_16", "")
    if digest and digest != requests.digest():
        raise row.error("req_sha1_16", f"the row's requests are not those of its pattern (ours: {requests.digest()})")
    run = simulate(dram, controller, requests, parse_mapping(row.text("mapping"), field_counts(dram)))
    ours = _numbers(run)
    compared, differences = 0, []
    for column, simulated in ours.items():
        text = str(row.values.get(column, "")).strip()
        if not text or column == "cycles":
            continue
        try:
            cell = Cell(column, float(text), simulated)
        except ValueError:
            raise row.error(column, f"expected a number, got {text[:40]!r}") from None
        compared += 1
        if cell.relative != 0.0:
            differences.append(cell)
    name = str(row.values.get("case_id", "")) or row.place
    cycles = Cell("cycles", row.number("cycles"), run.cycles)
    return DramCase(row.place, name, dram.name, cycles, compared + 1, tuple(differences))


def _numbers(run: DramRun) -> dict[str, float]:
    """Return what we have for each column of a golden row."""
    return {
        "cycles": run.cycles,
        "n_writes": run.writes,
        "bandwidth_GBps": run.bandwidth_Bps / 1e9,
        "avg_read_latency": run.avg_read_latency,
        "max_read_latency": run.max_read_latency,
        "last_inject": run.last_inject,
        "row_hits": run.row_hits,
        "row_misses": run.row_misses,
        "row_conflicts": run.row_conflicts,
        **{f"n_{command}": count for command, count in run.commands.items()},
        "reads_forwarded": run.reads_forwarded,
        "writes_coalesced": run.writes_coalesced,
    }
