"""The loop over what happens next: an arrival, a transfer's end, a failure, the end of a step."""

from __future__ import annotations

from simulator.serving.kernel_ahead import independent, run_ahead
from simulator.serving.kernel_check import check
from simulator.serving.kernel_cost import kernel, part
from simulator.serving.kernel_finish import complete, idle_until, write_row
from simulator.serving.kernel_memory import forget_all, release
from simulator.serving.kernel_plan import plan, send_back
from simulator.serving.kernel_queue import dequeue, end_transfer, first_waiting, leave, open_slot, remaining, wake
from simulator.serving.kernel_route import elsewhere, holds, place_request
from simulator.serving.kernel_series import spread
from simulator.serving.kernel_turns import break_off, ingested, next_turn, take_turns, turns_behind
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
    FREE_TURNS,
    HEAD,
    HELD,
    INCONSISTENT,
    INPUT,
    INSIDE,
    MOST_CONTEXT,
    NEVER,
    NEXT_AT,
    NOW,
    NUMBER,
    OPENED,
    OUTPUT,
    PENDING,
    PRIORITIES,
    QUEUE_FULL,
    QUEUE_LIMIT,
    READY,
    REJECTED,
    RESULT_ROOM,
    RETURNED,
    ROLE,
    RUNNING,
    S_ARRIVED,
    SENT_NEXT,
    SERVER,
    SERVER_COUNT,
    SERVER_SIZE,
    SERVERS_AT,
    SHARDS,
    SLOW,
    SOURCE,
    SOURCE_OWN,
    TAKEN,
    THINKING,
    TOO_LONG_FOR_MEMORY,
    TOO_LONG_FOR_MODEL,
    WAITING,
    WANTS_ARRIVALS,
    WANTS_ROOM,
    WANTS_SLOTS,
    WANTS_TURNS,
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
    fits = 0
    room = False
    for index in range(n[SERVER_COUNT]):
        server = n[SERVERS_AT] + index * SERVER_SIZE
        if holds(n, y, server, slot):
            fits |= n[server + ROLE] & 3
            if (n[server + ROLE] & 1) and n[server + WAITING] < n[server + QUEUE_LIMIT]:
                room = True
    if fits != 3:
        return TOO_LONG_FOR_MEMORY
    return 0 if room else QUEUE_FULL


@part
def arrive(n: Integers, y: Floats, now: float) -> None:
    """Take the next of the arrivals in, with the turns that follow it."""
    turns = turns_behind(n, y)
    row = n[ARRIVALS_AT] + n[TAKEN] * ARRIVAL_SIZE
    slot = open_slot(n, y, row, y[OPENED] if n[CONCURRENCY] > 0 else y[row + A_TIME], now)
    take_turns(n, y, slot, row, turns)
    n[TAKEN] += 1 + turns
    ask(n, y, slot, now)


@part
def ask(n: Integers, y: Floats, slot: int, now: float) -> None:
    """Queue a request, or turn it away."""
    why = verdict(n, y, slot)
    if n[SHARDS] > 1 and elsewhere(n, y, why > 0):
        leave(n, y, slot)
        return
    spread(n, y, S_ARRIVED, now, now, 1.0)
    if why > 0:
        write_row(n, y, slot, why)
        n[REJECTED] += 1
        break_off(n, y, slot)
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
                    lose_source(n, y, slot)
                slot = n[slot + BEHIND]


@part
def lose_source(n: Integers, y: Floats, slot: int) -> None:
    """Free what another server holds for a waiting request, whose prompt is computed again."""
    source = n[slot + SOURCE]
    n[source + HELD] -= n[slot + SOURCE_OWN]
    n[source + FREE] += n[slot + SOURCE_OWN]
    n[n[slot + SERVER] + PENDING] += n[slot + DONE]
    n[slot + DONE], n[slot + SOURCE] = 0, -1


