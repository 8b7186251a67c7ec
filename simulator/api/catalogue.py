"""What is bundled: models, hardware, formats, profiles and cascades, as rows of a table and each in detail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, get_args

from hwmodels.catalog import hardware_names, load_hardware
from hwmodels.spatial.binding import binding_names
from hwmodels.spatial.spec import SpatialSpec
from hwmodels.spec import DeviceSpec, GpuSpec, SystemSpec
from simulator.api.bindings import binding_detail, binding_row
from simulator.api.cascades import cascade_detail, cascade_row
from simulator.core.errors import UnsupportedError
from simulator.core.quantity import Quantity, Rate, RateOf
from simulator.core.specfile import SpecRecord
from simulator.core.units import format_quantity
from simulator.engine.profile import load_profile, profile_names
from workloads.cascade import cascade_names
from workloads.catalog import load_model, model_names
from workloads.formats import NumberFormat, format_names, load_format
from workloads.kvcache import kv_bytes_per_token
from workloads.model import ModelSpec
from workloads.parameters import active_parameters, parameters

__all__ = ["billions", "detail", "overview"]

_LONGEST_NAME = 28  # of a device in the table


def overview(what: str) -> list[dict[str, Any]]:
    """Return one row for each of what is bundled (a key of ``show``), as shown in a table."""
    return [_OVERVIEWS[what](name) for name in _NAMES[what]()]


def detail(what: str, name: str) -> dict[str, Any]:
    """Return everything known about one of them, or about a file of that kind, as plain data in SI units.

    Hardware comes as ``fields``: a row per number with ``path``, ``value``, ``shown`` (with its unit), ``kind``,
    ``source`` and ``note``.

    Raises
    ------
    UnknownNameError
        If there is none of that name.
    """
    return _DETAILS[what](name)


def billions(count: float) -> str:
    """Write a number of parameters as the field does: ``124M``, ``8.03B``, ``1.16T``."""
    scale, letter = next((s, c) for s, c in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1.0, "")) if count >= s or s == 1.0)
    return f"{count / scale:.3g}{letter}"


def _kv_B(model: ModelSpec) -> float:
    """Bytes of cache per token in 16 bits; nothing is cached for an encoder."""
    return kv_bytes_per_token(model, load_format("bf16")) if model.is_decoder else 0.0


def _model(name: str) -> dict[str, Any]:
    model = load_model(name)
    kv_B = _kv_B(model)
    return {
        "name": name,
        "parameters": billions(parameters(model)),
        "active": billions(active_parameters(model)),
        "layers": sum(group.count for group in model.layers),
        "hidden": model.hidden,
        "KV/token in bf16": format_quantity(kv_B, "B") if kv_B else "-",
        "context": model.max_context or "-",
        "published in": model.weight_format if model.expert_format is None else f"{model.expert_format} experts",
    }


def _hardware(name: str) -> dict[str, Any]:
    system = load_hardware(name)
    device = system.device
    counts = [f"{unit.count} x " if system.devices > 1 else "" for unit in system.units]
    shown = " + ".join(f"{n}{_short_name(unit.device)}" for n, unit in zip(counts, system.units, strict=True))
    return {
        "name": name,
        "device": shown if len(system.units) == 1 else _cut(shown),
        "memory": format_quantity(device.hbm.capacity_B, "B"),
        "bandwidth": format_quantity(device.hbm.bandwidth_Bps, "B/s"),
        "TFLOP/s": _peak(device, "bf16"),
        "in fp8": _peak(device, "fp8"),
        "link": format_quantity(device.link.bandwidth_Bps, "B/s"),
        "power": format_quantity(device.power.limit_W, "W"),
    }


def _short_name(device: DeviceSpec) -> str:
    return _cut(device.name.removeprefix(device.vendor).strip())


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1].rstrip() + "…"


def _peak(device: DeviceSpec, fmt: str) -> str:
    """Peak rate in TFLOP/s; none for a format that has to be unpacked to another."""
    if isinstance(device, GpuSpec) and fmt != "bf16" and device.tensor_format(fmt) != fmt:
        return "-"
    if isinstance(device, SpatialSpec) and fmt != "bf16" and fmt not in device.array.rates:
        return "-"
    try:
        return f"{device.peak_flops(fmt) / 1e12:.4g}"
    except UnsupportedError:
        return "-"


def _format(name: str) -> dict[str, Any]:
    fmt = load_format(name)
    return {
        "name": name,
        "bits": fmt.bits,
        "with scales": f"{fmt.bits_per_element:.4g}",
        "group": fmt.group_size or "-",
        "computed in": _computed_in(fmt),
        "unpacking, op/element": f"{fmt.unpack_op:.3g}",
    }


def _profile(name: str) -> dict[str, Any]:
    return {"name": name, "description": load_profile(name).description}


def _model_detail(name: str) -> dict[str, Any]:
    model = load_model(name)
    return {
        **asdict(model),
        "parameters": parameters(model),
        "active_parameters": active_parameters(model),
        "kv_bf16_B_per_token": _kv_B(model),
    }


def _hardware_detail(name: str) -> dict[str, Any]:
    system = load_hardware(name)
    device = system.device
    return {
        "name": system.name,
        "device": " + ".join(dict.fromkeys(unit.device.name for unit in system.units)),
        "type": device.type,
        "vendor": device.vendor,
        "family": device.family,
        "units": [
            {"name": name, "device": unit.device.name, "count": unit.count * system.nodes}
            for name, unit in zip(system.unit_names, system.units, strict=True)
        ],
        "devices": system.devices,
        "nodes": system.nodes,
        "area_mm2": device.area_mm2_by_component(),
        "fields": [_field(system, device, path) for path in system.provenance],
    }


def _field(system: SystemSpec, device: DeviceSpec, path: str) -> dict[str, Any]:
    value, unit = _lookup(system, path)
    entry = system.provenance[path]
    short = path.removeprefix("units.0.").removeprefix("device.")
    shown = _shown(value, unit)
    group, _, fmt = short.rpartition(".")
    if group == "tensor" and isinstance(device, GpuSpec):
        shown += f", {format_quantity(device.peak_flops(fmt), 'FLOP/s', 4)} in all"
    return {
        "path": short,
        "value": value.value if isinstance(value, Rate) else value,
        "shown": shown,
        "kind": entry.kind,
        "source": entry.source,
        "note": entry.note,
    }


def _lookup(record: SpecRecord, path: str) -> tuple[Any, Quantity | RateOf | None]:
    """Return the value at a dotted path as files write it, and what it is a quantity of."""
    value: Any = record
    unit = None
    for key in path.split("."):
        if isinstance(value, tuple):
            value = value[int(key)]
        elif isinstance(value, Mapping):
            value = value[key]
        else:
            name, info = next((n, i) for n, i in type(value).model_fields.items() if (i.alias or n) == key)
            unit = _unit(info.annotation, *info.metadata)
            value = getattr(value, name)
    return value, unit


def _unit(annotation: Any, *metadata: Any) -> Quantity | RateOf | None:
    found = next((mark for mark in metadata if isinstance(mark, Quantity | RateOf)), None)
    if found is not None:
        return found
    for inner in get_args(annotation):
        deeper = inner if isinstance(inner, Quantity | RateOf) else _unit(inner)
        if deeper is not None:
            return deeper
    return None


def _shown(value: Any, unit: Quantity | RateOf | None) -> str:
    """Write a value with its unit; memory also in the binary unit that it is made in."""
    if isinstance(value, Rate) and isinstance(unit, RateOf):
        per_clock, per_second = f"{unit.work}/clk", f"{unit.work}/s"
        return f"{value.value:g} {per_clock}" if value.per_clock else format_quantity(value.value, per_second, 4)
    if not isinstance(unit, Quantity):
        return str(value)
    text = format_quantity(value, unit.dimension, 4)
    if unit.dimension == "B" and value % 1024 == 0:
        scale, prefix = next(pair for pair in ((2.0**30, "Gi"), (2.0**20, "Mi"), (2.0**10, "Ki")) if value >= pair[0])
        text += f" ({value / scale:.4g} {prefix}B)"
    return text


def _format_detail(name: str) -> dict[str, Any]:
    fmt = load_format(name)
    return {**asdict(fmt), "bits_per_element": fmt.bits_per_element, "computed_in": _computed_in(fmt)}


def _computed_in(fmt: NumberFormat) -> str:
    """Name the matrix units' format as a reader expects: to them bf16 stands for both 16-bit floats."""
    return fmt.name if fmt.name == "fp16" else fmt.mma


def _profile_detail(name: str) -> dict[str, Any]:
    return load_profile(name).model_dump(by_alias=True, mode="json")


_NAMES: dict[str, Callable[[], list[str]]] = {
    "models": model_names,
    "hardware": hardware_names,
    "formats": format_names,
    "profiles": profile_names,
    "cascades": cascade_names,
    "bindings": binding_names,
}
_OVERVIEWS: dict[str, Callable[[str], dict[str, Any]]] = {
    "models": _model,
    "hardware": _hardware,
    "formats": _format,
    "profiles": _profile,
    "cascades": cascade_row,
    "bindings": binding_row,
}
_DETAILS: dict[str, Callable[[str], dict[str, Any]]] = {
    "models": _model_detail,
    "hardware": _hardware_detail,
    "formats": _format_detail,
    "profiles": _profile_detail,
    "cascades": cascade_detail,
    "bindings": binding_detail,
}
