"""The kinds of device. To add one: a folder ``hwmodels/<kind>``, its specifications in ``specs/<kind>``, a line here.

The folder holds ``spec.py``, a record derived from :class:`hwmodels.parts.DeviceSpec` with ``type: Literal["<kind>"]``
(it imports from ``hwmodels.parts``, and nothing that takes time to load), and a class that implements
:class:`hwmodels.device.Device`. Every file in ``specs/<kind>`` says ``type: <kind>``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import cast

from hwmodels.device import Device, Level
from hwmodels.network import Network
from hwmodels.parts import DeviceSpec

__all__ = ["DEVICE_KINDS", "DeviceKind", "build_device", "references"]


@dataclass(frozen=True, slots=True)
class DeviceKind:
    """One kind of device."""

    spec: str  # "module:class" of its record, and
    builder: str  # "module:function" of (record, network, level) -> Device: both imported when they are needed
    checked: str  # what its results were compared with, where no band is known
    shares: bool = False  # its builder takes ``owns_memory=False``, for a unit in another device's memory
    references: Mapping[str, str] = field(default_factory=dict)  # keys that hold another specification: its folder

    def record(self) -> type[DeviceSpec]:
        """Return the record of its specifications."""
        return cast(type[DeviceSpec], _imported(self.spec))


def _imported(name: str) -> object:
    module, _, inside = name.partition(":")
    return getattr(import_module(module), inside)


#: The kinds by name, which is also the folder of their specifications; a file that does not say ``type`` is the first.
DEVICE_KINDS: Mapping[str, DeviceKind] = {
    "gpu": DeviceKind(
        "hwmodels.gpu.spec:GpuSpec",
        "hwmodels.gpu.device:build_gpu",
        "kernels were compared with measurements (`ridgeline validate --level cycle`), whole runs were not",
    ),
    "pim": DeviceKind(
        "hwmodels.pim.spec:PimSpec",
        "hwmodels.pim.device:build_pim",
        "command programs were compared with other simulators (`ridgeline replay pim`), whole runs were not",
        shares=True,
    ),
    "spatial": DeviceKind(
        "hwmodels.spatial.spec:SpatialSpec",
        "hwmodels.spatial.device:build_spatial",
        "cycles of products and fused attention were compared with other simulators (`ridgeline replay systolic`, "
        "`ridgeline reproduce fusemax`), whole runs were not",
        references={"energy": "energy"},
    ),
}


def references() -> dict[str, str]:
    """Return the keys of a device that hold another specification, and the folder of that."""
    every = {"link": "link", "host_link": "link"}
    for kind in DEVICE_KINDS.values():
        every.update(kind.references)
    return every


def build_device(spec: DeviceSpec, network: Network, level: Level, owns_memory: bool = True) -> Device:
    """Build a device at a level of detail; one in another's memory leaves what that costs to the other.

    Raises
    ------
    InputError
        If its family has no coefficients.
    UnsupportedError
        If its kind has no such level.
    """
    kind = DEVICE_KINDS[spec.type]
    build = cast(Callable[..., Device], _imported(kind.builder))
    if kind.shares and not owns_memory:
        return build(spec, network, level, owns_memory=False)
    return build(spec, network, level)
