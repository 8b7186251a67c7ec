"""What a server puts into its next step: admission, chunks, preemption, by a policy of five switches."""

from __future__ import annotations

from simulator.serving.kernel_cost import part, step_cost
from simulator.serving.kernel_memory import (
    blocks_of,
    borrow,
    copied,
    evict,
    fetch,
    match,
    missing,
    release,
    take,
)
from simulator.serving.kernel_queue import dequeue, enqueue, first_waiting, push_transfer, remaining
from simulator.serving.layout import (
    AWAY,
    BLOCK_LINK_B,
    BUDGET,
    BUSY,
    CACHING,
    CHUNKED,
    DONE,
    EVICTABLE,
    FIRST_SERVER,
    FOUND,
    FOUND_AWAY,
    FREE,
    GROUP,
    GROUP_NODE,
    HELD,
    HITS,
    HOLD,
    HOST_FREE,
    INPUT,
    L_CONTEXT,
    L_DECODING,
    L_ENERGY,
    L_PAIRS,
    L_PROMPT,
    L_SERVER,
    L_START,
    L_TIME,
    LENT,
    LINK_FREE,
    LINK_LATENCY,
    LINK_RATE,
    LIST,
    LOG_AT,
    LOG_ROOM,
    LOG_SIZE,
    LOGGED,
    LONE,
    LOOK_EVERY,
    LOOKED,
    LOOKED_UP,
    MADE,
    MIXED,
    NEVER,
    NEW,
    NEXT_AT,
    NUMBER,
    OUTPUT,
    OVERLAP,
    OWN,
    PAGE,
    PENDING,
    PLACES,
    PREEMPTED,
    PREEMPTIONS,
    PRIORITY,
    PROMPT_S,
    QUERIES,
    QUEUED,
    READY,
    RESERVE,
    RUNNING,
    SCHEDULED,
    SEQUENCES,
    SERVER_SIZE,
    SERVERS_AT,
    SESSION,
    SESSION_NODE,
    SINCE_LOOK,
    SOURCE,
    SOURCE_BLOCKS,
    SOURCE_OWN,
    STARTED,
    STEP_J,
    STEP_S,
    SWAP,
    Floats,
    Integers,
)

__all__ = ["plan", "send_back"]


@part
def tokens_wanted(n: Integers, y: Floats, server: int, slot: int) -> int:
    """Return the tokens a request wants to bring: all of its prompt that is left, or those of one generating step."""
    left = remaining(n, y, slot)
    if left == 1 and n[slot + MADE] > 0:
        return n[server + QUERIES]
    return left


@part
def tokens_given(n: Integers, y: Floats, server: int, wanted: int, budget: int, given: int) -> int:
    """Return how many of them fit the budget: prompts that may not be cut go whole, as the only one if need be."""
    if wanted <= budget:
        return wanted
    if n[server + CHUNKED]:
        return budget
    return wanted if given == 0 else 0


@part
def send_back(n: Integers, y: Floats, server: int, index: int, now: float, swap: bool) -> int:
    """Take a running request off the server and give its memory back; it keeps what it has generated."""
    slot = n[n[server + LIST] + index]
    n[server + RUNNING] -= 1
    for i in range(index, n[server + RUNNING]):
        n[n[server + LIST] + i] = n[n[server + LIST] + i + 1]
    n[server + PENDING] -= remaining(n, y, slot)
    n[slot + NEW] = 0
    n[slot + PREEMPTED] += 1
    blocks = n[slot + OWN]
    if swap and n[server + SWAP] and n[slot + LENT] == 0 and n[server + HOST_FREE] >= blocks and n[slot + DONE] > 0:
        n[slot + OWN] = 0
        n[server + FREE] += blocks
        n[server + HOST_FREE] -= blocks
        n[slot + AWAY] = blocks
        copied(n, y, server, blocks, now)
    else:
        if n[slot + SESSION] < 0:  # until it comes back its blocks are kept while nobody needs them
            n[slot + SESSION] = LONE + 2 * n[slot + NUMBER] + 1
        release(n, y, server, slot, swap)
        n[slot + DONE] = 0
    return slot


@part
def preempt(n: Integers, y: Floats, server: int, now: float) -> int:
    """Send the least urgent, youngest running request back into the queue; return its place among the running."""
    worst = n[server + RUNNING] - 1
    for i in range(n[server + RUNNING]):
        a, b = n[n[server + LIST] + i], n[n[server + LIST] + worst]
        if (n[a + PRIORITY], n[a + NUMBER]) > (n[b + PRIORITY], n[b + NUMBER]):
            worst = i
    slot = send_back(n, y, server, worst, now, True)
    n[server + PREEMPTIONS] += 1
    enqueue(n, y, server, slot)
    return worst


