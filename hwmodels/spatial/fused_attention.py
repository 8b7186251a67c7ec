"""Attention on a 2D array, a 1D array and a buffer: cycles and traffic of a cascade under a binding.

Queries lie along the columns of the 2D array and keys along its rows; the width of a query or value streams. A tile is
one array full of scores. Query heads that share keys and values lie side by side. Tiles that a mask hides whole are not
visited, tiles on its edge count whole, and so do tiles that queries or keys do not fill.

Source: FuseMax (Nayak et al., MICRO 2024, arXiv 2406.10491), mapping and binding of section 5, in the closed forms that
its artifact's tables follow; masks, grouped queries and cached keys are added here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from hwmodels.spatial.binding import Binding, BoundEinsum
from hwmodels.spatial.flat_dataflow import FlatDataflow, flat_traffic_B, least_traffic_dataflow
from hwmodels.spatial.tiles import tiles_visited
from simulator.core.formula import formula

__all__ = ["AttentionRun", "AttentionWork", "FusedMachine", "query_tiles_held", "run_attention"]


class AttentionWork(NamedTuple):
    """``problems`` equal attentions: of each sequence and key-value head."""

    problems: float
    queries: int  # beside each other: query positions times query heads of a key-value head
    positions: int  # query positions, the last of the keys
    keys: int
    qk_width: int
    v_width: int
    causal: bool = False
    window: int = 0  # keys that a query sees; 0: all
    shared_kv: bool = False  # values are a part of the keys
    kv_word_B: float = 0.0  # an element of keys and values in memory; 0: as every word of the machine


class FusedMachine(NamedTuple):
    """What attention uses of a machine."""

    rows: int
    columns: int
    lanes: int  # units of the 1D array
    arrays: int  # 2D arrays, each with a share of the 1D array; problems are shared out
    clock_Hz: float
    memory_Bps: float
    buffer_B: float
    word_B: float
    even_tiles: bool = False  # held tiles divide all tiles, as mappings without remainders demand


class AttentionRun(NamedTuple):
    """Time and work of one attention."""

    time_s: float
    compute_s: float
    array_2d_s: float  # useful work of each array, spread over all its units
    array_1d_s: float
    memory_s: float
    read_B: float
    write_B: float
    cycles: Mapping[str, float]  # by the tensor an einsum makes
    operations: Mapping[str, float]  # by kind
    operations_1d: Mapping[str, float]  # those of them on the 1D array
    tiles_held: int  # query tiles whose state the buffer holds at once; 0 where scores wait as rows or in memory
    tiles: float  # tiles of scores per problem
    dataflow: FlatDataflow | None  # how rows of scores are kept, where they are

    @property
    def traffic_B(self) -> float:
        """Bytes to and from memory."""
        return self.read_B + self.write_B


@formula
def query_tiles_held(tiles: int, buffer_B: float, block_B: float, state_B: float, even: bool) -> int:
    """Query tiles whose state fits in the buffer beside a block of keys and values; at least one.

    Parameters
    ----------
    tiles
        All query tiles of a problem.
    buffer_B, block_B, state_B
        The buffer, a block of keys and values, and the state of one tile of queries, bytes.
    even
        The number must divide all tiles.
    """
    most = min(tiles, max(1, int((buffer_B - block_B) // state_B)))
    if even:
        while tiles % most != 0:
            most -= 1
    return most


def run_attention(
    work: AttentionWork, machine: FusedMachine, binding: Binding, dataflow: FlatDataflow | None = None
) -> AttentionRun:
    """Cost an attention.

    Parameters
    ----------
    work, machine, binding
        What, on what, how.
    dataflow
        How rows of scores are kept in the buffer, where the binding keeps rows; None: the one with the least traffic.

    Notes
    -----
    Fused: ``max(sum over phases of max(2D, 1D), traffic / bandwidth)``. Not fused: the sum over phases of the larger of
    their cycles and their own traffic.
    """
    tiles = tiles_visited(
        work.queries, work.positions, work.keys, work.causal, work.window, machine.columns, machine.rows
    )
    along = -(-work.queries // machine.columns)
    points = _points(work, machine, along, tiles / along)
    # Arrays share problems and, where these are few, the rows of tiles of one problem.
    share = math.ceil(work.problems * along / machine.arrays) / along
    units = {True: machine.rows * machine.columns, False: machine.lanes}
    useful = {e.name: share * _visited(e, points) * e.cycles / units[e.on_2d] for e in binding.einsums}
    if binding.scores == "rows" and dataflow is None:
        dataflow = least_traffic_dataflow(work, machine)
    occupied = useful if dataflow is None else _padded(useful, work, machine, dataflow)
    operations, on_1d = _operations(binding, _filled(points, work, machine), work.problems)
    held, read_B, write_B = _traffic_B(work, machine, binding, points, dataflow)
    phases = [_phase_cycles(binding, index, occupied, machine.rows) for index in range(len(binding.phases))]
    compute_s = sum(phases) / machine.clock_Hz
    memory_s = (read_B + write_B) / machine.memory_Bps
    time_s = max(compute_s, memory_s)
    if not binding.fused:
        moved = _phase_traffic_B(work, machine, points)
        time_s = sum(
            max(cycles / machine.clock_Hz, size_B / machine.memory_Bps)
            for cycles, size_B in zip(phases, moved, strict=True)
        )
    return AttentionRun(
        time_s=time_s,
        compute_s=compute_s,
        array_2d_s=sum(useful[e.name] for e in binding.einsums if e.on_2d) / machine.clock_Hz,
        array_1d_s=sum(useful[e.name] for e in binding.einsums if not e.on_2d) / machine.clock_Hz,
        memory_s=memory_s,
        read_B=read_B,
        write_B=write_B,
        cycles=useful,
        operations=operations,
        operations_1d=on_1d,
        tiles_held=held,
        tiles=float(tiles),
        dataflow=dataflow,
    )


def _points(work: AttentionWork, machine: FusedMachine, along: int, blocks: float) -> dict[str, float]:
    """Return the bounds of one problem in whole tiles: ``along`` of queries, each with ``blocks`` of keys."""
    return {
        "p": float(along * machine.columns),
        "m1": blocks,
        "m0": float(machine.rows),
        "m": machine.rows * blocks,
        "e": float(work.qk_width),
        "f": float(work.v_width),
    }


def _traffic_B(
    work: AttentionWork,
    machine: FusedMachine,
    binding: Binding,
    points: Mapping[str, float],
    dataflow: FlatDataflow | None,
) -> tuple[int, float, float]:
    """Return query tiles held (0: none are), and bytes read and written, by where scores wait."""
    if binding.scores in ("tiles", "nowhere"):
        return _streamed_B(work, machine, binding)
    if dataflow is not None:
        return 0, *flat_traffic_B(work, machine, dataflow)
    return 0, *_unfused_B(work, machine, points)


def _visited(einsum: BoundEinsum, points: Mapping[str, float]) -> float:
    """Return how many points of one problem an einsum visits."""
    return math.prod(points[rank] for rank in einsum.ranks)


def _phase_cycles(binding: Binding, index: int, cycles: Mapping[str, float], rows: int) -> float:
    phase = binding.phases[index]
    busy = max(sum(cycles[n] for n in phase.array_2d), sum(cycles[n] for n in phase.array_1d))
    # The result of a reduction crosses every row of the array, tile after tile.
    return busy + rows * sum(cycles[name] for name in phase.travel)


def _padded(
    useful: Mapping[str, float], work: AttentionWork, machine: FusedMachine, dataflow: FlatDataflow
) -> dict[str, float]:
    """Return cycles of the products where a width lies along the columns that it does not fill."""
    cycles = dict(useful)
    if dataflow.weight_stationary:
        cycles["QK"] *= machine.columns * -(-work.qk_width // machine.columns) / work.qk_width
    cycles["AV"] *= machine.columns * -(-work.v_width // machine.columns) / work.v_width
    return cycles


def _filled(points: Mapping[str, float], work: AttentionWork, machine: FusedMachine) -> dict[str, float]:
    """Return the points without columns and rows that no query or key fills: units there do nothing."""
    rows = work.keys / (machine.rows * -(-work.keys // machine.rows))
    return {**points, "p": float(work.queries), "m0": points["m0"] * rows, "m": points["m"] * rows}


def _operations(
    binding: Binding, points: Mapping[str, float], problems: float
) -> tuple[dict[str, float], dict[str, float]]:
    total: dict[str, float] = {}
    on_1d: dict[str, float] = {}
    for einsum in binding.einsums:
        visited = problems * _visited(einsum, points)
        for name, count in einsum.operations:
            total[name] = total.get(name, 0.0) + count * visited
            if not einsum.on_2d:
                on_1d[name] = on_1d.get(name, 0.0) + count * visited
    return total, on_1d


def _streamed_B(work: AttentionWork, machine: FusedMachine, binding: Binding) -> tuple[int, float, float]:
    """Return query tiles held, and bytes read and written: keys and values stream by once per group of held tiles."""
    along = -(-work.queries // machine.columns)
    width = work.qk_width + work.v_width
    state_B = machine.columns * machine.word_B * (width + 2 + binding.tile_columns_in_buffer * machine.rows)
    block_B = machine.rows * machine.word_B * width
    held = query_tiles_held(along, machine.buffer_B, block_B, state_B, machine.even_tiles)
    blocks = tiles_visited(
        work.queries, work.positions, work.keys, work.causal, work.window, held * machine.columns, machine.rows
    )
    groups = -(-along // held)
    # Blocks count whole only inside: the last block of keys ends where the keys do.
    all_blocks = groups * -(-work.keys // machine.rows)
    streamed = blocks / all_blocks * groups * work.keys
    kv_B = (work.kv_word_B or machine.word_B) * (work.qk_width if work.shared_kv else width)
    read_B = machine.word_B * work.queries * work.qk_width + streamed * kv_B
    return held, work.problems * read_B, work.problems * machine.word_B * work.queries * work.v_width


def _unfused_B(work: AttentionWork, machine: FusedMachine, points: Mapping[str, float]) -> tuple[float, float]:
    """Return bytes read and written where scores go to memory and quotients come back from it."""
    qk, softmax, av = _phase_traffic_B(work, machine, points)
    result_B = work.problems * machine.word_B * work.queries * work.v_width
    scores_B = softmax / 2.0
    return qk - scores_B + scores_B + av - result_B, 2.0 * scores_B + result_B


def _phase_traffic_B(
    work: AttentionWork, machine: FusedMachine, points: Mapping[str, float]
) -> tuple[float, float, float]:
    """Return the bytes of both products and of the softmax between them, each on its own."""
    size_B = work.problems * machine.word_B
    scores_B = size_B * min(work.queries, points["p"]) * min(work.keys, points["m"])
    queries_B, result_B = size_B * work.queries * work.qk_width, size_B * work.queries * work.v_width
    kv_B = work.problems * (work.kv_word_B or machine.word_B) * work.keys
    keys_B, values_B = kv_B * work.qk_width, kv_B * work.v_width
    return queries_B + keys_B + scores_B, 2.0 * scores_B, scores_B + values_B + result_B
