"""Where the operands of a product lie, and how many commands of each sort every channel is given for it.

A product has ``m`` inputs of ``k`` numbers, and weights of ``n`` results each. Banks hold weights of different results,
or share the inputs of one (``split``): then their partial results are added on the way out. Layouts are counted, not
timed: the closed form (``closed_form.py``) and the command programs (``program.py``) take the same counts.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from hwmodels.pim.params import PimParams
from simulator.core.formula import formula

__all__ = ["Layout", "Product", "product_layout"]


class Product(NamedTuple):
    """``copies`` products that share nothing, of ``m`` inputs with ``n x k`` weights each.

    ``share`` is the part of the m x n results that is wanted (causal attention); widths are bytes of one element.
    """

    copies: float
    m: float
    n: float
    k: float
    weight_B: float
    input_B: float
    compute_B: float  # of an operand as the multipliers take it
    share: float = 1.0


class Layout(NamedTuple):
    """What one channel does, ``passes`` times one after the other."""

    passes: float
    pieces: float  # of the inputs, where they do not fit the buffer: loaded, computed, moved one after the other
    turns: float  # from loading to computing in each pass: pieces, as often as they are loaded
    loads: float  # bursts into the buffer in each pass, all pieces
    moves: float  # of the results of all banks in each pass, all pieces
    results: float  # of each bank, or of banks that share them
    each: float  # compute commands of one result in each piece
    bursts: float  # compute commands in each pass, all pieces
    rows: float  # that are opened in each pass
    stretch: float  # how much longer than its reading a burst is multiplied
    partial: float  # channels that hold a part of each result
    by_group: float  # 1: pieces are loaded for one group of results after the other
    used: float  # channels that work at the same time
    rounds: float  # of products on the same channels, within passes


@formula
def _whole(count: float) -> float:
    """Round up, but not for the last digits of a quotient, in which compiled code may differ."""
    return float(math.ceil(count * (1.0 - 1e-12)))


@formula
def _held(count: float) -> float:
    """Round down, at least to one, the same way."""
    return max(1.0, float(math.floor(count * (1.0 + 1e-12))))


@formula
def product_layout(
    job: Product, split_banks: float, split_channels: float, p: PimParams, by_group: float = 0.0
) -> Layout:
    """Count the commands of a product whose results are shared by so many banks of so many channels.

    Independent products take channels side by side; one that is left over takes a round of its own. Inputs in pieces
    are either loaded once, and all results moved between pieces, or (``by_group`` 1) loaded again for every group of
    results that the accumulators hold, which are then moved once.
    """
    across = _held(p.channels / job.copies) if job.copies > 1.0 else p.channels
    beside = _held(p.channels / across)
    rounds = _whole(job.copies / beside)
    results = _whole(job.n / (across / split_channels * (p.banks / split_banks)))
    burst_elements = p.burst_B / job.weight_B
    inputs = job.k / split_channels  # that a channel needs
    pieces = max(1.0, _whole(inputs * job.input_B / p.buffer_B))
    # Inputs that meet a burst while the next one is read; narrower operands have more multipliers in their place.
    per_piece = _whole(inputs / pieces / split_banks / burst_elements)  # bursts of one result
    at_speed = p.flop_per_s * p.gap_s * job.weight_B / job.compute_B / (p.banks * p.burst_B)
    if p.read_again > 0.5:
        held = _held(at_speed)
    else:
        held = _held(p.buffer_B / (inputs * job.input_B))
    passes = _whole(job.m / held)
    bursts = pieces * results * per_piece
    stretch = max(1.0, job.m / passes / at_speed)
    rows = _whole(bursts / p.row_bursts)
    if p.packed < 0.5:
        rows = pieces * results * _whole(per_piece / p.row_bursts)
    groups = _whole(results / p.accumulators)
    turns = pieces
    loads = job.m / passes * _whole(inputs * job.input_B / p.burst_B)
    moves = groups
    if by_group > 0.5:
        turns *= groups
        loads *= groups
    elif groups > 1.0:
        moves *= pieces
    return Layout(
        passes=passes * rounds * job.share,
        pieces=pieces,
        turns=turns,
        loads=loads,
        moves=moves * max(1.0, job.m / passes),
        results=results,
        each=per_piece,
        bursts=bursts,
        rows=rows,
        stretch=stretch,
        partial=split_channels,
        by_group=by_group,
        used=min(p.channels, across * job.copies),
        rounds=rounds,
    )
