"""Time and energy of a step, looked up between points of the step-time tables."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from numba.extending import register_jitable

from simulator.core.formula import HOUSE_JIT
from simulator.core.jit import kernel_jit
from simulator.serving.layout import (
    ASYNC,
    BATCH_SIZE,
    CHUNK_AT,
    CHUNK_SIZE,
    CONTEXT_SIZE,
    DECODE_AT,
    FEW_AT,
    FEW_SIZE,
    FRESH_AT,
    HELD_AT,
    HELD_SIZE,
    HOST_SEQUENCE,
    HOST_STEP,
    IDLE_W,
    KEYS_SIZE,
    PADDED_AT,
    PADDED_SIZE,
    PREFILL_AT,
    PROMPT_SIZE,
    QUERIES,
    SAVING_AT,
    SEED,
    SERVER_SIZE,
    SERVERS_AT,
    SLOW,
    STEPS,
    TABLES,
    TOKENS_AT,
    TOKENS_SIZE,
    UNEVEN_AT,
    Floats,
    Integers,
)

F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["both", "kernel", "lookup", "lookup_all", "on_server", "padded", "part", "place", "step_cost", "uniform"]

#: Every file that compiled code comes from.
SOURCES = [*Path(__file__).parent.glob("kernel*.py"), Path(__file__).parent / "layout.py"]

#: Marks a part of the loop: compiled with what calls it, and kept only with that.
part: Callable[[F], F] = register_jitable(**HOUSE_JIT)

#: Marks what Python calls.
kernel = kernel_jit(SOURCES)


@part
def place(y: Floats, at: int, size: int, value: float) -> tuple[int, float]:
    """Return the interval of a rising axis that holds ``value``, and how far into it; the ends are extrapolated."""
    low, high = at, at + size - 1
    while high - low > 1:
        middle = (low + high) >> 1
        if y[middle] <= value:
            low = middle
        else:
            high = middle
    return low - at, (value - y[low]) / (y[low + 1] - y[low])


@part
def between(y: Floats, at: int, columns: int, i: int, u: float, j: int, v: float) -> float:
    """Return the bilinear mean of the four corners of a cell of the table at ``at``."""
    low = at + i * columns + j
    high = low + columns
    near = y[low] + (y[low + 1] - y[low]) * v
    far = y[high] + (y[high + 1] - y[high]) * v
    return near + (far - near) * u


@part
def both(
    n: Integers, y: Floats, t: int, table: int, rows: int, columns: int, i: int, u: float, j: int, v: float
) -> tuple[float, float]:
    """Return seconds and joules in the cell ``i``, ``j`` of a table of tables ``t``."""
    width = n[t + columns]
    at = t + n[t + table]
    return between(y, at, width, i, u, j, v), between(y, at + n[t + rows] * width, width, i, u, j, v)


@part
def cell(
    n: Integers, y: Floats, t: int, table: int, rows: int, columns: int, row: float, column: float
) -> tuple[float, float]:
    """Look up seconds and joules in a table of tables ``t``, by the header columns of its two axes."""
    i, u = place(y, t + n[t + rows + 1], n[t + rows], row)
    j, v = place(y, t + n[t + columns + 1], n[t + columns], column)
    return both(n, y, t, table, rows, columns, i, u, j, v)


@part
def saved(n: Integers, y: Floats, t: int, decoding: int, context: float, prompt: float) -> tuple[float, float]:
    """Return what a mixed step takes less than its halves, in seconds and joules."""
    i, u = place(y, t + n[t + FEW_AT], n[t + FEW_SIZE], float(decoding))
    j, v = place(y, t + n[t + CHUNK_AT], n[t + CHUNK_SIZE], prompt)
    k, share = place(y, t + n[t + HELD_AT], n[t + HELD_SIZE], context)
    width = n[t + CHUNK_SIZE]
    plane = n[t + FEW_SIZE] * width
    at = t + n[t + SAVING_AT] + k * plane
    near_s, far_s = between(y, at, width, i, u, j, v), between(y, at + plane, width, i, u, j, v)
    at += n[t + HELD_SIZE] * plane
    near_J, far_J = between(y, at, width, i, u, j, v), between(y, at + plane, width, i, u, j, v)
    return near_s + (far_s - near_s) * share, near_J + (far_J - near_J) * share


@part
def padded(n: Integers, y: Floats, t: int, decoding: int) -> int:
    """Return the sequences that a step of generating ones alone is run with."""
    return n[t + n[t + PADDED_AT] + decoding] if decoding < n[t + PADDED_SIZE] else decoding


@part
def lookup(
    n: Integers, y: Floats, t: int, decoding: int, context: float, prompt: float, pairs: float, fresh: bool
) -> tuple[float, float]:
    """Return seconds and joules of a step on the device, by the tables at ``t``.

    Parameters
    ----------
    decoding, context
        Sequences that generate, and their cached tokens together.
    prompt, pairs
        Prompt tokens, and the keys that these see together.
    fresh
        Whether nothing of any of these prompts is cached yet.

    Notes
    -----
    A mixed step takes what its two halves take alone, less what they share (weights are read once), or more where an
    attention kernel for prompts is slow for single tokens: t = decode + prefill - saving. The saving is tabulated over
    sequences, prompt tokens and three contexts, and never exceeds the smaller half.
    """
    time_s = energy_J = 0.0
    if decoding > 0:
        run = padded(n, y, t, decoding) if prompt <= 0.0 else decoding
        time_s, energy_J = cell(n, y, t, DECODE_AT, BATCH_SIZE, CONTEXT_SIZE, float(run), context / run)
    if prompt > 0.0:
        table = FRESH_AT if fresh and n[t + FRESH_AT] > 0 else PREFILL_AT
        prompt_s, prompt_J = cell(n, y, t, table, PROMPT_SIZE, KEYS_SIZE, prompt, pairs / prompt)
        if decoding > 0:
            saved_s, saved_J = saved(n, y, t, decoding, context / decoding, prompt)
            time_s -= min(saved_s, time_s, prompt_s)
            energy_J -= min(saved_J, energy_J, prompt_J)
        time_s += prompt_s
        energy_J += prompt_J
    return time_s, energy_J


@kernel
def lookup_all(n: Integers, y: Floats, t: int, count: int, steps: Floats, result: Floats) -> None:
    """Look up ``count`` rows of arguments of :func:`lookup` into rows of (seconds, joules), both flat."""
    for row in range(count):
        at = 5 * row
        seen, is_fresh = steps[at + 3], steps[at + 4] > 0.0
        time_s, energy_J = lookup(n, y, t, int(steps[at]), steps[at + 1], steps[at + 2], seen, is_fresh)
        result[2 * row], result[2 * row + 1] = time_s, energy_J


@part
def uniform(seed: int, number: int, index: int) -> float:
    """Return a number in [0, 1) that depends on nothing but its arguments (SplitMix64, Steele et al. 2014)."""
    mask = 0xFFFFFFFFFFFFFFF
    z = (seed * 0x9E3779B97F4A7C1 + number * 0xBF58476D1CE4E5B + index * 0x94D049BB133111E) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111E) & mask
    z = z ^ (z >> 31)
    return (z & 0xFFFFFFFFFFFF) / 281474976710656.0


@part
def normal(seed: int, number: int, index: int) -> float:
    """Return a standard normal number that depends on nothing but its arguments (Box and Muller 1958)."""
    radius = math.sqrt(-2.0 * math.log(1.0 - uniform(seed, number, 2 * index)))
    return radius * math.cos(2.0 * math.pi * uniform(seed, number, 2 * index + 1))


@part
def uneven(n: Integers, y: Floats, server: int, tokens: float) -> float:
    """Return the seconds by which a step of so many tokens takes longer than expected, drawn for each step.

    Many layers route independently of each other, so that their sum is nearly normal.
    """
    t = n[server + TABLES]
    if n[t + TOKENS_SIZE] == 0:
        return 0.0
    i, u = place(y, t + n[t + TOKENS_AT], n[t + TOKENS_SIZE], tokens)
    at = t + n[t + UNEVEN_AT] + i
    index = (server - n[SERVERS_AT]) // SERVER_SIZE
    return normal(n[SEED], -1 - index, n[server + STEPS]) * (y[at] + (y[at + 1] - y[at]) * u)


@part
def step_cost(
    n: Integers,
    y: Floats,
    server: int,
    decoding: int,
    context: float,
    prompt: float,
    pairs: float,
    fresh: bool,
    sequences: int,
) -> tuple[float, float]:
    """Return seconds and joules of a step on a server, with the host, uneven experts and slow-downs."""
    time_s, energy_J = lookup(n, y, n[server + TABLES], decoding, context, prompt, pairs, fresh)
    return on_server(n, y, server, time_s, energy_J, decoding, prompt, sequences)


@part
def on_server(
    n: Integers, y: Floats, server: int, time_s: float, energy_J: float, decoding: int, prompt: float, sequences: int
) -> tuple[float, float]:
    """Return what a step takes on a server, given what it takes on its devices on average.

    Devices that wait for the one with the busiest experts draw what they draw when idle.
    """
    more_s = max(uneven(n, y, server, decoding * n[server + QUERIES] + prompt), -0.5 * time_s)
    time_s += more_s
    energy_J += y[server + IDLE_W] * more_s
    host_s = y[server + HOST_STEP] + y[server + HOST_SEQUENCE] * sequences
    time_s = max(time_s, host_s) if n[server + ASYNC] else time_s + host_s
    return time_s * y[server + SLOW], energy_J
