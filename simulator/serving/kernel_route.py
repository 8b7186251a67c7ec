"""Which server takes a request: the routers of a cluster."""

from __future__ import annotations

from simulator.serving.kernel_cost import part
from simulator.serving.kernel_memory import match
from simulator.serving.kernel_queue import enqueue, remaining, wake
from simulator.serving.layout import (
    CACHING,
    CAPACITY,
    DONE,
    EVICTABLE,
    FEWEST_TOKENS,
    FREE,
    LEAST_KV,
    PAGE,
    PENDING,
    ROLE,
    ROUND_ROBIN,
    ROUTER,
    RUNNING,
    SERVER_COUNT,
    SERVER_SIZE,
    SERVERS_AT,
    SHORTEST_QUEUE,
    SLOW,
    SPILL,
    TURN,
    WAITING,
    Floats,
    Integers,
)

__all__ = ["place_request"]


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
def best_of(n: Integers, y: Floats, slot: int, stage: int, roles: int, router: int) -> int:
    """Return the best server that runs, among those whose role is ``roles``; -1 where there is none."""
    best, least = -1, 0.0
    for index in range(n[SERVER_COUNT]):
        server = n[SERVERS_AT] + index * SERVER_SIZE
        if n[server + ROLE] != roles or y[server + SLOW] == 0.0:
            continue
        here = load(n, y, server, slot, router)
        if best < 0 or here < least:
            best, least = server, here
    return best


@part
def next_in_turn(n: Integers, y: Floats, roles: int) -> int:
    """Return the next server of a role that runs."""
    count = n[SERVER_COUNT]
    for i in range(count):
        server = n[SERVERS_AT] + (n[TURN] + i) % count * SERVER_SIZE
        if n[server + ROLE] == roles and y[server + SLOW] > 0.0:
            n[TURN] = (n[TURN] + i + 1) % count
            return server
    return -1


@part
def route(n: Integers, y: Floats, slot: int, stage: int) -> int:
    """Return the server for a stage (1 prompt, 2 generation): one of its own, or, where these are loaded, one of both.

    Where every server that could is down, the first of them keeps the request until it comes back.
    """
    router = n[ROUTER]
    own = next_in_turn(n, y, stage) if router == ROUND_ROBIN else best_of(n, y, slot, stage, stage, router)
    if own >= 0 and n[own + PENDING] <= n[SPILL]:
        return own
    both = next_in_turn(n, y, 3) if router == ROUND_ROBIN else best_of(n, y, slot, stage, 3, router)
    if both >= 0 and (own < 0 or n[both + PENDING] < n[own + PENDING]):
        return both
    if own >= 0:
        return own
    for index in range(n[SERVER_COUNT]):
        server = n[SERVERS_AT] + index * SERVER_SIZE
        if n[server + ROLE] & stage:
            return server
    return n[SERVERS_AT]


@part
def place_request(n: Integers, y: Floats, slot: int, stage: int, now: float) -> None:
    """Queue a request at a server, and wake that up where it waits."""
    server = route(n, y, slot, stage)
    enqueue(n, y, server, slot)
    wake(n, y, server, now)
