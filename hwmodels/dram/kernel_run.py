"""The engine's loop: arrivals, refreshes falling due, page closing, a tick of the controller, on to the next event."""

from __future__ import annotations

from hwmodels.dram.kernel_issue import issue, issue_half
from hwmodels.dram.kernel_queue import SOURCES, enter, part
from hwmodels.dram.kernel_slots import choose
from hwmodels.dram.kernel_steady import find_periods, pass_over
from hwmodels.dram.layout import (
    ACCESSES,
    AFTER,
    ALL_BANK,
    ARRIVED,
    BANK,
    BANKS,
    BATCH,
    BATCH_AT,
    BATCH_FIRST,
    BLOCK,
    C_RD,
    C_REFPB,
    CAP,
    CAPACITY,
    CLOSING,
    COALESCED,
    COLUMN_AT,
    DUAL,
    END,
    EVERY_TICK,
    FLAG,
    FORWARD,
    FORWARDED,
    FREE,
    HALF,
    HEAD,
    INJECT,
    INTERVAL,
    LAST_INJECT,
    LATENCY_MAX,
    LATENCY_SUM,
    LENGTH,
    MARKS,
    MARKS_AT,
    NEVER,
    NEXT,
    OLDEST,
    PER_BANK,
    PERIOD,
    PRE,
    QUEUED,
    R_ARRIVAL,
    R_BANK,
    R_BLOCK,
    R_ROW,
    R_WRITE,
    REFAB,
    REFPB,
    REFRESH,
    REFRESH_AT,
    REFRESH_NODE,
    REQUEST,
    RING,
    RING_AT,
    ROW,
    SECOND_HALF,
    SERVED,
    SLOTS,
    STEPS,
    UNITS,
    WRITES,
    Integers,
)
from simulator.core.jit import kernel_jit


@part
def buffered(r: Integers, banks: Integers, entries: Integers, bank: int, block: int) -> bool:
    """Whether a write of this block waits in its queue."""
    if r[MARKS_AT + (block & (MARKS - 1))] == 0:
        return False
    slot = banks[bank, OLDEST + WRITES]
    while slot >= 0 and entries[slot, BLOCK] != block:
        slot = entries[slot, AFTER]
    found: bool = slot >= 0
    return found


@part
def serve_from_buffer(r: Integers, write: int, now: int) -> None:
    """Complete a request of a block whose write waits in its queue."""
    r[SERVED] += 1
    if write:
        r[COALESCED] += 1
        r[END] = max(r[END], now)
    else:
        r[FORWARDED] += 1
        r[LATENCY_SUM] += 1
        r[LATENCY_MAX] = max(r[LATENCY_MAX], 1)
        r[END] = max(r[END], now + 1)


@part
def fill(r: Integers, entries: Integers, requests: Integers, request: int, now: int) -> int:
    """Write a request into a free entry."""
    if r[BATCH_AT] != now:
        r[BATCH_AT], r[BATCH_FIRST] = now, request
    slot: int = r[FREE]
    r[FREE] = entries[slot, AFTER]
    entries[slot, BANK], entries[slot, ROW] = requests[R_BANK, request], requests[R_ROW, request]
    entries[slot, REQUEST], entries[slot, BATCH], entries[slot, ARRIVED] = request, r[BATCH_FIRST], now
    entries[slot, FLAG], entries[slot, BLOCK] = requests[R_WRITE, request], requests[R_BLOCK, request]
    return slot


@part
def arrive(r: Integers, banks: Integers, entries: Integers, offers: Integers, requests: Integers, now: int) -> int:
    """Take in what has arrived; return the tick at which the next arrival can be taken in, "never" while blocked."""
    taken = 0
    while r[NEXT] < requests.shape[1]:
        request = r[NEXT]
        write, block, bank = requests[R_WRITE, request], requests[R_BLOCK, request], requests[R_BANK, request]
        served = buffered(r, banks, entries, bank, block)
        if not served and r[LENGTH + write] >= r[CAPACITY + write]:
            return NEVER
        arrival: int = requests[R_ARRIVAL, request]
        if taken == r[INJECT] or arrival > now:
            return max(arrival, now + 1)
        if served:
            serve_from_buffer(r, write, now)
        else:
            enter(r, banks, entries, offers, fill(r, entries, requests, request, now), write)
        r[NEXT] += 1
        r[LAST_INJECT] = now
        taken += 1
    return NEVER


@part
def refresh(r: Integers, tick: int) -> None:
    """Queue the refreshes that fall due."""
    if tick < r[REFRESH_AT]:
        return
    r[REFRESH_AT] += r[INTERVAL]
    if r[REFRESH] == ALL_BANK:
        for unit in range(r[UNITS]):
            r[RING_AT + ((r[HEAD] + r[QUEUED]) & (RING - 1))] = r[REFAB] + unit
            r[QUEUED] += 1
    elif r[REFRESH] == PER_BANK:
        r[RING_AT + ((r[HEAD] + r[QUEUED]) & (RING - 1))] = r[REFPB] + r[REFRESH_NODE]
        r[QUEUED] += 1
        r[REFRESH_NODE] = (r[REFRESH_NODE] + 1) % r[BANKS]


@part
def close_pages(r: Integers, ready: Integers, banks: Integers, tick: int) -> int:
    """Queue a precharge for banks that have served their cap; return the tick at which the next can be queued."""
    soonest = NEVER
    if r[CAP] <= 0:
        return soonest
    for bank in range(r[BANKS]):
        if banks[bank, ACCESSES] < r[CAP] or banks[bank, CLOSING]:
            continue
        at = ready[r[PRE] + bank]
        if at <= tick:
            r[RING_AT + ((r[HEAD] + r[QUEUED]) & (RING - 1))] = r[PRE] + bank
            r[QUEUED] += 1
            banks[bank, CLOSING] = 1
        else:
            soonest = min(soonest, at)
    return soonest


@kernel_jit(SOURCES, allocates=False, name="the DRAM engine")
def run(
    r: Integers,
    ready: Integers,
    starts: Integers,
    ranges: Integers,
    banks: Integers,
    entries: Integers,
    offers: Integers,
    snapshots: Integers,
    requests: Integers,
) -> int:
    """Serve every request; return the tick at which the last is complete."""
    total, two_buses = requests.shape[1], r[SLOTS] == DUAL or r[SLOTS] == HALF
    tick: int = r[END] + 1  # not the literal 1, for which all that takes it would be compiled once more
    if r[FORWARD]:
        find_periods(r, requests)
    while True:
        arrival = arrive(r, banks, entries, offers, requests, tick - 1)
        refresh(r, tick)
        if r[PERIOD] > 0:
            passed = pass_over(r, ready, ranges, banks, entries, offers, snapshots, requests, tick)
            tick += passed
            arrival += passed if arrival < NEVER else 0
        limit = min(arrival + 1, r[REFRESH_AT], close_pages(r, ready, banks, tick))
        if r[SERVED] == total:
            limit = min(limit, r[END] + 1)
            if tick > r[END]:
                return tick - 1
        if r[EVERY_TICK]:
            limit = tick + 1
        column = True
        while column:
            r[STEPS] += 1
            at, what, entry = choose(r, ready, banks, entries, offers, tick)
            if at >= limit:
                break
            tick, limit = at, at + 1
            if what >= SECOND_HALF:
                issue_half(r, banks, entries, offers, what, entry, at)
                break
            command = issue(r, ready, starts, ranges, banks, entries, offers, what, entry, at)
            column = two_buses and C_RD <= command < C_REFPB
            r[COLUMN_AT] = at
        tick = limit
