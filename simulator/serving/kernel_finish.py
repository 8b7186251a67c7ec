"""What the end of a step does: tokens come out, requests finish or move to the server that generates."""

from __future__ import annotations

import math

from simulator.serving.kernel_cost import part, uniform
from simulator.serving.kernel_memory import blocks_of, donate, release
from simulator.serving.kernel_queue import remaining
from simulator.serving.kernel_route import place_at, route
from simulator.serving.kernel_series import bin_of, spread
from simulator.serving.kernel_turns import end_turn
from simulator.serving.layout import (
    ACCEPTED_AT,
    ARRIVED,
    BUSY,
    BUSY_S,
    CACHING,
    CAPACITY,
    COMPLETED,
    COMPLETED_OK,
    DONE,
    ENERGY,
    EVICTABLE,
    FINE_PER_OCTAVE,
    FIRST,
    FIRST_SERVER,
    FREE,
    GAP_BINS,
    GAP_LEAST_S,
    GAP_PER_OCTAVE,
    GAPS,
    GAPS_AT,
    GROUP,
    GROUP_NODE,
    GROUP_TOKENS,
    HELD,
    HITS,
    IDLE_SINCE,
    IDLE_W,
    INPUT,
    LAST,
    LAST_TOKEN,
    LIST,
    LONE,
    MADE,
    MADE_TOKENS,
    MIXED_STEPS,
    MOVED,
    NEW,
    NUMBER,
    OUTPUT,
    OWN,
    PAGE,
    PENDING,
    PREEMPTED,
    PRIORITY,
    PROMPT_TOKENS,
    QUERIES,
    QUEUED,
    R_ARRIVED,
    R_FIRST,
    R_FIRST_SERVER,
    R_GAP_MAX,
    R_GAP_P50,
    R_GAP_P90,
    R_GAP_P99,
    R_HITS,
    R_INPUT,
    R_LAST,
    R_NUMBER,
    R_OUTPUT,
    R_PREEMPTED,
    R_PRIORITY,
    R_QUEUED,
    R_SCHEDULED,
    R_SERVER,
    R_SESSION,
    R_STATUS,
    RESULT_SIZE,
    RESULTS_AT,
    ROLE,
    RUNNING,
    S_BLOCKS,
    S_BUSY,
    S_ENERGY,
    S_MADE,
    S_PROMPT,
    S_RUNNING,
    S_WAITING,
    SCHEDULED,
    SEED,
    SEQUENCE_STEPS,
    SERVER,
    SERVER_SIZE,
    SERVERS_AT,
    SESSION,
    SOURCE,
    SOURCE_BLOCKS,
    SOURCE_OWN,
    STARTED,
    STEP_J,
    STEPS,
    STREAM,
    TABLES,
    WAITING,
    WRITTEN,
    Floats,
    Integers,
)

__all__ = ["account", "account_in", "complete", "gap_bin", "gap_range", "idle_until", "write_row"]


@part
def gap_bin(gap_s: float) -> int:
    """Return the fine bin of a gap between tokens."""
    if gap_s <= GAP_LEAST_S:
        return 0
    most = GAP_BINS * FINE_PER_OCTAVE // GAP_PER_OCTAVE - 1
    return min(int(math.log2(gap_s / GAP_LEAST_S) * FINE_PER_OCTAVE), most)


@part
def gap_range(fine: int) -> tuple[float, float]:
    """Return gaps between which all fall into a fine bin, its edges but for what rounding may do; none of the last."""
    if fine >= GAP_BINS * FINE_PER_OCTAVE // GAP_PER_OCTAVE - 1:
        return 0.0, 0.0
    low = GAP_LEAST_S * math.pow(2.0, fine / FINE_PER_OCTAVE)
    return low * (1.0 + 1e-12), low * (math.pow(2.0, 1.0 / FINE_PER_OCTAVE) - 1e-12)


@part
def gap_count(n: Integers, slot: int, bin: int) -> int:
    """Return how many gaps of a request fall into a coarse bin."""
    return (n[slot + GAPS + (bin >> 1)] >> (32 * (bin & 1))) & 0xFFFFFFFF


@part
def gap_quantile(n: Integers, y: Floats, slot: int, share: float) -> float:
    """Return the gap below which ``share`` of the gaps of a request lie: the geometric middle of its bin."""
    total = 0
    for i in range(GAP_BINS):
        total += gap_count(n, slot, i)
    if total == 0:
        return 0.0
    rank = math.ceil(share * total)
    seen = 0
    for i in range(GAP_BINS):
        seen += gap_count(n, slot, i)
        if seen >= rank:
            return GAP_LEAST_S * math.pow(2.0, (i + 0.5) / GAP_PER_OCTAVE)
    return 0.0


