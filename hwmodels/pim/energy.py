"""Energy of memory that computes: per command and byte, by part; parts that add up to the total."""

from __future__ import annotations

from typing import NamedTuple

from hwmodels.dram.energy import command_energy
from hwmodels.pim.layout import Layout
from hwmodels.pim.params import PimParams
from hwmodels.pim.spec import PimSpec
from hwmodels.pim.table import pim_dram, pim_standard
from simulator.core.formula import formula

__all__ = ["PimEnergy", "ProductEnergy", "pim_energy", "product_energy"]


class PimEnergy(NamedTuple):
    """What each thing a unit does costs."""

    activate_J: float  # one row of one bank, with its precharge
    burst_J: float  # one burst of one bank on its way to the multipliers
    mac_JpFLOP: float
    load_JpB: float
    move_JpB: float
    access_JpB: float  # an ordinary read or write, out of the memory
    op_J: float  # of the processor
    link_JpB: float
    background_W: float  # all channels, banks closed, and the processor waiting
    open_W: float  # on top, while banks compute
    refresh_W: float


class ProductEnergy(NamedTuple):
    """Where the energy of a product goes, joules."""

    activate_J: float
    bank_J: float
    compute_J: float
    buffer_J: float


#: NVLink, 1.3 pJ/bit. Source: AttAcc simulator (commit c600051), config.py, 10.4 pJ/B.
_LINK_JPB = 10.4e-12


def pim_energy(spec: PimSpec) -> PimEnergy:
    """Return the energies of a unit: those of its specification, and of its DRAM as :func:`command_energy` has them."""
    dram = pim_dram(spec)
    costs = command_energy(dram, pim_standard(spec.dram.standard))
    channels, own = spec.all_channels, spec.energy
    interval_s = dram.timings["nREFI"] * dram.tick_s
    return PimEnergy(
        activate_J=costs.activate_J if own.activate_J is None else own.activate_J,
        burst_J=own.burst_J,
        mac_JpFLOP=own.mac,
        load_JpB=own.load,
        move_JpB=own.move,
        access_JpB=(costs.read_J + costs.interface_J) / dram.burst_B,
        op_J=spec.processor.op_J,
        link_JpB=_LINK_JPB,
        background_W=channels * costs.closed_W + spec.processor.power_W,
        open_W=channels * (costs.open_W - costs.closed_W),
        refresh_W=channels * costs.refresh_J / interval_s,
    )


@formula
def product_energy(layout: Layout, flop: float, results_B: float, p: PimParams, e: PimEnergy) -> ProductEnergy:
    """Energy of a product: commands of all channels that work, every bank of each command, padding included.

    Parameters
    ----------
    layout
        Commands of one channel.
    flop
        Operations of the product.
    results_B
        Bytes of its results, before parts of them are added.
    """
    banks = layout.passes * layout.used * p.banks
    loads_B = layout.passes * layout.used * layout.loads * p.burst_B
    return ProductEnergy(
        activate_J=banks * layout.rows * e.activate_J,
        bank_J=banks * layout.bursts * e.burst_J,
        compute_J=flop * e.mac_JpFLOP,
        buffer_J=loads_B * e.load_JpB + results_B * layout.partial * e.move_JpB,
    )
