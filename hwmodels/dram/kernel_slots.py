"""What one tick of a controller does, per way of sharing the command bus.

Each function looks from ``tick`` on for the next command, issues it if that is before ``limit`` (the next tick at
which anything else happens: an arrival, a refresh falling due) and returns the tick it issued at, else -1.
"""

from __future__ import annotations

from hwmodels.dram.kernel_issue import issue_column, issue_priority, issue_row, priority_key, set_active, trace
from hwmodels.dram.kernel_queue import append, half_clock, next_key, part, pick, pick_active, pick_both, rekey
from hwmodels.dram.layout import (
    ACTIVES,
    AWAKE_UNTIL,
    EDGE,
    EDGE_CHANNEL,
    FLAG,
    HALF,
    HALF_ARRIVED,
    HALF_BANK,
    HALF_DEADLINE,
    HALF_FLAG,
    HALF_REQUEST,
    HALF_ROW,
    HIGH,
    IN_ORDER,
    KEY,
    LENGTH,
    LOW,
    N_WAKE_RD,
    NEVER,
    NEVER_KEY,
    PRE,
    PREAB,
    QUEUED,
    RD,
    READS,
    REFAB,
    REQUEST,
    ROW_OPEN,
    SCHEDULER,
    SLOTS,
    TRACING,
    WAKE_INDEX,
    WAKE_LIST,
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
def pick_priority(r: Integers, ready: Integers, banks: Integers, tick: int) -> int:
    """Return when the oldest refresh or precharge can issue its next command."""
    key, _ = priority_key(r, banks)
    if key < 0:
        return NEVER
    at: int = max(ready[key], tick)
    if r[SLOTS] != HALF:
        return at
    if r[PREAB] <= key < r[REFAB]:  # all banks of a pseudo-channel: no partner of its last row command
        return at + 1 if at == r[EDGE] and key - r[PREAB] == r[EDGE_CHANNEL] else at
    return half_clock(r, banks, key, at)


@part
def single(
    r: Integers,
    ready: Integers,
    starts: Integers,
    ranges: Integers,
    banks: Integers,
    queue: Integers,
    tick: int,
    limit: int,
) -> int:
    """One command per tick: activated requests first, then refreshes, then a queue."""
    at, index = pick_active(r, ready, queue, tick)
    which = ACTIVES
    if at > tick:
        if r[QUEUED] > 0:
            other = pick_priority(r, ready, banks, tick)
            if other < at:
                if other >= limit:
                    return -1
                issue_priority(r, ready, starts, ranges, banks, queue, other)
                return other
        else:
            turn = choose_queue(r)
            other, entry = pick(r, ready, queue, turn, tick, 0)
            if other < at:
                at, index, which = other, entry, turn
    if at >= limit:
        return -1
    if queue[which, KEY, index] >= r[RD]:
        issue_column(r, ready, starts, ranges, banks, queue, which, index, at)
    else:
        issue_row(r, ready, starts, ranges, banks, queue, which, index, at)
    return at


@part
def dual(
    r: Integers,
    ready: Integers,
    starts: Integers,
    ranges: Integers,
    banks: Integers,
    queue: Integers,
    tick: int,
    limit: int,
) -> int:
    """A column command and a row command per tick, the column first; activated requests use columns only."""
    column, index = pick_active(r, ready, queue, tick)
    which, entry, turn = ACTIVES, 0, 0
    refreshing = r[QUEUED] > 0
    if refreshing:
        row = pick_priority(r, ready, banks, tick)
    else:
        turn = choose_queue(r)
        other, i, row, entry = pick_both(r, ready, banks, queue, turn, tick)
        if other < column:
            column, index, which = other, i, turn
    at = min(column, row)
    if at >= limit:
        return -1
    if column == at:
        candidate = queue[turn, REQUEST, entry]
        issue_column(r, ready, starts, ranges, banks, queue, which, index, at)
        if refreshing:
            row = pick_priority(r, ready, banks, at)
        else:
            before = turn
            turn = choose_queue(r)
            stays = entry < r[LENGTH + turn] and queue[turn, REQUEST, entry] == candidate
            stays = row > at or (stays and ready[queue[turn, KEY, entry]] <= at)
            if turn != before or not stays or r[SCHEDULER] == IN_ORDER:
                _, _, row, entry = pick_both(r, ready, banks, queue, turn, at)
    if row == at:
        if refreshing:
            issue_priority(r, ready, starts, ranges, banks, queue, at)
        else:
            issue_row(r, ready, starts, ranges, banks, queue, turn, entry, at)
    return at


@part
def second_half(r: Integers, banks: Integers, queue: Integers, tick: int) -> int:
    """Issue the second half of a split activation: the row is open, its request joins the active list."""
    bank, row, flag = r[HALF_BANK], r[HALF_ROW], r[HALF_FLAG]
    if r[TRACING]:
        trace(r, r[NEVER_KEY] + 1, tick, r[HALF_REQUEST])
    r[HALF_BANK] = -1
    banks[bank, ROW_OPEN] = row
    set_active(r, banks, bank, 1)
    append(
        r,
        banks,
        queue,
        ACTIVES,
        next_key(r, banks, bank, row, flag & 1),
        bank,
        row,
        r[HALF_REQUEST],
        r[HALF_ARRIVED],
        flag,
        tick,
    )
    rekey(r, banks, queue, bank)
    return tick


@part
def split(
    r: Integers,
    ready: Integers,
    starts: Integers,
    ranges: Integers,
    banks: Integers,
    queue: Integers,
    tick: int,
    limit: int,
) -> int:
    """One command per tick, activation in two halves, and a command to wake the data clock where it has stopped."""
    if r[WAKE_LIST] >= 0:
        which, index = r[WAKE_LIST], r[WAKE_INDEX]
        awake: int = max(tick, ready[queue[which, KEY, index]])
        if awake >= limit:
            return -1
        r[WAKE_LIST] = -1
        issue_column(r, ready, starts, ranges, banks, queue, which, index, awake)
        return awake
    half = r[HALF_BANK] >= 0
    if half and r[HALF_DEADLINE] <= tick:
        return second_half(r, banks, queue, tick)
    at, index = pick_active(r, ready, queue, tick)
    which, refresh = ACTIVES, False
    if at > tick:
        if r[QUEUED] > 0:
            other, entry, turn, refresh = pick_priority(r, ready, banks, tick), -1, 0, True
        else:
            turn = choose_queue(r)
            other, entry = pick(r, ready, queue, turn, tick, r[PRE] if half else 0)
        if other < at:
            at, index, which = other, entry, turn
        else:
            refresh = False
    if half and at > tick:
        return second_half(r, banks, queue, tick)
    if at >= limit:
        return -1
    if refresh:
        issue_priority(r, ready, starts, ranges, banks, queue, at)
    elif queue[which, KEY, index] < r[RD]:
        issue_row(r, ready, starts, ranges, banks, queue, which, index, at)
    elif at < r[AWAKE_UNTIL]:
        issue_column(r, ready, starts, ranges, banks, queue, which, index, at)
    elif half and r[HALF_DEADLINE] <= at + 1:
        second_half(r, banks, queue, at)  # the wake-up and its column command would pass the deadline
    else:
        write = queue[which, FLAG, index] & 1
        if r[TRACING]:
            trace(r, r[NEVER_KEY] + 2 + write, at, queue[which, REQUEST, index])
        r[N_WAKE_RD + write] += 1
        r[WAKE_LIST], r[WAKE_INDEX] = which, index
    return at
