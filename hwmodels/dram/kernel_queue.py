"""Queues of the engine: which command each request needs next, and which request may issue first."""

from __future__ import annotations

from pathlib import Path

from numba.extending import register_jitable

from hwmodels.dram.layout import (
    ACT,
    ACTIVATED,
    ACTIVE,
    ACTIVES,
    AGE,
    AGE_BITS,
    ARRIVED,
    BANK,
    BANKS,
    BLOCK,
    CHANNEL,
    CLOSED,
    EDGE,
    EDGE_BANK,
    EDGE_CHANNEL,
    FAR,
    FIELDS,
    FLAG,
    HALF,
    HALF_BANK,
    IN_ORDER,
    KEY,
    LENGTH,
    LONGEST,
    NEVER,
    NEVER_KEY,
    NO_ROW,
    OPENING,
    PRE,
    RD,
    REQUEST,
    ROW,
    ROW_HIT,
    ROW_OPEN,
    SCHEDULER,
    SLOTS,
    WAITING,
    Integers,
)
from simulator.core.formula import HOUSE_JIT
from simulator.core.jit import kernel_jit

#: Every file that compiled code comes from.
SOURCES = [*Path(__file__).parent.glob("kernel*.py"), Path(__file__).parent / "layout.py"]

#: Marks a part of the engine: compiled into what calls it, never on its own.
part = register_jitable(forceinline=True, **HOUSE_JIT)

#: Marks what Python calls.
kernel = kernel_jit(SOURCES)


@part
def next_key(r: Integers, banks: Integers, bank: int, row: int, write: int) -> int:
    """Return the key of the command a request needs next; "never" where it must not issue now."""
    opened = banks[bank, ROW_OPEN]
    key: int = r[PRE] + bank
    if opened == row:
        key = r[RD + write] + bank
    elif opened == CLOSED:
        key = r[ACT] + bank
    elif opened == OPENING or banks[bank, ACTIVE] > 0:
        key = r[NEVER_KEY]
    return key


@part
def guard_hits(r: Integers, banks: Integers, queue: Integers, which: int, bank: int) -> None:
    """Keep requests of a list from closing a row that a request not younger still hits."""
    opened, oldest = banks[bank, ROW_OPEN], NEVER
    for i in range(r[LENGTH + which]):
        if queue[which, BANK, i] == bank and queue[which, ROW, i] == opened:
            oldest = min(oldest, queue[which, ARRIVED, i])
    for i in range(r[LENGTH + which]):
        if queue[which, KEY, i] == r[PRE] + bank and oldest <= queue[which, ARRIVED, i]:
            queue[which, KEY, i] = r[NEVER_KEY]


@part
def rekey(r: Integers, banks: Integers, queue: Integers, bank: int) -> None:
    """Work out anew what every queued request of a bank needs next."""
    opened = banks[bank, ROW_OPEN]
    for which in range(2):
        if banks[bank, WAITING + which] == 0:
            continue
        hit = r[RD + which] + bank
        other = next_key(r, banks, bank, NO_ROW, which)
        for i in range(r[LENGTH + which]):
            key = hit if queue[which, ROW, i] == opened else other
            queue[which, KEY, i] = key if queue[which, BANK, i] == bank else queue[which, KEY, i]
        if r[SCHEDULER] == ROW_HIT and banks[bank, WAITING + which] > 1:
            guard_hits(r, banks, queue, which, bank)


@part
def remove(r: Integers, banks: Integers, queue: Integers, which: int, index: int) -> None:
    """Take an entry out of a list: the last takes its place."""
    last = r[LENGTH + which] - 1
    r[LENGTH + which] = last
    if which != ACTIVES:
        banks[queue[which, BANK, index], WAITING + which] -= 1
    for field in range(FIELDS):
        queue[which, field, index] = queue[which, field, last]


@part
def append(
    r: Integers,
    banks: Integers,
    queue: Integers,
    which: int,
    key: int,
    bank: int,
    row: int,
    request: int,
    arrived: int,
    flag: int,
    block: int,
) -> None:
    """Put an entry into a list."""
    i = r[LENGTH + which]
    queue[which, KEY, i] = key
    queue[which, BANK, i] = bank
    queue[which, ROW, i] = row
    queue[which, REQUEST, i] = request
    queue[which, ARRIVED, i] = arrived
    queue[which, FLAG, i] = flag
    queue[which, BLOCK, i] = block
    r[LENGTH + which] = i + 1
    if which != ACTIVES:
        banks[bank, WAITING + which] += 1


