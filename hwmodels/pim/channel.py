"""Channels that compute, set up for the compiled controller: their table, their streams of commands, running them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from hwmodels.dram.device import Dram
from hwmodels.dram.program import BANK_COMMANDS, UNIT_COMMANDS, Program, compile_program

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

__all__ = [
    "BARRIER",
    "END",
    "ChannelRun",
    "ChannelState",
    "Entry",
    "Issued",
    "PimController",
    "PimTable",
    "channel_state",
    "run_batched",
    "run_on",
    "run_stream",
    "stream",
    "with_runs",
]

#: Keys of entries that are no commands: what lies behind must wait for what lies before; the end of a program.
BARRIER, END = -1, -2


class Entry(NamedTuple):
    """A command that moves or multiplies data, as the controller's queue holds it."""

    command: str  # "" for a barrier
    channel: int = 0
    node: int = 0  # of the level it addresses
    banks: tuple[int, int] = (0, 0)  # whose row it needs: from the first up to before the second
    row: int = -1
    bank: int = 0  # that its address names, among all banks
    opens: str = ""  # what opens its row, and what closes another one
    closes: str = ""
    mode: int = 0


class Issued(NamedTuple):
    """One command of a trace."""

    tick: int
    channel: int
    name: str
    node: int
    entry: int  # -1: a refresh or what it needs


@dataclass(frozen=True, slots=True)
class PimController:
    """How a channel serves its queue.

    Attributes
    ----------
    window
        Entries that may overtake older ones; 1: strictly in order.
    dual
        Row and column commands have a bus each.
    refreshes
        Refresh commands of one refresh of the channel, one after the other.
    close_all, change
        Commands that close all banks, and that change the mode of entries, where there are modes.
    rows_alone
        Commands that open or close rows share their tick with none.
    """

    capacity: int = 32
    window: int = 32
    dual: bool = True
    refresh: bool = True
    refreshes: int = 1
    close_all: str = "PREA"
    change: str | None = None
    rows_alone: bool = False


@dataclass(frozen=True)
class PimTable:
    """The constraint table of a channel compiled; a command addresses the deepest level that a row of it counts at."""

    dram: Dram

    @cached_property
    def levels(self) -> Mapping[str, str]:
        """The level each command addresses."""
        depths: dict[str, int] = {}
        for row in self.dram.constraints:
            for command in (*row.prev, *row.next):
                depths[command] = max(depths.get(command, 0), self.dram.levels.index(row.scope))
        found = {command: self.dram.levels[depth] for command, depth in depths.items()}
        return {name: level for name, level in found.items() if name not in (*BANK_COMMANDS, *UNIT_COMMANDS)}

    @cached_property
    def program(self) -> Program:
        """The table as ranges of keys."""
        return compile_program(self.dram, extra=dict(self.levels))

    def key(self, command: str, node: int = 0) -> int:
        """Return the key of a command at a node."""
        return self.program.first_key[command] + node

    @cached_property
    def names(self) -> Mapping[int, tuple[str, int]]:
        """The command and node of every key."""
        found = {}
        sizes = {name: self.dram.nodes(level) for name, level in self.levels.items()}
        sizes |= dict.fromkeys(BANK_COMMANDS, self.dram.banks) | dict.fromkeys(UNIT_COMMANDS, self.dram.refresh_units)
        for name, first in self.program.first_key.items():
            found.update({first + node: (name, node) for node in range(sizes[name])})
        return found


@dataclass(frozen=True, slots=True)
class ChannelRun:
    """What a stream took: the tick of the last command, how many commands, and, where asked for, which."""

    ticks: int
    issued: int
    trace: tuple[Issued, ...] = field(default=())


def stream(table: PimTable, entries: Sequence[Entry]) -> Integers:
    """Return a stream as the controller reads it, (entries, columns)."""
    import numpy as np

    key = table.program.first_key
    rows = [
        (
            e.channel,
            (BARRIER if e.command == "" else END if e.command == "END" else key[e.command] + e.node),
            *e.banks,
            e.row,
            e.bank,
            e.mode,
            key[e.opens] + e.node if e.opens else -1,
            key[e.closes] + e.node if e.closes else -1,
        )
        for e in entries
    ]
    return with_runs(np.array(rows, dtype=np.int64).reshape(-1, 9))


def with_runs(entries: Integers) -> Integers:
    """Add to every entry the number of the first one behind it that differs from it."""
    import numpy as np

    count = len(entries)
    differs = np.flatnonzero((entries[1:] != entries[:-1]).any(axis=1)) + 1
    bounds = np.append(differs, count)
    alike = np.repeat(bounds, np.diff(np.concatenate(([0], bounds)))) if count else np.zeros(0, dtype=np.int64)
    return np.column_stack((entries, alike))


