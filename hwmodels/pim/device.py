"""Memory that computes as a device: every operator of a transformer, timed by closed form or by its commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

from hwmodels.device import Cost, Execution, Kernel, KnownCosts, Level, dynamic_energy_J, sequence_s
from hwmodels.network import Network
from hwmodels.pim.closed_form import ProductTime, product_time
from hwmodels.pim.energy import PimEnergy, pim_energy, product_energy
from hwmodels.pim.layout import Product
from hwmodels.pim.params import PimParams, pim_params
from hwmodels.pim.roofline import roofline_product_time
from hwmodels.pim.spec import PimSpec
from hwmodels.pim.work import PimWork, pim_work
from workloads.operators import Collective, Operator, Transfer

__all__ = ["Pim", "build_pim"]

Timing = Callable[[Product, PimParams], ProductTime]

#: Attention and experts shared out between two units in many ways lead to the same products again and again.
_known_product_time = lru_cache(maxsize=16384)(product_time)

#: What a lane of the processor takes from its buffer in a clock: an operand of 16 bits.
_LANE_B = 2.0


@dataclass(frozen=True, slots=True)
class Pim:
    """One unit: the memory of one device with the compute inside, and the links that leave it.

    It answers every operator alone. Put beside a processor on the same memory, ``owns_memory`` is False and background
    and refresh are the other device's to count; ``cost`` is the same.
    """

    spec: PimSpec
    params: PimParams
    energy: PimEnergy
    network: Network
    level: Level = "analytic"
    owns_memory: bool = True
    _known: KnownCosts = field(default_factory=KnownCosts, init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Name of the unit."""
        return self.spec.name

    @property
    def idle_W(self) -> float:
        """Power while it waits: background and refresh of the memory, and the processor."""
        if not self.owns_memory:
            return self.spec.processor.power_W
        return self.energy.background_W + self.energy.refresh_W

    @property
    def max_clock_Hz(self) -> float:
        """The clock of its multipliers, which never changes."""
        return self.spec.compute.clock_Hz

    def cost(self, operator: Operator, clock_Hz: float | None = None) -> Cost:
        """Cost one execution of ``operator``; the clock is fixed."""
        return self._known.of(operator, self.max_clock_Hz, self._costed)

    def _costed(self, operator: Operator, clock_Hz: float) -> Cost:
        if isinstance(operator, (Collective, Transfer)):
            return self._communication(operator)
        return self._product_cost(operator, pim_work(operator))

    def execute(self, kernels: Sequence[Kernel]) -> Execution:
        """Run kernels back to back; the host runs ahead with its launches, so the longer of both counts."""
        costs = [self.cost(kernel.operator) for kernel in kernels]
        time_s = sequence_s(kernels, costs)
        energy = {"idle": self.idle_W * time_s, **dynamic_energy_J(kernels, costs)}
        power_W = sum(energy.values()) / time_s if time_s > 0.0 else 0.0
        return Execution(
            costs=tuple(costs), time_s=time_s, clock_Hz=self.max_clock_Hz, power_W=power_W, energy_J=energy
        )

    def scaled(self, resource: str, factor: float) -> Pim:
        """Return a unit with more of ``hbm`` (every rate of its memory), ``compute`` or ``link``.

        ``power`` changes nothing: the spacing of commands already keeps the power.
        """
        if resource == "link":
            return replace(self, network=self.network.scaled(factor))
        p = self.params
        if resource == "compute":
            rates = {"flop_per_s": p.flop_per_s * factor, "vector_op_per_s": p.vector_op_per_s * factor}
            return replace(self, params=p._replace(**rates))
        if resource == "hbm":
            times = ("gap_s", "row_gap_s", "joint_s", "load_joint_s", "cycle_s", "load_s", "turn_s", "move_s")
            faster = {name: getattr(p, name) / factor for name in times}
            return replace(self, params=p._replace(external_Bps=p.external_Bps * factor, **faster))
        return self

    def _timing(self) -> Timing:
        if self.level == "cycle":
            from hwmodels.pim.cycle import cycle_product_time  # compiles

            return partial(cycle_product_time, spec=self.spec)
        return roofline_product_time if self.level == "roofline" else _known_product_time

    def _product_cost(self, operator: Operator, work: PimWork) -> Cost:
        p, e, timing = self.params, self.energy, self._timing()
        seconds = dict.fromkeys(("product", "bank", "compute", "buffer", "sum"), 0.0)
        energy = dict.fromkeys(("activate", "bank", "compute", "buffer"), 0.0)
        read_B = 0.0
        for repeat, job in work.products:
            time = timing(job, p)
            parts = (time.time_s, time.bank_s, time.compute_s, time.buffer_s, time.sum_s)
            for name, part_s in zip(seconds, parts, strict=True):
                seconds[name] += repeat * part_s
            results = job.copies * job.m * job.n * job.share
            spent = product_energy(time.layout, 2.0 * results * job.k, results * job.input_B, p, e)
            for name, joules in zip(energy, spent, strict=True):
                energy[name] += repeat * joules
            read_B += repeat * time.layout.passes * time.layout.used * time.layout.bursts * p.banks * p.burst_B
        ops = work.vector_ops + work.special_ops * p.special_ops
        asic_s = max(ops, work.operand_B / _LANE_B) / p.vector_op_per_s
        score_B = 0.0 if p.softmax_in_memory else work.score_B
        moved_B = work.operand_B if work.operand_B > p.sram_B else 0.0
        memory_s = (score_B + moved_B + work.stored_B) / p.external_Bps + work.scattered * self._scatter_s()
        if p.softmax_in_memory and work.score_B:
            time_s = max(seconds["product"], asic_s)  # heads take turns: one is normalised while the next computes
        else:
            time_s = seconds["product"] + max(asic_s, memory_s)
        launch_s = self.spec.launch_s if work.products else 0.0
        ordinary_B = score_B + moved_B + work.stored_B + work.scattered * p.burst_B
        return Cost(
            time_s=time_s + launch_s,
            resource_s={
                "bank": seconds["bank"],
                "compute": seconds["compute"],
                "buffer": seconds["buffer"],
                "asic": asic_s + seconds["sum"],
                "hbm": memory_s,
                "link": 0.0,
                "launch": launch_s,
            },
            flops=operator.flops,
            vector_ops=operator.vector_ops,
            hbm_read_B=read_B + moved_B / 2.0 + (0.0 if work.scattered else work.stored_B),
            hbm_write_B=moved_B / 2.0 + (work.stored_B if work.scattered else 0.0),
            energy_J={
                **energy,
                "background": e.open_W * seconds["bank"],
                "hbm": ordinary_B * e.access_JpB,
                "asic": ops * e.op_J,
                "link": 0.0,
            },
        )

    def _scatter_s(self) -> float:
        """Time of one write to a row of its own, all banks of all channels taking such writes in turn."""
        p = self.params
        return max(p.burst_B / p.external_Bps, p.cycle_s / (p.banks * p.channels))

    def _communication(self, operator: Collective | Transfer) -> Cost:
        spent = self.network.spent(operator, bound=self.level == "roofline")
        return Cost(
            time_s=spent.time_s,
            resource_s={
                "hbm": spent.hbm_B / self.params.external_Bps,
                "link": spent.time_s - spent.latency_s,
                "launch": spent.latency_s,
            },
            flops=0.0,
            hbm_read_B=spent.hbm_B / 2.0,
            hbm_write_B=spent.hbm_B / 2.0,
            link_B=spent.wire_B,
            energy_J={"hbm": spent.hbm_B * self.energy.access_JpB, "link": spent.wire_B * self.energy.link_JpB},
        )


def build_pim(spec: PimSpec, network: Network, level: Level, owns_memory: bool = True) -> Pim:
    """Build a unit from its specification: one device's memory with its compute, or the compute in another's."""
    return Pim(spec, pim_params(spec), pim_energy(spec), network, level, owns_memory)
