"""How FLAT keeps rows of scores in the buffer: what stays, what streams, what spills, and the traffic that follows.

Output stationary, a tile of scores is finished on the array, and each query, key and value tile is fetched again for
every tile of the other unless its tensor stays in the buffer. What the buffer cannot hold spills as a share of
everything in it. Weight stationary, scores go to memory and queries stay.

Source: the closed form that the FLAT tables of FuseMax's artifact follow (FPSG-UIUC/micro24-fusemax-artifact): scores
and what stays are counted once, tiles that stream twice (one in use, one arriving).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from simulator.core.formula import formula

if TYPE_CHECKING:
    from hwmodels.spatial.fused_attention import AttentionWork, FusedMachine

__all__ = ["FlatDataflow", "flat_spill", "flat_traffic_B", "least_traffic_dataflow"]

#: Passes of a spilled score over the edge: written by QK, read by the maximum, read and written by the exponential,
#: read by the sum, read and written by the division; the last read is the product's own.
_SPILL_PASSES = 7

#: Query tiles of rows that are tried; the artifact's search stops at four.
_ROW_TILES = (1, 2, 4)


class FlatDataflow(NamedTuple):
    """A choice of what stays in the buffer."""

    weight_stationary: bool
    row_tiles: int  # query tiles whose rows of scores wait in the buffer together; 0: those of a whole head
    queries_stay: bool = False
    keys_stay: bool = False
    values_stay: bool = False


@formula
def flat_spill(held_B: float, buffer_B: float) -> float:
    """Share of everything held that the buffer has no room for."""
    return max(0.0, 1.0 - buffer_B / held_B)


@formula
def refetched(stays: bool, tiles: float, spilled: float) -> float:
    """How often a tensor is fetched: once if it stays, its spilled share and all of it otherwise once per tile."""
    return 1.0 + spilled * (tiles - 1.0) if stays else tiles


def _held_B(work: AttentionWork, machine: FusedMachine, flow: FlatDataflow) -> float:
    """Bytes that the buffer is asked to hold, output stationary."""
    rows = work.queries if flow.row_tiles == 0 else min(work.queries, flow.row_tiles * machine.columns)
    words = float(rows) * work.keys
    words += 2.0 * work.qk_width * (rows if flow.queries_stay else machine.columns)
    words += 2.0 * work.qk_width * (work.keys if flow.keys_stay else machine.rows)
    words += 2.0 * work.v_width * (work.keys if flow.values_stay else machine.rows)
    words += 2.0 * work.v_width * machine.columns  # the result
    return words * machine.word_B


def flat_traffic_B(work: AttentionWork, machine: FusedMachine, flow: FlatDataflow) -> tuple[float, float]:
    """Bytes read and written.

    Output stationary: ``Q q + K k + V v + AV + 7 s S`` with S the scores, s their spilled share and q, k, v how often
    each tensor is fetched. Weight stationary: ``Q + (K + V) L / rows + AV + 4 S``.
    """
    size_B = work.problems * machine.word_B
    queries_B, result_B = size_B * work.queries * work.qk_width, size_B * work.queries * work.v_width
    kv_B = work.problems * (work.kv_word_B or machine.word_B) * work.keys
    keys_B = kv_B * work.qk_width
    values_B = 0.0 if work.shared_kv else kv_B * work.v_width
    scores_B = size_B * work.queries * float(work.keys)
    if flow.weight_stationary:
        groups = work.queries / min(work.queries, max(1, flow.row_tiles) * machine.columns)
        return queries_B + (keys_B + values_B) * groups + 2.0 * scores_B, result_B + 2.0 * scores_B
    spilled = flat_spill(_held_B(work, machine, flow), machine.buffer_B)
    along_keys = max(1.0, work.keys / machine.rows)
    along_queries = max(1.0, work.queries / machine.columns)
    read_B = (
        queries_B * refetched(flow.queries_stay, along_keys, spilled)
        + keys_B * refetched(flow.keys_stay, along_queries, spilled)
        + values_B * refetched(flow.values_stay, along_queries, spilled)
    )
    # Of seven passes three write: the product, the exponential, the division.
    writes = 3.0 / _SPILL_PASSES
    passes_B = _SPILL_PASSES * spilled * scores_B
    return read_B + (1.0 - writes) * passes_B, result_B + writes * passes_B


def _candidates(work: AttentionWork, machine: FusedMachine) -> Iterator[FlatDataflow]:
    for row_tiles in (0, *_ROW_TILES):
        for stay in range(8):
            yield FlatDataflow(False, row_tiles, bool(stay & 1), bool(stay & 2), bool(stay & 4))
    for row_tiles in _ROW_TILES:
        state_B = row_tiles * machine.columns * machine.word_B * (work.qk_width + work.v_width)
        if row_tiles == 1 or 2.0 * state_B <= machine.buffer_B:
            yield FlatDataflow(True, row_tiles, queries_stay=True)


def least_traffic_dataflow(work: AttentionWork, machine: FusedMachine) -> FlatDataflow:
    """Return the choice with the least traffic, the first of equals."""
    return min(_candidates(work, machine), key=lambda flow: sum(flat_traffic_B(work, machine, flow)))
