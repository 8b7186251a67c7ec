"""What must always hold; looked at after every event when asked for."""

from __future__ import annotations

from simulator.serving.kernel_cost import part
from simulator.serving.kernel_queue import remaining
from simulator.serving.layout import (
    AWAY,
    BEHIND,
    BUDGET,
    CAPACITY,
    CHUNKED,
    DONE,
    EVICTABLE,
    FREE,
    HEAD,
    HELD,
    HOST_CAPACITY,
    HOST_FREE,
    HOSTED,
    INSIDE,
    LENT,
    LIST,
    NEW,
    NOW,
    OWN,
    PAGE,
    PENDING,
    PRIORITIES,
    READY,
    RESIDENT,
    RUNNING,
    SEQUENCES,
    SERVER_COUNT,
    SERVER_SIZE,
    SERVERS_AT,
    TABLE,
    TABLE_MASK,
    THINKERS,
    THINKING,
    USERS,
    WAITING,
    Floats,
    Integers,
)

__all__ = ["PROBLEMS", "check"]

#: What the numbers that ``check`` returns mean.
PROBLEMS = (
    "consistent",
    "blocks of the cache were lost or made up",
    "more blocks in use than there are",
    "evictable blocks are miscounted",
    "blocks in host memory were lost or made up",
    "more sequences in a step than allowed",
    "a request holds fewer blocks than its tokens need",
    "the queue's length is miscounted",
    "pending tokens are miscounted",
    "more tokens in a step than its budget",
    "conversations were lost or made up",
    "a turn is overdue",
)


@part
def check(n: Integers, y: Floats) -> int:
    """Return the number of the first rule that is broken, 0 where all hold."""
    inside = n[THINKERS]
    for index in range(n[SERVER_COUNT]):
        server = n[SERVERS_AT] + index * SERVER_SIZE
        found = check_server(n, y, server)
        if found != 0:
            return found
        inside += n[server + RUNNING] + n[server + WAITING]
    if inside != n[INSIDE]:
        return 10
    return 11 if n[THINKERS] > 0 and y[n[THINKING] + READY] < y[NOW] else 0


@part
def in_cache(n: Integers, y: Floats, server: int) -> tuple[int, int, int]:
    """Count blocks of the prefix cache: on the device, those of them that nobody uses, in host memory."""
    resident = evictable = hosted = 0
    for at in range(n[server + TABLE_MASK] + 1):
        node = n[n[server + TABLE] + at]
        if node >= 0:
            resident += n[node + RESIDENT]
            hosted += n[node + HOSTED]
            if n[node + USERS] == 0:
                evictable += n[node + RESIDENT]
    return resident, evictable, hosted


@part
def in_queue(n: Integers, y: Floats, server: int) -> tuple[int, int, int]:
    """Count requests in the queues of a server, their blocks in host memory, their tokens that are due."""
    waiting = away = due = 0
    for rank in range(PRIORITIES):
        slot = n[server + HEAD + rank]
        while slot >= 0:
            waiting += 1
            away += n[slot + AWAY]
            due += remaining(n, y, slot)
            slot = n[slot + BEHIND]
    return waiting, away, due


@part
def check_server(n: Integers, y: Floats, server: int) -> int:
    """Check one server."""
    resident, evictable, hosted = in_cache(n, y, server)
    waiting, away, due = in_queue(n, y, server)
    own = tokens = 0
    for i in range(n[server + RUNNING]):
        slot = n[n[server + LIST] + i]
        own += n[slot + OWN]
        tokens += n[slot + NEW]
        due += remaining(n, y, slot)
        if (n[slot + OWN] + n[slot + LENT]) * n[server + PAGE] < n[slot + DONE] + n[slot + NEW]:
            return 6
    if own + resident + n[server + HELD] + n[server + FREE] != n[server + CAPACITY]:
        return 1
    if n[server + FREE] < 0 or n[server + HOST_FREE] < 0:
        return 2
    if evictable != n[server + EVICTABLE]:
        return 3
    if hosted + away + n[server + HOST_FREE] != n[server + HOST_CAPACITY]:
        return 4
    if n[server + RUNNING] > n[server + SEQUENCES]:
        return 5
    if waiting != n[server + WAITING]:
        return 7
    if due != n[server + PENDING]:
        return 8
    return 9 if n[server + CHUNKED] and tokens > n[server + BUDGET] else 0
