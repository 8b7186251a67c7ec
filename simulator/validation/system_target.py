"""The simulator itself as the hardware under test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hwmodels.coefficients import gpu_coefficients, load_coefficients
from hwmodels.collectives import OverlapCoefficients, overlap_time
from hwmodels.device import Cost, Execution, Kernel
from hwmodels.gpu.analytic import BACKENDS
from hwmodels.gpu.device import Gpu
from hwmodels.gpu.vector import VectorCoefficients, left_in_l2_B
from hwmodels.host_link import (
    BOTH_PINNED,
    D2H_PINNED,
    H2D_PAGEABLE,
    H2D_PINNED,
    HostLinkCoefficients,
    host_copy_time,
)
from hwmodels.spec import SystemSpec, as_gpu
from hwmodels.system import Level, System, Unit, build_gpu_of
from simulator.core.errors import UnsupportedError
from simulator.engine.profile import Profile
from simulator.engine.run import run_step
from simulator.validation.models import ModelSource
from simulator.validation.target import StepOutcome
from workloads.model import ModelSpec
from workloads.operators import Attention, Collective, Operator, Transfer, total_bytes
from workloads.parallel import Parallelism
from workloads.precision import Precision
from workloads.step import Step

__all__ = ["SystemTarget", "kernel_clock"]

_DIRECTIONS = {
    "h2d_pinned": H2D_PINNED,
    "d2h_pinned": D2H_PINNED,
    "both_pinned": BOTH_PINNED,
    "h2d_pageable": H2D_PAGEABLE,
}

_NEVER_WAITED = 1e6  # times the memory bandwidth: as good as none in the way
_NODE = 8  # a lone GPU is validated as one of a full node: collectives were measured between neighbours

# Host time per kernel of a framework without a graph: the median of wall time over kernels in h200_eager_decode.csv.
_EAGER_INTERVAL_S = 42e-6


def kernel_clock(device: Gpu, operator: Operator) -> Cost:
    """Cost a kernel as its benchmark saw it: a few milliseconds of launches, partly before the power limit acts."""
    return device.burst(operator)


class SystemTarget:
    """A system of the catalogue, answering what validation asks."""

    def __init__(self, spec: SystemSpec, profile: Profile, models_dir: Path | None, level: Level = "analytic") -> None:
        """Build the devices of ``spec`` at ``level``; whole models run under ``profile``."""
        if spec.devices == 1:
            spec = spec.model_copy(update={"units": (spec.units[0].model_copy(update={"count": _NODE}),)})
        gpu = as_gpu(spec.device)
        self._device = build_gpu_of(spec, level)
        self._system = System(spec, (Unit("gpu", self._device),))
        self._gpu = gpu
        self._profile = profile
        self._models = ModelSource(models_dir)
        params, vector = gpu.params(), gpu_coefficients(gpu, "vector", VectorCoefficients)
        # The coefficient was fitted on kernels that write as much as they read: half of the cache in use was results.
        self._cache_room_B = 2.0 * left_in_l2_B(params.l2_B, params, vector)
        self._hot_device = _without_memory(self._device)
        self._overlap = load_coefficients("overlap", gpu.link.family, OverlapCoefficients)
        self._host_link = load_coefficients("host_link", gpu.host_link.family, HostLinkCoefficients)

    @property
    def idle_power_W(self) -> float:
        """Board power at rest, asleep."""
        return self._gpu.power.idle_W

    def left_in_cache_B(self, read_B: float, written_B: float) -> float:
        """Bytes of a kernel's output still in the last-level cache when it ends.

        Results share the cache with what is read, by how much there is of each.
        """
        if written_B <= 0.0:
            return 0.0
        return min(written_B, self._cache_room_B * written_B / (read_B + written_B))

    def kernel(self, operator: Operator) -> Cost:
        """One kernel in a short burst."""
        return kernel_clock(self._device, _known(operator))

    def loop(self, operator: Operator) -> Execution:
        """One kernel until the clock has settled; operands that fit stay in the cache between repetitions."""
        stays = total_bytes(operator) <= self._cache_room_B
        device = self._hot_device if stays else self._device
        return device.execute([Kernel(_known(operator))])

    def collective(self, op: str, message_B: float, world: int, launch: str = "graph", direct: bool = False) -> float:
        """Time of a collective, seconds."""
        operator: Operator
        if op == "send_recv":
            operator = Transfer(name=op, size_B=message_B)
        else:
            operator = Collective(name=op, op=op, message_B=message_B, world=world, direct=direct)  # type: ignore[arg-type]
        time_s = self._device.cost(operator).time_s
        if launch == "eager":
            return max(time_s, self._device.network.intra_library.host_s)
        return time_s

    def overlapped(self, operator: Operator, message_B: float, world: int, chunks: int) -> float:
        """Time of kernels with their all-reduces beside them, seconds."""
        compute_s = self.loop(operator).time_s
        return overlap_time(compute_s, self.collective("all_reduce", message_B, world), chunks, self._overlap)

    def host_copy(self, direction: str, size_B: float) -> float:
        """Time of a host copy, seconds."""
        return host_copy_time(_DIRECTIONS[direction], size_B, self._gpu.host_link.bandwidth_Bps, self._host_link)

    def step(self, model: ModelSpec, step: Step, tp: int, launch: str) -> StepOutcome:
        """One step in bf16."""
        profile = self._profile
        if launch == "eager":
            host = {"mode": "eager", "host_interval_s": _EAGER_INTERVAL_S}
            profile = profile.model_copy(update={"launch": profile.launch.model_copy(update=host)})
        parallel = Parallelism(tp=tp)
        parallel.check(model)
        result = run_step(model, step, Precision.of(), self._system, profile, parallel)
        kernel_s: dict[str, float] = {}
        for operator in result.operators:
            kernel_s[operator.kind] = kernel_s.get(operator.kind, 0.0) + operator.time_s
        return StepOutcome(
            time_s=result.time_s,
            clock_Hz=result.clock_Hz,
            power_W=result.power_W / tp,
            energy_J=result.total_energy_J / tp,
            launches=sum(operator.count for operator in result.operators),
            kernel_s=kernel_s,
        )

    def model(self, name: str, place: str) -> ModelSpec:
        """Return the model that the row at ``place`` names."""
        return self._models.find(name, place)


def _without_memory(device: Gpu) -> Gpu:
    """Return a device whose memory is never waited for and costs no energy: what cached operands see."""
    model = device.scaled("hbm", _NEVER_WAITED).model
    return replace(device, model=replace(model, power=model.power._replace(hbm_J_per_B=0.0)))


def _known(operator: Operator) -> Operator:
    """Refuse what the device has no kernel for, before it is costed."""
    if isinstance(operator, Attention) and operator.backend not in BACKENDS:
        raise UnsupportedError(
            f"attention backend {operator.backend!r} is not modelled: known are {', '.join(BACKENDS)}"
        )
    return operator
