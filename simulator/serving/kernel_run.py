"""The loop over what happens next: an arrival, a transfer's end, a failure, the end of a step."""

from __future__ import annotations

from simulator.serving.kernel_check import check
from simulator.serving.kernel_cost import kernel, part
from simulator.serving.kernel_finish import complete, idle_until, write_row
from simulator.serving.kernel_memory import forget_all, release
from simulator.serving.kernel_plan import plan, send_back
from simulator.serving.kernel_queue import dequeue, end_transfer, first_waiting, leave, open_slot, remaining, wake
from simulator.serving.kernel_route import place_request
from simulator.serving.kernel_series import spread
from simulator.serving.layout import (
    A_INPUT,
    A_TIME,
    ABORTED,
    ARRIVAL_COUNT,
    ARRIVAL_SIZE,
    ARRIVALS_AT,
    AWAY,
    BEHIND,
    BROKEN,
    BUSY,
    CAPACITY,
    CONCURRENCY,
    DEBUG,
    DONE,
    ENDED,
    F_FACTOR,
    F_SERVER,
    F_TIME,
    FAULT,
    FAULT_COUNT,
    FAULT_SIZE,
    FAULTS_AT,
    FREE,
    FREE_SLOT,
    HEAD,
    HELD,
    INCONSISTENT,
    INGEST,
    INGEST_TOKEN,
    INPUT,
    INSIDE,
    MOST_CONTEXT,
    NEVER,
    NEXT_AT,
    NOW,
    OPENED,
    OUTPUT,
    PAGE,
    PENDING,
    PRIORITIES,
    QUERIES,
    QUEUE_FULL,
    QUEUE_LIMIT,
    REJECTED,
    RESULT_ROOM,
    RETURNED,
    ROLE,
    RUNNING,
    S_ARRIVED,
    SENT_NEXT,
    SERVER_COUNT,
    SERVER_SIZE,
    SERVERS_AT,
    SLOW,
    SOURCE,
    SOURCE_OWN,
    TAKEN,
    TOO_LONG_FOR_MEMORY,
    TOO_LONG_FOR_MODEL,
    WAITING,
    WANTS_ARRIVALS,
    WANTS_ROOM,
    WANTS_SLOTS,
    WRITTEN,
    Floats,
    Integers,
)

__all__ = ["finish", "run"]


@part
def verdict(n: Integers, y: Floats, slot: int) -> int:
    """Return why a request cannot be taken, 0 where it can."""
    if n[slot + INPUT] + n[slot + OUTPUT] > n[MOST_CONTEXT]:
        return TOO_LONG_FOR_MODEL
    fits = False
    room = False
    for index in range(n[SERVER_COUNT]):
        server = n[SERVERS_AT] + index * SERVER_SIZE
        most = n[slot + INPUT] + n[slot + OUTPUT] + n[server + QUERIES]
        if (n[server + ROLE] & 2) and (most + n[server + PAGE] - 1) // n[server + PAGE] <= n[server + CAPACITY]:
            fits = True
        if (n[server + ROLE] & 1) and n[server + WAITING] < n[server + QUEUE_LIMIT]:
            room = True
    if not fits:
        return TOO_LONG_FOR_MEMORY
    return 0 if room else QUEUE_FULL


@part
def arrive(n: Integers, y: Floats, row: int, now: float) -> None:
    """Take a request in, or turn it away."""
    slot = open_slot(n, y, row, y[OPENED] if n[CONCURRENCY] > 0 else y[row + A_TIME], now)
    spread(n, y, S_ARRIVED, now, now, 1.0)
    why = verdict(n, y, slot)
    if why > 0:
        write_row(n, y, slot, why)
        n[REJECTED] += 1
        leave(n, y, slot)
        return
    place_request(n, y, slot, 1, now)


@part
def transfer_ended(n: Integers, y: Floats, source: int, now: float) -> None:
    """Free the blocks that a server has held for a transfer, and let it go on where it waits for memory."""
    end_transfer(n, y, source)
    wake(n, y, source, now)


@part
def fail(n: Integers, y: Floats, server: int, now: float) -> None:
    """Stop a server: its step is lost, its cache too, and its requests look for another server."""
    if n[server + BUSY]:
        n[ABORTED] += 1
        n[server + BUSY] = 0
    idle_until(n, y, server, now)
    y[server + SLOW] = 0.0
    y[server + NEXT_AT] = NEVER
    while n[server + RUNNING] > 0:
        slot = send_back(n, y, server, n[server + RUNNING] - 1, now, False)
        n[RETURNED] += 1
        place_request(n, y, slot, 1, now)
    for _ in range(n[server + WAITING]):
        slot = first_waiting(n, y, server)
        dequeue(n, y, server, slot)
        n[server + PENDING] -= remaining(n, y, slot)
        if n[slot + AWAY] > 0:
            release(n, y, server, slot, False)
            n[slot + DONE] = 0
        n[RETURNED] += 1
        place_request(n, y, slot, 2 if n[slot + SOURCE] >= 0 else 1, now)
    lose_sources(n, y, server)
    forget_all(n, y, server)


