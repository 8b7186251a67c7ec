"""One stream of requests on one channel: set the engine up, run it, read its counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from hwmodels.dram import layout
from hwmodels.dram.controller import REFRESHES, SCHEDULERS, Controller
from hwmodels.dram.device import SLOTS, Dram
from hwmodels.dram.program import BANK_COMMANDS, UNIT_COMMANDS, Program, compile_program
from hwmodels.dram.requests import Mapping as AddressMapping
from hwmodels.dram.requests import Requests
from simulator.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hwmodels.dram.layout import State

    Integers = NDArray[np.int64]

__all__ = ["Command", "DramRun", "Skip", "simulate"]

#: What a run may pass over.
Skip = Literal["periods", "events", "nothing"]

_COUNTS = {
    "ACT": layout.N_ACT,
    "PREpb": layout.N_PRE,
    "RD": layout.N_RD,
    "WR": layout.N_WR,
    "RDA": layout.N_RDA,
    "WRA": layout.N_WRA,
    "REFpb": layout.N_REFPB,
    "PREab": layout.N_PREAB,
    "REFab": layout.N_REFAB,
    "CAS_RD": layout.N_WAKE_RD,
    "CAS_WR": layout.N_WAKE_WR,
}


class Command(NamedTuple):
    """One command of a trace: its tick, name, node (a bank, or a refresh unit of all-bank commands), and request."""

    tick: int
    name: str
    node: int
    request: int  # -1: a refresh or a page closing has none


@dataclass(frozen=True, slots=True)
class DramRun:
    """What serving a stream took.

    Attributes
    ----------
    cycles
        The tick at which the last request completed: a read with its data, a write with its command.
    read_latency_sum, max_read_latency
        Ticks from acceptance to data, over all reads.
    row_hits, row_misses, row_conflicts
        Requests that found their row open, no row open, another row open.
    commands
        How many of each were issued.
    open_ticks
        Ticks with at least one bank open, per refresh unit.
    trace
        The commands in order, where asked for.
    """

    dram: Dram
    requests: int
    writes: int
    cycles: int
    read_latency_sum: int
    max_read_latency: int
    last_inject: int
    row_hits: int
    row_misses: int
    row_conflicts: int
    commands: Mapping[str, int]
    reads_forwarded: int
    writes_coalesced: int
    open_ticks: tuple[int, ...]
    steps: int
    skipped_ticks: int
    trace: tuple[Command, ...] = ()

    @property
    def time_s(self) -> float:
        """Seconds until the last request completed."""
        return self.cycles * self.dram.tick_s

    @property
    def bandwidth_Bps(self) -> float:
        """Bytes requested per second."""
        return self.requests * self.dram.burst_B / self.time_s

    @property
    def avg_read_latency(self) -> float:
        """Mean ticks from acceptance to data; 0 without reads."""
        reads = self.requests - self.writes
        return self.read_latency_sum / reads if reads else 0.0


def simulate(
    dram: Dram,
    controller: Controller,
    requests: Requests,
    mapping: AddressMapping,
    *,
    trace: bool = False,
    skip: Skip = "periods",
) -> DramRun:
    """Serve requests on a channel, exactly to the tick.

    Parameters
    ----------
    dram, controller
        The channel and its controller.
    requests
        What to serve.
    mapping
        Where in the channel each block lies.
    trace
        Also return every command; then nothing is skipped.
    skip
        What is passed over: ticks between events and repetitions of a steady state (``"periods"``), the former alone
        (``"events"``), or ``"nothing"``. The result is the same.
    """
    import numpy as np

    from hwmodels.dram.kernel_run import run

    bank, row = mapping.banks_rows(dram, requests.block)
    table = np.stack([bank, row, requests.write, requests.block, requests.arrival])
    room = 8 * len(requests) + 4096 if trace else 0
    while True:
        state = _state(dram, controller, room, skip)
        cycles = run(*state, table)
        needed = int(state.r[layout.TRACED])
        if needed <= room:
            break
        room = needed
    return _result(dram, requests, bank, state, cycles)


@lru_cache(maxsize=64)
def _program(dram: Dram, unused: frozenset[str]) -> Program:
    return compile_program(dram, unused)


def _state(dram: Dram, controller: Controller, room: int, skip: Skip) -> State:
    """Return the engine's arrays at tick 0."""
    import numpy as np

    program = _program(dram, controller.unused_commands())
    commands = (*BANK_COMMANDS, *UNIT_COMMANDS)
    banks, units = dram.banks, dram.refresh_units
    if units > layout.UNITS_MOST or banks > layout.BANKS_MOST:
        raise InputError(
            f"{dram.name}: {banks} banks in {units} refresh units, at most {layout.BANKS_MOST} in {layout.UNITS_MOST}"
        )
    trace_at = layout.HISTORY_AT + program.history_size
    r = np.zeros(trace_at + 3 * room, dtype=np.int64)
    r[layout.TRACE_AT] = trace_at
    r[layout.SLOTS], r[layout.SCHEDULER] = SLOTS.index(dram.slots), SCHEDULERS[controller.scheduler]
    r[layout.CAP], r[layout.REFRESH] = controller.page_cap(), REFRESHES[controller.refresh]
    r[layout.INJECT], (r[layout.HIGH], r[layout.LOW]) = controller.inject_per_cycle, controller.watermarks()
    r[layout.READ_LATENCY] = dram.read_latency
    r[layout.CAPACITY], r[layout.CAPACITY + 1] = controller.read_queue, controller.write_queue
    r[layout.BANKS], r[layout.UNITS], r[layout.UNIT_BANKS] = banks, units, banks // units
    r[layout.NEVER_KEY] = program.never
    for place, command in enumerate(commands):
        r[layout.ACT + place] = program.first_key[command]
    r[layout.REFRESH_AT] = layout.NEVER
    if controller.refresh != "off":
        r[layout.INTERVAL] = r[layout.REFRESH_AT] = controller.refresh_interval(dram)
    if dram.slots == "split-activate":
        t = dram.timings
        r[layout.SPLIT_TICKS] = t["nAAD"]
        r[layout.WAKE_READ] = t["nCL"] + t["nBL_min"] + t["nWCKPST"]
        r[layout.WAKE_WRITE] = t["nCWL"] + t["nBL_min"] + t["nWCKPST"]
    r[layout.HALF_BANK] = r[layout.WAKE_SLOT] = r[layout.BATCH_AT] = -1
    r[layout.TRACING] = room > 0
    r[layout.FORWARD] = skip == "periods" and room == 0 and controller.page_cap() <= 0
    r[layout.EVERY_TICK] = skip == "nothing"
    r[layout.SOONEST : layout.SOONEST + layout.GROUPS] = -1
    ready = np.zeros(program.never + 1, dtype=np.int64)
    ready[program.never] = layout.NEVER
    bank = np.zeros((banks, layout.BANK_COLUMNS), dtype=np.int64)
    bank[:, layout.ROW_OPEN] = layout.CLOSED
    bank[:, layout.OLDEST : layout.MISS + 2] = -1
    bank[:, layout.UNIT] = np.arange(banks) // (banks // units)
    channels = dram.nodes("PseudoChannel") if "PseudoChannel" in dram.levels else 1
    bank[:, layout.CHANNEL] = np.arange(banks) // (banks // channels)
    places = controller.read_queue + controller.write_queue + banks + 1
    entries = np.zeros((places, layout.FIELDS), dtype=np.int64)
    entries[:, layout.AFTER] = np.arange(1, places + 1)  # all free
    entries[:, layout.GROUP] = -1
    offers = np.zeros((layout.GROUPS, layout.OFFER_COLUMNS, banks), dtype=np.int64)
    ranges = program.ranges.copy()
    ranges[:, layout.PLACE] += layout.HISTORY_AT
    r[layout.HISTORY_AT : trace_at] = -layout.NEVER
    r[ranges[ranges[:, layout.WINDOW] > 1, layout.PLACE]] = 0  # cursors
    windows = int(ranges[ranges[:, layout.WINDOW] > 1, layout.WINDOW].sum())
    snapshot = 128 + ready.size + 6 * places + 5 * banks + 4 * units + windows
    snapshots = np.zeros((3, snapshot), dtype=np.int64)
    return layout.State(r, ready, program.starts, ranges, bank, entries, offers, snapshots)


