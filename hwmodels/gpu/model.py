"""One GPU as the formulas need it: datasheet numbers, rates by format, and the coefficients of its family."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from hwmodels.coefficients import gpu_coefficients
from hwmodels.gpu.attention import AttentionCoefficients
from hwmodels.gpu.cycle.coefficients import CycleCoefficients
from hwmodels.gpu.gemm import GemmCoefficients
from hwmodels.gpu.params import GpuParams
from hwmodels.gpu.power import PowerCoefficients, PowerParams
from hwmodels.gpu.spec import FORMAT_FALLBACK, GpuSpec
from hwmodels.gpu.vector import VectorCoefficients
from simulator.core.errors import UnsupportedError
from simulator.core.formula import formula

__all__ = ["GpuModel", "gpu_model", "least_clock"]

#: The lowest clock a power limit forces, over the highest, where nothing is known (hwmodels/gpu/power.py).
_LEAST_CLOCK = 0.25


@formula
def least_clock(stated_Hz: float, max_clock_Hz: float) -> float:
    """Return the lowest clock that a power limit can force; NaN where the specification does not say it."""
    return _LEAST_CLOCK * max_clock_Hz if math.isnan(stated_Hz) else stated_Hz


@dataclass(frozen=True, slots=True)
class GpuModel:
    """Datasheet and coefficients of one GPU at one clock."""

    params: GpuParams
    tensor_format: Mapping[str, str]  # what products in a format really compute in
    mma_flop_per_clock: Mapping[str, float]  # dense tensor FLOP per SM and clock, by the format asked for
    gemm: GemmCoefficients
    attention: AttentionCoefficients
    vector: VectorCoefficients
    power: PowerCoefficients
    cycle: CycleCoefficients
    board: PowerParams
    has_flash3: bool  # FlashAttention-3, or kernels of its kind, are written for this architecture

    def at(self, clock_Hz: float | None) -> GpuModel:
        """Return the same GPU at another SM clock (None: its highest)."""
        clock = self.params.max_clock_Hz if clock_Hz is None else clock_Hz
        if clock == self.params.clock_Hz:
            return self
        return replace(self, params=self.params._replace(clock_Hz=clock))

    def compute_format(self, mma: str) -> str:
        """Return the format the matrix units really use for products in ``mma``, see ``GpuSpec.tensor_format``."""
        if mma not in self.tensor_format:
            raise UnsupportedError(f"no matrix units for {mma!r}; known: {', '.join(self.tensor_format)}")
        return self.tensor_format[mma]

    def mma_rate(self, mma: str) -> float:
        """FLOP per SM and clock of products in ``mma``."""
        self.compute_format(mma)
        return self.mma_flop_per_clock[mma]

    @staticmethod
    def tensor_bits(mma: str) -> float:
        """Width of the operands that decides at what clock the matrix units run: 8 and less, or more."""
        return 8.0 if mma in ("fp8", "int8", "fp4", "int4") else 16.0

    def scaled(self, compute: float = 1.0, hbm: float = 1.0) -> GpuModel:
        """Return a GPU with more of everything that computes, or more memory bandwidth: for elasticities."""
        p = self.params
        params = p._replace(
            mma_f16_flop_per_clock=p.mma_f16_flop_per_clock * compute,
            vector_flop_per_clock=p.vector_flop_per_clock * compute,
            sfu_op_per_clock=p.sfu_op_per_clock * compute,
            hbm_Bps=p.hbm_Bps * hbm,
        )
        rates = {name: rate * compute for name, rate in self.mma_flop_per_clock.items()}
        return replace(self, params=params, mma_flop_per_clock=rates)


def gpu_model(spec: GpuSpec) -> GpuModel:
    """Return a GPU at its highest clock, with the coefficients of its family."""
    formats, rates = {}, {}
    for name in (*FORMAT_FALLBACK, "fp32"):
        try:
            formats[name] = spec.tensor_format(name)
        except UnsupportedError:
            continue  # asked for only when a run needs it, and refused then
        rates[name] = spec.mma_flop_per_clock(name)
    top = spec.clock.max_Hz
    least = least_clock(math.nan if spec.clock.min_Hz is None else spec.clock.min_Hz, top)
    return GpuModel(
        params=spec.params(),
        tensor_format=formats,
        mma_flop_per_clock=rates,
        gemm=gpu_coefficients(spec, "gemm", GemmCoefficients),
        attention=gpu_coefficients(spec, "attention", AttentionCoefficients),
        vector=gpu_coefficients(spec, "vector", VectorCoefficients),
        power=gpu_coefficients(spec, "power", PowerCoefficients),
        cycle=gpu_coefficients(spec, "cycle", CycleCoefficients),
        has_flash3=spec.family in ("hopper", "blackwell-dc"),
        board=PowerParams(spec.power.idle_W, spec.power.limit_W, float(spec.sms), top, least),
    )
