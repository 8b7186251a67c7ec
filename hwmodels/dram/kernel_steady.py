"""Steady state: where a regular stream finds the channel as it was one period ago, the periods ahead are multiplied.

A stream has period p from request i on if each request j there goes to the bank of j - p with the same operation, and
row, block and arrival differ from those of j - p by the same amounts throughout. The channel is as it was if its
normal forms are equal: all that it will ever look at (what each queued request is and needs, which rows are open, how
long every command must still wait, what the bus, the write drain and the windows remember), with ticks counted from
now, and requests, rows and blocks from the next request on. With no refresh in between, the next period is then the
last one again, moved; so are all up to the end of the regular stretch or the next refresh, and they are added up.
"""

from __future__ import annotations

from hwmodels.dram.kernel_queue import kernel
from hwmodels.dram.layout import (
    ACTIVE,
    ACTIVES,
    AFTER,
    AGE,
    ARRIVED,
    AWAKE_UNTIL,
    BATCH,
    BLOCK,
    CHECK_AT,
    CHECK_TICK,
    CHECKED,
    COUNTERS,
    COUNTERS_END,
    EDGE,
    EDGE_BANK,
    EDGE_CHANNEL,
    END,
    FAILURES,
    FLAG,
    GROUPS,
    HALF,
    HALF_BANK,
    HALF_DEADLINE,
    HALF_SLOT,
    LAST_INJECT,
    LATENCY,
    MARKS,
    MARKS_AT,
    NEVER_KEY,
    NEXT,
    OLDEST,
    OPEN_BANKS,
    OPEN_SINCE,
    OPEN_TICKS,
    PERIOD,
    PLACE,
    QUEUED,
    R_ARRIVAL,
    R_BANK,
    R_BLOCK,
    R_ROW,
    R_WRITE,
    REFRESH_AT,
    REQUEST,
    ROW,
    ROW_OPEN,
    SERVED,
    SIZE,
    SKIPPED,
    SLOT,
    SLOTS,
    SOONEST,
    UNITS,
    UNITS_AT,
    WAKE_SLOT,
    WINDOW,
    WRITES,
    WRITING,
    Integers,
)

_SPACING = 16  # requests between checkpoints at least: looking costs about as much as serving a few
_PATIENCE, _PAUSE = 4, 16  # failures in a row, and the periods to wait after them
_KEPT = 96  # registers at the head of a snapshot; behind them those of units, its length, and the normal form
_NOW = 2  # the snapshot that is not a checkpoint


@kernel
def repeats(requests: Integers, period: int, start: int, stop: int) -> int:
    """Return the first request from ``start`` on that breaks the period ``start`` has, ``stop`` if none does."""
    row = requests[R_ROW, start] - requests[R_ROW, start - period]
    block = requests[R_BLOCK, start] - requests[R_BLOCK, start - period]
    arrival = requests[R_ARRIVAL, start] - requests[R_ARRIVAL, start - period]
    for j in range(start, stop):
        before = j - period
        if (
            requests[R_BANK, j] != requests[R_BANK, before]
            or requests[R_WRITE, j] != requests[R_WRITE, before]
            or requests[R_ROW, j] - requests[R_ROW, before] != row
            or requests[R_BLOCK, j] - requests[R_BLOCK, before] != block
            or requests[R_ARRIVAL, j] - requests[R_ARRIVAL, before] != arrival
        ):
            return j
    return stop


