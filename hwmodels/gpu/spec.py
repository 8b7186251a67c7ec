"""The specification of a GPU: its datasheet, and what it says otherwise than its family's coefficients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from hwmodels.gpu.params import GpuParams
from hwmodels.parts import ByteRate, Bytes, Count, DeviceSpec, FlopRate, Hertz, OpRate
from simulator.core.errors import UnsupportedError
from simulator.core.quantity import Rate
from simulator.core.specfile import SpecRecord

__all__ = ["FORMAT_FALLBACK", "CacheSpec", "ClockSpec", "CoefficientOverrides", "GpuSpec", "TensorSpec", "VectorSpec"]

#: What a device computes in when its matrix units lack a format: operands are unpacked to the next one on the right.
FORMAT_FALLBACK: Mapping[str, tuple[str, ...]] = {
    "fp4": ("fp8", "bf16", "fp16"),
    "fp8": ("bf16", "fp16"),
    "int4": ("int8", "bf16", "fp16"),
    "int8": ("bf16", "fp16"),
    "bf16": ("fp16",),
    "fp16": ("bf16",),
    "tf32": ("fp32",),
    "fp64": (),
}


class ClockSpec(SpecRecord):
    """Clocks of the cores."""

    max_Hz: Hertz  # the highest the device runs at when power allows
    min_Hz: Hertz | None = None  # the lowest that a power limit can force; a share of max when not said
    base_Hz: Hertz | None = None
    peak_quoted_at_Hz: Hertz | None = None  # the clock behind the datasheet's peaks; max when not said

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name, clock_Hz in (("base", self.base_Hz), ("min", self.min_Hz)):
            if clock_Hz is not None and clock_Hz > self.max_Hz:
                raise ValueError(f"{name} {clock_Hz / 1e6:g} MHz is above max {self.max_Hz / 1e6:g} MHz")
        return self


class TensorSpec(SpecRecord):
    """Dense peaks of the matrix units by operand format, with fp32 (int32) accumulation, never the sparse figure."""

    fp64: FlopRate | None = None
    tf32: FlopRate | None = None
    bf16: FlopRate | None = None
    fp16: FlopRate | None = None
    fp8: FlopRate | None = None
    fp4: FlopRate | None = None
    int8: OpRate | None = None
    int4: OpRate | None = None


class VectorSpec(SpecRecord):
    """The ordinary cores."""

    fp32: FlopRate  # a fused multiply-add is 2
    sfu: OpRate  # exponentials, reciprocals, ... of the special-function units
    fp16: FlopRate | None = None  # packed half precision; fp32's rate when not said
    fp64: FlopRate | None = None


class CacheSpec(SpecRecord):
    """The cache that all cores share, the last before memory."""

    capacity_B: Bytes
    bandwidth: ByteRate  # all cores reading; per clock, of the whole device


Override = dict[str, str | float]


class CoefficientOverrides(SpecRecord):
    """What a GPU's own specification says otherwise than its family's coefficients, by section and bare name."""

    gemm: Override = Field(default_factory=dict)
    attention: Override = Field(default_factory=dict)
    vector: Override = Field(default_factory=dict)
    power: Override = Field(default_factory=dict)
    overlap: Override = Field(default_factory=dict)


class GpuSpec(DeviceSpec):
    """One GPU as its datasheet describes it.

    ``family``: volta, turing, ampere, ada, hopper, blackwell (consumer), blackwell-dc, cdna.
    """

    type: Literal["gpu"] = "gpu"
    sms: Count  # streaming multiprocessors (compute units on AMD)
    clock: ClockSpec
    tensor: TensorSpec
    vector: VectorSpec
    shared_memory_B: Bytes  # what the thread blocks on one SM can hold together
    l2: CacheSpec
    coefficients: CoefficientOverrides = Field(default_factory=CoefficientOverrides)

    @property
    def peak_clock_Hz(self) -> float:
        """The clock at which the datasheet quotes its peaks."""
        return self.clock.peak_quoted_at_Hz or self.clock.max_Hz

    def tensor_format(self, operands: str) -> str:
        """Return the format the matrix units compute in for operands of format ``operands``.

        A format without hardware support falls back as in :data:`FORMAT_FALLBACK` (fp8 on an A100 is unpacked to bf16);
        ``fp32`` stands for the ordinary cores.

        Raises
        ------
        UnsupportedError
            If neither the format nor any fallback exists on the device.
        """
        if operands == "fp32":
            return "fp32"
        if operands not in FORMAT_FALLBACK:
            raise UnsupportedError(f"no rate of format {operands!r}: known are {', '.join(FORMAT_FALLBACK)}, fp32")
        for candidate in (operands, *FORMAT_FALLBACK[operands]):
            if candidate == "fp32" or getattr(self.tensor, candidate) is not None:
                return candidate
        raise UnsupportedError(f"{self.name} has no matrix units for {operands}")

    def _quoted(self, operands: str) -> tuple[Rate, float]:
        """Return a rate and the clock its datasheet figure is for."""
        used = self.tensor_format(operands)
        rate = self.vector.fp32 if used == "fp32" else getattr(self.tensor, used)
        assert isinstance(rate, Rate)
        # Matrix units at narrow formats draw so much power that vendors quote them below the highest clock.
        return rate, self.clock.max_Hz if used in ("fp32", "fp64") else self.peak_clock_Hz

    def mma_flop_per_clock(self, operands: str) -> float:
        """Return the dense FLOP (OP) of one SM per clock for operands of a format, after fallback."""
        rate, clock_Hz = self._quoted(operands)
        return rate.per_core_clock(self.sms, clock_Hz)

    def peak_flops(self, operands: str) -> float:
        """Return the dense FLOP/s (OP/s) of the whole device at the clock its datasheet quotes, after fallback."""
        rate, clock_Hz = self._quoted(operands)
        return rate.per_second(self.sms, clock_Hz)

    def params(self, clock_Hz: float | None = None) -> GpuParams:
        """Return the numbers that kernel formulas see, at ``clock_Hz`` (the highest clock when None)."""
        top = self.clock.max_Hz
        return GpuParams(
            sms=float(self.sms),
            clock_Hz=top if clock_Hz is None else clock_Hz,
            max_clock_Hz=top,
            mma_f16_flop_per_clock=self.mma_flop_per_clock("bf16"),
            vector_flop_per_clock=self.vector.fp32.per_core_clock(self.sms, top),
            sfu_op_per_clock=self.vector.sfu.per_core_clock(self.sms, top),
            smem_B=self.shared_memory_B,
            l2_B=self.l2.capacity_B,
            l2_Bps=self.l2.bandwidth.per_second(1.0, top),
            hbm_Bps=self.hbm.bandwidth_Bps,
            hbm_B=self.hbm.capacity_B,
        )