@part
def eligible(r: Integers, queue: Integers, which: int) -> tuple[int, int]:
    """Return the span of entries of a list that the scheduler looks at: all, or the oldest alone."""
    length = r[LENGTH + which]
    if r[SCHEDULER] != IN_ORDER:
        return 0, length
    if length == 0 or r[LENGTH + ACTIVES] > 0 or r[HALF_BANK] >= 0:
        return 0, 0
    index = 0
    for i in range(length):
        if queue[which, REQUEST, i] < queue[which, REQUEST, index]:
            index = i
    return index, index + 1


@part
def pick_active(r: Integers, ready: Integers, queue: Integers, tick: int) -> tuple[int, int]:
    """Return when the active list can issue next, from ``tick`` on, and its oldest request that can then.

    Of those accepted in one tick, the first activated goes first.
    """
    best, index, oldest, first = NEVER, -1, NEVER, NEVER
    for i in range(r[LENGTH + ACTIVES]):
        at = max(ready[queue[ACTIVES, KEY, i]], tick)
        if r[SLOTS] == HALF:
            at |= 1
        arrived, activated = queue[ACTIVES, ARRIVED, i], queue[ACTIVES, ACTIVATED, i]
        if at < best or (at == best and (arrived < oldest or (arrived == oldest and activated < first))):
            best, index, oldest, first = at, i, arrived, activated
    return best, index


@part
def find(queue: Integers, which: int, length: int, score: int) -> int:
    """Return the entry of a list whose request won with this score."""
    request = score & AGE
    index = 0
    for i in range(length):
        index = i if queue[which, REQUEST, i] == request else index
    return index


@part
def pick(r: Integers, ready: Integers, queue: Integers, which: int, tick: int, lowest: int) -> tuple[int, int]:
    """Like :func:`pick_active` for a queue, over keys from ``lowest`` on.

    A score is the wait and behind it the age: one minimum without branches instead of two with.
    """
    best = FAR
    start, stop = eligible(r, queue, which)
    for i in range(start, stop):
        key = queue[which, KEY, i]
        score = (min(max(ready[key] - tick, 0), LONGEST) << AGE_BITS) | queue[which, REQUEST, i]
        best = min(best, score if key >= lowest else FAR)
    if best >= FAR:
        return NEVER, -1
    return tick + (best >> AGE_BITS), find(queue, which, r[LENGTH + which], best)


@part
def half_clock(r: Integers, banks: Integers, key: int, at: int) -> int:
    """Return the first tick from ``at`` on at which a row command may issue on a bus with half clocks.

    Whole clocks are odd ticks. A precharge may take the half clock, except where it is the partner of the last row
    command of its pseudo-channel and that one addressed all banks or this bank.
    """
    if not (r[PRE] <= key < r[PRE] + r[BANKS]):
        return at | 1
    if at != r[EDGE]:
        return at
    bank = key - r[PRE]
    if banks[bank, CHANNEL] != r[EDGE_CHANNEL]:
        return at
    if r[EDGE_BANK] < 0 or r[EDGE_BANK] == bank:
        return at + 1
    return at


@part
def pick_both(
    r: Integers, ready: Integers, banks: Integers, queue: Integers, which: int, tick: int
) -> tuple[int, int, int, int]:
    """Return when a queue can issue a column command next and which entry, and the same for a row command."""
    columns, acts, half = r[RD], r[PRE], 1 if r[SLOTS] == HALF else 0
    best_column, best_row = FAR, FAR
    start, stop = eligible(r, queue, which)
    for i in range(start, stop):
        key = queue[which, KEY, i]
        at = max(ready[key], tick)
        if half and acts <= key < columns:
            at = half_clock(r, banks, key, at)
        else:
            at |= half
        score = (min(at - tick, LONGEST) << AGE_BITS) | queue[which, REQUEST, i]
        best_column = min(best_column, score if key >= columns else FAR)
        best_row = min(best_row, score if key < columns else FAR)
    column, row, length = NEVER, NEVER, r[LENGTH + which]
    column_index, row_index = -1, -1
    if best_column < FAR:
        column, column_index = tick + (best_column >> AGE_BITS), find(queue, which, length, best_column)
    if best_row < FAR:
        row, row_index = tick + (best_row >> AGE_BITS), find(queue, which, length, best_row)
    return column, column_index, row, row_index
