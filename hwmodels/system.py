"""A system ready to run: its device with the links around it, at a level of detail."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hwmodels.coefficients import load_coefficients
from hwmodels.collectives import CollectiveCoefficients
from hwmodels.device import Device, Level
from hwmodels.gpu.device import Gpu
from hwmodels.kinds import build_device
from hwmodels.network import Network
from hwmodels.spec import LinkSpec, SystemSpec, as_gpu

__all__ = ["Level", "System", "build_gpu_of", "build_system"]


@dataclass(frozen=True, slots=True)
class System:
    """Devices of one kind in nodes."""

    spec: SystemSpec
    device: Device

    def scaled(self, resource: str, factor: float) -> System:
        """Return a system whose devices have more of ``hbm``, ``compute``, ``link`` or ``power``."""
        return replace(self, device=self.device.scaled(resource, factor))


def build_system(spec: SystemSpec, level: Level = "analytic") -> System:
    """Build the devices of a system at a level of detail.

    Raises
    ------
    UnsupportedError
        If the system mixes kinds of devices, or has no such level.
    InputError
        If a device's or link's family has no coefficients.
    """
    device = spec.device
    network = spec.network or device.link
    links = Network(
        per_node=spec.devices_per_node,
        intra=device.link.params(),
        intra_library=_library(device.link),
        inter=network.params(),
        inter_library=_library(network),
        host=device.host_link.params(),
    )
    return System(spec, build_device(device, links, level))


def build_gpu_of(spec: SystemSpec, level: Level = "analytic") -> Gpu:
    """Build the device of a system that must be one of GPUs; raises as :func:`build_system` does."""
    as_gpu(spec.device)
    device = build_system(spec, level).device
    assert isinstance(device, Gpu)
    return device


def _library(link: LinkSpec) -> CollectiveCoefficients:
    return load_coefficients("collectives", link.family, CollectiveCoefficients)
