"""Requests in the system: their slots, the queues of the servers, and transfers that are to end."""

from __future__ import annotations

from simulator.serving.kernel_cost import part
from simulator.serving.layout import (
    A_GROUP,
    A_GROUP_TOKENS,
    A_INPUT,
    A_OUTPUT,
    A_PRIORITY,
    A_SESSION,
    AHEAD,
    ARRIVED,
    AWAY,
    BEHIND,
    BUSY,
    CONCURRENCY,
    DONE,
    FIRST,
    FIRST_SERVER,
    FREE,
    FREE_SLOT,
    GAPS,
    GROUP,
    GROUP_NODE,
    GROUP_TOKENS,
    HEAD,
    HELD,
    HITS,
    INPUT,
    INSIDE,
    LAST,
    LENT,
    MADE,
    NEVER,
    NEW,
    NEXT_AT,
    NEXT_TURN,
    NOW,
    NUMBER,
    NUMBERED,
    OPENED,
    OUTPUT,
    OWN,
    PENDING,
    PREEMPTED,
    PRIORITIES,
    PRIORITY,
    PROMPT_S,
    QUEUED,
    READY,
    SCHEDULED,
    SENT_COUNT,
    SENT_FIRST,
    SENT_NEXT,
    SENT_RING,
    SENT_SIZE,
    SERVER,
    SESSION,
    SESSION_NODE,
    SLOT_SIZE,
    SLOW,
    SOURCE,
    SOURCE_BLOCKS,
    TAIL,
    WAITING,
    Floats,
    Integers,
)

__all__ = [
    "begin",
    "dequeue",
    "end_transfer",
    "enqueue",
    "first_waiting",
    "leave",
    "open_slot",
    "push_transfer",
    "remaining",
    "wake",
]


@part
def open_slot(n: Integers, y: Floats, row: int, arrived: float, now: float) -> int:
    """Take a slot for the arrival at ``row``, which reached the client's side at ``arrived`` and the queue now."""
    slot = n[FREE_SLOT]
    n[FREE_SLOT] = n[slot + BEHIND]
    n[INSIDE] += 1
    n[slot + PRIORITY], n[slot + SESSION] = n[row + A_PRIORITY], n[row + A_SESSION]
    n[slot + GROUP], n[slot + GROUP_TOKENS] = n[row + A_GROUP], n[row + A_GROUP_TOKENS]
    n[slot + NEXT_TURN] = -1
    begin(n, y, slot, n[row + A_INPUT], n[row + A_OUTPUT], arrived, now)
    return slot


@part
def begin(n: Integers, y: Floats, slot: int, input: int, output: int, arrived: float, now: float) -> None:
    """Let a slot hold a new request of its conversation."""
    n[slot + NUMBER] = n[NUMBERED]
    n[NUMBERED] += 1
    n[slot + INPUT], n[slot + OUTPUT] = input, output
    n[slot + DONE] = n[slot + MADE] = n[slot + OWN] = n[slot + LENT] = n[slot + AWAY] = n[slot + NEW] = 0
    n[slot + HITS] = n[slot + PREEMPTED] = n[slot + SOURCE_BLOCKS] = 0
    n[slot + GROUP_NODE] = n[slot + SESSION_NODE] = n[slot + SERVER] = n[slot + SOURCE] = n[slot + FIRST_SERVER] = -1
    y[slot + ARRIVED], y[slot + QUEUED] = arrived, now
    y[slot + SCHEDULED] = y[slot + FIRST] = y[slot + LAST] = -1.0
    y[slot + READY] = y[slot + PROMPT_S] = 0.0
    n[slot + GAPS : slot + SLOT_SIZE] = 0


@part
def leave(n: Integers, y: Floats, slot: int) -> None:
    """Give a slot back."""
    if n[INSIDE] == n[CONCURRENCY]:
        y[OPENED] = y[NOW]
    n[slot + BEHIND] = n[FREE_SLOT]
    n[FREE_SLOT] = slot
    n[INSIDE] -= 1


@part
def remaining(n: Integers, y: Floats, slot: int) -> int:
    """Tokens whose keys and values are still to be computed before the next token comes out; 1 while generating."""
    return n[slot + INPUT] + n[slot + MADE] - n[slot + DONE]


@part
def enqueue(n: Integers, y: Floats, server: int, slot: int) -> None:
    """Queue a request by its priority, then by its number: one that was sent back goes before those that came later."""
    n[slot + SERVER] = server
    rank = n[slot + PRIORITY]
    after = n[server + TAIL + rank]
    if after >= 0 and n[after + NUMBER] > n[slot + NUMBER]:  # sent back: look from the front
        after = -1
        ahead = n[server + HEAD + rank]
        while ahead >= 0 and n[ahead + NUMBER] < n[slot + NUMBER]:
            after, ahead = ahead, n[ahead + BEHIND]
    behind = n[server + HEAD + rank] if after < 0 else n[after + BEHIND]
    n[slot + AHEAD], n[slot + BEHIND] = after, behind
    if after < 0:
        n[server + HEAD + rank] = slot
    else:
        n[after + BEHIND] = slot
    if behind < 0:
        n[server + TAIL + rank] = slot
    else:
        n[behind + AHEAD] = slot
    n[server + WAITING] += 1
    n[server + PENDING] += remaining(n, y, slot)


@part
def wake(n: Integers, y: Floats, server: int, now: float) -> None:
    """Let a server that waits look at once for what it can do."""
    if n[server + BUSY] == 0 and y[server + SLOW] > 0.0:
        y[server + NEXT_AT] = min(y[server + NEXT_AT], now)


@part
def first_waiting(n: Integers, y: Floats, server: int) -> int:
    """Return the request to be admitted next, -1 where none waits."""
    for rank in range(PRIORITIES):
        if n[server + HEAD + rank] >= 0:
            return n[server + HEAD + rank]
    return -1


@part
def dequeue(n: Integers, y: Floats, server: int, slot: int) -> None:
    """Take the first request of its class out of the queue."""
    rank = n[slot + PRIORITY]
    behind = n[slot + BEHIND]
    n[server + HEAD + rank] = behind
    if behind < 0:
        n[server + TAIL + rank] = -1
    else:
        n[behind + AHEAD] = -1
    n[server + WAITING] -= 1


@part
def push_transfer(n: Integers, y: Floats, source: int, blocks: int, end: float) -> None:
    """Note a transfer, the last of those on a server's link, and the blocks that are free when it ends."""
    size = n[source + SENT_SIZE]
    if n[source + SENT_COUNT] == size:  # more than all servers run: the oldest must have ended long ago
        end_transfer(n, y, source)
    at = n[source + SENT_RING] + 2 * ((n[source + SENT_FIRST] + n[source + SENT_COUNT]) % size)
    y[at], n[at + 1] = end, blocks
    n[source + SENT_COUNT] += 1
    y[source + SENT_NEXT] = y[n[source + SENT_RING] + 2 * n[source + SENT_FIRST]]


@part
def end_transfer(n: Integers, y: Floats, source: int) -> None:
    """Take the transfer that ends first off a server's link and free its blocks."""
    ring, first = n[source + SENT_RING], n[source + SENT_FIRST]
    blocks = n[ring + 2 * first + 1]
    n[source + HELD] -= blocks
    n[source + FREE] += blocks
    n[source + SENT_FIRST] = (first + 1) % n[source + SENT_SIZE]
    n[source + SENT_COUNT] -= 1
    y[source + SENT_NEXT] = y[ring + 2 * n[source + SENT_FIRST]] if n[source + SENT_COUNT] > 0 else NEVER
