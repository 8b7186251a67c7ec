"""HBM-PIM's kernels: a matrix times a vector and element-wise work, as commands of one of its pseudo-channels.

A block computes on bursts of the two banks beside it. Element-wise work takes eight bursts of each operand, then stores
eight results; operands and results lie in the two banks by turns, what belongs together in one row. Results of a
matrix stay in the block's eight registers until all inputs have passed.
"""

from __future__ import annotations

import math

from hwmodels.pim.channel import Entry, PimTable, run_stream, stream
from hwmodels.pim.cycle import run_passes
from hwmodels.pim.layout import Product, product_layout
from hwmodels.pim.params import pim_params
from hwmodels.pim.program import device_controller, pass_entries, row_units
from hwmodels.pim.spec import PimSpec
from hwmodels.pim.table import pim_dram
from simulator.core.errors import InputError

__all__ = ["OPERANDS", "elementwise_ticks", "gemv_ticks"]

#: Operands read by element-wise kernels, by name.
OPERANDS = {"ADD": 2, "MUL": 2, "RELU": 1}

_REGISTERS = 8
_ELEMENT_B = 2
_BANKS_OF_A_BLOCK = 2
_MOST_ELEMENTS = 1 << 31


def gemv_ticks(spec: PimSpec, outputs: int, inputs: int) -> int:
    """Ticks of a matrix (outputs x inputs, 16 bits) times a vector on the whole unit, mode changes included.

    Outputs come in tiles of every register of every block: fewer cost as much.
    """
    if min(outputs, inputs) < 1 or outputs * inputs > _MOST_ELEMENTS:
        raise InputError(f"GEMV of {outputs} x {inputs}: expected 1 to {_MOST_ELEMENTS} elements")
    params = pim_params(spec)
    tile = int(params.channels * params.banks * _REGISTERS)
    job = Product(1.0, 1.0, float(tile), float(inputs), _ELEMENT_B, _ELEMENT_B, _ELEMENT_B)
    table = PimTable(pim_dram(spec))
    entries = pass_entries(spec, table, product_layout(job, 1.0, 1.0, params))
    tiles = math.ceil(outputs / tile)
    run = run_passes(table, entries, device_controller(spec), row_units(spec), tiles)
    return run.ticks + round(spec.launch_s / table.dram.tick_s)


def elementwise_ticks(spec: PimSpec, kernel: str, elements: int) -> int:
    """Ticks of an element-wise kernel (one of :data:`OPERANDS`) over so many elements on the whole unit.

    Raises
    ------
    InputError
        If there is no such kernel, or none or too many elements.
    """
    if kernel not in OPERANDS or not 1 <= elements <= _MOST_ELEMENTS:
        raise InputError(
            f"element-wise program {kernel} of {elements}: expected one of {', '.join(OPERANDS)} and 1 to "
            f"{_MOST_ELEMENTS} elements"
        )
    table = PimTable(pim_dram(spec))
    dram, names = table.dram, spec.commands
    params = pim_params(spec)
    groups = math.ceil(elements * _ELEMENT_B / (params.channels * params.banks * params.burst_B * _REGISTERS))
    bursts = _REGISTERS * (OPERANDS[kernel] + 1)
    columns = _REGISTERS * math.ceil((OPERANDS[kernel] + 1) / _BANKS_OF_A_BLOCK)  # of a group, in the fuller bank
    entries = []
    for group in range(groups):
        for burst in range(bursts):
            row = group * columns // dram.bursts_per_row
            command = names.compute if burst < bursts - _REGISTERS else names.move[0]
            entries.append(Entry(command, 0, 0, (0, 1), row, 0, names.activate, names.precharge))
    run = run_stream(table, stream(table, entries), device_controller(spec))
    return run.ticks + round(spec.launch_s / dram.tick_s)
