"""What a controller issues next, per way of sharing the command bus.

Each function looks from ``tick`` on and returns the tick of the next command, what it is of (``ENTRY`` ...), and the
entry. It changes nothing but what the groups know of themselves and whose turn it is.
"""

from __future__ import annotations

import numpy as np

from hwmodels.dram.kernel_queue import part
from hwmodels.dram.layout import (
    ACTIVE,
    ACTIVES,
    AGE,
    AGE_BITS,
    AWAKE_UNTIL,
    BANKS,
    C_PRE,
    C_PREAB,
    C_REFAB,
    C_REFPB,
    CHANNEL,
    CLOSED,
    CLOSES,
    COLUMN_AT,
    COLUMNS,
    DUAL,
    EDGE,
    EDGE_BANK,
    EDGE_CHANNEL,
    ENTRY,
    FAR,
    GROUP,
    GROUPS_PER_QUEUE,
    HALF,
    HALF_BANK,
    HALF_DEADLINE,
    HEAD,
    HIGH,
    IN_ORDER,
    KEY,
    LENGTH,
    LOW,
    NEVER,
    OPEN_BANKS,
    PRE,
    PREAB,
    PRIORITY,
    QUEUED,
    RD,
    READS,
    REFAB,
    REFPB,
    RING,
    RING_AT,
    ROW_OPEN,
    ROWS,
    SCHEDULER,
    SEAT,
    SECOND_HALF,
    SEEN,
    SIZE,
    SLOT,
    SLOTS,
    SOONEST,
    SPLIT,
    UNIT,
    UNIT_ACTIVE,
    UNITS_AT,
    WAKE_SLOT,
    WAKE_UP,
    WINNER,
    WINNER_AGE,
    WINNER_KEY,
    WRITES,
    WRITING,
    Integers,
)


@part
def choose_queue(r: Integers) -> int:
    """Decide between reads and writes: writes drain in bursts, between two watermarks."""
    if r[WRITING] == 0:
        if r[LENGTH + WRITES] > r[HIGH] or r[LENGTH + READS] == 0:
            r[WRITING] = 1
    elif r[LENGTH + WRITES] < r[LOW] and r[LENGTH + READS] != 0:
        r[WRITING] = 0
    turn: int = r[WRITING]
    return turn


@part
def when(r: Integers, ready: Integers, banks: Integers, key: int, tick: int) -> int:
    """Return the first tick from ``tick`` on at which the bus and all constraints allow a command to a bank.

    On a bus with half clocks, whole clocks are odd ticks. A precharge may take the half clock, except where it is the
    partner of the last row command of its pseudo-channel and that one addressed all banks or this bank.
    """
    at: int = max(ready[np.uint64(key)], tick)
    if r[SLOTS] == HALF:
        bank = key - r[PRE]
        if not 0 <= bank < r[BANKS]:
            at |= 1
        elif at == r[EDGE] and banks[bank, CHANNEL] == r[EDGE_CHANNEL]:
            at += 1 if r[EDGE_BANK] < 0 or r[EDGE_BANK] == bank else 0
    return at


@part
def look(r: Integers, ready: Integers, banks: Integers, offers: Integers, group: int, tick: int) -> int:
    """Return when a group can issue next, and have it know which of its offers: the oldest that can then.

    Waits only ever grow. So the winner of an earlier look still wins over the offers seen then if it is not held
    longer than it was and its tick is not past, and only offers that are new since need to be looked at.
    """
    size, soonest = r[SIZE + group], r[SOONEST + group]
    start, best, winner = 0, FAR, np.int64(-1)
    if tick <= soonest < NEVER and when(r, ready, banks, r[WINNER_KEY + group], tick) == soonest:
        start, best = r[SEEN + group], ((soonest - tick) << AGE_BITS) | r[WINNER_AGE + group]
    for i in range(np.uint64(start), np.uint64(size)):
        wait = when(r, ready, banks, offers[group, KEY, i], tick) - tick
        score = (wait << AGE_BITS) | offers[group, AGE, i]
        if score < best:
            best, winner = score, np.int64(i)
    r[SEEN + group] = size
    if winner >= 0:
        r[WINNER + group], r[WINNER_AGE + group] = offers[group, SLOT, winner], offers[group, AGE, winner]
        r[WINNER_KEY + group] = offers[group, KEY, winner]
    soonest = tick + (best >> AGE_BITS) if best < FAR else NEVER
    r[SOONEST + group] = soonest
    return soonest


@part
def oldest(
    r: Integers, ready: Integers, banks: Integers, offers: Integers, groups: tuple[int, int], tick: int
) -> tuple[int, int]:
    """Return when a queue served in order can issue next, and the entry: its oldest, where its group is wanted."""
    age, entry, at = FAR, -1, NEVER
    if r[SIZE + ACTIVES] > 0 or r[HALF_BANK] >= 0:
        return at, entry
    turn = r[WRITING] * GROUPS_PER_QUEUE
    for group in range(turn, turn + GROUPS_PER_QUEUE):
        for i in range(r[SIZE + group]):
            if offers[group, AGE, i] < age:
                age, entry, at = offers[group, AGE, i], offers[group, SLOT, i], NEVER
                if groups[0] <= group - turn < groups[1]:
                    at = when(r, ready, banks, offers[group, KEY, i], tick)
    return at, entry


