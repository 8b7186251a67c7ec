"""One matrix product on 2D arrays behind a shared buffer: cycles of its folds, and which operand waits in the buffer.

The arrays share a product along one of its dimensions. Memory is read in blocks: either an operand stays whole, or a
panel of the input or of the weights stays while the other streams by once for each panel, or a block of results stays
while both stream. Streams are double buffered.

Source: the classical blockings of a product (Goto and van de Geijn, ACM TOMS 34(3), 2008, section 4: panels and
blocks); cycles of a fold: :mod:`hwmodels.spatial.systolic`.
"""

from __future__ import annotations

from typing import NamedTuple

from hwmodels.spatial.systolic import DATAFLOWS, INPUT_STATIONARY, OUTPUT_STATIONARY, ceil_div, fold_cycles
from simulator.core.formula import formula

__all__ = ["Blocking", "ProductArray", "ProductPlan", "ProductRun", "blocked_plan", "blocking", "product_run"]

#: Bytes of a partial sum. Source: 32-bit accumulation, as in every array modelled here.
_SUM_B = 4.0

#: Depth along k of what streams through the buffer: 64 bytes of 16-bit words, a burst of memory.
_SLAB = 32

#: Names of the blockings, in the order of their codes.
STAYS = ("input", "weights", "panel of the input", "panel of the weights", "block of results")
_INPUT, _WEIGHTS, _INPUT_PANEL, _WEIGHT_PANEL, _RESULTS = range(5)


class ProductArray(NamedTuple):
    """Arrays and buffer as a product sees them."""

    rows: int
    columns: int
    arrays: int
    dataflow: int  # 0 output, 1 weight, 2 input stationary
    overlapped: bool
    rate: float  # multiply-adds of a unit in each clock
    buffer_B: float


class Blocking(NamedTuple):
    """How often memory is read."""

    stays: int  # index into STAYS
    panel: int  # rows of the input, or columns of the weights, or rows of the results that stay; 0: all
    input_times: float
    weight_times: float


class ProductRun(NamedTuple):
    """Cycles and words of one product."""

    cycles: float
    folds: int  # of the busiest array
    split: int  # dimension the arrays share: 0 m, 1 n
    input_words: float  # between buffer and arrays
    weight_words: float
    output_words: float
    blocking: Blocking


class ProductPlan(NamedTuple):
    """How a product runs, whatever chose it."""

    cycles: float  # of the arrays alone
    again_B: float  # that memory moves beyond each operand and result once
    edge_read_B: float  # out of the buffer to the arrays
    edge_write_B: float
    how: str


