"""What issuing a command does: constraints raised, banks opened and closed, requests moved on, counters."""

from __future__ import annotations

import numpy as np

from hwmodels.dram.kernel_queue import free, leave, next_hit, offer, offer_close, part, settle, withdraw
from hwmodels.dram.kernel_slots import priority_command
from hwmodels.dram.layout import (
    ACCESSES,
    ACT,
    ACTIVE,
    ACTIVES,
    ARRIVED,
    AWAKE_UNTIL,
    BANK,
    C_ACT,
    C_PRE,
    C_PREAB,
    C_RD,
    C_RDA,
    C_REFAB,
    C_REFPB,
    CAP,
    CHANNEL,
    CLOSED,
    CLOSES,
    CLOSING,
    COLUMNS,
    CONFLICTS,
    EDGE,
    EDGE_BANK,
    EDGE_CHANNEL,
    END,
    ENTRY,
    FIRST,
    FLAG,
    GROUP,
    GROUPS_PER_QUEUE,
    HALF,
    HALF_BANK,
    HALF_DEADLINE,
    HALF_SLOT,
    HEAD,
    HITS,
    LATENCY,
    LATENCY_MAX,
    LATENCY_SUM,
    MISS,
    MISSES,
    N_ACT,
    N_WAKE_RD,
    NEVER_KEY,
    OPEN_BANKS,
    OPEN_PAGE,
    OPEN_SINCE,
    OPEN_TICKS,
    OPENING,
    PLACE,
    QUEUED,
    RDA,
    READ_LATENCY,
    REQUEST,
    ROW,
    ROW_OPEN,
    ROWS,
    SERVED,
    SLOTS,
    SOONEST,
    SPLIT,
    SPLIT_TICKS,
    STOP,
    TRACE_AT,
    TRACED,
    TRACING,
    UNIT,
    UNIT_ACTIVE,
    UNIT_BANKS,
    UNITS_AT,
    WAKE_READ,
    WAKE_SLOT,
    WAKE_UP,
    WAKE_WRITE,
    WINDOW,
    Integers,
)


@part
def send(r: Integers, ready: Integers, starts: Integers, ranges: Integers, command: int, node: int, tick: int) -> None:
    """Put a command on the bus: raise what must wait for it."""
    key, place = r[ACT + command] + node, -1
    for a in range(starts[key], starts[key + 1]):
        at = tick + ranges[a, LATENCY]
        if ranges[a, WINDOW] > 1:
            if ranges[a, PLACE] != place:
                place = ranges[a, PLACE]
                cursor = r[place]
                r[place + 1 + cursor] = tick
                r[place] = cursor + 1 if cursor + 1 < ranges[a, WINDOW] else 0
            at = r[place + 1 + r[place]] + ranges[a, LATENCY]
        # Unsigned, so that no index may count from the end: only then the loop becomes vector code.
        for k in range(np.uint64(ranges[a, FIRST]), np.uint64(ranges[a, STOP])):
            ready[k] = max(ready[k], at)


@part
def trace(r: Integers, key: int, tick: int, request: int) -> None:
    """Write a command down; past the end of the trace only count it, so that the caller can make room."""
    if r[TRACING]:
        at = r[TRACE_AT] + 3 * r[TRACED]
        if at + 3 <= r.shape[0]:
            r[at], r[at + 1], r[at + 2] = tick, key, request
        r[TRACED] += 1


@part
def pair(r: Integers, banks: Integers, command: int, bank: int, tick: int) -> None:
    """Remember a row command on a whole clock: it restricts the half clock where it ends."""
    if r[SLOTS] == HALF and tick & 1:
        if r[EDGE] > tick:  # precharges it held back are free again
            r[SOONEST + CLOSES] = r[SOONEST + GROUPS_PER_QUEUE + CLOSES] = -1
        r[EDGE] = tick + (3 if command == C_ACT else 1)
        r[EDGE_CHANNEL] = banks[bank, CHANNEL]
        r[EDGE_BANK] = -1 if command >= C_PREAB else bank


@part
def set_active(r: Integers, banks: Integers, bank: int, change: int) -> None:
    """Count a request into or out of the activated ones."""
    banks[bank, ACTIVE] += change
    r[UNITS_AT + 4 * banks[bank, UNIT] + UNIT_ACTIVE] += change


@part
def set_open(r: Integers, banks: Integers, bank: int, row: int, tick: int) -> None:
    """Open or close a row, and count the time that its unit has any open."""
    unit = UNITS_AT + 4 * banks[bank, UNIT]
    if row == CLOSED:
        banks[bank, ACCESSES] = banks[bank, CLOSING] = 0
        if banks[bank, ROW_OPEN] != CLOSED:
            r[unit + OPEN_BANKS] -= 1
            if r[unit + OPEN_BANKS] == 0:
                r[unit + OPEN_TICKS] += tick - r[unit + OPEN_SINCE]
    elif banks[bank, ROW_OPEN] == CLOSED:
        if r[unit + OPEN_BANKS] == 0:
            r[unit + OPEN_SINCE] = tick
        r[unit + OPEN_BANKS] += 1
    banks[bank, ROW_OPEN] = row


