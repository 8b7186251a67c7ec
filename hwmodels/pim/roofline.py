"""The bound of a product in memory: rows open for nothing, no refresh, operands in place."""

from __future__ import annotations

from hwmodels.pim.closed_form import ProductTime
from hwmodels.pim.layout import Layout, Product
from hwmodels.pim.params import PimParams
from simulator.core.formula import formula

__all__ = ["roofline_product_time"]


@formula
def roofline_product_time(job: Product, p: PimParams) -> ProductTime:
    """Longer of reading the weights once at full rate and computing at full rate."""
    stream_Bps = p.channels * p.banks * p.burst_B / p.gap_s
    read_s = job.copies * job.n * job.k * job.weight_B * min(job.share * job.m, 1.0) / stream_Bps
    compute_s = job.copies * job.m * job.n * job.k * job.share * job.compute_B / p.flop_per_s / p.channels
    bursts = read_s / p.gap_s
    layout = Layout(1.0, 1.0, 0.0, 0.0, 1.0, 1.0, bursts, bursts, bursts / p.row_bursts, 1.0, 1.0, 0.0, p.channels, 1.0)
    return ProductTime(max(read_s, compute_s), read_s, compute_s, 0.0, 0.0, layout)
