"""Board power and energy by part, at any clock; which clock a power limit leaves is `hwmodels.gpu.clock`.

Power is what the board draws asleep, the clock trees of an awake chip, and the energy of the work over its time. All
work inside the chip runs on one supply whose voltage follows the clock, so its energy goes with the voltage squared;
device memory and links have supplies of their own. When the mean over some tens of milliseconds passes the limit, the
clock falls until it does not: work then takes longer *and* each operation costs less.

Energies per operation are quoted at the highest clock. What the parts mean was settled by running them apart on an
H200: one spinning thread (clock trees), fp32 and exponential loops, reads from L2 and from HBM, products of one
L2-resident shape with pauses between them (so that the clock stays highest) and without (so that it falls).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from simulator.core.formula import formula

__all__ = [
    "KernelEnergy",
    "KernelWork",
    "PowerCoefficients",
    "PowerParams",
    "StepEnergy",
    "burst_clock",
    "kernel_energy",
    "mma_energy_ratio",
    "padded_rows",
    "step_energy",
    "step_power_W",
    "tensor_clock",
    "voltage",
]


class PowerParams(NamedTuple):
    """What a datasheet or one reading says of a board."""

    idle_W: float  # asleep, no work
    limit_W: float  # the power limit in force
    sms: float  # streaming multiprocessors whose clock trees run
    max_clock_Hz: float
    min_clock_Hz: float  # the lowest clock the limit can force (a quarter of the highest where nothing is known)


class PowerCoefficients(NamedTuple):
    """Energies of a GPU family at its highest clock, and its voltage curve."""

    clock_J: float  # clock trees and control of an awake chip, per SM and clock
    mma_J_per_flop: float  # tensor cores, 16-bit operands of random bits, operand delivery from shared memory included
    mma_8bit_ratio: float  # the same with 8-bit operands, over 16-bit
    mma_4bit_ratio: float  # with 4-bit operands
    mma_tf32_ratio: float  # with 32-bit operands (tf32)
    warp_mma_ratio: float  # products issued warp by warp, operands through registers, over the widest instructions
    vector_J_per_flop: float  # ordinary cores, per fp32 operation (an FMA is 2), instruction handling included
    special_J_per_op: float  # exponentials, reciprocals
    l2_J_per_B: float  # between L2 and the SMs
    hbm_J_per_B: float  # device memory, both ends of its bus, reading
    hbm_write_ratio: float  # writing over reading, what the caches do for it included
    link_J_per_B: float  # links to other devices, per byte sent
    voltage_slope: float  # relative fall of the voltage per relative fall of the clock
    voltage_floor: float  # lowest voltage over the highest
    tensor_clock_16bit: float  # clock that busy tensor cores reach at once over the highest: fast current limits
    tensor_clock_8bit: float  # the same with 8-bit and narrower operands
    hold_s: float  # how long a load may pass the limit before the clock falls: the limit acts on a mean


class KernelWork(NamedTuple):
    """What kernels do, as energy sees it: totals of one kernel or of a whole step."""

    mma_flop: float  # tensor-core work as issued: rows that only fill tiles cost what the others do
    mma_bits: float  # width of the operands: 32 (tf32), 16, 8, 4
    warp_mma: float  # 1: issued warp by warp, 0: by the widest instructions the family has
    vector_flop: float
    special_op: float
    l2_B: float
    hbm_read_B: float
    hbm_write_B: float
    link_B: float


class KernelEnergy(NamedTuple):
    """Energy by part at the highest clock; the first four scale with the voltage squared."""

    mma_J: float
    vector_J: float
    special_J: float
    l2_J: float
    hbm_J: float
    link_J: float


class StepEnergy(NamedTuple):
    """Energy of a whole step by part; the parts sum to power x time."""

    idle_J: float
    clock_J: float
    core_J: float  # tensor and ordinary cores, L2
    memory_J: float  # device memory and links


@formula
def voltage(clock_ratio: float, c: PowerCoefficients) -> float:
    """Supply voltage over that at the highest clock, at ``clock_ratio`` of that clock: a line down to a floor."""
    return max(c.voltage_floor, 1.0 - c.voltage_slope * (1.0 - clock_ratio))


@formula
def mma_energy_ratio(bits: float, c: PowerCoefficients) -> float:
    """Energy of one tensor-core operation on operands of ``bits``, over 16-bit operands."""
    if bits > 16.0:
        return c.mma_tf32_ratio
    if bits > 8.0:
        return 1.0
    if bits > 4.0:
        return c.mma_8bit_ratio
    return c.mma_4bit_ratio


@formula
def padded_rows(rows: float, granule: float) -> float:
    """Rows a kernel really multiplies beyond `rows`: up to the next multiple of `granule`."""
    return math.ceil(rows / granule) * granule - rows


@formula
def kernel_energy(work: KernelWork, c: PowerCoefficients) -> KernelEnergy:
    """Dynamic energy of `work` by part, in joules, at the highest clock."""
    warp = c.warp_mma_ratio if work.warp_mma > 0.0 else 1.0
    return KernelEnergy(
        work.mma_flop * warp * c.mma_J_per_flop * mma_energy_ratio(work.mma_bits, c),
        work.vector_flop * c.vector_J_per_flop,
        work.special_op * c.special_J_per_op,
        work.l2_B * c.l2_J_per_B,
        (work.hbm_read_B + c.hbm_write_ratio * work.hbm_write_B) * c.hbm_J_per_B,
        work.link_B * c.link_J_per_B,
    )


@formula
def step_energy(
    core_J: float, memory_J: float, time_s: float, clock_Hz: float, p: PowerParams, c: PowerCoefficients
) -> StepEnergy:
    """Energy of a step that takes `time_s` at `clock_Hz`.

    Parameters
    ----------
    core_J, memory_J
        Dynamic energy at the highest clock of everything inside the chip, and of device memory and links.
    time_s, clock_Hz
        The step's time at the clock it runs at.
    p, c
        Board and family.

    Returns
    -------
    StepEnergy
        ``idle_W t``, ``clock_J SMs f v^2 t``, ``core_J v^2`` and ``memory_J`` with v the :func:`voltage` at that clock.
    """
    square = voltage(clock_Hz / p.max_clock_Hz, c) ** 2
    clocks_J = c.clock_J * p.sms * clock_Hz * square * time_s
    return StepEnergy(p.idle_W * time_s, clocks_J, core_J * square, memory_J)


@formula
def step_power_W(
    core_J: float, memory_J: float, time_s: float, clock_Hz: float, p: PowerParams, c: PowerCoefficients
) -> float:
    """Mean board power over a step, see :func:`step_energy`."""
    e = step_energy(core_J, memory_J, time_s, clock_Hz, p, c)
    return (e.idle_J + e.clock_J + e.core_J + e.memory_J) / time_s


@formula
def tensor_clock(clock_Hz: float, max_clock_Hz: float, bits: float, c: PowerCoefficients) -> float:
    """Clock at which to evaluate a tensor-core kernel whose efficiency was fitted on short runs.

    Fast current limits hold busy tensor cores at a share of the highest clock from the first microsecond, so an
    efficiency fitted as if at the highest clock already contains that share; the power limit costs time only once it
    asks for less.
    """
    share = c.tensor_clock_16bit if bits > 8.0 else c.tensor_clock_8bit
    return min(max_clock_Hz, clock_Hz / share)


@formula
def burst_clock(busy_s: float, settled_clock_Hz: float, max_clock_Hz: float, c: PowerCoefficients) -> float:
    """Mean clock over a load that began `busy_s` ago: the highest while the limit still averages, then the settled."""
    if busy_s <= c.hold_s:
        return max_clock_Hz
    held = c.hold_s / busy_s
    return max_clock_Hz * held + settled_clock_Hz * (1.0 - held)
