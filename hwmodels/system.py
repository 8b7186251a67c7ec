"""A system ready to run: its units with the links around them, at a level of detail."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hwmodels.coefficients import load_coefficients
from hwmodels.collectives import CollectiveCoefficients
from hwmodels.device import Device, Level
from hwmodels.gpu.device import Gpu
from hwmodels.kinds import build_device
from hwmodels.network import Network
from hwmodels.spec import LinkSpec, SystemSpec, as_gpu

__all__ = ["Level", "System", "Unit", "build_gpu_of", "build_system"]


@dataclass(frozen=True, slots=True)
class Unit:
    """One kind of device in a system, as the share of it that one rank of a model has."""

    name: str
    device: Device
    per_rank: float = 1.0  # devices of this unit for each device of the first; below 1: ranks share one
    memory: str = ""  # the unit whose memory it computes in, by name
    holds: frozenset[str] = frozenset({"weights", "kv"})  # what lies in that memory
    joined: str = "link"  # how the first unit reaches that memory
    runs: frozenset[str] | None = None  # kinds of operator it is given; None: all that it can compute
    planned: Device | None = None  # what placements ask instead of the device, where that simulates; None: the device

    @property
    def planner(self) -> Device:
        """The device as placements ask it, many times for each operator."""
        return self.device if self.planned is None else self.planned

    @property
    def shares_memory(self) -> bool:
        """Whether the memory is another unit's."""
        return self.memory not in ("", self.name)

    def scaled(self, resource: str, factor: float) -> Unit:
        """Return a unit whose devices have more of a resource."""
        planned = None if self.planned is None else self.planned.scaled(resource, factor)
        return replace(self, device=self.device.scaled(resource, factor), planned=planned)


@dataclass(frozen=True, slots=True)
class System:
    """Units in nodes; a model is spread over the devices of the first one."""

    spec: SystemSpec
    units: tuple[Unit, ...]

    @property
    def device(self) -> Device:
        """The device that models are spread over."""
        return self.units[0].device

    @property
    def idle_W(self) -> float:
        """Power of one rank while it waits, all its units together."""
        return sum(unit.per_rank * unit.device.idle_W for unit in self.units)

    def scaled(self, resource: str, factor: float) -> System:
        """Return a system whose devices have more of ``hbm``, ``compute``, ``link`` or ``power``."""
        return replace(self, units=tuple(unit.scaled(resource, factor) for unit in self.units))


def build_system(spec: SystemSpec, level: Level = "analytic") -> System:
    """Build the devices of a system at a level of detail.

    Raises
    ------
    UnsupportedError
        If the system has several units and no placement, or a device has no such level.
    InputError
        If a device's or link's family has no coefficients.
    """
    first = spec.device
    network = spec.network or first.link
    units: list[Unit] = []
    plans = level == "cycle" and len(spec.units) > 1
    for name, unit in zip(spec.unit_names, spec.units, strict=True):
        links = Network(
            per_node=spec.ranks_per_node if not units else unit.count,
            intra=unit.device.link.params(),
            intra_library=_library(unit.device.link),
            inter=network.params(),
            inter_library=_library(network),
            host=unit.device.host_link.params(),
        )
        home = next((other for other in units if other.name == unit.memory), None)
        units.append(
            Unit(
                name=name,
                device=build_device(unit.device, links, level, owns_memory=home is None),
                planned=build_device(unit.device, links, "analytic", home is None) if plans else None,
                per_rank=unit.count / spec.units[0].count if spec.placement is not None else 1.0,
                memory=name if home is None else home.memory,
                holds=frozenset(unit.holds) if home is None else home.holds,
                joined=unit.joined,
                runs=None if unit.runs is None else frozenset(unit.runs),
            )
        )
    return System(spec, tuple(units))


def build_gpu_of(spec: SystemSpec, level: Level = "analytic") -> Gpu:
    """Build the device of a system that must be one of GPUs; raises as :func:`build_system` does."""
    as_gpu(spec.device)
    device = build_system(spec, level).device
    assert isinstance(device, Gpu)
    return device


def _library(link: LinkSpec) -> CollectiveCoefficients:
    return load_coefficients("collectives", link.family, CollectiveCoefficients)