@formula
def array_cycles(m: int, n: int, k: int, array: ProductArray) -> tuple[float, int]:
    """Cycles of a product on one array, and its folds. Narrow formats put several multiply-adds in a clock along k."""
    deep = int(-(-k // array.rate))
    on_rows = m if array.dataflow == OUTPUT_STATIONARY else deep
    on_columns = m if array.dataflow == INPUT_STATIONARY else n
    stream = n if array.dataflow == INPUT_STATIONARY else m
    if array.dataflow == OUTPUT_STATIONARY:
        stream = deep
    folds = ceil_div(on_rows, array.rows) * ceil_div(on_columns, array.columns)
    cycles = fold_cycles(array.rows, array.columns, array.dataflow, stream, array.overlapped, folds)
    return float(cycles), folds


@formula
def blocking(m: int, n: int, k: int, input_B: float, weight_B: float, array: ProductArray) -> Blocking:
    """Return the blocking with the least traffic.

    Beside what stays, the buffer holds a slab of what streams, one in use and one arriving, and the sums of a column of
    tiles unless these stay in the units.

    Parameters
    ----------
    m, n, k
        Of the product.
    input_B, weight_B
        Bytes of one element of the input and the weights.
    array
        The arrays and their buffer.
    """
    whole_input, whole_weights = float(m) * k * input_B, float(n) * k * weight_B
    slab = 2.0 * min(k, _SLAB)
    sum_B = 0.0 if array.dataflow == OUTPUT_STATIONARY else _SUM_B * array.columns  # of each row of the input
    # A slab of the array's height and width, and sums of a tile.
    passing_B = slab * (array.rows * input_B + array.columns * weight_B) + sum_B * array.rows
    room_B = max(array.buffer_B - passing_B, 0.0)
    if whole_input + sum_B * m <= room_B:
        return Blocking(_INPUT, 0, 1.0, 1.0)
    if whole_weights <= room_B:
        return Blocking(_WEIGHTS, 0, 1.0, 1.0)
    best = Blocking(_RESULTS, array.rows, float(ceil_div(n, array.columns)), float(ceil_div(m, array.rows)))
    least = whole_input * best.input_times + whole_weights * best.weight_times
    panel = int(room_B / (k * input_B + sum_B) / array.rows) * array.rows
    if panel > 0:
        times = float(ceil_div(m, panel))
        if whole_input + whole_weights * times < least:
            least, best = whole_input + whole_weights * times, Blocking(_INPUT_PANEL, panel, 1.0, times)
    panel = int(room_B / (k * weight_B) / array.columns) * array.columns
    if panel > 0:
        times = float(ceil_div(n, panel))
        if whole_input * times + whole_weights < least:
            least, best = whole_input * times + whole_weights, Blocking(_WEIGHT_PANEL, panel, times, 1.0)
    tall = array.rows
    while tall < 2 * m:
        height = min(tall, m)
        width = min(n, int((array.buffer_B - slab * height * input_B) / (_SUM_B * height + slab * weight_B)))
        if width >= min(n, array.columns):
            along_n, along_m = float(ceil_div(n, width)), float(ceil_div(m, height))
            moved = whole_input * along_n + whole_weights * along_m
            if moved < least:
                least, best = moved, Blocking(_RESULTS, height, along_n, along_m)
        tall *= 2
    return best


@formula
def product_run(m: int, n: int, k: int, input_B: float, weight_B: float, array: ProductArray) -> ProductRun:
    """Return the cycles of a product shared by all arrays along m or n, whichever ends first, and its words."""
    cycles, folds = array_cycles(m, ceil_div(n, array.arrays), k, array)
    split = 1
    by_rows, row_folds = array_cycles(ceil_div(m, array.arrays), n, k, array)
    if by_rows < cycles:
        cycles, folds, split = by_rows, row_folds, 0
    column_folds = ceil_div(n, array.columns)
    row_tiles = ceil_div(m, array.rows)
    sums = float(ceil_div(k, array.rows))
    inputs, weights, outputs = float(m) * k * column_folds, float(n) * k, float(m) * n * (2.0 * sums - 1.0)
    if array.dataflow == OUTPUT_STATIONARY:
        weights, outputs = float(n) * k * row_tiles, float(m) * n
    elif array.dataflow == INPUT_STATIONARY:
        inputs, weights = float(m) * k, float(n) * k * ceil_div(m, array.columns)
    return ProductRun(cycles, folds, split, inputs, weights, outputs, blocking(m, n, k, input_B, weight_B, array))


def blocked_plan(m: int, n: int, k: int, input_B: float, weight_B: float, array: ProductArray) -> ProductPlan:
    """Return a product in blocks and folds as a plan."""
    run = product_run(m, n, k, input_B, weight_B, array)
    times = run.blocking
    sums_B = run.output_words * _SUM_B / 2.0  # written, and read back to be added to
    return ProductPlan(
        cycles=run.cycles,
        again_B=(times.input_times - 1.0) * m * k * input_B + (times.weight_times - 1.0) * n * k * weight_B,
        edge_read_B=run.input_words * input_B + run.weight_words * weight_B + sums_B,
        edge_write_B=sums_B,
        how=describe_product(m, n, k, run, array),
    )


def describe_product(m: int, n: int, k: int, run: ProductRun, array: ProductArray) -> str:
    """Say in words how a product runs."""
    stationary = {"os": "results", "ws": "weights", "is": "inputs"}[DATAFLOWS[array.dataflow]]
    shared = f" of {array.arrays} that share {'mn'[run.split]}" if array.arrays > 1 else ""
    b = run.blocking
    stays = STAYS[b.stays] + (f" ({b.panel} {'columns' if b.stays == _WEIGHT_PANEL else 'rows'})" if b.panel else "")
    again = [f"{name} {times:.0f} times" for name, times in (("input", b.input_times), ("weights", b.weight_times))]
    return (
        f"{m} x {n} x {k}: {stationary} stay on {array.rows} x {array.columns}{shared}, {run.folds} folds, "
        f"{run.cycles:.0f} cycles; {stays} stays in the buffer; from memory {', '.join(again)}"
    ).replace(" 1 times", " once")
