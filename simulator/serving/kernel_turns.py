"""Conversations: a turn comes some time after the last token of the one before it, whenever that is."""

from __future__ import annotations

from simulator.serving.kernel_cost import part
from simulator.serving.kernel_queue import begin, leave
from simulator.serving.layout import (
    A_FOLLOWS,
    A_INPUT,
    A_OUTPUT,
    A_TIME,
    AHEAD,
    ARRIVAL_COUNT,
    ARRIVAL_SIZE,
    ARRIVALS_AT,
    ARRIVED,
    BEHIND,
    FREE_TURN,
    FREE_TURNS,
    INGEST,
    INGEST_TOKEN,
    LAST,
    NEXT_TURN,
    READY,
    SERVER,
    SERVERS_AT,
    STREAM,
    T_INPUT,
    T_NEXT,
    T_OUTPUT,
    T_THINK,
    TAKEN,
    THINKERS,
    THINKING,
    UNASKED,
    Floats,
    Integers,
)

__all__ = ["break_off", "end_turn", "ingested", "next_turn", "take_turns", "turns_behind"]


@part
def ingested(n: Integers, y: Floats, came: float, tokens: int) -> float:
    """Return when a request that came at ``came`` reaches the queue: its text is first made tokens."""
    first = n[SERVERS_AT]
    return came + y[first + INGEST] + y[first + INGEST_TOKEN] * tokens


@part
def turns_behind(n: Integers, y: Floats) -> int:
    """Count the turns that follow the next arrival."""
    count = 0
    row = n[ARRIVALS_AT] + n[TAKEN] * ARRIVAL_SIZE
    while n[TAKEN] + count + 1 < n[ARRIVAL_COUNT] and n[row + (count + 1) * ARRIVAL_SIZE + A_FOLLOWS]:
        count += 1
    return count


@part
def take_turns(n: Integers, y: Floats, slot: int, row: int, count: int) -> None:
    """Keep the ``count`` turns that follow the arrival at ``row`` until the conversation in ``slot`` comes to them."""
    for behind in range(count, 0, -1):
        at = row + behind * ARRIVAL_SIZE
        turn = n[FREE_TURN]
        n[FREE_TURN] = n[turn + T_NEXT]
        n[turn + T_INPUT], n[turn + T_OUTPUT], y[turn + T_THINK] = n[at + A_INPUT], n[at + A_OUTPUT], y[at + A_TIME]
        n[turn + T_NEXT], n[slot + NEXT_TURN] = n[slot + NEXT_TURN], turn
    n[FREE_TURNS] -= count


@part
def drop_turn(n: Integers, y: Floats, slot: int) -> None:
    """Free the next turn of a conversation."""
    turn = n[slot + NEXT_TURN]
    n[slot + NEXT_TURN] = n[turn + T_NEXT]
    n[turn + T_NEXT] = n[FREE_TURN]
    n[FREE_TURN] = turn
    n[FREE_TURNS] += 1


@part
def break_off(n: Integers, y: Floats, slot: int) -> None:
    """End a conversation of which a turn was turned away: those after it are never asked."""
    while n[slot + NEXT_TURN] >= 0:
        drop_turn(n, y, slot)
        n[UNASKED] += 1
    leave(n, y, slot)


@part
def end_turn(n: Integers, y: Floats, slot: int) -> None:
    """Let a conversation think about the answer that it just got, or leave where that was the last."""
    turn = n[slot + NEXT_TURN]
    if turn < 0:
        leave(n, y, slot)
        return
    y[slot + ARRIVED] = y[slot + LAST] + y[n[slot + SERVER] + STREAM] + y[turn + T_THINK]
    y[slot + READY] = ingested(n, y, y[slot + ARRIVED], n[turn + T_INPUT])
    n[slot + AHEAD] = n[slot + BEHIND] = -1
    n[THINKERS] += 1
    merge(n, y, n[THINKING], slot)


@part
def next_turn(n: Integers, y: Floats, now: float) -> int:
    """Begin the turn that is due first; return its slot."""
    slot = n[THINKING]
    n[THINKERS] -= 1
    merge(n, y, n[slot + AHEAD], n[slot + BEHIND])
    turn = n[slot + NEXT_TURN]
    begin(n, y, slot, n[turn + T_INPUT], n[turn + T_OUTPUT], y[slot + ARRIVED], now)
    drop_turn(n, y, slot)
    return slot


@part
def merge(n: Integers, y: Floats, a: int, b: int) -> None:
    """Make one heap of two; the soonest is at the top.

    A skew heap (Sleator and Tarjan 1986): the way down swaps the branches of all that it passes, which keeps the mean
    cost at the logarithm of the number.
    """
    place = THINKING
    while a >= 0 and b >= 0:
        if y[b + READY] < y[a + READY]:
            a, b = b, a
        n[place] = a
        place = a + AHEAD
        below = n[a + BEHIND]
        n[a + BEHIND] = n[a + AHEAD]
        a = below
    n[place] = a if a >= 0 else b
