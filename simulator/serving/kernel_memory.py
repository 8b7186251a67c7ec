"""Blocks of the key-value cache: a server's own pool, the prefix cache in it, and host memory behind it.

The prefix cache is a radix tree of two levels: a *node* holds the blocks of a prefix that requests share (key of the
group), or those of one conversation behind that prefix (key of the session). A node is given up from its tail, the
least recently used first; what is given up moves to host memory while there is room.
"""

from __future__ import annotations

from simulator.serving.kernel_cost import part
from simulator.serving.layout import (
    AWAY,
    BLOCK_B,
    CACHING,
    CAPACITY,
    COPY_FREE,
    COPY_LATENCY,
    COPY_RATE,
    DONE,
    EVICTABLE,
    EVICTED,
    FREE,
    FREE_NODE,
    GROUP,
    GROUP_NODE,
    GROUP_TOKENS,
    HOST_FREE,
    HOST_NEWEST,
    HOST_OLDEST,
    HOSTED,
    INPUT,
    KEY,
    LENT,
    MADE,
    NEWEST,
    OLDER,
    OLDEST,
    OWN,
    PAGE,
    PEAK_BLOCKS,
    RESIDENT,
    SESSION,
    SESSION_NODE,
    TABLE,
    TABLE_MASK,
    USERS,
    YOUNGER,
    Floats,
    Integers,
)

__all__ = [
    "blocks_of",
    "borrow",
    "copied",
    "donate",
    "evict",
    "fetch",
    "forget_all",
    "match",
    "missing",
    "release",
    "take",
]


@part
def blocks_of(n: Integers, y: Floats, server: int, tokens: int) -> int:
    """Blocks that hold so many tokens."""
    page = n[server + PAGE]
    return (tokens + page - 1) // page


@part
def home(n: Integers, server: int, key: int) -> int:
    """Return the place in the hash table where a key would lie."""
    z = (key * 0x9E3779B97F4A7C1) & 0xFFFFFFFFFFFFFFF
    return (z ^ (z >> 29)) & n[server + TABLE_MASK]


@part
def find(n: Integers, y: Floats, server: int, key: int) -> int:
    """Return the node of a key, -1 where there is none."""
    mask = n[server + TABLE_MASK]
    at = home(n, server, key)
    while n[n[server + TABLE] + at] >= 0:
        node = n[n[server + TABLE] + at]
        if n[node + KEY] == key:
            return node
        at = (at + 1) & mask
    return -1


@part
def insert(n: Integers, y: Floats, server: int, key: int) -> int:
    """Return a new, empty, unused node for a key, -1 where no more can be had; it is in no list yet."""
    if n[server + FREE_NODE] < 0:
        return -1
    node = n[server + FREE_NODE]
    n[server + FREE_NODE] = n[node + YOUNGER]
    n[node + KEY], n[node + RESIDENT], n[node + HOSTED] = key, 0, 0
    n[node + USERS] = 0
    mask = n[server + TABLE_MASK]
    at = home(n, server, key)
    while n[n[server + TABLE] + at] >= 0:
        at = (at + 1) & mask
    n[n[server + TABLE] + at] = node
    return node


@part
def delete(n: Integers, y: Floats, server: int, node: int) -> None:
    """Take an empty node out of the table; what lies behind it moves up (Knuth, vol. 3, 6.4, algorithm R)."""
    mask = n[server + TABLE_MASK]
    at = home(n, server, n[node + KEY])
    while n[n[server + TABLE] + at] != node:
        at = (at + 1) & mask
    hole, at = at, (at + 1) & mask
    while n[n[server + TABLE] + at] >= 0:
        wanted = home(n, server, n[n[n[server + TABLE] + at] + KEY])
        if ((at - wanted) & mask) >= ((at - hole) & mask):
            n[n[server + TABLE] + hole] = n[n[server + TABLE] + at]
            hole = at
        at = (at + 1) & mask
    n[n[server + TABLE] + hole] = -1
    n[node + YOUNGER] = n[server + FREE_NODE]
    n[server + FREE_NODE] = node


@part
def unlink(n: Integers, y: Floats, server: int, node: int, oldest: int, newest: int) -> None:
    """Take a node out of one of the two lists, whose ends are the columns ``oldest`` and ``newest``."""
    older, younger = n[node + OLDER], n[node + YOUNGER]
    if older < 0:
        n[server + oldest] = younger
    else:
        n[older + YOUNGER] = younger
    if younger < 0:
        n[server + newest] = older
    else:
        n[younger + OLDER] = older