@part
def finish(r: Integers, write: int, arrived: int, tick: int) -> None:
    """Complete a request whose column command issues."""
    end = tick
    if write == 0:
        end = tick + r[READ_LATENCY]
        r[LATENCY_SUM] += end - arrived
        r[LATENCY_MAX] = max(r[LATENCY_MAX], end - arrived)
    r[END] = max(r[END], end)
    r[AWAKE_UNTIL] = max(r[AWAKE_UNTIL], tick + (r[WAKE_WRITE] if write else r[WAKE_READ]))
    r[SERVED] += 1


@part
def command_of(r: Integers, ready: Integers, banks: Integers, entries: Integers, entry: int, tick: int) -> int:
    """Return the command an entry is offered for, counting its row hit, miss or conflict the first time."""
    group, flag, bank = entries[entry, GROUP], entries[entry, FLAG], entries[entry, BANK]
    kind = group % GROUPS_PER_QUEUE
    if flag < 2:
        entries[entry, FLAG] = flag + 2
        r[HITS if kind == COLUMNS else MISSES if kind == ROWS else CONFLICTS] += 1
    if kind == ROWS:
        return C_ACT
    if kind == CLOSES:
        return C_PRE
    write = flag & 1
    others = banks[bank, ACTIVE] - (1 if group == ACTIVES else 0)
    due = r[CAP] != OPEN_PAGE and banks[bank, ACCESSES] >= r[CAP] and others == 0
    column: int = C_RDA + write if due and ready[r[RDA + write] + bank] <= tick else C_RD + write
    return column


@part
def move_on(
    r: Integers, banks: Integers, entries: Integers, offers: Integers, command: int, slot: int, tick: int
) -> None:
    """Move an entry on whose activation or column command has issued."""
    bank, group = entries[slot, BANK], entries[slot, GROUP]
    write = entries[slot, FLAG] & 1
    withdraw(r, entries, offers, slot)
    if command == C_ACT:
        banks[bank, MISS + write] = -1
        leave(r, banks, entries, slot, write)
        if r[SLOTS] == SPLIT:
            set_open(r, banks, bank, OPENING, tick)
            r[HALF_BANK], r[HALF_DEADLINE], r[HALF_SLOT] = bank, tick + r[SPLIT_TICKS], slot
        else:
            activate(r, banks, entries, offers, slot, tick)
        return
    finish(r, write, entries[slot, ARRIVED], tick)
    banks[bank, ACCESSES] += 1
    if group == ACTIVES:
        set_active(r, banks, bank, -1)
    else:
        next_hit(r, banks, entries, offers, slot, write)
        leave(r, banks, entries, slot, write)
    for which in range(2):
        offer_close(r, banks, entries, offers, bank, which)
    free(r, entries, slot)


@part
def activate(r: Integers, banks: Integers, entries: Integers, offers: Integers, slot: int, tick: int) -> None:
    """Open the row of a request, which from now on goes before those in the queues."""
    bank = entries[slot, BANK]
    set_open(r, banks, bank, entries[slot, ROW], tick)
    set_active(r, banks, bank, 1)
    offer(r, entries, offers, slot, ACTIVES)


@part
def issue_half(
    r: Integers, banks: Integers, entries: Integers, offers: Integers, what: int, entry: int, tick: int
) -> None:
    """Issue the second half of an activation, or a wake-up; neither makes anything wait."""
    if what == WAKE_UP:
        write = entries[entry, FLAG] & 1
        trace(r, r[NEVER_KEY] + 2 + write, tick, entries[entry, REQUEST])
        r[N_WAKE_RD + write] += 1
        r[WAKE_SLOT] = entry
        return
    bank = r[HALF_BANK]
    trace(r, r[NEVER_KEY] + 1, tick, entries[r[HALF_SLOT], REQUEST])
    r[HALF_BANK] = -1
    activate(r, banks, entries, offers, r[HALF_SLOT], tick)
    for which in range(2):
        settle(r, banks, entries, offers, bank, which)


@part
def issue(
    r: Integers,
    ready: Integers,
    starts: Integers,
    ranges: Integers,
    banks: Integers,
    entries: Integers,
    offers: Integers,
    what: int,
    entry: int,
    tick: int,
) -> int:
    """Issue the next command of an entry or of the priority ring; return its number."""
    request = -1
    if what == ENTRY:
        command = command_of(r, ready, banks, entries, entry, tick)
        node, request = entries[entry, BANK], entries[entry, REQUEST]
        r[WAKE_SLOT] = -1
    else:
        command, node, last = priority_command(r, banks)
        if last:
            r[HEAD] += 1
            r[QUEUED] -= 1
    send(r, ready, starts, ranges, command, node, tick)
    trace(r, r[ACT + command] + node, tick, request)
    r[N_ACT + command] += 1
    bank, count = node, 1
    if command >= C_PREAB:
        bank, count = node * r[UNIT_BANKS], r[UNIT_BANKS]
    column = C_RD <= command < C_REFPB
    if not column:
        pair(r, banks, command, bank, tick)
    if command == C_ACT or column:
        move_on(r, banks, entries, offers, command, entry, tick)
    if C_RD <= command < C_RDA or command in (C_REFPB, C_REFAB):
        return command
    for closing in range(bank, bank + count):
        if command != C_ACT:
            set_open(r, banks, closing, CLOSED, tick)
        for which in range(2):
            settle(r, banks, entries, offers, closing, which)
    return command
