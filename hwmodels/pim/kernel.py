"""The compiled controller of channels that compute: queues fed, refresh, one or two commands a tick, on to the next.

A run of equal commands on an open row is passed over at once where nothing else can happen meanwhile.
"""

from __future__ import annotations

from hwmodels.pim.kernel_queue import (
    ALIKE,
    CAPACITY,
    CHANGE,
    CHANNEL,
    DUAL,
    DUE,
    END,
    IN_MODE,
    INTERVAL,
    ISSUED,
    KEY,
    LAST,
    LENGTH,
    MODE,
    NEVER,
    NEXT_REFRESH,
    NO_BUS,
    NONE,
    REFRESHES,
    ROW_BUS,
    WINDOW,
    Integers,
    bus,
    choose,
    compiled,
    issue,
    refresh,
    remove,
    serve,
    soonest,
    wanted,
)

__all__ = ["run_batches", "run_channels"]


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
        key = refresh(state, rows, ready, tick, starts, ranges, settings)
        if key >= 0:
            _note(trace, tick, channel, key, -1)
        return ROW_BUS
    place = choose(entries, queue, state, rows, ready, tick, settings[WINDOW])
    if place < 0:
        return NONE
    index = queue[place]
    if entries[index, KEY] < 0:
        remove(queue, place, state[LENGTH])
        state[LENGTH] -= 1
        return NO_BUS
    if ready[wanted(entries[index], rows)] > tick:
        return NONE
    key = serve(entries, queue, place, state, rows, ready, tick, starts, ranges, settings[CHANGE])
    _note(trace, tick, channel, key, index)
    return bus(key, entries[index], settings)


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
    place = choose(entries, queue, state, rows, ready, tick, settings[WINDOW])
    if place < 0 or entries[queue[place], KEY] < 0 or first in (NONE, NO_BUS):
        return
    index = queue[place]
    asked = wanted(entries[index], rows)
    taken = bus(asked, entries[index], settings)
    if taken != first and taken != NO_BUS and ready[asked] <= tick:
        key = serve(entries, queue, place, state, rows, ready, tick, starts, ranges, settings[CHANGE])
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
    if key != state[LAST] or wanted(entries[head], rows) != key or entries[head, MODE] != state[IN_MODE] or gap < 1:
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
                        issue(key, tick, starts, ranges, ready[0])
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
    first = NEVER
    for channel in range(states.shape[0]):
        at = soonest(entries, queues[channel], states[channel], rows[channel], ready[channel], tick, settings)
        first = min(first, at)
    return first


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