@kernel
def find_periods(r: Integers, requests: Integers) -> None:
    """Choose up to two periods of a stream: the shortest that holds for a while, and one that also spans its breaks."""
    total = requests.shape[1]
    found, first_end = 0, 0
    for doubling in range(20):
        for odd in range(1, 16, 2):
            period = odd << doubling
            if found == 2 or 4 * period > total or (found == 1 and period % r[PERIOD] != 0):
                continue
            probes = 0
            for place in range(3):
                start = period + place * (total - 4 * period) // 3
                probes += repeats(requests, period, start, start + 2 * period) == start + 2 * period
            if probes >= 2 and (found == 0 or repeats(requests, period, period, total) > first_end + period):
                spaced = period * ((_SPACING + period - 1) // period)
                first_end = repeats(requests, period, period, total)
                r[PERIOD + found], r[CHECK_AT + found] = spaced, spaced
                found += 1


@kernel
def put_entry(entries: Integers, slot: int, form: Integers, at: int, base: tuple[int, int, int, int]) -> int:
    """Write an entry's normal form; return where the next goes."""
    form[at] = entries[slot, REQUEST] - base[0]
    form[at + 1] = entries[slot, BATCH] - base[0]
    form[at + 2] = entries[slot, ROW] - base[1]
    form[at + 3] = entries[slot, BLOCK] - base[2] if entries[slot, FLAG] & 1 else 0
    form[at + 4] = entries[slot, ARRIVED] - base[3]
    form[at + 5] = entries[slot, FLAG]
    return at + 6


@kernel
def put_registers(r: Integers, form: Integers, at: int, tick: int) -> int:
    """Write the normal form of write drain, bus and data clock."""
    form[at], form[at + 1] = r[WRITING], r[REFRESH_AT]
    form[at + 2], form[at + 3] = max(r[AWAKE_UNTIL] - tick, 0), r[END] - tick
    for i in range(4, 8):
        form[at + i] = 0
    if r[SLOTS] == HALF:
        form[at + 4], form[at + 5] = tick & 1, max(r[EDGE] - tick, -1)
        if r[EDGE] >= tick:
            form[at + 6], form[at + 7] = r[EDGE_CHANNEL], r[EDGE_BANK]
    return at + 8


@kernel
def put_windows(r: Integers, ranges: Integers, form: Integers, at: int, tick: int) -> int:
    """Write the ticks that windows remember, as far back as they matter."""
    for a in range(ranges.shape[0]):
        window, place = ranges[a, WINDOW], ranges[a, PLACE]
        if window > 1:
            for i in range(window):
                form[at + i] = max(r[place + 1 + (r[place] + i) % window] - tick, -ranges[a, LATENCY])
            at += window
    return at


@kernel
def put_state(
    r: Integers,
    ready: Integers,
    ranges: Integers,
    banks: Integers,
    entries: Integers,
    offers: Integers,
    form: Integers,
    base: tuple[int, int, int, int],
) -> None:
    """Write a snapshot: registers and units as they are, then the length of the normal form and the form."""
    tick, units = base[3], 4 * r[UNITS]
    for i in range(_KEPT):
        form[i] = r[i]
    for i in range(units):
        form[_KEPT + i] = r[UNITS_AT + i]
    length = _KEPT + units
    at = put_registers(r, form, length + 1, tick)
    for k in range(r[NEVER_KEY]):
        form[at + k] = max(ready[k] - tick, 0)
    at += r[NEVER_KEY]
    for bank in range(banks.shape[0]):
        opened = banks[bank, ROW_OPEN]
        form[at], form[at + 1] = opened - base[1] if opened >= 0 else opened, opened >= 0
        form[at + 2] = banks[bank, ACTIVE]
        at += 3
        for which in range(2):
            slot = banks[bank, OLDEST + which]
            while slot >= 0:
                at = put_entry(entries, slot, form, at, base)
                slot = entries[slot, AFTER]
            form[at] = which  # a mark between lists
            at += 1
    for i in range(r[SIZE + ACTIVES]):
        at = put_entry(entries, offers[ACTIVES, SLOT, i], form, at, base)
    form[at] = r[HALF_BANK]
    at += 1
    if r[HALF_BANK] >= 0:
        form[at] = r[HALF_DEADLINE] - tick
        at = put_entry(entries, r[HALF_SLOT], form, at + 1, base)
    form[length] = put_windows(r, ranges, form, at, tick) - length


@kernel
def same_form(one: Integers, other: Integers, first: int) -> bool:
    """Whether two snapshots have the same normal form, whose length is at ``first``."""
    i, end = first, first + one[first]
    while i < end and one[i] == other[i]:
        i += 1
    same: bool = i == end
    return same


@kernel
def move_entries(
    r: Integers, banks: Integers, entries: Integers, offers: Integers, by: tuple[int, int, int, int]
) -> None:
    """Move every entry on by so many requests, rows, blocks and ticks."""
    for bank in range(banks.shape[0]):
        slot = banks[bank, OLDEST + WRITES]
        while slot >= 0:
            r[MARKS_AT + (entries[slot, BLOCK] & (MARKS - 1))] -= 1
            r[MARKS_AT + ((entries[slot, BLOCK] + by[2]) & (MARKS - 1))] += 1
            slot = entries[slot, AFTER]
        if banks[bank, ROW_OPEN] >= 0:
            banks[bank, ROW_OPEN] += by[1]
    for slot in range(entries.shape[0]):
        entries[slot, REQUEST] += by[0]
        entries[slot, BATCH] += by[0]
        entries[slot, ROW] += by[1]
        entries[slot, BLOCK] += by[2]
        entries[slot, ARRIVED] += by[3]
    for group in range(GROUPS):
        r[SOONEST + group] = -1
        for i in range(r[SIZE + group]):
            offers[group, AGE, i] += by[0]


@kernel
def move_on(
    r: Integers, ready: Integers, ranges: Integers, then: Integers, times: int, tick: int, by: tuple[int, int, int, int]
) -> None:
    """Add up ``times`` periods: all that counts grows by what it grew in the last, and every tick moves on."""
    ticks, period = by[3], by[3] // times
    for i in range(COUNTERS, COUNTERS_END):
        r[i] += times * (r[i] - then[i])
    r[SERVED] += times * (r[SERVED] - then[SERVED])
    r[NEXT] += by[0]
    r[SKIPPED] += ticks
    for i in (END, LAST_INJECT, AWAKE_UNTIL, EDGE, HALF_DEADLINE):
        r[i] += ticks
    for k in range(r[NEVER_KEY]):
        ready[k] += ticks
    for unit in range(r[UNITS]):
        at, before = UNITS_AT + 4 * unit, _KEPT + 4 * unit
        is_open = 1 if r[at + OPEN_BANKS] > 0 else 0
        now_open = r[at + OPEN_TICKS] + is_open * (tick - r[at + OPEN_SINCE])
        was_open = then[before + OPEN_TICKS] + is_open * (tick - period - then[before + OPEN_SINCE])
        r[at + OPEN_TICKS] += times * (now_open - was_open)
        r[at + OPEN_SINCE] += ticks
    place = -1
    for a in range(ranges.shape[0]):
        if ranges[a, WINDOW] > 1 and ranges[a, PLACE] > place:
            place = ranges[a, PLACE]
            for i in range(ranges[a, WINDOW]):
                r[place + 1 + i] += ticks


@kernel
def pass_over(
    r: Integers,
    ready: Integers,
    ranges: Integers,
    banks: Integers,
    entries: Integers,
    offers: Integers,
    snapshots: Integers,
    requests: Integers,
    tick: int,
) -> int:
    """Look whether the channel is as it was one period ago; if so pass over what repeats. Return ticks passed over."""
    for level in (1, 0):
        period, at = r[PERIOD + level], r[NEXT]
        if period == 0 or at < r[CHECK_AT + level]:
            continue
        if at == requests.shape[1] or r[QUEUED] > 0 or r[WAKE_SLOT] >= 0:
            r[CHECKED + level] = 0
            continue
        then, now = snapshots[level], snapshots[_NOW]
        base = (at, requests[R_ROW, at], requests[R_BLOCK, at], tick)
        put_state(r, ready, ranges, banks, entries, offers, now, base)
        if r[CHECKED + level] > 0 and at - then[NEXT] == period:
            rows = requests[R_ROW, at] - requests[R_ROW, at - period]
            blocks = requests[R_BLOCK, at] - requests[R_BLOCK, at - period]
            arrival, ticks = requests[R_ARRIVAL, at] - requests[R_ARRIVAL, at - period], tick - r[CHECK_TICK + level]
            if (arrival == 0 or arrival == ticks) and same_form(now, then, _KEPT + 4 * r[UNITS]):
                stop = requests.shape[1]
                if level == 0 and r[PERIOD + 1] > 0:
                    stop = min(stop, r[CHECK_AT + 1])
                end = repeats(requests, period, at, stop)
                times = min((end - 1 - at) // period, (r[REFRESH_AT] - 1 - tick) // ticks)
                if times > 0:
                    by = (times * period, times * rows, times * blocks, times * ticks)
                    move_on(r, ready, ranges, then, times, tick, by)
                    move_entries(r, banks, entries, offers, by)
                    for other in range(level + 1):
                        r[CHECKED + other], r[CHECK_AT + other] = 0, r[NEXT] + 1
                    passed: int = by[3]
                    return passed
            r[FAILURES + level] += 1
        for i in range(now.shape[0]):
            then[i] = now[i]
        r[CHECKED + level], r[CHECK_TICK + level], r[CHECK_AT + level] = 1, tick, at + period
        if r[FAILURES + level] >= _PATIENCE:
            r[FAILURES + level], r[CHECKED + level] = 0, 0
            r[CHECK_AT + level] = at + _PAUSE * period
    return 0
