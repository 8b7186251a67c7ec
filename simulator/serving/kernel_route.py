"""Which server takes a request: the routers of a cluster."""

from __future__ import annotations

from simulator.serving.kernel_cost import part
from simulator.serving.kernel_memory import blocks_of, match
from simulator.serving.kernel_queue import enqueue, remaining, wake
from simulator.serving.layout import (
    CACHING,
    CAPACITY,
    DONE,
    EVICTABLE,
    FEWEST_TOKENS,
    FREE,
    INPUT,
    LEAST_KV,
    LENDS,
    MOVED,
    OUTPUT,
    PAGE,
    PENDING,
    QUERIES,
    ROLE,
    ROUND_ROBIN,
    ROUTER,
    RUNNING,
    SEQUENCES,
    SERVER_COUNT,
    SERVER_SIZE,
    SERVERS_AT,
    SHARD,
    SHARDS,
    SHORTEST_QUEUE,
    SLOW,
    SPILL,
    TURN,
    WAITING,
    Floats,
    Integers,
)

__all__ = ["elsewhere", "holds", "place_at", "place_request", "route"]


@part
def load(n: Integers, y: Floats, server: int, slot: int, router: int) -> float:
    """Return what the router wants least of."""
    if router == SHORTEST_QUEUE:
        return float(n[server + RUNNING] + n[server + WAITING])
    if router == FEWEST_TOKENS:
        return float(n[server + PENDING])
    if router == LEAST_KV:
        return 1.0 - (n[server + FREE] + n[server + EVICTABLE]) / n[server + CAPACITY] + n[server + WAITING]
    # PREFIX: prompt tokens to be computed before this one's first token comes out.
    found = 0
    if n[server + CACHING] and n[slot + DONE] == 0:
        shared, own = match(n, y, server, slot)
        found = (shared + own) * n[server + PAGE]
    return float(n[server + PENDING] + remaining(n, y, slot) - found)


@part
def pool_of(n: Integers, y: Floats, server: int) -> int:
    """Return the pool that a server stands in (1 prompts, 2 generation, 3 both): one that left it is back once idle."""
    if n[server + ROLE] & MOVED and n[server + RUNNING] + n[server + WAITING] == 0:
        n[server + ROLE] -= MOVED
    return 3 if n[server + ROLE] & MOVED else n[server + ROLE] & 3


@part
def holds(n: Integers, y: Floats, server: int, slot: int) -> bool:
    """Whether a server's cache is as large as a request at its end, drafted tokens included.

    Servers for prompts, too: what was generated before a failure is computed there again.
    """
    return n[slot + INPUT] + n[slot + OUTPUT] + n[server + QUERIES] <= n[server + CAPACITY] * n[server + PAGE]


@part
def best_of(n: Integers, y: Floats, slot: int, pool: int, lends: int, router: int) -> int:
    """Return the best server of a pool that runs and holds the request (``lends``: of those that may leave the pool).

    -1 where there is none.
    """
    best, least = -1, 0.0
    for index in range(n[SERVER_COUNT]):
        server = n[SERVERS_AT] + index * SERVER_SIZE
        if n[server + ROLE] & lends != lends or pool_of(n, y, server) != pool or y[server + SLOW] == 0.0:
            continue
        if not holds(n, y, server, slot):
            continue
        here = load(n, y, server, slot, router)
        if best < 0 or here < least:
            best, least = server, here
    return best


@part
def next_in_turn(n: Integers, y: Floats, slot: int, pool: int) -> int:
    """Return the next server of a pool that runs and holds the request; -1 where there is none."""
    count = n[SERVER_COUNT]
    for i in range(count):
        server = n[SERVERS_AT] + (n[TURN] + i) % count * SERVER_SIZE
        if pool_of(n, y, server) == pool and y[server + SLOW] > 0.0 and holds(n, y, server, slot):
            n[TURN] = (n[TURN] + i + 1) % count
            return server
    return -1


@part
def loaded(n: Integers, y: Floats, server: int, slot: int, stage: int) -> bool:
    """Whether a server has more to do than it should: prompts beyond ``SPILL``, or no room for this request.

    Those that wait there are taken to need as much of the cache as this one.
    """
    if stage == 1:
        return n[server + PENDING] > n[SPILL]
    if n[server + RUNNING] + n[server + WAITING] >= n[server + SEQUENCES]:
        return True
    wanted = (n[server + WAITING] + 1) * blocks_of(n, y, server, n[slot + DONE] + 1)
    return n[server + FREE] + n[server + EVICTABLE] < wanted


@part
def helps(n: Integers, y: Floats, server: int, own: int, slot: int, stage: int) -> bool:
    """Whether a server gets to a request before ``own``, which is loaded, does."""
    return n[server + PENDING] < n[own + PENDING] if stage == 1 else not loaded(n, y, server, slot, stage)


@part
def route(n: Integers, y: Floats, slot: int, stage: int) -> int:
    """Return the server for a stage (1 prompt, 2 generation): its own, or, where these are loaded, one that helps.

    Those that do both help first; then one leaves the other pool, where it may, until it is idle. Where every server
    that could is down, the first of them keeps the request until it comes back.
    """
    router = n[ROUTER]
    own = next_in_turn(n, y, slot, stage) if router == ROUND_ROBIN else best_of(n, y, slot, stage, 0, router)
    if own >= 0 and not loaded(n, y, own, slot, stage):
        return own
    both = next_in_turn(n, y, slot, 3) if router == ROUND_ROBIN else best_of(n, y, slot, 3, 0, router)
    if both >= 0 and (own < 0 or helps(n, y, both, own, slot, stage)):
        return both
    if own >= 0:
        other = best_of(n, y, slot, 3 - stage, LENDS, FEWEST_TOKENS if stage == 1 else LEAST_KV)
        if other < 0 or not helps(n, y, other, own, slot, stage):
            return own
        n[other + ROLE] |= MOVED
        return other
    for index in range(n[SERVER_COUNT]):
        server = n[SERVERS_AT] + index * SERVER_SIZE
        if n[server + ROLE] & stage and holds(n, y, server, slot):
            return server
    return n[SERVERS_AT]


@part
def elsewhere(n: Integers, y: Floats, rejected: bool) -> bool:
    """Whether a request is for another shard: its server, whose turn it is, is there; the first turns away for all."""
    if rejected:
        return n[SHARD] != 0
    if n[TURN] % n[SHARDS] == n[SHARD]:
        return False
    n[TURN] = (n[TURN] + 1) % n[SERVER_COUNT]
    return True


@part
def place_at(n: Integers, y: Floats, server: int, slot: int, now: float) -> None:
    """Queue a request at a server, and wake that up where it waits."""
    enqueue(n, y, server, slot)
    wake(n, y, server, now)


@part
def place_request(n: Integers, y: Floats, slot: int, stage: int, now: float) -> None:
    """Queue a request at the server for a stage, and wake that up where it waits."""
    place_at(n, y, route(n, y, slot, stage), slot, now)
