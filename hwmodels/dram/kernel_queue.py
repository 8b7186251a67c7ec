"""Queues of the engine: entries chained per bank, and the few of them that may be next, offered in groups.

Of all requests of a queue to one bank at most two can be the next to issue: the oldest that hits the open row and the
oldest that does not (which needs an activation or a precharge). Only these are offered; the rest is never looked at.
"""

from __future__ import annotations

from pathlib import Path

from numba.extending import register_jitable

from hwmodels.dram.layout import (
    ACT,
    ACTIVE,
    ACTIVES,
    AFTER,
    AGE,
    BANK,
    BATCH,
    BEFORE,
    BLOCK,
    CLOSED,
    CLOSES,
    COLUMNS,
    FLAG,
    FREE,
    GROUP,
    GROUPS_PER_QUEUE,
    HIT,
    KEY,
    LENGTH,
    MARKS,
    MARKS_AT,
    MISS,
    OLDEST,
    OPENING,
    PRE,
    RD,
    REQUEST,
    ROW,
    ROW_HIT,
    ROW_OPEN,
    ROWS,
    SCHEDULER,
    SEAT,
    SEEN,
    SIZE,
    SLOT,
    SOONEST,
    WINNER,
    WRITES,
    YOUNGEST,
    Integers,
)
from simulator.core.formula import HOUSE_JIT
from simulator.core.jit import WITHOUT_REFERENCES, kernel_jit

#: Every file that compiled code comes from.
SOURCES = [*Path(__file__).parent.glob("kernel*.py"), Path(__file__).parent / "layout.py"]

#: Marks a part of the engine: compiled into what calls it, never on its own.
part = register_jitable(forceinline=True, **WITHOUT_REFERENCES, **HOUSE_JIT)

#: Marks what Python calls.
kernel = kernel_jit(SOURCES, allocates=False)


@part
def offer(r: Integers, entries: Integers, offers: Integers, slot: int, group: int) -> None:
    """Put an entry forward in a group: its next command is that of the group."""
    bank, write = entries[slot, BANK], entries[slot, FLAG] & 1
    kind = group % GROUPS_PER_QUEUE
    first = r[RD + write]
    if kind == ROWS:
        first = r[ACT]
    elif kind == CLOSES:
        first = r[PRE]
    seat = r[SIZE + group]
    offers[group, KEY, seat] = first + bank
    offers[group, AGE, seat] = entries[slot, BATCH] if group == ACTIVES else entries[slot, REQUEST]
    offers[group, SLOT, seat] = slot
    entries[slot, GROUP], entries[slot, SEAT] = group, seat
    r[SIZE + group] = seat + 1


@part
def withdraw(r: Integers, entries: Integers, offers: Integers, slot: int) -> None:
    """Take back an offer, if there is one. Activated requests stay in order; in other groups the last moves up."""
    group, seat = entries[slot, GROUP], entries[slot, SEAT]
    if group < 0:
        return
    entries[slot, GROUP] = -1
    last = r[SIZE + group] - 1
    r[SIZE + group] = last
    r[SEEN + group] = min(r[SEEN + group], seat)
    if slot == r[WINNER + group]:
        r[SOONEST + group] = -1
    step = 1 if group == ACTIVES else max(last - seat, 1)
    while seat < last:
        for column in range(3):
            offers[group, column, seat] = offers[group, column, seat + step]
        entries[offers[group, SLOT, seat], SEAT] = seat
        seat += step


@part
def offer_close(r: Integers, banks: Integers, entries: Integers, offers: Integers, bank: int, which: int) -> None:
    """Offer the precharge of an open bank, or take it back.

    No row is closed that an activated request needs, or, with the row-hit guard, that a request of the same queue not
    younger still hits.
    """
    slot, hit = banks[bank, MISS + which], banks[bank, HIT + which]
    if slot < 0:
        return
    may = banks[bank, ACTIVE] == 0
    if r[SCHEDULER] == ROW_HIT and hit >= 0 and entries[hit, BATCH] <= entries[slot, BATCH]:
        may = False
    if not may:
        withdraw(r, entries, offers, slot)
    elif entries[slot, GROUP] < 0:
        offer(r, entries, offers, slot, GROUPS_PER_QUEUE * which + CLOSES)


