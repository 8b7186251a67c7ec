"""The compiled controller of channels that compute: queues of commands, rows, refresh, one or two commands a tick.

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

_NONE, _ROW, _COLUMN, _OTHER = 0, 1, 2, 3
_NEVER = 1 << 60
_CLOSED = -1

compiled = kernel_jit([Path(__file__)])


@compiled
def _wanted(entry: Integers, rows: Integers) -> int:
    """Return the key of the next command of an entry: itself, or what opens or closes its row first."""
    for bank in range(entry[LOW], entry[HIGH]):
        if rows[bank] == _CLOSED:
            return entry[OPEN]  # type: ignore[no-any-return]
        if rows[bank] != entry[ROW]:
            return entry[CLOSE]  # type: ignore[no-any-return]
    return entry[KEY]  # type: ignore[no-any-return]


@compiled
def _bus(key: int, entry: Integers, settings: Integers) -> int:
    """Return which bus a command takes, where there are two."""
    if key == entry[KEY]:
        return _COLUMN
    return _OTHER if settings[ALONE] == 1 else _ROW


@compiled
def _issue(key: int, tick: int, starts: Integers, ranges: Integers, ready: Integers) -> None:
    """Raise what a command makes wait."""
    for row in range(starts[key], starts[key + 1]):
        until = tick + ranges[row, 2]
        for other in range(ranges[row, 0], ranges[row, 1]):
            if ready[other] < until:
                ready[other] = until


@compiled
def _remove(queue: Integers, place: int, length: int) -> None:
    for at in range(place, length - 1):
        queue[at] = queue[at + 1]


@compiled
def _choose(
    entries: Integers, queue: Integers, state: Integers, rows: Integers, ready: Integers, tick: int, window: int
) -> int:
    """Return the place in a queue of the entry to serve, -1 of an empty one; a barrier at its head goes.

    The oldest that is ready, else the oldest. A younger one overtakes only if it does not close or open a row of a bank
    that another entry hits, and only to open or close a row if a barrier lies between.
    """
    if state[LENGTH] > 0 and entries[queue[0], KEY] == BARRIER:
        _remove(queue, 0, state[LENGTH])
        state[LENGTH] -= 1
    length = state[LENGTH]
    if length == 0:
        return -1
    first = entries[queue[0]]
    if first[KEY] < 0 or ready[_wanted(first, rows)] <= tick or window == 1:
        return 0
    barrier = False
    for place in range(1, min(length, window)):
        entry = entries[queue[place]]
        if entry[KEY] < 0:
            barrier = True
            continue
        key = _wanted(entry, rows)
        row_command = key != entry[KEY]
        if (barrier and not row_command) or ready[key] > tick:
            continue
        if entry[HIGH] > entry[LOW] and not row_command:
            return place
        guarded = False
        for other in range(length):
            hit = entries[queue[other]]
            if hit[KEY] >= 0 and hit[HIGH] > hit[LOW] and hit[BANK] == entry[BANK] and _wanted(hit, rows) == hit[KEY]:
                guarded = True
                break
        if not guarded:
            return place
    return 0


@compiled
def _serve(
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
    key = _wanted(entry, rows)
    if change >= 0 and entry[MODE] != state[IN_MODE]:
        state[IN_MODE] = entry[MODE]
        key = change
    elif key == entry[KEY]:
        _remove(queue, place, state[LENGTH])
        state[LENGTH] -= 1
    else:
        opened = entry[ROW] if key == entry[OPEN] else _CLOSED
        for bank in range(entry[LOW], entry[HIGH]):
            rows[bank] = opened
    _issue(key, tick, starts, ranges, ready)
    state[ISSUED] += 1
    state[LAST] = key
    return key


@compiled
def _refresh(
    state: Integers, rows: Integers, ready: Integers, tick: int, starts: Integers, ranges: Integers, settings: Integers
) -> int:
    """Issue what a refresh that is due needs, if it may be; return its key, or -1."""
    key = settings[REFRESH]
    for bank in range(rows.shape[0]):
        if rows[bank] != _CLOSED:
            key = settings[CLOSE_ALL]
            break
    if ready[key] > tick:
        return -1
    if key == settings[REFRESH]:
        # Pseudo-channels are refreshed one command after the other; what waits, waits for the first.
        if state[DUE] % settings[REFRESHES] == 0:
            _issue(key, tick, starts, ranges, ready)
        state[DUE] -= 1
    else:
        rows[:] = _CLOSED
        _issue(key, tick, starts, ranges, ready)
    state[ISSUED] += 1
    return key  # type: ignore[no-any-return]


@compiled
def _soonest(
    entries: Integers, queue: Integers, state: Integers, rows: Integers, ready: Integers, tick: int, settings: Integers
) -> int:
    """Return the first tick after this one at which something may change in a channel."""
    soonest = state[NEXT_REFRESH] if settings[INTERVAL] > 0 else _NEVER
    for place in range(state[LENGTH]):
        entry = entries[queue[place]]
        if entry[KEY] < 0:
            continue
        at = ready[_wanted(entry, rows)]
        if tick < at < soonest:
            soonest = at
    if state[DUE] > 0:
        for key in (settings[REFRESH], settings[CLOSE_ALL]):
            if tick < ready[key] < soonest:
                soonest = ready[key]
    return max(soonest, tick + 1)


@compiled
def _note(trace: Integers, tick: int, channel: int, key: int, index: int) -> None:
    """Write a command into a trace, if there is room; its first row counts the commands."""
    trace[0, 0] += 1
    at = trace[0, 0]
    if at < trace.shape[0]:
        trace[at, 0] = tick
        trace[at, 1] = channel
        trace[at, 2] = key
        trace[at, 3] = index


@compiled
def _first(
    entries: Integers,
    tick: int,
    channel: int,
    starts: Integers,
    ranges: Integers,
    settings: Integers,
    queue: Integers,
    state: Integers,
    rows: Integers,
    ready: Integers,
    trace: Integers,
) -> int:
    """Issue the first command of a tick, of a refresh that is due or of an entry; return the bus it asks for."""
    if state[DUE] > 0:
        key = _refresh(state, rows, ready, tick, starts, ranges, settings)
        if key >= 0:
            _note(trace, tick, channel, key, -1)
        return _ROW
    place = _choose(entries, queue, state, rows, ready, tick, settings[WINDOW])
    if place < 0:
        return _NONE
    index = queue[place]
    if entries[index, KEY] < 0:
        _remove(queue, place, state[LENGTH])
        state[LENGTH] -= 1
        return _OTHER
    if ready[_wanted(entries[index], rows)] > tick:
        return _NONE
    key = _serve(entries, queue, place, state, rows, ready, tick, starts, ranges, settings[CHANGE])
    _note(trace, tick, channel, key, index)
    return _bus(key, entries[index], settings)


@compiled
def _second(
    entries: Integers,
    tick: int,
    channel: int,
    starts: Integers,
    ranges: Integers,
    settings: Integers,
    queue: Integers,
    state: Integers,
    rows: Integers,
    ready: Integers,
    trace: Integers,
    first: int,
) -> None:
    """Issue a second command, on the bus that the first left free, if the entry to serve next wants that one."""
    place = _choose(entries, queue, state, rows, ready, tick, settings[WINDOW])
    if place < 0 or entries[queue[place], KEY] < 0 or first in (_NONE, _OTHER):
        return
    index = queue[place]
    wanted = _wanted(entries[index], rows)
    bus = _bus(wanted, entries[index], settings)
    if bus != first and bus != _OTHER and ready[wanted] <= tick:
        key = _serve(entries, queue, place, state, rows, ready, tick, starts, ranges, settings[CHANGE])
        _note(trace, tick, channel, key, index)


@compiled
def _fall_due(state: Integers, tick: int, settings: Integers) -> None:
    """Count refreshes whose time has come."""
    if settings[INTERVAL] > 0 and tick >= state[NEXT_REFRESH]:
        state[NEXT_REFRESH] += settings[INTERVAL]
        state[DUE] += settings[REFRESHES]


@compiled
def _ahead(
    entries: Integers,
    fed: int,
    tick: int,
    settings: Integers,
    queue: Integers,
    state: Integers,
    rows: Integers,
    ready: Integers,
) -> int:
    """Return how many commands may be passed over at once, the state staying the same but for time.

    All in the queue and so many behind it are alike, their row is open, one was issued this tick, and no refresh falls
    due before the last of them: each is issued as soon as its command is ready again, and one more is fed.
    """
    head = queue[0]
    more = entries[head, ALIKE] - fed
    if more <= 0 or state[DUE] > 0 or state[LENGTH] < settings[CAPACITY] - 1:
        return 0
    key = entries[head, KEY]
    gap = ready[key] - tick
    if key != state[LAST] or _wanted(entries[head], rows) != key or entries[head, MODE] != state[IN_MODE] or gap < 1:
        return 0
    if settings[INTERVAL] > 0:
        more = min(more, (state[NEXT_REFRESH] - 1 - tick) // gap)
    return max(more, 0)  # type: ignore[no-any-return]


@compiled
def run_channels(
    entries: Integers,
    tick: int,
    starts: Integers,
    ranges: Integers,
    settings: Integers,
    queues: Integers,
    states: Integers,
    rows: Integers,
    ready: Integers,
    trace: Integers,
) -> int:
    """Run a stream to its end and return the tick of the last command.

    Parameters
    ----------
    entries
        The stream, (entries, COLUMNS), fed to the queues in order; it stops at the first full queue.
    tick
        The tick before the first; of a stream before, where this one goes on.
    queues, states, rows, ready
        Of every channel, changed in place: (channels, capacity), (channels, STATES), (channels, units of banks) and
        (channels, keys + 1).
    trace
        (capacity + 1, 4): how many commands, then tick, channel, key and entry of each as far as they fit.
    """
    channels, count = states.shape[0], entries.shape[0]
    fed, last = 0, tick
    while True:
        tick += 1
        before = fed
        while fed < count and states[entries[fed, CHANNEL], LENGTH] < settings[CAPACITY]:
            channel = entries[fed, CHANNEL]
            queues[channel, states[channel, LENGTH]] = fed
            states[channel, LENGTH] += 1
            fed += 1
        moved, waiting = fed != before, fed < count
        for channel in range(channels):
            state, queue = states[channel], queues[channel]
            _fall_due(state, tick, settings)
            mark, issued = state[ISSUED] - state[LENGTH], state[ISSUED]
            first = _first(
                entries, tick, channel, starts, ranges, settings, queue, state, rows[channel], ready[channel], trace
            )
            if settings[DUAL] == 1:
                _second(
                    entries, tick, channel, starts, ranges, settings, queue, state, rows[channel], ready[channel],
                    trace, first,
                )  # fmt: skip
            if state[ISSUED] - state[LENGTH] != mark:
                moved, last = True, tick
                if channels == 1 and trace.shape[0] == 1 and state[ISSUED] > issued and state[LENGTH] > 0:
                    ahead = _ahead(entries, fed, tick, settings, queue, state, rows[0], ready[0])
                    if ahead > 0:
                        key = entries[queue[0], KEY]
                        tick += ahead * (ready[0, key] - tick)
                        last = tick
                        fed += ahead
                        queue += ahead
                        state[ISSUED] += ahead
                        trace[0, 0] += ahead
                        _issue(key, tick, starts, ranges, ready[0])
            waiting = waiting or state[LENGTH] > 0 or state[DUE] > 0
        if not waiting:
            return last
        if not moved:
            tick = _idle_until(entries, queues, states, rows, ready, tick, settings) - 1


@compiled
def _idle_until(
    entries: Integers,
    queues: Integers,
    states: Integers,
    rows: Integers,
    ready: Integers,
    tick: int,
    settings: Integers,
) -> int:
    """Return the first tick after this one at which something may change in any channel."""
    soonest = _NEVER
    for channel in range(states.shape[0]):
        at = _soonest(entries, queues[channel], states[channel], rows[channel], ready[channel], tick, settings)
        soonest = min(soonest, at)
    return soonest


@compiled
def _feed(fed: int, end: int, queue: Integers, state: Integers, capacity: int) -> int:
    """Put entries of a batch into the queue as far as there is room; return how far."""
    while fed < end and state[LENGTH] < capacity:
        queue[state[LENGTH]] = fed
        state[LENGTH] += 1
        fed += 1
    return fed


@compiled
def run_batches(
    entries: Integers,
    ends: Integers,
    blocks: Integers,
    latencies: Integers,
    starts: Integers,
    ranges: Integers,
    settings: Integers,
    queue: Integers,
    state: Integers,
    rows: Integers,
    ready: Integers,
    trace: Integers,
) -> int:
    """Run instructions on one channel, each decoded into a batch of entries, and return the tick after the last.

    A front end takes one instruction a tick and hands its batch to the queue; it waits until all of it has a place,
    and, where the instruction ``blocks``, until what it reads is back. The last one ends the program: it is done a tick
    after it is served, once everything written has arrived.

    Parameters
    ----------
    ends
        One past the last entry of each batch.
    blocks
        1 where the front end waits for the batch's data.
    latencies
        Ticks from each entry's command until it is done; negative where its data go back to the front end.
    """
    batch, fed, tick = 0, 0, 0
    sending, stalled, back, done = False, 0, -1, 0
    while True:
        tick += 1
        # The front end, before the controller: instruction i reaches it at tick i.
        were_left = sending
        if sending:
            fed = _feed(fed, ends[batch], queue, state, settings[CAPACITY])
            sending = fed < ends[batch]
        if stalled == 0:
            if were_left:
                batch += 0 if sending else 1
            elif batch < ends.shape[0] and batch < tick:
                begin = fed
                fed = _feed(fed, ends[batch], queue, state, settings[CAPACITY])
                sending = fed < ends[batch]
                stalled = ends[batch] - begin if blocks[batch] == 1 else 0
                batch += 1 if stalled == 0 and not sending else 0
        # The controller: what came back, refresh, then the oldest entry.
        if 0 <= back <= tick and (entries[fed - 1, KEY] != END or tick > done):
            if entries[fed - 1, KEY] == END:
                return tick
            back = -1
            stalled -= 1
            batch += 1 if stalled == 0 else 0
        _fall_due(state, tick, settings)
        index, before = queue[0], state[LENGTH]
        _first(entries, tick, 0, starts, ranges, settings, queue, state, rows, ready, trace)
        if state[LENGTH] < before:
            if latencies[index] < 0:  # read, or the end: the front end waits for it
                back = tick - latencies[index]
            else:
                done = max(done, tick + latencies[index])