@part
def lose_sources(n: Integers, y: Floats, server: int) -> None:
    """Let prompts whose cache a failed server still held, and that wait elsewhere, be computed again."""
    for index in range(n[SERVER_COUNT]):
        other = n[SERVERS_AT] + index * SERVER_SIZE
        for rank in range(PRIORITIES):
            slot = n[other + HEAD + rank]
            while slot >= 0:
                if n[slot + SOURCE] == server:
                    n[server + HELD] -= n[slot + SOURCE_OWN]
                    n[server + FREE] += n[slot + SOURCE_OWN]
                    n[other + PENDING] += n[slot + DONE]
                    n[slot + DONE], n[slot + SOURCE] = 0, -1
                slot = n[slot + BEHIND]


@part
def fault(n: Integers, y: Floats, now: float) -> None:
    """Apply the next of the faults: a server stops, comes back, or changes its speed."""
    row = n[FAULTS_AT] + n[FAULT] * FAULT_SIZE
    n[FAULT] += 1
    server, factor = n[SERVERS_AT] + int(y[row + F_SERVER]) * SERVER_SIZE, y[row + F_FACTOR]
    if factor == 0.0:
        fail(n, y, server, now)
    else:
        was_down = y[server + SLOW] == 0.0
        y[server + SLOW] = factor
        if was_down:
            idle_until(n, y, server, now)
            wake(n, y, server, now)


@part
def next_server(n: Integers, y: Floats) -> int:
    """Return the server at which something happens first."""
    first, least = n[SERVERS_AT], NEVER
    for index in range(n[SERVER_COUNT]):
        server = n[SERVERS_AT] + index * SERVER_SIZE
        here = min(y[server + NEXT_AT], y[server + SENT_NEXT])
        if here < least:
            first, least = server, here
    return first


@part
def next_arrival(n: Integers, y: Floats) -> float:
    """Return when the next request reaches the queue: its text is first made tokens."""
    row = n[ARRIVALS_AT] + n[TAKEN] * ARRIVAL_SIZE
    came = y[OPENED] if n[CONCURRENCY] > 0 else y[row + A_TIME]
    first = n[SERVERS_AT]
    ready = came + y[first + INGEST] + y[first + INGEST_TOKEN] * n[row + A_INPUT]
    return max(ready, y[NOW])


@kernel
def run(n: Integers, y: Floats, more: bool, until: float) -> int:
    """Run until arrivals, slots or room for results run out, or everything is done; say which.

    Parameters
    ----------
    more
        Whether there will be arrivals after those given.
    until
        Stop before anything that happens later, seconds.
    """
    while True:
        server = next_server(n, y)
        if n[WRITTEN] + 1 + n[server + RUNNING] > n[RESULT_ROOM]:
            return WANTS_ROOM
        step_s, sent_s = y[server + NEXT_AT], y[server + SENT_NEXT]
        fault_s = y[n[FAULTS_AT] + n[FAULT] * FAULT_SIZE + F_TIME] if n[FAULT] < n[FAULT_COUNT] else NEVER
        arrival_s = NEVER
        if n[CONCURRENCY] == 0 or n[INSIDE] < n[CONCURRENCY]:
            if n[TAKEN] < n[ARRIVAL_COUNT]:
                arrival_s = next_arrival(n, y)
            elif more:
                return WANTS_ARRIVALS
        now = min(arrival_s, sent_s, fault_s, step_s)
        if now == NEVER or now > until:
            return ENDED
        y[NOW] = now
        if arrival_s <= now:
            if n[FREE_SLOT] < 0:
                return WANTS_SLOTS
            n[TAKEN] += 1
            arrive(n, y, n[ARRIVALS_AT] + (n[TAKEN] - 1) * ARRIVAL_SIZE, now)
        elif sent_s <= now:
            transfer_ended(n, y, server, now)
        elif fault_s <= now:
            fault(n, y, now)
        else:
            if n[server + BUSY]:
                complete(n, y, server, now)
            plan(n, y, server, now)
        if n[DEBUG]:
            n[BROKEN] = check(n, y)
            if n[BROKEN] != 0:
                return INCONSISTENT


@kernel
def finish(n: Integers, y: Floats, end: float) -> None:
    """Account for waiting until the end."""
    for index in range(n[SERVER_COUNT]):
        server = n[SERVERS_AT] + index * SERVER_SIZE
        idle_until(n, y, server, end)
