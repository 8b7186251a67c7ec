"""Many steps at one go: while nothing can happen but the next token of the sequences that run."""

from __future__ import annotations

from simulator.serving.kernel_cost import both, on_server, padded, part, place
from simulator.serving.kernel_finish import account, account_in, gap_bin, gap_range
from simulator.serving.kernel_memory import take
from simulator.serving.kernel_series import bin_of
from simulator.serving.layout import (
    BATCH_AT,
    BATCH_SIZE,
    BIN_S,
    BUSY,
    CAPACITY,
    CONCURRENCY,
    CONTEXT_AT,
    CONTEXT_SIZE,
    DEBUG,
    DECODE_AT,
    DONE,
    EVICTABLE,
    FINE_PER_OCTAVE,
    FREE,
    FREE_TURNS,
    GAP_PER_OCTAVE,
    GAPS,
    GAPS_AT,
    HOLD,
    INSIDE,
    LAST,
    LAST_TOKEN,
    LENT,
    LIST,
    LOG_ROOM,
    MADE,
    MADE_TOKENS,
    NEW,
    NEXT_AT,
    OUTPUT,
    OWN,
    PAGE,
    QUERIES,
    ROLE,
    RUNNING,
    SENT_NEXT,
    SEQUENCE_STEPS,
    SEQUENCES,
    SERIES_AT,
    SERIES_SIZE,
    SERVER_COUNT,
    SERVER_SIZE,
    SERVERS_AT,
    STARTED,
    STEP_J,
    STEP_S,
    STEPS,
    TABLES,
    TURNS,
    WAITING,
    Floats,
    Integers,
)

__all__ = ["independent", "run_ahead"]


@part
def independent(n: Integers, y: Floats) -> bool:
    """Return whether servers hear of nothing but arrivals and failures, so that one may run ahead of the others.

    Where prompts move on, or arrivals wait for a request to leave, what happens at one server is felt at another; so it
    is while conversations have turns to come.
    """
    for index in range(n[SERVER_COUNT]):
        if n[n[SERVERS_AT] + index * SERVER_SIZE + ROLE] != 3:
            return False
    return n[CONCURRENCY] == 0


@part
def next_elsewhere(n: Integers, y: Floats, server: int) -> float:
    """Return when something happens at another server, or a transfer from this one ends."""
    least = y[server + SENT_NEXT]
    for index in range(n[SERVER_COUNT]):
        other = n[SERVERS_AT] + index * SERVER_SIZE
        if other != server:
            least = min(least, y[other + NEXT_AT], y[other + SENT_NEXT])
    return least


@part
def steps_ahead(n: Integers, y: Floats, server: int) -> int:
    """Return how many steps from the one that runs on do nothing but give every sequence its next token.

    0 where prompts, drafts, the queue or places of a static batch have a say, or where steps are logged.
    """
    if n[server + BUSY] == 0 or n[server + QUERIES] > 1 or n[server + HOLD] or n[LOG_ROOM] > 0:
        return 0
    if n[server + WAITING] > 0 and n[server + RUNNING] < n[server + SEQUENCES]:
        return 0
    steps = 1 << 40
    for i in range(n[server + RUNNING]):
        slot = n[n[server + LIST] + i]
        if n[slot + NEW] != 1 or n[slot + MADE] == 0 or y[slot + LAST] != y[server + STARTED]:
            return 0
        steps = min(steps, n[slot + OUTPUT] - n[slot + MADE] - 1)  # the last token of a request is not for here
    return min(steps, 1) if n[DEBUG] else steps


@part
def grow(n: Integers, y: Floats, server: int, done: int, now: float) -> int:
    """Give sequences blocks for the step after ``done`` more; return how many steps they last, 0 where there are none.

    Examples: pages of 16 and 32 tokens in them after ``done`` steps: a third block is taken, which lasts 16 steps.
    """
    page, lasts = n[server + PAGE], 1 << 40
    for i in range(n[server + RUNNING]):
        slot = n[n[server + LIST] + i]
        left = (n[slot + OWN] + n[slot + LENT]) * page - n[slot + DONE] - done
        if left <= 0:
            if not take(n, y, server, slot, 1, now):
                return 0
            left += page
        lasts = min(lasts, left)
    return lasts