def run_stream(
    table: PimTable,
    entries: Integers,
    controller: PimController,
    channels: int = 1,
    units: int = 1,
    traced: int = 0,
) -> ChannelRun:
    """Run a stream from idle channels with all rows closed.

    Parameters
    ----------
    units
        Groups of banks of a channel that rows are tracked for.
    traced
        Commands to keep of the trace.
    """
    import numpy as np

    from hwmodels.pim import kernel, kernel_queue

    program, settings = table.program, _settings(table, controller)
    states = np.zeros((channels, kernel_queue.STATES), dtype=np.int64)
    states[:, kernel_queue.NEXT_REFRESH] = table.dram.timings["nREFI"]
    rows = np.full((channels, units), -1, dtype=np.int64)
    ready = np.zeros((channels, program.never + 1), dtype=np.int64)
    queues = np.zeros((channels, controller.capacity), dtype=np.int64)
    trace = np.zeros((traced + 1, 4), dtype=np.int64)
    ticks = kernel.run_channels(
        entries, 0, program.starts, program.ranges, settings, queues, states, rows, ready, trace
    )
    return ChannelRun(int(ticks), int(states[:, kernel_queue.ISSUED].sum()), _issued(table, trace))


@dataclass(slots=True)
class ChannelState:
    """One channel between two streams; ticks are relative to the end of the last."""

    queues: Integers
    states: Integers
    rows: Integers
    ready: Integers

    def key(self) -> bytes:
        """Return what the next stream's course depends on."""
        return self.states[:, :3].tobytes() + self.rows.tobytes() + self.ready.tobytes()


def channel_state(table: PimTable, controller: PimController, units: int) -> ChannelState:
    """Return an idle channel with all rows closed."""
    import numpy as np

    from hwmodels.pim import kernel_queue

    states = np.zeros((1, kernel_queue.STATES), dtype=np.int64)
    states[:, kernel_queue.NEXT_REFRESH] = table.dram.timings["nREFI"]
    return ChannelState(
        queues=np.zeros((1, controller.capacity), dtype=np.int64),
        states=states,
        rows=np.full((1, units), -1, dtype=np.int64),
        ready=np.zeros((1, table.program.never + 1), dtype=np.int64),
    )


def run_on(table: PimTable, entries: Integers, controller: PimController, state: ChannelState) -> int:
    """Run a stream on a channel from the state it is in, change that, and return the ticks it took."""
    import numpy as np

    from hwmodels.pim import kernel, kernel_queue

    program, trace = table.program, np.zeros((1, 4), dtype=np.int64)
    ticks = kernel.run_channels(
        entries,
        0,
        program.starts,
        program.ranges,
        _settings(table, controller),
        state.queues,
        state.states,
        state.rows,
        state.ready,
        trace,
    )
    state.states[:, kernel_queue.NEXT_REFRESH] -= ticks
    np.maximum(state.ready - ticks, 0, out=state.ready)
    return int(ticks)


def run_batched(
    table: PimTable,
    entries: Sequence[Entry],
    ends: Sequence[int],
    blocks: Sequence[int],
    latencies: Sequence[int],
    controller: PimController,
    units: int,
    traced: int = 0,
) -> ChannelRun:
    """Run instructions decoded into batches on one idle channel; see :func:`hwmodels.pim.kernel.run_batches`."""
    import numpy as np

    from hwmodels.pim import kernel, kernel_queue

    program, settings = table.program, _settings(table, controller)
    state = np.zeros(kernel_queue.STATES, dtype=np.int64)
    state[kernel_queue.NEXT_REFRESH] = table.dram.timings["nREFI"]
    rows = np.full(units, -1, dtype=np.int64)
    ready = np.zeros(program.never + 1, dtype=np.int64)
    queue = np.zeros(controller.capacity, dtype=np.int64)
    trace = np.zeros((traced + 1, 4), dtype=np.int64)
    decoded, waits, takes = (np.array(column, dtype=np.int64) for column in (ends, blocks, latencies))
    ticks = kernel.run_batches(
        stream(table, entries),
        decoded,
        waits,
        takes,
        program.starts,
        program.ranges,
        settings,
        queue,
        state,
        rows,
        ready,
        trace,
    )
    return ChannelRun(int(ticks), int(state[kernel_queue.ISSUED]), _issued(table, trace))


def _settings(table: PimTable, controller: PimController) -> Integers:
    import numpy as np

    return np.array(
        [
            controller.capacity,
            controller.window,
            controller.dual,
            table.dram.timings["nREFI"] if controller.refresh else 0,
            controller.refreshes,
            table.key("REFab"),
            table.key(controller.close_all),
            -1 if controller.change is None else table.key(controller.change),
            controller.rows_alone,
        ],
        dtype=np.int64,
    )


def _issued(table: PimTable, trace: Integers) -> tuple[Issued, ...]:
    names = table.names
    return tuple(Issued(int(t), int(c), *names[int(k)], int(e)) for t, c, k, e in trace[1:] if t > 0)