@part
def link(n: Integers, y: Floats, server: int, node: int, oldest: int, newest: int) -> None:
    """Put a node at the young end of a list."""
    last = n[server + newest]
    n[node + OLDER], n[node + YOUNGER] = last, -1
    if last < 0:
        n[server + oldest] = node
    else:
        n[last + YOUNGER] = node
    n[server + newest] = node


@part
def pin(n: Integers, y: Floats, server: int, node: int) -> None:
    """Count one more user; a node in use is in no list."""
    if n[node + USERS] == 0:
        if n[node + RESIDENT] > 0:
            unlink(n, y, server, node, OLDEST, NEWEST)
            n[server + EVICTABLE] -= n[node + RESIDENT]
        elif n[node + HOSTED] > 0:
            unlink(n, y, server, node, HOST_OLDEST, HOST_NEWEST)
    n[node + USERS] += 1


@part
def unpin(n: Integers, y: Floats, server: int, node: int) -> None:
    """Count one user less; with the last one gone the node may be evicted."""
    n[node + USERS] -= 1
    if n[node + USERS] == 0:
        settle(n, y, server, node)
        n[server + EVICTABLE] += n[node + RESIDENT]


@part
def settle(n: Integers, y: Floats, server: int, node: int) -> None:
    """Put an unused node into the list where it belongs, or give it up where it is empty."""
    if n[node + RESIDENT] > 0:
        link(n, y, server, node, OLDEST, NEWEST)
    elif n[node + HOSTED] > 0:
        link(n, y, server, node, HOST_OLDEST, HOST_NEWEST)
    else:
        delete(n, y, server, node)


@part
def copied(n: Integers, y: Floats, server: int, blocks: int, now: float) -> float:
    """Return when blocks have crossed the host link, whose copies follow each other."""
    start = max(now, y[server + COPY_FREE])
    y[server + COPY_FREE] = start + y[server + COPY_LATENCY] + blocks * y[server + BLOCK_B] / y[server + COPY_RATE]
    return y[server + COPY_FREE]


@part
def make_host_room(n: Integers, y: Floats, server: int, blocks: int) -> None:
    """Drop from host memory what was used longest ago, until there is room or nothing left to drop."""
    while n[server + HOST_FREE] < blocks and n[server + HOST_OLDEST] >= 0:
        node = n[server + HOST_OLDEST]
        drop = min(n[node + HOSTED], blocks - n[server + HOST_FREE])
        n[node + HOSTED] -= drop
        n[server + HOST_FREE] += drop
        if n[node + HOSTED] == 0:
            unlink(n, y, server, node, HOST_OLDEST, HOST_NEWEST)
            delete(n, y, server, node)


@part
def evict(n: Integers, y: Floats, server: int, wanted: int, now: float, keep: bool) -> None:
    """Give up blocks of the prefix cache until ``wanted`` are free; ``keep`` them in host memory if there is room."""
    while n[server + FREE] < wanted and n[server + OLDEST] >= 0:
        node = n[server + OLDEST]
        gone = min(n[node + RESIDENT], wanted - n[server + FREE])
        unlink(n, y, server, node, OLDEST, NEWEST)
        n[node + RESIDENT] -= gone
        n[server + FREE] += gone
        n[server + EVICTABLE] -= gone
        n[server + EVICTED] += gone
        if keep:
            make_host_room(n, y, server, gone)
        moved = min(gone, n[server + HOST_FREE]) if keep else 0
        if moved < gone:  # what lay behind is of no use without it
            n[server + HOST_FREE] += n[node + HOSTED]
            n[node + HOSTED] = 0
        n[node + HOSTED] += moved
        n[server + HOST_FREE] -= moved
        if moved > 0:
            copied(n, y, server, moved, now)
        if n[node + RESIDENT] > 0:  # it stays the oldest
            first = n[server + OLDEST]
            n[node + OLDER], n[node + YOUNGER] = -1, first
            if first < 0:
                n[server + NEWEST] = node
            else:
                n[first + OLDER] = node
            n[server + OLDEST] = node
        else:
            settle(n, y, server, node)


@part
def take(n: Integers, y: Floats, server: int, slot: int, blocks: int, now: float) -> bool:
    """Give a request ``blocks`` more of its own; False, and nothing given, where there are not so many."""
    if blocks <= 0:
        return True
    if n[server + FREE] < blocks:
        if n[server + FREE] + n[server + EVICTABLE] < blocks:
            return False
        evict(n, y, server, blocks, now, True)
    n[server + FREE] -= blocks
    n[slot + OWN] += blocks
    used = n[server + CAPACITY] - n[server + FREE] - n[server + EVICTABLE]
    n[server + PEAK_BLOCKS] = max(n[server + PEAK_BLOCKS], used)
    return True