@part
def count_gaps(n: Integers, y: Floats, server: int, coarse: int, steps: int) -> None:
    """Count gaps between tokens that all sequences had alike."""
    if steps == 0:
        return
    for i in range(n[server + RUNNING]):
        n[n[n[server + LIST] + i] + GAPS + (coarse >> 1)] += steps << (32 * (coarse & 1))


@part
def run_ahead(n: Integers, y: Floats, server: int, apart: bool, before: float) -> bool:
    """End and start steps of a server that are all alike, as long as they end ``before`` anything else happens.

    Return whether the running step was one of them.

    It comes to what ending and planning one step after the other does; requests are only brought up to date at the end.
    """
    if n[INSIDE] < n[CONCURRENCY]:
        return False
    if not apart or n[FREE_TURNS] < n[TURNS]:
        before = min(before, next_elsewhere(n, y, server))
    steps = steps_ahead(n, y, server) if y[server + NEXT_AT] < before else 0
    if steps == 0:
        return False
    count, started = n[server + RUNNING], y[server + STARTED]
    context = 0.0
    for i in range(count):
        context += n[n[n[server + LIST] + i] + DONE]
    t = n[server + TABLES]
    size = padded(n, y, t, count)
    batch_at, batch = place(y, t + n[t + BATCH_AT], n[t + BATCH_SIZE], float(size))
    axis, column, left, right = t + n[t + CONTEXT_AT], 0, 0.0, 0.0
    done = alike = coarse = fine = bin = 0
    shortest = longest = bin_start = bin_end = 0.0
    grown = grow(n, y, server, 0, started)  # what the running step needs is there
    while done < steps and y[server + NEXT_AT] < before:
        now = y[server + NEXT_AT]
        start = y[server + STARTED]
        gap = now - start
        if not shortest < gap < longest:
            fine = gap_bin(gap)
            shortest, longest = gap_range(fine)
            if fine // (FINE_PER_OCTAVE // GAP_PER_OCTAVE) != coarse:
                count_gaps(n, y, server, coarse, alike)
                alike, coarse = 0, fine // (FINE_PER_OCTAVE // GAP_PER_OCTAVE)
        n[n[GAPS_AT] + fine] += count
        alike += 1
        done += 1
        n[server + STEPS] += 1
        blocks = n[server + CAPACITY] - n[server + FREE] - n[server + EVICTABLE]
        if bin_start <= start and now < bin_end:
            account_in(n, y, server, bin, now, count, 0, count, blocks)
        else:
            account(n, y, server, now, count, 0, count, blocks)
            bin = bin_of(n, y, now)
            bin_start = (bin - n[SERIES_AT]) // SERIES_SIZE * y[BIN_S]
            bin_end = bin_start + y[BIN_S]
        if done >= grown:
            more = grow(n, y, server, done, now)
            if more == 0:  # somebody has to go: planned as ever
                n[server + BUSY] = 0
                break
            grown = done + more
        mean = (context + count * done) / size
        if not left <= mean < right:
            column, _ = place(y, axis, n[t + CONTEXT_SIZE], mean)
            left, right = y[axis + column], y[axis + column + 1]
        share = (mean - left) / (right - left)
        time_s, energy_J = both(n, y, t, DECODE_AT, BATCH_SIZE, CONTEXT_SIZE, batch_at, batch, column, share)
        time_s, energy_J = on_server(n, y, server, time_s, energy_J, count, 0.0, count)
        y[server + STARTED], y[server + STEP_S], y[server + STEP_J] = now, time_s, energy_J
        y[server + NEXT_AT] = now + time_s
    count_gaps(n, y, server, coarse, alike)
    n[server + SEQUENCE_STEPS] += count * done
    n[server + MADE_TOKENS] += count * done
    planned = n[server + BUSY]
    last = y[server + STARTED] if planned else y[server + NEXT_AT]
    for i in range(count):
        slot = n[n[server + LIST] + i]
        n[slot + MADE] += done
        n[slot + DONE] += done
        n[slot + NEW] = planned
        y[slot + LAST] = last
    y[LAST_TOKEN] = max(y[LAST_TOKEN], last)
    return True
