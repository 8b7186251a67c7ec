"""Tables of step times, and how they lie in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from simulator.serving import layout

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]
    Floats = NDArray[np.float64]

__all__ = ["Grid", "Memory", "blank", "pack"]


class Memory(NamedTuple):
    """One array of words, seen as whole numbers and as floats."""

    n: Integers
    y: Floats


def blank(words: int) -> Memory:
    """Return so many words of zero."""
    import numpy as np

    n = np.zeros(words, dtype=np.int64)
    return Memory(n, n.view(np.float64))


@dataclass(frozen=True, slots=True)
class Grid:
    """Tables of one kind of server; the first axis of each table holds seconds and joules.

    Axes: sequences that generate and their mean context; prompt tokens and the mean keys that each of these sees; and
    coarser ones of mixed steps, of which ``saving`` holds what they take less than their halves.
    """

    batch: Floats
    context: Floats
    prompt: Floats
    keys: Floats
    few: Floats
    chunk: Floats
    held: Floats
    decode: Floats  # (2, batch, context)
    prefill: Floats  # (2, prompt, keys)
    fresh: Floats | None  # (2, prompt, keys), where nothing is cached yet; None: as ``prefill``
    saving: Floats  # (2, held, few, chunk)
    padded: NDArray[np.int64]  # sequences that a step of so many is run with


def pack(grid: Grid, shares: tuple[float, ...] | None = None, uneven: tuple[Floats, Floats] | None = None) -> Memory:
    """Lay step-time tables out.

    Parameters
    ----------
    shares
        Probabilities that a speculative step yields 1, 2, ... tokens; None: always 1.
    uneven
        Tokens of a step, and the seconds that one standard deviation of its experts' load adds; None: nothing.
    """
    import numpy as np

    tokens, uneven_s = uneven or (np.empty(0), np.empty(0))
    axes = (
        (layout.BATCH_SIZE, grid.batch),
        (layout.CONTEXT_SIZE, grid.context),
        (layout.PROMPT_SIZE, grid.prompt),
        (layout.KEYS_SIZE, grid.keys),
        (layout.FEW_SIZE, grid.few),
        (layout.CHUNK_SIZE, grid.chunk),
        (layout.HELD_SIZE, grid.held),
        (layout.TOKENS_SIZE, tokens),
    )
    accepted = np.concatenate([[0.0], np.cumsum(shares or (1.0,))])
    accepted[-1] = 1.0
    tables = (
        (layout.DECODE_AT, grid.decode),
        (layout.PREFILL_AT, grid.prefill),
        (layout.FRESH_AT, np.empty(0) if grid.fresh is None else grid.fresh),
        (layout.SAVING_AT, grid.saving),
        (layout.ACCEPTED_AT, accepted),
        (layout.UNEVEN_AT, uneven_s),
    )
    total = sum(axis.size for _, axis in axes) + sum(table.size for _, table in tables) + grid.padded.size
    memory = blank(layout.TABLE_HEADER + total)
    at = layout.TABLE_HEADER
    for field, axis in axes:
        memory.n[field], memory.n[field + 1] = axis.size, at
        memory.y[at : at + axis.size] = axis
        at += axis.size
    for field, table in tables:
        memory.n[field] = at if table.size else 0
        memory.y[at : at + table.size] = table.ravel()
        at += table.size
    memory.n[layout.PADDED_SIZE], memory.n[layout.PADDED_AT] = grid.padded.size, at
    memory.n[at : at + grid.padded.size] = grid.padded
    return memory
