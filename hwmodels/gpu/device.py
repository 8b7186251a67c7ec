"""A GPU as a device: costs operators at a level of detail, finds the clock its power limit allows, adds up energy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hwmodels.device import Cost, Execution, Kernel, KnownCosts, Level, dynamic_energy_J, mean_cost, sequence_s
from hwmodels.gpu.analytic import analytic_time
from hwmodels.gpu.clock import settle_clock, slow_share, step_clock
from hwmodels.gpu.cycle.level import cycle_time, is_simulated
from hwmodels.gpu.energy import compute_name, kernel_work, operator_work
from hwmodels.gpu.model import GpuModel, gpu_model
from hwmodels.gpu.params import KernelTime
from hwmodels.gpu.power import (
    KernelWork,
    burst_clock,
    kernel_energy,
    step_energy,
    step_power_W,
    tensor_clock,
    voltage,
)
from hwmodels.gpu.roofline import roofline_time
from hwmodels.gpu.spec import GpuSpec
from hwmodels.network import Network
from workloads.operators import Collective, Operator, Transfer

__all__ = ["Gpu", "build_gpu"]

_TENSOR_KINDS = ("gemm", "grouped_gemm")  # busy tensor cores run below the highest clock from the first microsecond
_TIMES: dict[Level, Callable[[Operator, GpuModel], KernelTime]] = {
    "roofline": roofline_time,
    "analytic": analytic_time,
    "cycle": cycle_time,
}


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU of a system, with the links that leave it."""

    name: str
    model: GpuModel
    network: Network
    level: Level = "analytic"
    _known: KnownCosts = field(default_factory=KnownCosts, init=False, repr=False, compare=False)

    @property
    def idle_W(self) -> float:
        """Power while it waits for others: awake, clocks running, no work."""
        model = self.model
        return step_power_W(0.0, 0.0, 1.0, model.board.max_clock_Hz, model.board, model.power)

    @property
    def max_clock_Hz(self) -> float:
        """The clock without a power limit."""
        return self.model.board.max_clock_Hz

    def cost(self, operator: Operator, clock_Hz: float | None = None) -> Cost:
        """Cost one execution of ``operator`` at an SM clock (None: the highest)."""
        return self._known.of(operator, self.max_clock_Hz if clock_Hz is None else clock_Hz, self._costed)

    def _costed(self, operator: Operator, clock: float) -> Cost:
        if isinstance(operator, (Collective, Transfer)):
            return self._communication(operator, clock)
        mma = self.model.compute_format(compute_name(operator))
        model = self._at(operator, mma, clock)
        time = self._time(operator, model)
        return self._cost(operator, time, kernel_work(operator_work(operator, mma), time, model.params), clock)

    def execute(self, kernels: Sequence[Kernel]) -> Execution:
        """Run kernels back to back, again and again; the clock falls until the mean power keeps the limit.

        Launches cost the host ``host_s`` each; it runs ahead of the device, so the sequence takes the longer of both
        (exact for a sequence repeated many times). Between two clocks costs are the mean over runs at both.
        """
        runs: dict[int, _Run] = {}
        board = self.model.board

        def power_at(step: int) -> float:
            runs[step] = run = self._run(kernels, step_clock(step, board))
            return run.total_J / run.time_s

        if self.level == "roofline":
            power_at(0)
            return runs[0].execution()
        found = settle_clock(power_at, board)
        slow, fast = runs[found.slow], runs[found.fast]
        if slow is fast:
            return slow.execution()
        return slow.mixed(fast, slow_share(slow.total_J, slow.time_s, fast.total_J, fast.time_s, board.limit_W))

    def burst(self, operator: Operator) -> Cost:
        """Cost an operator as a benchmark of some milliseconds sees it: partly before the power limit acts."""
        settled = self.execute([Kernel(operator)])
        clock = burst_clock(
            _BURST_LAUNCHES * settled.time_s, settled.clock_Hz, self.model.board.max_clock_Hz, self.model.power
        )
        return settled.costs[0] if clock == settled.clock_Hz else self.cost(operator, clock)

    def scaled(self, resource: str, factor: float) -> Gpu:
        """Return a GPU with more of ``hbm`` bandwidth, ``compute``, ``link`` bandwidth or ``power`` limit."""
        if resource == "link":
            return replace(self, network=self.network.scaled(factor))
        if resource == "power":
            board = self.model.board
            return replace(self, model=replace(self.model, board=board._replace(limit_W=board.limit_W * factor)))
        return replace(self, model=self.model.scaled(**{resource: factor}))

    def _at(self, operator: Operator, mma: str, clock_Hz: float) -> GpuModel:
        """Return the model at the clock that an operator's time is to be evaluated at."""
        model = self.model
        simulated = self.level == "cycle" and is_simulated(operator)  # finds the current limits' share by itself
        if self.level != "roofline" and operator.kind in _TENSOR_KINDS and not simulated:
            clock_Hz = tensor_clock(clock_Hz, model.board.max_clock_Hz, model.tensor_bits(mma), model.power)
        return model.at(clock_Hz)

    def _time(self, operator: Operator, model: GpuModel) -> KernelTime:
        return _TIMES[self.level](operator, model)

    def _cost(self, operator: Operator, time: KernelTime, work: KernelWork, clock_Hz: float) -> Cost:
        model = self.model
        square = voltage(clock_Hz / model.board.max_clock_Hz, model.power) ** 2
        energy = kernel_energy(work, model.power)
        return Cost(
            time_s=time.time_s,
            resource_s={
                "compute": time.compute_s,
                "special": time.special_s,
                "hbm": time.hbm_s,
                "l2": time.l2_s,
                "link": 0.0,
                "launch": time.fixed_s,
            },
            flops=operator.flops,
            vector_ops=operator.vector_ops,
            hbm_read_B=time.hbm_read_B,
            hbm_write_B=time.hbm_write_B,
            l2_B=time.l2_B,
            energy_J={
                "compute": energy.mma_J * square,
                "vector": (energy.vector_J + energy.special_J) * square,
                "l2": energy.l2_J * square,
                "hbm": energy.hbm_J,
                "link": energy.link_J,
            },
        )

    def _communication(self, operator: Collective | Transfer, clock_Hz: float) -> Cost:
        spent = self.network.spent(operator, bound=self.level == "roofline")
        half_B = spent.hbm_B / 2.0
        moved = KernelTime(
            spent.time_s, 0.0, 0.0, half_B * 2.0 / self.model.params.hbm_Bps, 0.0, 0.0, half_B, half_B, 0.0
        )
        work = KernelWork(0.0, 16.0, 0.0, 0.0, 0.0, spent.hbm_B, half_B, half_B, spent.wire_B)
        cost = self._cost(operator, moved, work, clock_Hz)
        resources = {**cost.resource_s, "link": max(spent.time_s - spent.latency_s, 0.0), "launch": spent.latency_s}
        return replace(cost, resource_s=resources, link_B=spent.wire_B)

    def _run(self, kernels: Sequence[Kernel], clock_Hz: float) -> _Run:
        costs = [self.cost(kernel.operator, clock_Hz) for kernel in kernels]
        time_s = sequence_s(kernels, costs)
        standing = step_energy(0.0, 0.0, time_s, clock_Hz, self.model.board, self.model.power)
        # Dynamic energy is already at this clock's voltage.
        energy = {"idle": standing.idle_J, "clock": standing.clock_J, **dynamic_energy_J(kernels, costs)}
        return _Run(costs, time_s, clock_Hz, energy, sum(energy.values()))


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of a sequence of kernels at one clock."""

    costs: Sequence[Cost]
    time_s: float
    clock_Hz: float
    energy_J: Mapping[str, float]
    total_J: float

    def execution(self) -> Execution:
        """Return this run, again and again."""
        return Execution(
            costs=tuple(self.costs),
            time_s=self.time_s,
            clock_Hz=self.clock_Hz,
            power_W=self.total_J / self.time_s,
            energy_J=self.energy_J,
        )

    def mixed(self, other: _Run, share: float) -> Execution:
        """Return the mean over a ``share`` of runs like this one and the rest like ``other``."""
        rest = 1.0 - share
        time_s = share * self.time_s + rest * other.time_s
        clocks = share * self.time_s * self.clock_Hz + rest * other.time_s * other.clock_Hz
        return Execution(
            costs=tuple(mean_cost(a, b, share) for a, b in zip(self.costs, other.costs, strict=True)),
            time_s=time_s,
            clock_Hz=clocks / time_s,
            power_W=(share * self.total_J + rest * other.total_J) / time_s,
            energy_J={part: share * joules + rest * other.energy_J[part] for part, joules in self.energy_J.items()},
        )


#: Launches back to back that a row of hwmodels/measured/h200/h200_gemm.csv behaves like: the largest products, at which
#: the power limit begins to act, fit best with it.
_BURST_LAUNCHES = 68.0


def build_gpu(spec: GpuSpec, network: Network, level: Level) -> Gpu:
    """Build a GPU from its specification, with the coefficients of its family."""
    return Gpu(name=spec.name, model=gpu_model(spec), network=network, level=level)