@part
def run_on(
    n: Integers, y: Floats, server: int, now: float, prompts: bool, generating: bool, budget: int
) -> tuple[int, int, int]:
    """Give tokens to the requests that run already.

    Return the budget left, the prompt tokens given, and how many requests were preempted.
    """
    preempted = given = index = 0
    while index < n[server + RUNNING]:
        slot = n[n[server + LIST] + index]
        index += 1
        n[slot + NEW] = 0
        is_generating = n[slot + MADE] > 0 and remaining(n, y, slot) == 1
        if y[slot + READY] > now or not (generating if is_generating else prompts):
            continue
        new = tokens_given(n, y, server, tokens_wanted(n, y, server, slot), budget, given)
        if new <= 0:
            continue
        needed = blocks_of(n, y, server, n[slot + DONE] + new) - n[slot + OWN] - n[slot + LENT]
        while not take(n, y, server, slot, needed, now):
            victim = preempt(n, y, server, now)
            preempted += 1
            if victim == index - 1:
                new = 0
            if victim < index:
                index -= 1
            if new == 0:
                break
        if new == 0:
            continue
        n[slot + NEW] = new
        budget -= new
        given += 0 if is_generating else new
    return budget, given, preempted


@part
def settle_transfer(n: Integers, y: Floats, server: int, slot: int, now: float) -> None:
    """Start the transfer of a prompt's cache from the server that computed it."""
    source = n[slot + SOURCE]
    start = max(now, y[source + LINK_FREE])
    move_s = n[slot + SOURCE_BLOCKS] * y[source + BLOCK_LINK_B] / y[source + LINK_RATE]
    layers = n[source + OVERLAP]
    if layers > 0:  # all but the last layer's went while the prompt was computed, as far as there was time
        move_s = max(move_s / layers, move_s - y[slot + PROMPT_S])
    end = start + y[source + LINK_LATENCY] + move_s
    y[source + LINK_FREE] = end
    y[slot + READY] = max(y[slot + READY], end)
    push_transfer(n, y, source, n[slot + SOURCE_OWN], end)
    n[slot + SOURCE] = -1


@part
def admit_one(n: Integers, y: Floats, server: int, slot: int, now: float, budget: int, given: int) -> int:
    """Admit the first of the queue if there is memory; return the tokens it brings, 0 where it must wait."""
    shared = own = 0
    if n[server + CACHING] and n[slot + DONE] == 0:
        shared, own = match(n, y, server, slot)
    cached = n[slot + DONE] + (shared + own) * n[server + PAGE]
    wanted = n[slot + INPUT] + n[slot + MADE] - cached
    if wanted == 1 and n[slot + MADE] > 0:
        wanted = n[server + QUERIES]
    new = tokens_given(n, y, server, wanted, budget, given)
    if new <= 0:
        return 0
    tokens = cached + new
    if n[server + RESERVE]:  # drafted tokens may go beyond the last
        tokens = max(tokens, n[slot + INPUT] + n[slot + OUTPUT])
    needed = blocks_of(n, y, server, tokens) - shared - own
    away_a, pinned_a = missing(n, y, server, n[slot + GROUP], shared)
    away_b, pinned_b = missing(n, y, server, n[slot + SESSION], own)
    away = away_a + away_b
    if needed + away > n[server + FREE] + n[server + EVICTABLE] - pinned_a - pinned_b:
        return 0
    dequeue(n, y, server, slot)
    back = take_prefix(n, y, server, slot, shared, own, needed + away, now)
    take(n, y, server, slot, needed, now)
    if n[server + CACHING] and n[slot + DONE] == 0:
        n[server + LOOKED_UP] += wanted + cached
        n[server + FOUND] += cached
        n[server + FOUND_AWAY] += back * n[server + PAGE]
        n[server + PENDING] -= cached
        if y[slot + SCHEDULED] < 0.0:
            n[slot + HITS] = cached
    n[slot + DONE], n[slot + LENT] = cached, shared + own
    start(n, y, server, slot, back + n[slot + AWAY], now)
    n[slot + NEW] = 0 if y[slot + READY] > now else new
    return -1 if y[slot + READY] > now else new


@part
def take_prefix(n: Integers, y: Floats, server: int, slot: int, shared: int, own: int, wanted: int, now: float) -> int:
    """Use cached blocks of the group and the session, and make room; return how many come back from host memory."""
    if shared > 0:
        borrow(n, y, server, slot, n[slot + GROUP], shared, GROUP_NODE)
    if own > 0:
        borrow(n, y, server, slot, n[slot + SESSION], own, SESSION_NODE)
    evict(n, y, server, wanted, now, True)
    back = 0
    if shared > 0:
        back += fetch(n, y, server, n[slot + GROUP_NODE], shared)
    if own > 0:
        back += fetch(n, y, server, n[slot + SESSION_NODE], own)
    return back


