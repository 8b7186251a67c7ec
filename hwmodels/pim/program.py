"""Commands of one pass of a product on one channel: what the controller is given for a layout.

A pass loads the inputs of a piece, computes on every burst of its weights, and moves results away. Where moves run
beside computing, those of a group of results follow the next group's commands, and a barrier keeps them apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from hwmodels.pim.channel import PimController, PimTable, with_runs
from hwmodels.pim.layout import Layout
from hwmodels.pim.spec import PimSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

__all__ = ["MOST_COMMANDS", "device_controller", "pass_entries", "row_units"]

MOST_COMMANDS = 8_000_000  # of one pass of one channel: half a gigabyte
_OTHER_MODE = 1


def device_controller(spec: PimSpec) -> PimController:
    """Return how a device's channels serve their queues: in order, or with moves and row changes beside computing."""
    commands, beside = spec.commands, spec.operands.hides_loads or spec.operands.hides_moves
    window = 16 if beside else 1
    return PimController(capacity=16, window=window, dual=beside, change=commands.mode)


def row_units(spec: PimSpec) -> int:
    """Return how many groups of banks of a channel open rows of their own."""
    return spec.compute.turns


def pass_entries(spec: PimSpec, table: PimTable, layout: Layout) -> Integers:
    """Return the stream of one pass, (entries, columns), its length at most :data:`MOST_COMMANDS`."""
    import numpy as np

    visits = list(_visits(layout, spec.compute.accumulators))
    computes = _computes(spec, table, layout)
    loads = _loads(spec, table, math.ceil(layout.loads / layout.turns / spec.operands.load_bursts))
    moved = np.tile(_moves(spec, table), (max(1, round(layout.moves / sum(visit.moves for visit in visits))), 1))
    barrier = np.zeros((1, 9), dtype=np.int64)
    barrier[0, 1] = -1
    beside = spec.operands
    parts: list[Integers] = []
    pending: list[Integers] = []
    at = 0
    for visit in visits:
        part = computes[at : at + visit.bursts]
        at += visit.bursts
        if beside.hides_loads:
            part = _interleaved(part, loads[round(len(loads) * visit.loaded) : round(len(loads) * visit.loads)])
        elif visit.loaded == 0.0 and visit.loads > 0.0:
            parts += [loads, barrier] if beside.hides_moves else [loads]
        parts += [part, *pending]
        pending = []
        if visit.moves and beside.hides_moves:
            pending = [moved]
            parts += [barrier] if len(visits) > 1 else []
        elif visit.moves:
            parts.append(moved)
    return with_runs(np.concatenate([*parts, *pending]))


class _Visit(NamedTuple):
    """One group of results in one piece of the inputs; weights lie in the order they are visited in."""

    bursts: int
    loaded: float  # share of the piece's inputs loaded before
    loads: float  # and after; 0 where they are there already
    moves: bool  # whether the group's results are moved afterwards


def _visits(layout: Layout, together: int) -> Iterator[_Visit]:
    """Yield groups of results in every piece, or pieces for every group."""
    pieces, results, each = int(layout.pieces), int(layout.results), int(layout.each)
    groups = math.ceil(results / together)
    sizes = [each * (min((group + 1) * together, results) - group * together) for group in range(groups)]
    if layout.by_group > 0.5:
        for size in sizes:
            for piece in range(pieces):
                yield _Visit(size, 0.0, 1.0, piece == pieces - 1)
        return
    for piece in range(pieces):
        for group, size in enumerate(sizes):
            spread = (group / groups, (group + 1) / groups)
            yield _Visit(size, *spread, groups > 1 or piece == pieces - 1)


def _computes(spec: PimSpec, table: PimTable, layout: Layout) -> Integers:
    """Return the compute commands of all pieces: burst after burst, rows in turn over the groups of banks."""
    import numpy as np

    dram, commands, turns = table.dram, spec.commands, spec.compute.turns
    index = np.arange(int(layout.bursts), dtype=np.int64)
    columns = dram.bursts_per_row
    if commands.compute_within != "Bank":  # successive bursts go to other groups of banks
        unit, row = index % turns, index // turns // columns
    else:
        if not spec.operands.packed:
            each = int(layout.each)
            wide = math.ceil(each / columns) * columns
            index = index // each * wide + index % each
        unit, row = index // columns % turns, index // columns // turns
    nodes = table.dram.nodes(commands.level)
    node = _nodes_in_turn(table, nodes, turns, commands.compute_within)[unit]
    rows = np.zeros((len(index), 9), dtype=np.int64)
    rows[:, 1] = table.key(commands.compute) + node
    rows[:, 2], rows[:, 3], rows[:, 4], rows[:, 5] = unit, unit + 1, row, node
    rows[:, 7] = table.key(commands.activate) + node
    rows[:, 8] = table.key(commands.precharge) + node
    return rows


def _interleaved(computes: Integers, loads: Integers) -> Integers:
    """Return compute commands with the loads spread evenly among them."""
    import numpy as np

    at = np.arange(len(loads), dtype=np.int64) * len(computes) // max(len(loads), 1)
    return np.insert(computes, at, loads, axis=0)


def _nodes_in_turn(table: PimTable, nodes: int, turns: int, within: str) -> Integers:
    """Return the node of each group of banks: spread evenly, and where bursts alternate, over bank groups first."""
    import numpy as np

    spread = np.arange(turns, dtype=np.int64) * max(1, nodes // turns) % nodes
    if within == "Bank" or turns == 1:
        return spread
    per_group = table.dram.counts[-1]
    groups = max(1, turns // per_group)
    unit = np.arange(turns, dtype=np.int64)
    return unit % groups * per_group + unit // groups


def _loads(spec: PimSpec, table: PimTable, count: int) -> Integers:
    import numpy as np

    rows = np.zeros((count, 9), dtype=np.int64)
    rows[:, 1] = table.key(spec.commands.load)
    rows[:, 5] = -1
    rows[:, 6] = _OTHER_MODE if spec.commands.mode is not None else 0
    return rows


def _moves(spec: PimSpec, table: PimTable) -> Integers:
    import numpy as np

    rows = np.zeros((len(spec.commands.move), 9), dtype=np.int64)
    for number, command in enumerate(spec.commands.move):
        nodes = table.dram.nodes(table.levels[command]) if spec.commands.move_within != "Bank" else 1
        rows[number, 1] = table.key(command) + number % nodes
    rows[:, 5] = -1
    rows[:, 6] = _OTHER_MODE if spec.commands.mode is not None else 0
    return rows
