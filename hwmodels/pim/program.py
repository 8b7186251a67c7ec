"""Commands of one pass of a product on one channel: what the controller is given for a layout.

A pass loads the inputs of a piece, computes on every burst of its weights, and moves results away. Where moves run
beside computing, those of a group of results follow the next group's commands, and a barrier keeps them apart.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

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

    pieces, results, each = int(layout.pieces), int(layout.results), int(layout.each)
    together = int(spec.compute.accumulators)
    computes = _computes(spec, table, layout)
    load_count = layout.loads / pieces / spec.operands.load_bursts
    moves = _moves(spec, table)
    # Accumulators that hold all results are moved once, after the last piece.
    groups = math.ceil(results / together)
    times = layout.moves / (groups * (pieces if groups > 1 else 1))
    barrier = np.full((1, 9), 0, dtype=np.int64)
    barrier[0, 1] = -1
    overlapping = spec.operands.hides_moves or spec.operands.hides_loads
    parts: list[Integers] = []
    pending: list[Integers] = []
    for piece in range(pieces):
        loads = _loads(spec, table, math.ceil(load_count))
        if not spec.operands.hides_loads:
            parts += [loads, barrier] if overlapping else [loads]
        for group in range(groups):
            first = (piece * results + group * together) * each
            last = (piece * results + min((group + 1) * together, results)) * each
            part = computes[first:last]
            if spec.operands.hides_loads:
                part = _interleaved(part, loads[len(loads) * group // groups : len(loads) * (group + 1) // groups])
            parts += [part, *pending]
            pending = []
            if groups > 1 or piece == pieces - 1:
                moved = np.tile(moves, (max(1, round(times)), 1))
                if spec.operands.hides_moves:
                    pending = [moved]
                    parts += [barrier] if groups > 1 else []
                else:
                    parts.append(moved)
    return with_runs(np.concatenate([*parts, *pending]))


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