@part
def start(n: Integers, y: Floats, server: int, slot: int, back: int, now: float) -> None:
    """Put an admitted request among the running; its blocks may first have to come from elsewhere."""
    n[server + HOST_FREE] += n[slot + AWAY]
    n[slot + AWAY] = 0
    if back > 0:
        y[slot + READY] = max(y[slot + READY], copied(n, y, server, back, now))
    if n[slot + SOURCE] >= 0:
        settle_transfer(n, y, server, slot, now)
    if y[slot + SCHEDULED] < 0.0:
        y[slot + SCHEDULED] = now
        n[slot + FIRST_SERVER] = server
    n[n[server + LIST] + n[server + RUNNING]] = slot
    n[server + RUNNING] += 1


@part
def admit(n: Integers, y: Floats, server: int, now: float, budget: int, given: int) -> int:
    """Admit from the queue while there is budget, room in the step and memory; return the tokens given."""
    if n[server + HOLD] and n[server + RUNNING] > 0:
        return 0
    if n[server + SINCE_LOOK] >= n[server + LOOK_EVERY] or n[server + RUNNING] == 0:
        y[server + LOOKED], n[server + SINCE_LOOK] = now, 0
    total = 0
    while budget > 0 and n[server + RUNNING] < n[server + SEQUENCES]:
        slot = first_waiting(n, y, server)
        if slot < 0 or y[slot + QUEUED] > y[server + LOOKED]:
            break
        new = admit_one(n, y, server, slot, now, budget, given + total)
        if new == 0:
            break
        if new > 0:
            budget -= new
            total += new
    n[server + PLACES] = n[server + RUNNING]
    return total


@part
def choose(n: Integers, y: Floats, server: int, now: float) -> None:
    """Give tokens to requests: NEW of each running one is what it brings to the step."""
    budget = n[server + BUDGET]
    if n[server + MIXED]:
        left, given, preempted = run_on(n, y, server, now, True, True, budget)
        if preempted == 0:
            admit(n, y, server, now, left, given)
        return
    left, given, preempted = run_on(n, y, server, now, True, False, budget)
    if preempted == 0:
        given += admit(n, y, server, now, left, given)
    if given == 0:
        run_on(n, y, server, now, False, True, budget)


@part
def plan(n: Integers, y: Floats, server: int, now: float) -> None:
    """Start the next step of a server, or let it wait."""
    had = n[server + RUNNING]
    choose(n, y, server, now)
    if had > 0 and n[server + RUNNING] == 0 and n[server + HELD] == 0:
        choose(n, y, server, now)  # the last had to go: back at once, it pins no prefix that it does not use
    decoding = prompts = 0
    context = prompt = pairs = 0.0
    fresh = True
    ready = NEVER
    for i in range(n[server + RUNNING]):
        slot = n[n[server + LIST] + i]
        new = n[slot + NEW]
        if new == 0:
            if y[slot + READY] > now:
                ready = min(ready, y[slot + READY])
        elif new <= n[server + QUERIES] and remaining(n, y, slot) == 1:
            decoding += 1
            context += n[slot + DONE]
        else:
            prompts += 1
            prompt += new
            pairs += new * (n[slot + DONE] + 0.5 * (new + 1))
            fresh = fresh and n[slot + DONE] == 0
    if decoding + prompts == 0:
        n[server + BUSY] = 0
        y[server + NEXT_AT] = ready
        return
    if n[server + HOLD] and decoding > 0:  # places of those that have finished are computed all the same
        context *= n[server + PLACES] / decoding
        decoding = n[server + PLACES]
    sequences = decoding + prompts
    time_s, energy_J = step_cost(n, y, server, decoding, context, prompt, pairs, fresh, sequences)
    for i in range(n[server + RUNNING]):
        slot = n[n[server + LIST] + i]
        if n[slot + NEW] > 0 and n[slot + MADE] == 0:
            y[slot + PROMPT_S] += time_s
    n[server + SINCE_LOOK] += n[server + LOOK_EVERY] if prompts > 0 else 1
    n[server + BUSY] = 1
    y[server + STARTED], y[server + STEP_S], y[server + STEP_J] = now, time_s, energy_J
    y[server + NEXT_AT] = now + time_s
    if n[LOG_ROOM] > 0:
        log_step(n, y, server, decoding, context, prompt, pairs)


@part
def log_step(n: Integers, y: Floats, server: int, decoding: int, context: float, prompt: float, pairs: float) -> None:
    """Keep what a step is made of, while there is room."""
    if n[LOGGED] < n[LOG_ROOM]:
        at = n[LOG_AT] + n[LOGGED] * LOG_SIZE
        y[at + L_SERVER] = (server - n[SERVERS_AT]) // SERVER_SIZE
        y[at + L_START], y[at + L_TIME], y[at + L_ENERGY] = y[server + STARTED], y[server + STEP_S], y[server + STEP_J]
        y[at + L_DECODING], y[at + L_CONTEXT] = decoding, context
        y[at + L_PROMPT], y[at + L_PAIRS] = prompt, pairs
    n[LOGGED] += 1