@part
def largest_gap(n: Integers, y: Floats, slot: int) -> float:
    """Return the upper end of the last bin in use."""
    for i in range(GAP_BINS - 1, -1, -1):
        if gap_count(n, slot, i) > 0:
            return GAP_LEAST_S * math.pow(2.0, (i + 1.0) / GAP_PER_OCTAVE)
    return 0.0


@part
def write_row(n: Integers, y: Floats, slot: int, status: int) -> None:
    """Write down what became of a request."""
    row = n[RESULTS_AT] + n[WRITTEN] * RESULT_SIZE
    n[WRITTEN] += 1
    y[row + R_NUMBER], y[row + R_STATUS], y[row + R_PRIORITY] = n[slot + NUMBER], status, n[slot + PRIORITY]
    y[row + R_ARRIVED], y[row + R_QUEUED], y[row + R_SCHEDULED] = (
        y[slot + ARRIVED],
        y[slot + QUEUED],
        y[slot + SCHEDULED],
    )
    first, server = n[slot + FIRST_SERVER], n[slot + SERVER]
    y[row + R_FIRST] = y[slot + FIRST] + (y[first + STREAM] if first >= 0 else 0.0)
    y[row + R_LAST] = y[slot + LAST] + (y[server + STREAM] if server >= 0 else 0.0)
    y[row + R_INPUT], y[row + R_OUTPUT] = n[slot + INPUT], n[slot + OUTPUT]
    y[row + R_GAP_P50], y[row + R_GAP_P90] = gap_quantile(n, y, slot, 0.5), gap_quantile(n, y, slot, 0.9)
    y[row + R_GAP_P99], y[row + R_GAP_MAX] = gap_quantile(n, y, slot, 0.99), largest_gap(n, y, slot)
    y[row + R_HITS], y[row + R_PREEMPTED] = n[slot + HITS], n[slot + PREEMPTED]
    y[row + R_FIRST_SERVER] = (first - n[SERVERS_AT]) // SERVER_SIZE if first >= 0 else -1
    y[row + R_SERVER] = (server - n[SERVERS_AT]) // SERVER_SIZE if server >= 0 else -1
    y[row + R_SESSION] = n[slot + SESSION] >> 1 if n[slot + SESSION] < LONE else -1


@part
def emit(n: Integers, y: Floats, server: int, slot: int, now: float, usual_bin: int, computed: bool) -> None:
    """Let the tokens out that a request made in this step: one, or as many of the drafted as are accepted.

    None is drafted in a step in which its prompt, or what it had lost of the cache, was ``computed``.
    """
    made = 1
    if n[server + QUERIES] > 1 and not computed and n[slot + NEW] > 1:
        draw = uniform(n[SEED], n[slot + NUMBER], n[slot + MADE])
        shares = n[server + TABLES] + n[n[server + TABLES] + ACCEPTED_AT]
        while made < n[slot + NEW] and draw > y[shares + made]:
            made += 1
        made = min(made, n[slot + OUTPUT] - n[slot + MADE])
    if n[slot + MADE] == 0:
        y[slot + FIRST] = now
    else:
        fine = usual_bin if y[slot + LAST] == y[server + STARTED] else gap_bin(now - y[slot + LAST])
        coarse = fine // (FINE_PER_OCTAVE // GAP_PER_OCTAVE)
        n[slot + GAPS + (coarse >> 1)] += 1 << (32 * (coarse & 1))
        n[n[GAPS_AT] + fine] += 1
        n[slot + GAPS] += made - 1
        n[n[GAPS_AT]] += made - 1
    y[slot + LAST] = now
    n[slot + MADE] += made
    n[slot + DONE] = n[slot + INPUT] + n[slot + MADE] - 1
    n[server + MADE_TOKENS] += made
    y[LAST_TOKEN] = max(y[LAST_TOKEN], now)


@part
def hand_over(n: Integers, y: Floats, server: int, slot: int, now: float) -> bool:
    """Send a request on to a server that generates; return whether that is this one.

    Its blocks are kept until their transfer ends.
    """
    target = route(n, y, slot, 2)
    if target == server:
        return True
    own = n[slot + OWN]
    n[slot + OWN] = 0
    release(n, y, server, slot, False)
    n[server + HELD] += own
    n[slot + SOURCE], n[slot + SOURCE_OWN] = server, own
    n[slot + SOURCE_BLOCKS] = blocks_of(n, y, server, n[slot + DONE])
    place_at(n, y, target, slot, now)
    return False