@part
def pick(
    r: Integers, ready: Integers, banks: Integers, offers: Integers, groups: tuple[int, int], tick: int
) -> tuple[int, int]:
    """Return when the queue whose turn it is can issue a command of some kinds next, and which entry: its oldest."""
    if r[SCHEDULER] == IN_ORDER:
        return oldest(r, ready, banks, offers, groups, tick)
    at, age, entry = NEVER, FAR, -1
    for kind in range(groups[0], groups[1]):
        group = GROUPS_PER_QUEUE * r[WRITING] + kind
        if kind == ROWS and r[HALF_BANK] >= 0:
            continue
        soonest = look(r, ready, banks, offers, group, tick)
        if soonest < at or (soonest == at and r[WINNER_AGE + group] < age):
            at, age, entry = soonest, r[WINNER_AGE + group], r[WINNER + group]
    return at, entry


@part
def priority_command(r: Integers, banks: Integers) -> tuple[int, int, bool]:
    """Return what the oldest refresh or precharge needs next: command (-1: blocked), node, whether that ends it."""
    last = r[RING_AT + (r[HEAD] & (RING - 1))]
    if last >= r[PREAB]:
        unit = last - r[REFAB]
        if r[HALF_BANK] >= 0 and banks[r[HALF_BANK], UNIT] == unit:
            return -1, unit, False
        if r[UNITS_AT + 4 * unit + OPEN_BANKS] == 0:
            return C_REFAB, unit, True
        return (-1 if r[UNITS_AT + 4 * unit + UNIT_ACTIVE] > 0 else C_PREAB), unit, False
    closes = last < r[RD]
    bank = last - (r[PRE] if closes else r[REFPB])
    if r[HALF_BANK] == bank or banks[bank, ACTIVE] > 0:
        return -1, bank, False
    if not closes and banks[bank, ROW_OPEN] == CLOSED:
        return C_REFPB, bank, True
    return C_PRE, bank, closes


@part
def pick_priority(r: Integers, ready: Integers, banks: Integers, tick: int) -> int:
    """Return when the oldest refresh or precharge can issue its next command."""
    command, node, _ = priority_command(r, banks)
    if command < 0:
        return NEVER
    if command == C_PREAB:  # all banks of a pseudo-channel: no partner of its last row command
        at: int = max(ready[r[PREAB] + node], tick)
        return at + 1 if r[SLOTS] == HALF and at == r[EDGE] and node == r[EDGE_CHANNEL] else at
    first = r[REFAB] if command == C_REFAB else r[PRE] if command == C_PRE else r[REFPB]
    return when(r, ready, banks, first + node, tick)


@part
def single(r: Integers, ready: Integers, banks: Integers, offers: Integers, tick: int) -> tuple[int, int, int]:
    """One command per tick: activated requests first, then refreshes, then a queue."""
    at, what, entry = look(r, ready, banks, offers, ACTIVES, tick), ENTRY, r[WINNER + ACTIVES]
    if at > tick:
        if r[QUEUED] > 0:
            other, slot, kind = pick_priority(r, ready, banks, tick), -1, PRIORITY
        else:
            choose_queue(r)
            other, slot = pick(r, ready, banks, offers, (COLUMNS, CLOSES + 1), tick)
            kind = ENTRY
        if other < at:
            at, what, entry = other, kind, slot
    return at, what, entry


@part
def dual(r: Integers, ready: Integers, banks: Integers, offers: Integers, tick: int) -> tuple[int, int, int]:
    """A column command and a row command per tick, the column first; activated requests use columns only."""
    column, entry = NEVER, -1
    if r[COLUMN_AT] < tick:
        column, entry = look(r, ready, banks, offers, ACTIVES, tick), r[WINNER + ACTIVES]
    if r[QUEUED] > 0:
        row, slot, what = pick_priority(r, ready, banks, tick), -1, PRIORITY
    else:
        choose_queue(r)
        row, slot = pick(r, ready, banks, offers, (ROWS, CLOSES + 1), tick)
        what = ENTRY
        if r[COLUMN_AT] < tick:
            other, hit = pick(r, ready, banks, offers, (COLUMNS, COLUMNS + 1), tick)
            if other < column:
                column, entry = other, hit
    if column <= row:
        return column, ENTRY, entry
    return row, what, slot


@part
def choose(
    r: Integers, ready: Integers, banks: Integers, entries: Integers, offers: Integers, tick: int
) -> tuple[int, int, int]:
    """Return the next command of a channel: its tick, what it is of, and the entry.

    Where activation takes two commands, the second goes out when nothing else can or when it is due; and before a
    column command the data clock is woken if it has stopped.
    """
    if r[SLOTS] == DUAL or r[SLOTS] == HALF:
        return dual(r, ready, banks, offers, tick)
    woken = r[WAKE_SLOT]
    if woken >= 0:
        return max(tick, ready[offers[entries[woken, GROUP], KEY, entries[woken, SEAT]]]), ENTRY, woken
    due = r[HALF_DEADLINE] if r[HALF_BANK] >= 0 else NEVER
    if due <= tick:
        return tick, SECOND_HALF, -1
    at, what, entry = single(r, ready, banks, offers, tick)
    if due < NEVER and at > tick:
        return tick, SECOND_HALF, -1
    asleep = r[SLOTS] == SPLIT and what == ENTRY and r[AWAKE_UNTIL] <= at < NEVER
    if asleep and entries[entry, GROUP] % GROUPS_PER_QUEUE == COLUMNS:
        # The wake-up and its column command must not pass the deadline.
        return (at, SECOND_HALF, -1) if due <= at + 1 else (at, WAKE_UP, entry)
    return at, what, entry
