"""One queue of a channel that computes: which entry to serve, what it needs first, what a command makes wait.

It shares the constraint table with the DRAM engine (``compile_program``): ``ready`` holds, for every command at every
node, the first tick it may be issued at, and a command issued raises entries of it by the table's ranges.

An entry of a stream is a command that moves or multiplies data; activations and precharges follow from the rows it
needs. Barriers hold back what lies behind them, except commands that open or close rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.core.jit import kernel_jit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]
else:
    Integers = Any

#: Columns of an entry: its channel, key (or BARRIER or END), the banks whose row it needs (from LOW up to before HIGH),
#: the row, the bank its address names, the mode it needs, the keys that open and close its row, and the number of the
#: first entry behind it that differs from it.
CHANNEL, KEY, LOW, HIGH, ROW, BANK, MODE, OPEN, CLOSE, ALIKE = range(10)
COLUMNS = 10
BARRIER, END = -1, -2

#: Columns of a channel's state: refreshes due, the tick the next falls due, the mode, commands issued, length of the
#: queue, the key of the last entry's command.
DUE, NEXT_REFRESH, IN_MODE, ISSUED, LENGTH, LAST = range(6)
STATES = 6

#: Settings: entries a queue holds; how many of them may overtake (1: none); 1 for a bus each of row and column
#: commands; ticks between refreshes (0: none) and refresh commands each; keys of refresh, of closing all banks and of a
#: change of mode (-1: none); 1 if commands that open or close rows go alone, on neither bus.
CAPACITY, WINDOW, DUAL, INTERVAL, REFRESHES, REFRESH, CLOSE_ALL, CHANGE, ALONE = range(9)
SETTINGS = 9

NONE, ROW_BUS, COLUMN_BUS, NO_BUS = 0, 1, 2, 3
NEVER = 1 << 60
CLOSED = -1

compiled = kernel_jit([Path(__file__), Path(__file__).with_name("kernel.py")])


@compiled
def wanted(entry: Integers, rows: Integers) -> int:
    """Return the key of the next command of an entry: itself, or what opens or closes its row first."""
    for bank in range(entry[LOW], entry[HIGH]):
        if rows[bank] == CLOSED:
            return entry[OPEN]  # type: ignore[no-any-return]
        if rows[bank] != entry[ROW]:
            return entry[CLOSE]  # type: ignore[no-any-return]
    return entry[KEY]  # type: ignore[no-any-return]


@compiled
def bus(key: int, entry: Integers, settings: Integers) -> int:
    """Return which bus a command takes, where there are two."""
    if key == entry[KEY]:
        return COLUMN_BUS
    return NO_BUS if settings[ALONE] == 1 else ROW_BUS


@compiled
def issue(key: int, tick: int, starts: Integers, ranges: Integers, ready: Integers) -> None:
    """Raise what a command makes wait."""
    for row in range(starts[key], starts[key + 1]):
        until = tick + ranges[row, 2]
        for other in range(ranges[row, 0], ranges[row, 1]):
            if ready[other] < until:
                ready[other] = until


@compiled
def remove(queue: Integers, place: int, length: int) -> None:
    """Take an entry out of a queue; those behind it move up."""
    for at in range(place, length - 1):
        queue[at] = queue[at + 1]


@compiled
def choose(
    entries: Integers, queue: Integers, state: Integers, rows: Integers, ready: Integers, tick: int, window: int
) -> int:
    """Return the place in a queue of the entry to serve, -1 of an empty one; a barrier at its head goes.

    The oldest that is ready, else the oldest. A younger one overtakes only if it does not close or open a row of a bank
    that another entry hits, and only to open or close a row if a barrier lies between.
    """
    if state[LENGTH] > 0 and entries[queue[0], KEY] == BARRIER:
        remove(queue, 0, state[LENGTH])
        state[LENGTH] -= 1
    length = state[LENGTH]
    if length == 0:
        return -1
    first = entries[queue[0]]
    if first[KEY] < 0 or ready[wanted(first, rows)] <= tick or window == 1:
        return 0
    barrier = False
    for place in range(1, min(length, window)):
        entry = entries[queue[place]]
        if entry[KEY] < 0:
            barrier = True
            continue
        key = wanted(entry, rows)
        row_command = key != entry[KEY]
        if (barrier and not row_command) or ready[key] > tick:
            continue
        if entry[HIGH] > entry[LOW] and not row_command:
            return place
        guarded = False
        for other in range(length):
            hit = entries[queue[other]]
            if hit[KEY] >= 0 and hit[HIGH] > hit[LOW] and hit[BANK] == entry[BANK] and wanted(hit, rows) == hit[KEY]:
                guarded = True
                break
        if not guarded:
            return place
    return 0


@compiled
def serve(
    entries: Integers,
    queue: Integers,
    place: int,
    state: Integers,
    rows: Integers,
    ready: Integers,
    tick: int,
    starts: Integers,
    ranges: Integers,
    change: int,
) -> int:
    """Issue the next command of an entry and return its key; a change of mode comes first."""
    index = queue[place]
    entry = entries[index]
    key = wanted(entry, rows)
    if change >= 0 and entry[MODE] != state[IN_MODE]:
        state[IN_MODE] = entry[MODE]
        key = change
    elif key == entry[KEY]:
        remove(queue, place, state[LENGTH])
        state[LENGTH] -= 1
    else:
        opened = entry[ROW] if key == entry[OPEN] else CLOSED
        for bank in range(entry[LOW], entry[HIGH]):
            rows[bank] = opened
    issue(key, tick, starts, ranges, ready)
    state[ISSUED] += 1
    state[LAST] = key
    return key


@compiled
def refresh(
    state: Integers, rows: Integers, ready: Integers, tick: int, starts: Integers, ranges: Integers, settings: Integers
) -> int:
    """Issue what a refresh that is due needs, if it may be; return its key, or -1."""
    key = settings[REFRESH]
    for bank in range(rows.shape[0]):
        if rows[bank] != CLOSED:
            key = settings[CLOSE_ALL]
            break
    if ready[key] > tick:
        return -1
    if key == settings[REFRESH]:
        # Pseudo-channels are refreshed one command after the other; what waits, waits for the first.
        if state[DUE] % settings[REFRESHES] == 0:
            issue(key, tick, starts, ranges, ready)
        state[DUE] -= 1
    else:
        rows[:] = CLOSED
        issue(key, tick, starts, ranges, ready)
    state[ISSUED] += 1
    return key  # type: ignore[no-any-return]


@compiled
def soonest(
    entries: Integers, queue: Integers, state: Integers, rows: Integers, ready: Integers, tick: int, settings: Integers
) -> int:
    """Return the first tick after this one at which something may change in a channel."""
    soonest = state[NEXT_REFRESH] if settings[INTERVAL] > 0 else NEVER
    for place in range(state[LENGTH]):
        entry = entries[queue[place]]
        if entry[KEY] < 0:
            continue
        at = ready[wanted(entry, rows)]
        if tick < at < soonest:
            soonest = at
    if state[DUE] > 0:
        for key in (settings[REFRESH], settings[CLOSE_ALL]):
            if tick < ready[key] < soonest:
                soonest = ready[key]
    return max(soonest, tick + 1)