@part
def complete(n: Integers, y: Floats, server: int, now: float) -> None:
    """End the step of a server."""
    usual_bin = gap_bin(now - y[server + STARTED])
    kept = prompt_tokens = sequences = 0
    made_before = n[server + MADE_TOKENS]
    blocks = n[server + CAPACITY] - n[server + FREE] - n[server + EVICTABLE]
    count = n[server + RUNNING]
    for i in range(count):
        slot = n[n[server + LIST] + i]
        new = n[slot + NEW]
        stays = True
        if new > 0:
            sequences += 1
            before = remaining(n, y, slot)
            fresh = n[slot + MADE] == 0
            n[slot + DONE] += min(new, before)
            if fresh or before > 1:
                prompt_tokens += min(new, before)
            if new >= before:
                stays = token_out(n, y, server, slot, now, usual_bin, fresh or before > 1)
            n[server + PENDING] += (remaining(n, y, slot) if stays else 0) - before
        if stays:
            n[n[server + LIST] + kept] = slot
            kept += 1
    n[server + RUNNING] = kept
    n[server + STEPS] += 1
    n[server + SEQUENCE_STEPS] += sequences
    n[server + PROMPT_TOKENS] += prompt_tokens
    n[server + MIXED_STEPS] += prompt_tokens > 0
    n[server + BUSY] = 0
    account(n, y, server, now, sequences, prompt_tokens, n[server + MADE_TOKENS] - made_before, blocks)


@part
def token_out(n: Integers, y: Floats, server: int, slot: int, now: float, usual_bin: int, computed: bool) -> bool:
    """Let a request's token out, the first once its prompt was ``computed`` or a later one; return whether it stays."""
    if n[server + CACHING] and n[slot + GROUP] >= 0 and n[slot + MADE] == 0:
        donate(n, y, server, slot, n[slot + GROUP], n[slot + GROUP_TOKENS] // n[server + PAGE], GROUP_NODE)
    emit(n, y, server, slot, now, usual_bin, computed)
    if n[slot + MADE] >= n[slot + OUTPUT]:
        release(n, y, server, slot, n[slot + SESSION] < LONE)
        write_row(n, y, slot, COMPLETED_OK)
        n[COMPLETED] += 1
        end_turn(n, y, slot)
        return False
    if computed and (n[server + ROLE] & 3 == 1 or n[server + ROLE] & MOVED):
        return hand_over(n, y, server, slot, now)
    return True


@part
def account(
    n: Integers, y: Floats, server: int, now: float, sequences: int, prompt: int, made: int, blocks: int
) -> None:
    """Add a step to the server's totals and to the series over time."""
    start = y[server + STARTED]
    idle_until(n, y, server, start)
    row = bin_of(n, y, now)
    if bin_of(n, y, start) == row:
        account_in(n, y, server, row, now, sequences, prompt, made, blocks)
        return
    taken = now - start
    y[server + BUSY_S] += taken
    y[server + ENERGY] += y[server + STEP_J]
    y[server + IDLE_SINCE] = now
    y[row + S_MADE] += made
    y[row + S_PROMPT] += prompt
    spread(n, y, S_ENERGY, start, now, y[server + STEP_J])
    spread(n, y, S_BUSY, start, now, taken)
    spread(n, y, S_RUNNING, start, now, sequences * taken)
    spread(n, y, S_WAITING, start, now, n[server + WAITING] * taken)
    spread(n, y, S_BLOCKS, start, now, blocks * taken)


@part
def account_in(
    n: Integers, y: Floats, server: int, row: int, now: float, sequences: int, prompt: int, made: int, blocks: int
) -> None:
    """Add a step that lies in one bin of the series, at ``row``, to the server's totals and to the bin."""
    taken = now - y[server + STARTED]
    y[server + BUSY_S] += taken
    y[server + ENERGY] += y[server + STEP_J]
    y[server + IDLE_SINCE] = now
    y[row + S_MADE] += made
    y[row + S_PROMPT] += prompt
    y[row + S_ENERGY] += y[server + STEP_J]
    y[row + S_BUSY] += taken
    y[row + S_RUNNING] += sequences * taken
    y[row + S_WAITING] += n[server + WAITING] * taken
    y[row + S_BLOCKS] += blocks * taken


@part
def idle_until(n: Integers, y: Floats, server: int, now: float) -> None:
    """Add the energy of the time a server has waited."""
    since = y[server + IDLE_SINCE]
    if now > since:
        joules = y[server + IDLE_W] * (now - since)
        y[server + ENERGY] += joules
        spread(n, y, S_ENERGY, since, now, joules)
        y[server + IDLE_SINCE] = now