def _result(dram: Dram, requests: Requests, bank: Integers, state: State, cycles: int) -> DramRun:
    r = state.r
    names = {r[layout.ACT + place]: name for place, name in enumerate((*BANK_COMMANDS, *UNIT_COMMANDS))}
    never = int(r[layout.NEVER_KEY])
    split = {never + 1: "ACT2", never + 2: "CAS_RD", never + 3: "CAS_WR"}
    firsts = sorted(int(first) for first in names)
    open_row = "ACT1" if dram.slots == "split-activate" else "ACT"
    trace = []
    for tick, key, request in r[r[layout.TRACE_AT] :].reshape(-1, 3)[: r[layout.TRACED]].tolist():
        if key in split:
            trace.append(Command(tick, split[key], int(bank[request]), request))
            continue
        first = max(f for f in firsts if f <= key)
        name = names[first]
        trace.append(Command(tick, open_row if name == "ACT" else name, key - first, request))
    open_ticks = [
        int(unit[layout.OPEN_TICKS] + (cycles - unit[layout.OPEN_SINCE] if unit[layout.OPEN_BANKS] else 0))
        for unit in r[layout.UNITS_AT : layout.UNITS_AT + 4 * dram.refresh_units].reshape(-1, 4)
    ]
    return DramRun(
        dram=dram,
        requests=len(requests),
        writes=int(requests.write.sum()),
        cycles=int(cycles),
        read_latency_sum=int(r[layout.LATENCY_SUM]),
        max_read_latency=int(r[layout.LATENCY_MAX]),
        last_inject=int(r[layout.LAST_INJECT]),
        row_hits=int(r[layout.HITS]),
        row_misses=int(r[layout.MISSES]),
        row_conflicts=int(r[layout.CONFLICTS]),
        commands={name: int(r[place]) for name, place in _COUNTS.items()},
        reads_forwarded=int(r[layout.FORWARDED]),
        writes_coalesced=int(r[layout.COALESCED]),
        open_ticks=tuple(open_ticks),
        steps=int(r[layout.STEPS]),
        skipped_ticks=int(r[layout.SKIPPED]),
        trace=tuple(trace),
    )
