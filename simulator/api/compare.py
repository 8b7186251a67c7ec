"""Several systems side by side for one request: time, energy, cost, and what bounds each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from textwrap import wrap
from typing import Any

from simulator.api.report import Report
from simulator.core.units import format_quantity

__all__ = ["ComparedSystem", "compared", "comparison_document", "comparison_text"]

#: How long hardware is written off over. Source: Amazon.com, annual report 2024 (10-K), useful life of servers from
#: January 2025 on: five years.
_LIFE_S = 5 * 365.25 * 24 * 3600

#: What energy costs. Source: U.S. Energy Information Administration, Electric Power Annual 2023, table 2.4, average
#: price for industrial customers, 8.04 cents per kWh.
_USD_PER_J = 0.0804 / 3.6e6

_WIDTH = 105  # columns
_NAMED_BOUNDS = 2  # resources named as bounds: the two with the largest shares
_BOUNDS = {"hbm": "HBM", "l2": "L2", "special": "special functions"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedSystem:
    """One system in a comparison. Cost is None where a price is not known."""

    hardware: str
    devices: int  # of all units, in use
    fits: bool
    ttft_s: float | None
    tpot_s: float | None
    latency_s: float
    tokens_per_s: float
    energy_per_token_J: float
    power_W: float
    price_USD: float | None  # of the whole system
    cost_per_million_tokens_USD: float | None  # hardware written off over its life at full use, and electricity
    speedup: float  # latency of the first system over this one's
    energy_gain: float  # energy of the first system over this one's
    bounds: Mapping[str, float]  # share of the time of all operators that each resource bounds, largest first
    energy_parts_J: Mapping[str, float]


def compared(reports: Sequence[Report]) -> list[ComparedSystem]:
    """Return each report's row; ratios are to the first."""
    return [_row(report, reports[0]) for report in reports]


def _row(report: Report, first: Report) -> ComparedSystem:
    price_USD = report.system.price_USD
    cost_USD = None
    if price_USD is not None:
        hardware_USD = price_USD * report.latency_s / _LIFE_S
        cost_USD = (hardware_USD + report.total_energy_J * _USD_PER_J) / report.tokens * 1e6
    return ComparedSystem(
        hardware=report.hardware,
        devices=sum(unit.count for unit in report.units() if unit.device),
        fits=report.memory.fits,
        ttft_s=report.ttft_s,
        tpot_s=report.tpot_s,
        latency_s=report.latency_s,
        tokens_per_s=report.tokens_per_s,
        energy_per_token_J=report.total_energy_J / report.tokens,
        power_W=report.power_W,
        price_USD=price_USD,
        cost_per_million_tokens_USD=cost_USD,
        speedup=first.latency_s / report.latency_s,
        energy_gain=first.total_energy_J / report.total_energy_J,
        bounds=_bounds(report),
        energy_parts_J=report.energy_J,
    )


def _bounds(report: Report) -> dict[str, float]:
    shares: dict[str, float] = {}
    for row in report.operators():
        shares[row.bound] = shares.get(row.bound, 0.0) + row.time_s
    total_s = sum(shares.values())
    return {bound: shares[bound] / total_s for bound in sorted(shares, key=lambda bound: -shares[bound])}


def comparison_document(reports: Sequence[Report]) -> dict[str, Any]:
    """Return the comparison as plain data: the request, a row per system in the order given, where each came from."""
    first = reports[0]
    return {
        "schema": "ridgeline/comparison/v1",
        "model": first.model,
        "profile": first.profile,
        "level": first.level,
        "request": asdict(first.request),
        "formats": dict(first.formats),
        "systems": [
            {**asdict(row), "parallel": asdict(report.parallel), "provenance": dict(report.provenance)}
            for row, report in zip(compared(reports), reports, strict=True)
        ],
    }


def comparison_text(reports: Sequence[Report]) -> str:
    """Return the comparison as a table for a terminal."""
    first = reports[0]
    request = first.request
    head = wrap(
        f"{first.model}: batch {request.batch} x ({request.input_tokens} in, {request.output_tokens} out), weights "
        f"{first.formats['weights']}, KV cache {first.formats['kv']}; profile {first.profile}, level {first.level}",
        _WIDTH,
    )
    rows = [list(_cells(row)) for row in compared(reports)]
    columns = ["system", "TTFT", "TPOT", "tokens/s", "time", "J/token", "energy", "USD/Mtoken", "bound by"]
    widths = [max(len(line[i]) for line in [columns, *rows]) for i in range(len(columns))]
    lines = [
        "  ".join(
            text.ljust(width) if column in ("system", "bound by") else text.rjust(width)
            for text, width, column in zip(line, widths, columns, strict=True)
        ).rstrip()
        for line in [columns, *rows]
    ]
    notes = [f"time and energy: how many times less than {first.hardware}."]
    if any(row.price_USD is not None for row in compared(reports)):
        notes.append("Cost: purchase over five years of full use, and electricity at 8 cents per kWh.")
    misfits = [report.hardware for report in reports if not report.memory.fits]
    if misfits:
        notes.append(f"DOES NOT FIT (times are those of a device with enough memory): {', '.join(misfits)}.")
    return "\n".join([*head, "", *lines, "", *wrap(" ".join(notes), _WIDTH)])


def _cells(row: ComparedSystem) -> Iterator[str]:
    yield row.hardware[:24] + ("" if row.fits else " (!)")
    yield "-" if row.ttft_s is None else format_quantity(row.ttft_s, "s")
    yield "-" if row.tpot_s is None else format_quantity(row.tpot_s, "s")
    yield f"{row.tokens_per_s:,.0f}" if row.tokens_per_s >= 100 else f"{row.tokens_per_s:.3g}"
    yield f"{row.speedup:.2f}x"
    yield f"{row.energy_per_token_J:.3g}"
    yield f"{row.energy_gain:.2f}x"
    yield "-" if row.cost_per_million_tokens_USD is None else f"{row.cost_per_million_tokens_USD:.3g}"
    shares = list(row.bounds.items())[:_NAMED_BOUNDS]
    yield ", ".join(f"{_BOUNDS.get(bound, bound)} {share:.0%}" for bound, share in shares)
