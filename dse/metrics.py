"""Metrics of a design point: what objectives, constraints and expressions may name, read off a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from hwmodels.gpu.silicon import die_area_mm2, die_inputs, manufacturing_cost_USD, silicon_of
from hwmodels.gpu.spec import GpuSpec
from hwmodels.spec import DeviceSpec
from simulator.api.report import Report
from simulator.core.units import format_quantity

if TYPE_CHECKING:
    from simulator.serving.report import ServeReport

__all__ = [
    "METRICS",
    "SERVING",
    "Metric",
    "ServingMetric",
    "dimension_of_metric",
    "measure",
    "measure_served",
    "shown_metric",
]


class Metric(NamedTuple):
    """One number of a report: what it is, and how to read it; None where the request has no such phase."""

    description: str
    read: Callable[[Report], float | None]


class ServingMetric(NamedTuple):
    """One number of a report of servers; None where there is none (no price is known)."""

    description: str
    read: Callable[[ServeReport], float | None]


def _spread(name: str, part: str) -> Callable[[ServeReport], float]:
    return lambda report: float(getattr(report.metrics[name], part))


#: Every metric of one batch, by name; the suffix is the unit. Energy, power and price are of all devices in use.
METRICS: Mapping[str, Metric] = {
    "ttft_s": Metric("time to first token of the whole batch", lambda r: r.ttft_s),
    "tpot_s": Metric("time per output token after the first", lambda r: r.tpot_s),
    "latency_s": Metric("from the start to the last token", lambda r: r.latency_s),
    "tokens_per_s": Metric("output tokens per second of latency", lambda r: r.tokens_per_s),
    "tokens_per_s_per_device": Metric("throughput of one device", lambda r: r.tokens_per_s / r.parallel.devices),
    "energy_J": Metric("of the whole batch", lambda r: r.total_energy_J),
    "energy_per_token_J": Metric("per output token", lambda r: r.total_energy_J / r.tokens),
    "power_W": Metric("mean over the latency, all devices", lambda r: r.power_W),
    "power_per_device_W": Metric("mean over the latency, one device", lambda r: r.power_W / r.parallel.devices),
    "memory_B": Metric("asked for on the fullest device", lambda r: r.memory.total_B),
    "memory_fill": Metric("share of the usable memory asked for", lambda r: r.memory.total_B / r.memory.usable_B),
    "devices": Metric("in use", lambda r: float(r.parallel.devices)),
    "die_area_mm2": Metric("of one device, of the first unit", lambda r: _die(r.system.units[0].device)[0]),
    "area_mm2": Metric("of all dies", lambda r: _of_all(r, lambda device: _die(device)[0])),
    "cost_USD": Metric("to make dies, memory and packages", lambda r: _of_all(r, lambda device: _die(device)[1])),
    "price_USD": Metric("as specified, without hosts", lambda r: _of_all(r, lambda device: device.price_USD)),
}


_SPREADS = ("ttft", "tpot", "e2e")

#: Every metric of servers under load, by name.
SERVING: Mapping[str, ServingMetric] = {
    **{
        f"{name}_{part}_s": ServingMetric(f"{part} of {name} over requests", _spread(name, part))
        for name in _SPREADS
        for part in ("mean", "p50", "p90", "p99")
    },
    "request_rate": ServingMetric("requests completed per second", lambda r: r.request_rate),
    "output_tokens_per_s": ServingMetric("of all servers", lambda r: r.output_rate),
    "good_share": ServingMetric("of requests within the SLO", lambda r: r.good_share),
    "goodput": ServingMetric("requests per second within the SLO", lambda r: r.goodput),
    "rejected": ServingMetric("requests turned away", lambda r: float(r.requests["rejected"])),
    "energy_J": ServingMetric("of all servers", lambda r: r.energy_J),
    "energy_per_token_J": ServingMetric("per output token", lambda r: r.energy_per_token_J),
    "power_W": ServingMetric("mean, all servers", lambda r: r.average_W),
    "peak_W": ServingMetric("the highest mean of a short time", lambda r: r.peak_W),
    "limit_W": ServingMetric("power limits of all devices", lambda r: r.limit_W),
    "hourly_USD": ServingMetric("of all devices, written off; without electricity", lambda r: r.hourly_USD),
    "cost_per_million_USD": ServingMetric("a million output tokens", lambda r: r.cost_per_million_USD),
}


def _of_all(report: Report, read: Callable[[DeviceSpec], float | None]) -> float | None:
    """Add up all devices in use; with several units, the others go along with those of the first."""
    first, *others = report.system.units
    total = 0.0
    for unit, per_rank in ((first, 1.0), *((unit, unit.count / first.count) for unit in others)):
        value = read(unit.device)
        if value is None:
            return None
        total += value * per_rank * report.parallel.devices
    return total


def _die(device: DeviceSpec) -> tuple[float | None, float | None]:
    """Return area and manufacturing cost of one device.

    The area is that of its components where they are modelled, otherwise as specified; other devices than GPUs have no
    cost.
    """
    silicon = silicon_of(device) if isinstance(device, GpuSpec) else None
    if silicon is None or not isinstance(device, GpuSpec):
        return sum(device.area_mm2_by_component().values()) or device.die_area_mm2, None
    area_mm2 = float(die_area_mm2(die_inputs(device), silicon))
    return area_mm2, float(manufacturing_cost_USD(area_mm2, device.hbm.capacity_B, silicon))


_SUFFIXES = {"_J": "J", "_W": "W", "_B": "B", "_mm2": "mm2", "_USD": "USD"}


def dimension_of_metric(name: str) -> str:
    """Return the dimension of a metric by its suffix: ``"W"`` of ``power_W``, ``"1"`` of ``tokens_per_s``.

    Examples
    --------
    >>> dimension_of_metric("ttft_s"), dimension_of_metric("tokens_per_s"), dimension_of_metric("area_mm2")
    ('s', '1', 'mm2')
    """
    if name.endswith("_s") and "_per_s" not in name:
        return "s"
    return next((dimension for suffix, dimension in _SUFFIXES.items() if name.endswith(suffix)), "1")


def shown_metric(name: str, value: float) -> str:
    """Return a value of a metric for people, with its unit."""
    dimension = dimension_of_metric(name)
    if dimension == "1" or value < 0:
        return f"{value:.4g}"
    return format_quantity(value, dimension)


def measure(report: Report) -> dict[str, float]:
    """Return every metric of a report that has one."""
    found = {name: metric.read(report) for name, metric in METRICS.items()}
    return {name: float(value) for name, value in found.items() if value is not None}


def measure_served(report: ServeReport) -> dict[str, float]:
    """Return every metric of a report of servers that has one."""
    found = {name: metric.read(report) for name, metric in SERVING.items()}
    return {name: float(value) for name, value in found.items() if value is not None}