@part
def match(n: Integers, y: Floats, server: int, slot: int) -> tuple[int, int]:
    """Return how many cached blocks of the group and of the session the prompt begins with; one token stays to do."""
    page = n[server + PAGE]
    most = (n[slot + INPUT] + n[slot + MADE] - 1) // page
    shared = 0
    whole = n[slot + GROUP_TOKENS] // page
    if n[slot + GROUP] >= 0:
        node = find(n, y, server, n[slot + GROUP])
        if node >= 0:
            shared = min(n[node + RESIDENT] + n[node + HOSTED], whole, most)
        if shared < whole:
            return shared, 0
    if n[slot + SESSION] < 0:
        return shared, 0
    node = find(n, y, server, n[slot + SESSION])
    own = 0 if node < 0 else min(n[node + RESIDENT] + n[node + HOSTED], most - shared)
    return shared, own


@part
def missing(n: Integers, y: Floats, server: int, key: int, blocks: int) -> tuple[int, int]:
    """Return how many of a node's first ``blocks`` lie in host memory, and how many unused ones using it would pin."""
    if blocks <= 0:
        return 0, 0
    node = find(n, y, server, key)
    unused = min(n[node + RESIDENT], blocks) if n[node + USERS] == 0 else 0
    return max(blocks - n[node + RESIDENT], 0), unused


@part
def borrow(n: Integers, y: Floats, server: int, slot: int, key: int, blocks: int, column: int) -> None:
    """Use the first ``blocks`` of a node, so that they cannot be evicted; give up those behind that nobody uses."""
    node = find(n, y, server, key)
    pin(n, y, server, node)
    if n[node + USERS] == 1 and n[node + RESIDENT] > blocks:
        n[server + FREE] += n[node + RESIDENT] - blocks
        n[server + HOST_FREE] += n[node + HOSTED]
        n[node + RESIDENT], n[node + HOSTED] = blocks, 0
    n[slot + column] = node


@part
def fetch(n: Integers, y: Floats, server: int, node: int, blocks: int) -> int:
    """Move what is missing of a node's first ``blocks`` from host memory to free blocks; return how many."""
    back = max(blocks - n[node + RESIDENT], 0)
    n[node + RESIDENT] += back
    n[node + HOSTED] -= back
    n[server + HOST_FREE] += back
    n[server + FREE] -= back
    return back


@part
def donate(n: Integers, y: Floats, server: int, slot: int, key: int, blocks: int, column: int) -> None:
    """Hand full blocks of a request to the prefix cache: the first ``blocks`` of a node are to be resident.

    Those that another request has handed over meanwhile stay the request's own.
    """
    node = n[slot + column]
    if node < 0:
        node = find(n, y, server, key)
        if node < 0:
            node = insert(n, y, server, key)
        if node < 0:
            return
        pin(n, y, server, node)
        n[slot + column] = node
    more = min(blocks - n[node + RESIDENT], n[slot + OWN])
    if more <= 0:
        return
    dropped = min(more, n[node + HOSTED])
    n[node + HOSTED] -= dropped
    n[server + HOST_FREE] += dropped
    n[node + RESIDENT] += more
    n[slot + OWN] -= more
    n[slot + LENT] += more


@part
def release(n: Integers, y: Floats, server: int, slot: int, keep: bool) -> None:
    """Give back all blocks of a request; ``keep`` those of a conversation in the prefix cache."""
    if keep and n[server + CACHING] and n[slot + SESSION] >= 0:
        page = n[server + PAGE]
        whole = n[slot + GROUP_TOKENS] // page if n[slot + GROUP] >= 0 else 0
        donate(n, y, server, slot, n[slot + SESSION], n[slot + DONE] // page - whole, SESSION_NODE)
    n[server + FREE] += n[slot + OWN]
    n[server + HOST_FREE] += n[slot + AWAY]
    n[slot + OWN] = n[slot + LENT] = n[slot + AWAY] = 0
    if n[slot + SESSION_NODE] >= 0:
        unpin(n, y, server, n[slot + SESSION_NODE])
    if n[slot + GROUP_NODE] >= 0:
        unpin(n, y, server, n[slot + GROUP_NODE])
    n[slot + SESSION_NODE] = n[slot + GROUP_NODE] = -1


@part
def forget_all(n: Integers, y: Floats, server: int) -> None:
    """Empty the prefix cache of a server that failed; nobody uses it any more."""
    evict(n, y, server, n[server + CAPACITY] + 1, 0.0, False)
    make_host_room(n, y, server, 1 << 60)
