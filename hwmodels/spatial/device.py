"""A spatial array as a device: products on its 2D arrays, attention as a bound cascade, the rest on the 1D array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hwmodels.components import EnergyTable
from hwmodels.device import Cost, Execution, Kernel, KnownCosts, Level, dynamic_energy_J, sequence_s
from hwmodels.network import Network
from hwmodels.spatial.binding import Binding, load_binding
from hwmodels.spatial.spec import SpatialSpec
from hwmodels.spatial.work import SpatialWork, compute_name, operator_work, roofline_work
from simulator.core.errors import UnsupportedError
from workloads.operators import Collective, Operator, Transfer

__all__ = ["Spatial", "build_spatial"]

#: Register accesses of a multiply-add: two operands and the sum read, the sum written.
_READS, _WRITES = 3.0, 1.0


@dataclass(frozen=True, slots=True)
class Spatial:
    """One device of a system, with the links that leave it. Its clock is fixed; a power limit makes it wait."""

    spec: SpatialSpec
    binding: Binding
    energy: EnergyTable  # at the device's node, for its buffer
    network: Network
    level: Level = "analytic"
    _known: KnownCosts = field(default_factory=KnownCosts, init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Name of the device."""
        return self.spec.name

    @property
    def idle_W(self) -> float:
        """Power while it waits."""
        return self.spec.power.idle_W

    @property
    def max_clock_Hz(self) -> float:
        """The clock."""
        return self.spec.clock_Hz

    def cost(self, operator: Operator, clock_Hz: float | None = None) -> Cost:
        """Cost one execution of ``operator``; the clock is fixed."""
        return self._known.of(operator, self.max_clock_Hz, self._costed)

    def _costed(self, operator: Operator, clock_Hz: float) -> Cost:
        if isinstance(operator, (Collective, Transfer)):
            return self._communication(operator)
        if self.level == "roofline":
            work = roofline_work(operator, self.spec)
        else:
            work = operator_work(operator, self.spec, self.binding)
        return self._cost(operator, work)

    def execute(self, kernels: Sequence[Kernel]) -> Execution:
        """Run kernels back to back; where the mean power would pass the limit, the device waits in between."""
        costs = [self.cost(kernel.operator) for kernel in kernels]
        time_s = sequence_s(kernels, costs)
        energy = dynamic_energy_J(kernels, costs)
        power, clock_Hz = self.spec.power, self.spec.clock_Hz
        least_s = sum(energy.values()) / (power.limit_W - power.idle_W)
        if self.level != "roofline" and least_s > time_s:
            clock_Hz *= time_s / least_s
            costs = [replace(cost, time_s=cost.time_s * least_s / time_s) for cost in costs]
            time_s = least_s
        energy["idle"] = power.idle_W * time_s
        return Execution(
            costs=tuple(costs),
            time_s=time_s,
            clock_Hz=clock_Hz,
            power_W=sum(energy.values()) / time_s,
            energy_J=energy,
        )

    def scaled(self, resource: str, factor: float) -> Spatial:
        """Return a device with more of ``hbm`` bandwidth, ``compute`` (its clock), ``link`` or ``power``."""
        spec = self.spec
        if resource == "link":
            return replace(self, network=self.network.scaled(factor))
        if resource == "hbm":
            memory = spec.hbm.model_copy(update={"bandwidth_Bps": spec.hbm.bandwidth_Bps * factor})
            return replace(self, spec=spec.model_copy(update={"hbm": memory}))
        if resource == "power":
            power = spec.power.model_copy(update={"limit_W": spec.power.limit_W * factor})
            return replace(self, spec=spec.model_copy(update={"power": power}))
        return replace(self, spec=spec.model_copy(update={"clock_Hz": spec.clock_Hz * factor}))

    def _cost(self, operator: Operator, work: SpatialWork) -> Cost:
        table, fmt = self.energy, compute_name(operator, self.spec)

        def operations_J(done: dict[str, float], cycles: float) -> float:
            # An array without a unit for exponentials computes them by multiply-adds.
            macs = cycles if cycles > 1.0 else 0.0
            return sum(count * table.operation_J(op, fmt, macs) for op, count in done.items())

        moved_B = work.read_B + work.write_B
        return Cost(
            time_s=work.time_s,
            resource_s={
                "compute": work.compute_s,
                "special": work.special_s,
                "hbm": work.hbm_s,
                "l2": 0.0,
                "link": 0.0,
                "launch": 0.0,
            },
            flops=operator.flops,
            vector_ops=operator.vector_ops,
            hbm_read_B=work.read_B,
            hbm_write_B=work.write_B,
            l2_B=work.edge_read_B + work.edge_write_B + moved_B,
            energy_J={
                "compute": operations_J(dict(work.operations_2d), self.binding.cycles_2d.get("exp", 0.0)),
                "vector": operations_J(dict(work.operations_1d), self.binding.cycles_1d.get("exp", 0.0)),
                "register": work.macs * work.word_B * (_READS * table.register_read + _WRITES * table.register_write),
                "buffer": (work.edge_read_B + work.write_B) * table.buffer_read
                + (work.edge_write_B + work.read_B) * table.buffer_write,
                "hbm": moved_B * table.memory,
                "link": 0.0,
            },
            how=work.how,
        )

    def _communication(self, operator: Collective | Transfer) -> Cost:
        spent = self.network.spent(operator, bound=self.level == "roofline")
        parts = dict.fromkeys(("compute", "vector", "register", "buffer", "link"), 0.0)
        return Cost(
            time_s=spent.time_s,
            resource_s={
                "compute": 0.0,
                "special": 0.0,
                "hbm": spent.hbm_B / self.spec.hbm.bandwidth_Bps,
                "l2": 0.0,
                "link": max(spent.time_s - spent.latency_s, 0.0),
                "launch": spent.latency_s,
            },
            flops=0.0,
            hbm_read_B=spent.hbm_B / 2.0,
            hbm_write_B=spent.hbm_B / 2.0,
            link_B=spent.wire_B,
            energy_J={**parts, "hbm": spent.hbm_B * self.energy.memory},
        )


def build_spatial(spec: SpatialSpec, network: Network, level: Level) -> Spatial:
    """Build a device.

    Raises
    ------
    UnsupportedError
        At level ``cycle``: only single products are stepped (``ridgeline replay systolic``).
    InputError
        If its binding does not exist or its energy table is not known at its node.
    """
    if level == "cycle":
        raise UnsupportedError(
            f"{spec.name}: whole steps of a spatial array have no cycle level; single products do "
            "(`ridgeline replay systolic`)"
        )
    return Spatial(spec, load_binding(spec.attention), spec.energies, network, level)
