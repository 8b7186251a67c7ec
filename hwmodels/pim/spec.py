"""What a specification file says of memory that computes, as a checked record.

One unit is the memory of one device: all its stacks or chips, with the compute inside. Timings, commands and what they
wait for are the constraint table of its DRAM (``specs/pim_dram``); everything else is here.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hwmodels.parts import Area, Bytes, Count, DeviceSpec, Hertz, Name, Seconds, Watts
from simulator.core.quantity import Quantity
from simulator.core.specfile import SpecRecord

__all__ = [
    "AreaSpec",
    "CommandsSpec",
    "ComputeSpec",
    "OperandSpec",
    "PimDramSpec",
    "PimEnergySpec",
    "PimSpec",
    "ProcessorSpec",
]

Joules = Annotated[float, Quantity("J", zero=True)]
PerByte = Annotated[float, Quantity("J/B", zero=True)]
PerFlop = Annotated[float, Quantity("J/FLOP", zero=True)]
PerOp = Annotated[float, Quantity("J/OP", zero=True)]
Number = Annotated[float, Quantity("1")]
Commands = Annotated[tuple[Name, ...], Field(strict=False)]


class PimDramSpec(SpecRecord):
    """The DRAM: a table of ``specs/pim_dram`` and what is chosen of it."""

    standard: Name
    organisation: Name | None = None
    speed: Name | None = None


class CommandsSpec(SpecRecord):
    """Which commands of the table compute; the level each addresses follows from the table's scopes."""

    level: Name  # of the hierarchy that activate, compute and precharge address
    activate: Name
    compute: Name  # one burst of every bank addressed, multiplied
    precharge: Name
    load: Name  # bursts into the buffers that hold inputs
    move: Commands  # what moves the results of all banks once, in order
    compute_within: Name = "Bank"  # the deepest level that successive compute commands stay in, where they take turns
    move_within: Name = "Bank"  # the same of moves
    mode: Name | None = None  # what changing between computing and moving takes


class ComputeSpec(SpecRecord):
    """The multipliers. Say ``banks`` or ``bandwidth_multiplier``, and ``macs`` or ``op_per_byte``."""

    banks: Count | None = None  # read by one compute command of a channel
    bandwidth_multiplier: Number | None = None  # bytes computed on over bytes that leave the memory, rows open
    macs: Count | None = None  # 16-bit multiply-adds of a channel in each clock
    op_per_byte: Number | None = None  # operations at full rate per byte read at full rate
    clock_Hz: Hertz
    turns: Count = 1  # groups of banks that take turns, so that one opens a row while another is read
    read_again: bool  # more inputs than meet a burst at full rate: it is read again (in banks), or waits (logic die)
    bank_split: Count  # most banks that may share the inputs of one result
    accumulators: Count  # results a bank keeps before they must be moved

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        for first, second in (("banks", "bandwidth_multiplier"), ("macs", "op_per_byte")):
            if (getattr(self, first) is None) == (getattr(self, second) is None):
                raise ValueError(f"say either {first} or {second}")
        return self


class OperandSpec(SpecRecord):
    """Buffers for inputs."""

    buffer_B: Bytes  # inputs a channel holds
    load_bursts: Count = 1  # that one load command carries
    hides_loads: bool  # loads run while banks compute
    hides_moves: bool  # moves of results run while banks compute
    packed: bool = True  # weights fill rows from result to result; else each result begins a row


class ProcessorSpec(SpecRecord):
    """What does the rest, near the memory: softmax, norms, activation functions, sums of partial results."""

    name: Name
    clock_Hz: Hertz
    lanes: Count  # additions or multiplications in each clock, whole device
    special_ops: Number  # of them that an exponential, division or square root takes
    sram_B: Bytes  # operands that fit stay on chip
    in_memory: bool = False  # scores need not leave the memory for softmax
    power_W: Watts
    op_J: PerOp = Field(alias="energy")


class PimEnergySpec(SpecRecord):
    """Energy of computing; reads, writes, refresh and background are the DRAM table's."""

    activate_J: Joules | None = None  # one row of one bank with its precharge; the table's when not said
    burst_J: Joules  # one burst of one bank on its way to the multipliers
    mac: PerFlop  # one operation
    load: PerByte  # into the buffers of one channel
    move: PerByte


class AreaSpec(SpecRecord):
    """Area of the logic added to one stack or chip, by component."""

    part: Literal["logic die", "DRAM die", "ASIC"]
    macs_mm2: Area | None = Field(default=None, alias="macs")
    buffers_mm2: Area | None = Field(default=None, alias="buffers")
    vias_mm2: Area | None = Field(default=None, alias="vias")
    functions_mm2: Area | None = Field(default=None, alias="functions")
    total_mm2: Area | None = Field(default=None, alias="total")
    die_mm2: Area | None = Field(default=None, alias="die")  # that it is added to
    reference_macs: Count | None = None  # of a stack that the area of the multipliers is for
    reference_multiplier: Number | None = None  # of bandwidth that the area of the vias is for


class PimSpec(DeviceSpec):
    """Memory that computes."""

    type: Literal["pim"]
    stacks: Count  # stacks or chips
    channels: Count  # of one stack, each commanded on its own
    dram: PimDramSpec
    commands: CommandsSpec
    compute: ComputeSpec
    operands: OperandSpec
    processor: ProcessorSpec
    energy: PimEnergySpec
    launch_s: Seconds = 0.0  # changing modes around every kernel
    area: AreaSpec | None = None

    @property
    def all_channels(self) -> int:
        """Channels of the whole unit."""
        return self.stacks * self.channels

    def area_mm2_by_component(self) -> dict[str, float]:
        """Area of the logic added to all stacks, or of the one ASIC beside them; empty where the file does not say.

        Multipliers grow with their number and vias with the bandwidth, where the figures say what they are for; what
        the whole has beyond its parts is ``other``.
        """
        area = self.area
        if area is None:
            return {}
        copies = 1 if area.part == "ASIC" else self.stacks
        macs = vias = 1.0
        if area.reference_macs is not None:
            per_stack = self.peak_flops("fp16") / (2.0 * self.compute.clock_Hz * self.stacks)
            macs = per_stack / area.reference_macs
        if area.reference_multiplier is not None and self.compute.bandwidth_multiplier is not None:
            vias = self.compute.bandwidth_multiplier / area.reference_multiplier
        published = {"multipliers": area.macs_mm2, "vias": area.vias_mm2}
        published |= {"buffers": area.buffers_mm2, "functions": area.functions_mm2}
        parts = {name: size for name, size in published.items() if size is not None}
        rest = 0.0 if area.total_mm2 is None else area.total_mm2 - sum(parts.values())
        scale = {"multipliers": macs, "vias": vias}
        found = {name: copies * size * scale.get(name, 1.0) for name, size in parts.items()}
        return found | ({"other": copies * rest} if rest > 0.0 else {})

    @property
    def operand_Bps(self) -> float:
        """What the banks read for their multipliers, rows open."""
        from hwmodels.pim.params import pim_params

        return pim_params(self).stream_Bps

    def peak_flops(self, operands: str) -> float:
        """Return the FLOP/s of all multipliers on 16-bit operands; narrower ones are not faster per element."""
        from hwmodels.pim.params import pim_params

        params = pim_params(self)
        return params.channels * params.flop_per_s
