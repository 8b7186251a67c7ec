"""Time of products in memory, in closed form: nothing is fitted, every term is a count of commands times a wait.

A pass loads inputs, computes on every burst of the weights, changes rows and moves results; what runs beside computing
is hidden by it. Refresh takes its share of all time.
"""

from __future__ import annotations

from typing import NamedTuple

from hwmodels.pim.layout import Layout, Product, product_layout
from hwmodels.pim.params import PimParams
from simulator.core.formula import formula

__all__ = ["ProductTime", "layout_time", "product_time"]


class ProductTime(NamedTuple):
    """What products take, and what each part of the memory would take alone."""

    time_s: float
    bank_s: float  # reading the weights, row changes included
    compute_s: float  # the multipliers at full rate
    buffer_s: float  # loading inputs and moving results
    sum_s: float  # adding partial results of several channels
    layout: Layout


@formula
def _sum_s(job: Product, partial: float, p: PimParams) -> float:
    """Time to read and add up results of which so many channels hold a part each, four bytes a part."""
    if partial <= 1.0:
        return 0.0
    results = job.copies * job.m * job.n * partial
    return max(results * 4.0 / p.external_Bps, results / p.vector_op_per_s)


@formula
def layout_time(job: Product, layout: Layout, p: PimParams) -> ProductTime:
    """Time of a product in a given layout."""
    load_s = layout.loads * p.load_s + layout.turns * p.turn_s
    move_s = layout.moves * p.move_s
    read_s = layout.bursts * p.gap_s
    # A product within one row finds it open again when it is read again.
    changes = layout.rows if layout.rows > 1.0 else 1.0 / max(layout.passes, 1.0)
    row_s = changes * p.row_gap_s
    run_s = read_s * layout.stretch + row_s
    beside_s = load_s * p.hides_loads + move_s * p.hides_moves
    exposed_s = 0.0
    if p.hides_loads < 0.5:
        # Where row commands have a bus of their own, the first row opens while inputs are loaded.
        exposed_s = load_s - (min(p.row_gap_s, load_s) if p.hides_moves > 0.5 else 0.0)
    if p.hides_moves < 0.5:
        exposed_s += move_s - min(changes, layout.moves) * p.joint_s
        exposed_s -= min(changes, layout.turns) * p.load_joint_s
    refresh = 1.0 / (1.0 - p.refresh_s / p.refresh_every_s)
    pass_s = max(run_s, beside_s) + exposed_s
    sum_s = _sum_s(job, layout.partial, p)
    return ProductTime(
        time_s=layout.passes * pass_s * refresh + sum_s,
        bank_s=layout.passes * (read_s + row_s) * refresh,
        compute_s=job.copies * job.m * job.n * job.k * job.share * job.compute_B / p.flop_per_s / p.channels,
        buffer_s=layout.passes * (load_s + move_s) * refresh,
        sum_s=sum_s,
        layout=layout,
    )


@formula
def product_time(job: Product, p: PimParams) -> ProductTime:
    """Time of products in the layout that is fastest: inputs of a result shared by 1, 2, 4 ... banks and channels.

    The search ends where adding up the parts of more channels alone would take longer than the best found.
    """
    best = layout_time(job, product_layout(job, 1.0, 1.0, p), p)
    split_channels = 1.0
    while split_channels <= p.channels / max(job.copies, 1.0) and _sum_s(job, split_channels, p) < best.time_s:
        split_banks = 1.0
        while split_banks <= min(p.bank_split, p.banks):
            by_group = 0.0
            while by_group < 2.0:
                tried = layout_time(job, product_layout(job, split_banks, split_channels, p, by_group), p)
                if tried.time_s < best.time_s:
                    best = tried
                by_group += 1.0 if tried.layout.pieces > 1.0 else 2.0
            split_banks *= 2.0
        split_channels *= 2.0
    return best