@part
def untie(n: Integers, y: Floats, now: float) -> bool:
    """Let servers go on that wait in a circle, each holding the cache of prompts that wait for memory of the next.

    The youngest of these prompts is computed again where it waits. Return whether there was any.
    """
    youngest = -1
    for index in range(n[SERVER_COUNT]):
        server = n[SERVERS_AT] + index * SERVER_SIZE
        for rank in range(PRIORITIES):
            slot = n[server + HEAD + rank]
            while slot >= 0:
                if n[slot + SOURCE] >= 0 and (youngest < 0 or n[slot + NUMBER] > n[youngest + NUMBER]):
                    youngest = slot
                slot = n[slot + BEHIND]
    if youngest < 0:
        return False
    source = n[youngest + SOURCE]
    lose_source(n, y, youngest)
    wake(n, y, source, now)
    wake(n, y, n[youngest + SERVER], now)
    return y[source + SLOW] > 0.0


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
    """Return when the next of the arrivals reaches the queue."""
    row = n[ARRIVALS_AT] + n[TAKEN] * ARRIVAL_SIZE
    came = y[OPENED] if n[CONCURRENCY] > 0 else y[row + A_TIME]
    return max(ingested(n, y, came, n[row + A_INPUT]), y[NOW])


@part
def due_fault(n: Integers, y: Floats) -> float:
    """Return when the next of the faults happens."""
    return y[n[FAULTS_AT] + n[FAULT] * FAULT_SIZE + F_TIME] if n[FAULT] < n[FAULT_COUNT] else NEVER


@part
def due_turn(n: Integers, y: Floats) -> float:
    """Return when the next turn of a conversation in the system comes."""
    return y[n[THINKING] + READY] if n[THINKING] >= 0 else NEVER


@part
def lacks(n: Integers, y: Floats) -> int:
    """Return what there is no room for, of the next of the arrivals and the turns that follow it; ENDED: nothing."""
    if n[FREE_SLOT] < 0:
        return WANTS_SLOTS
    return WANTS_TURNS if n[FREE_TURNS] < turns_behind(n, y) else ENDED


@part
def happen(
    n: Integers, y: Floats, server: int, sent_s: float, fault_s: float, now: float, apart: bool, before: float
) -> None:
    """Let a transfer end, a fault come, or a server end its step and begin another, and more that end ``before``."""
    if sent_s <= now:
        transfer_ended(n, y, server, now)
    elif fault_s <= now:
        fault(n, y, now)
    else:
        if run_ahead(n, y, server, apart, min(before, fault_s, due_turn(n, y))):
            return
        if n[server + BUSY]:
            complete(n, y, server, now)
        plan(n, y, server, now)


@kernel
def run(n: Integers, y: Floats, more: bool, until: float) -> int:
    """Run until arrivals, slots, turns or room for results run out, or everything is done; say which.

    Parameters
    ----------
    more
        Whether there will be arrivals after those given.
    until
        Stop before anything that happens later, seconds.
    """
    apart = independent(n, y)
    while True:
        server = next_server(n, y)
        if n[WRITTEN] + 1 + n[server + RUNNING] > n[RESULT_ROOM]:
            return WANTS_ROOM
        step_s, sent_s = y[server + NEXT_AT], y[server + SENT_NEXT]
        fault_s, turn_s = due_fault(n, y), due_turn(n, y)
        arrival_s = NEVER
        if n[CONCURRENCY] == 0 or n[INSIDE] < n[CONCURRENCY]:
            if n[TAKEN] < n[ARRIVAL_COUNT]:
                arrival_s = next_arrival(n, y)
            elif more:
                return WANTS_ARRIVALS
        now = min(arrival_s, turn_s, sent_s, fault_s, step_s)
        if now == NEVER and untie(n, y, y[NOW]):
            continue
        if now == NEVER or now > until:
            return ENDED
        y[NOW] = now
        if arrival_s <= now:
            lacking = lacks(n, y)
            if lacking != ENDED:
                return lacking
            arrive(n, y, now)
        elif turn_s <= now:
            ask(n, y, next_turn(n, y, now), now)
        else:
            happen(n, y, server, sent_s, fault_s, now, apart, min(arrival_s, until))
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
