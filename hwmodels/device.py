"""What every device does: turn an operator into a cost, and a sequence of them into time, clock, power and energy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self

from workloads.operators import Operator

__all__ = [
    "RESOURCES",
    "Cost",
    "Device",
    "Execution",
    "Kernel",
    "KnownCosts",
    "Level",
    "dynamic_energy_J",
    "mean_cost",
    "sequence_s",
]

#: How closely a device is looked at: the datasheet's bound, calibrated formulas, or a simulation by cycles.
Level = Literal["roofline", "analytic", "cycle"]

#: What can bound a kernel: matrix or vector pipes, special-function and unpacking work, device memory, last-level
#: cache, links, and what a kernel of no work would take; of memory that computes, its banks, its operand buffers and
#: the processor beside it. Other kinds of device add resources of their own here.
RESOURCES = ("compute", "special", "hbm", "l2", "link", "launch", "bank", "buffer", "asic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One execution of one operator on one device."""

    time_s: float
    resource_s: Mapping[str, float]  # what each resource alone would need, by name out of RESOURCES
    flops: float  # useful work on the matrix units
    vector_ops: float = 0.0  # work on the ordinary cores
    hbm_read_B: float = 0.0
    hbm_write_B: float = 0.0
    l2_B: float = 0.0
    link_B: float = 0.0
    energy_J: Mapping[str, float]  # dynamic energy by part, at the clock it was costed at; idle and static come on top
    how: str = ""  # in words, where the device has a choice: the mapping of a spatial array

    @property
    def hbm_B(self) -> float:
        """Bytes read from and written to device memory."""
        return self.hbm_read_B + self.hbm_write_B

    @property
    def bound(self) -> str:
        """The resource that would need longest."""
        return max(self.resource_s, key=lambda name: self.resource_s[name])


def mean_cost(one: Cost, other: Cost, share: float) -> Cost:
    """Return the mean over a ``share`` of executions that cost ``one`` and the rest that cost ``other``."""
    rest = 1.0 - share
    return Cost(
        time_s=share * one.time_s + rest * other.time_s,
        resource_s={name: share * time_s + rest * other.resource_s[name] for name, time_s in one.resource_s.items()},
        flops=share * one.flops + rest * other.flops,
        vector_ops=share * one.vector_ops + rest * other.vector_ops,
        hbm_read_B=share * one.hbm_read_B + rest * other.hbm_read_B,
        hbm_write_B=share * one.hbm_write_B + rest * other.hbm_write_B,
        l2_B=share * one.l2_B + rest * other.l2_B,
        link_B=share * one.link_B + rest * other.link_B,
        energy_J={part: share * joules + rest * other.energy_J[part] for part, joules in one.energy_J.items()},
        how=one.how,
    )


class KnownCosts:
    """Costs that a device gave before, by operator and clock; the device must be the same.

    Steps of a stream that differ in their contexts alone share all operators but attention, and the clocks at which a
    power limit is looked for lie a whole step apart.
    """

    __slots__ = ("_costs",)

    _MOST = 8192  # some 10 MB

    def __init__(self) -> None:
        self._costs: dict[tuple[Operator, float], Cost] = {}

    def of(self, operator: Operator, clock_Hz: float, cost: Callable[[Operator, float], Cost]) -> Cost:
        """Return the cost of an operator at a clock: as it was, else what ``cost`` says."""
        known = self._costs.get((operator, clock_Hz))
        if known is None:
            if len(self._costs) >= self._MOST:
                self._costs.clear()
            known = self._costs[operator, clock_Hz] = cost(operator, clock_Hz)
        return known


@dataclass(frozen=True, slots=True)
class Kernel:
    """An operator as it is launched: ``repeat`` times in a step, each launch costing the host ``host_s``."""

    operator: Operator
    repeat: int = 1
    host_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """A sequence of kernels run back to back, again and again, so that clock and power have settled."""

    costs: tuple[Cost, ...]  # one per kernel, each of a single launch
    time_s: float  # of the whole sequence, repeats included, from first launch to last end
    clock_Hz: float
    power_W: float
    energy_J: Mapping[str, float]  # by part, idle and static included; sums to power_W x time_s


def sequence_s(kernels: Sequence[Kernel], costs: Sequence[Cost]) -> float:
    """Time of kernels back to back: the host runs ahead with its launches, so the longer of device and host."""
    device_s = sum(kernel.repeat * cost.time_s for kernel, cost in zip(kernels, costs, strict=True))
    return max(device_s, sum(kernel.repeat * kernel.host_s for kernel in kernels))


def dynamic_energy_J(kernels: Sequence[Kernel], costs: Sequence[Cost]) -> dict[str, float]:
    """Dynamic energy of kernels by part, repeats included; what stands still comes on top."""
    energy: dict[str, float] = {}
    for kernel, cost in zip(kernels, costs, strict=True):
        for part, joules in cost.energy_J.items():
            energy[part] = energy.get(part, 0.0) + kernel.repeat * joules
    return energy


class Device(Protocol):
    """GPU, PIM, spatial array, CPU: the same few questions, answered at several levels of detail."""

    @property
    def name(self) -> str:
        """Name of the device."""

    @property
    def idle_W(self) -> float:
        """Power of the device while it waits."""

    @property
    def max_clock_Hz(self) -> float:
        """The clock without a power limit."""

    def cost(self, operator: Operator, clock_Hz: float | None = None) -> Cost:
        """Cost one execution of ``operator`` at a clock; None: the highest."""

    def execute(self, kernels: Sequence[Kernel]) -> Execution:
        """Cost a sequence at the clock that the power limit allows."""

    def scaled(self, resource: str, factor: float) -> Self:
        """Return a device with more of ``hbm`` bandwidth, ``compute``, ``link`` bandwidth or ``power`` limit."""