@part
def settle(r: Integers, banks: Integers, entries: Integers, offers: Integers, bank: int, which: int) -> None:
    """Find out which entries of a bank may be next after its row opened or closed, and offer them."""
    for column in (HIT, MISS):
        if banks[bank, column + which] >= 0:
            withdraw(r, entries, offers, banks[bank, column + which])
    opened, hit, miss = banks[bank, ROW_OPEN], -1, -1
    slot = banks[bank, OLDEST + which] if opened != OPENING else -1
    while slot >= 0 and (miss < 0 or (hit < 0 and opened != CLOSED)):
        if entries[slot, ROW] == opened:
            hit = slot if hit < 0 else hit
        elif miss < 0:
            miss = slot
        slot = entries[slot, AFTER]
    banks[bank, HIT + which], banks[bank, MISS + which] = hit, miss
    if hit >= 0:
        offer(r, entries, offers, hit, GROUPS_PER_QUEUE * which + COLUMNS)
    if opened != CLOSED:
        offer_close(r, banks, entries, offers, bank, which)
    elif miss >= 0:
        offer(r, entries, offers, miss, GROUPS_PER_QUEUE * which + ROWS)


@part
def next_hit(r: Integers, banks: Integers, entries: Integers, offers: Integers, slot: int, which: int) -> None:
    """Offer the oldest hit younger than the one of a bank that is leaving."""
    bank, opened = entries[slot, BANK], banks[entries[slot, BANK], ROW_OPEN]
    slot = entries[slot, AFTER]
    while slot >= 0 and entries[slot, ROW] != opened:
        slot = entries[slot, AFTER]
    banks[bank, HIT + which] = slot
    if slot >= 0:
        offer(r, entries, offers, slot, GROUPS_PER_QUEUE * which + COLUMNS)


@part
def enter(r: Integers, banks: Integers, entries: Integers, offers: Integers, slot: int, which: int) -> None:
    """Chain a new entry behind those of its bank, and offer it if none of them is in its way."""
    bank, last = entries[slot, BANK], banks[entries[slot, BANK], YOUNGEST + which]
    entries[slot, AFTER], entries[slot, BEFORE], entries[slot, GROUP] = -1, last, -1
    banks[bank, YOUNGEST + which] = slot
    if last >= 0:
        entries[last, AFTER] = slot
    else:
        banks[bank, OLDEST + which] = slot
    r[LENGTH + which] += 1
    if which == WRITES:
        r[MARKS_AT + (entries[slot, BLOCK] & (MARKS - 1))] += 1
    opened = banks[bank, ROW_OPEN]
    column = HIT if entries[slot, ROW] == opened else MISS
    if opened == OPENING or banks[bank, column + which] >= 0:
        return
    banks[bank, column + which] = slot
    if opened == CLOSED:
        offer(r, entries, offers, slot, GROUPS_PER_QUEUE * which + ROWS)
        return
    if column == HIT:
        offer(r, entries, offers, slot, GROUPS_PER_QUEUE * which + COLUMNS)
    offer_close(r, banks, entries, offers, bank, which)


@part
def leave(r: Integers, banks: Integers, entries: Integers, slot: int, which: int) -> None:
    """Unchain an entry; a write that leaves its queue no longer answers reads of its block."""
    bank, before, after = entries[slot, BANK], entries[slot, BEFORE], entries[slot, AFTER]
    if before >= 0:
        entries[before, AFTER] = after
    else:
        banks[bank, OLDEST + which] = after
    if after >= 0:
        entries[after, BEFORE] = before
    else:
        banks[bank, YOUNGEST + which] = before
    r[LENGTH + which] -= 1
    if which == WRITES:
        r[MARKS_AT + (entries[slot, BLOCK] & (MARKS - 1))] -= 1


@part
def free(r: Integers, entries: Integers, slot: int) -> None:
    """Give an entry's place back."""
    entries[slot, AFTER] = r[FREE]
    r[FREE] = slot
