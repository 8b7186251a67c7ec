"""The report as one screen of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap

from hwmodels.kinds import DEVICE_KINDS
from simulator.api.report import Band, Estimate, OperatorShare, Report
from simulator.core.units import format_quantity

__all__ = ["report_text"]

_WIDTH = 100  # columns
_ROWS = 8  # operators shown
_LABEL = 16  # width of the first column
_EFFECTS = {"ttft": "TTFT", "tpot": "TPOT", "energy": "energy", "max_batch": "largest batch"}
_RESOURCES = {"hbm": "bandwidth", "compute": "compute", "link": "link", "power": "power cap", "memory": "memory"}
_PARTS = {"weights": "weights", "kv": "KV cache", "activations": "activations", "framework": "framework"}
_BOUNDS = {"hbm": "HBM", "l2": "L2", "special": "special functions"}

#: What a search for the largest batch or context stops at: nothing in memory grows with it.
_UNLIMITED = 1 << 29

#: Groups of inputs that weigh little in a prediction; they are named last.
_MINOR = ("die_area", "price", "year", "storage", "host", "host_link")
_LINKS = ("link", "network")  # minor, too, where only one device is in use
_DOUBTFUL_FIRST = ("unstated", "estimated", "calibrated", "derived")


def report_text(report: Report) -> str:
    """Return the report as a user reads it in a terminal, at most 100 columns wide and 40 lines long."""
    blocks = [_head(report), _memory(report), _totals(report), _units(report), _operators(report), _outlook(report)]
    return "\n\n".join("\n".join(block) for block in map(list, blocks) if block)


def _line(label: str, text: str) -> Iterator[str]:
    """Yield a labelled paragraph, its lines one below the other."""
    yield from wrap(
        text,
        _WIDTH,
        initial_indent=label.ljust(_LABEL),
        subsequent_indent=" " * _LABEL,
        break_on_hyphens=False,
    )


def _head(report: Report) -> Iterator[str]:
    request, parallel = report.request, report.parallel
    degrees = {name: getattr(parallel, name) for name in ("tp", "pp", "ep", "dp")}
    spread = " ".join(f"{name} {degree}" for name, degree in degrees.items() if degree > 1)
    devices = f"{parallel.devices} devices ({spread})" if spread else "one device"
    context = f" after {request.context} cached" if request.context else ""
    yield from wrap(
        f"{report.model} on {report.hardware}: batch {request.batch} x ({request.input_tokens} in, "
        f"{request.output_tokens} out){context}",
        _WIDTH,
    )
    formats = report.formats
    experts = f", experts {formats['experts']}" if formats["experts"] != formats["weights"] else ""
    yield from wrap(
        f"weights {formats['weights']}{experts}, activations {formats['activations']}, KV cache {formats['kv']}; "
        f"{devices}; profile {report.profile}, level {report.level}",
        _WIDTH,
    )
    for warning in report.warnings:
        yield from wrap(f"warning: {warning}", _WIDTH)


def _memory(report: Report) -> Iterator[str]:
    memory = report.memory
    used, usable = format_quantity(memory.total_B, "B"), format_quantity(memory.usable_B, "B")
    several = len(report.system.units) > 1
    of = f"{used} of {usable}" + (" per device" if report.parallel.devices > 1 else "")
    of += f" in the memory of {memory.name}" if several else ""
    parts = ", ".join(f"{_PARTS[name]} {format_quantity(size, 'B')}" for name, size in memory.parts_B.items() if size)
    if memory.fits:
        yield from _line("memory", f"fits: {of} ({format_quantity(memory.margin_B, 'B')} free): {parts}")
        yield from _line("", _room(report))
    else:
        yield from _line("memory", f"DOES NOT FIT: {of}, {format_quantity(-memory.margin_B, 'B')} missing: {parts}")
        yield from _line("", f"what would fit: {', or '.join(_remedies(report))}")
        yield from _line("", "times and energy below are those of a device with enough memory")


def _room(report: Report) -> str:
    memory = report.memory
    limits = []
    if memory.max_batch < _UNLIMITED:
        replicas = " per replica" if report.parallel.dp > 1 else ""
        limits.append(f"batch {memory.max_batch}{replicas} at this length")
    if memory.max_context < _UNLIMITED:
        limits.append(f"{memory.max_context} tokens per sequence at this batch")
    return "room for " + ", or ".join(limits) if limits else ""


def _remedies(report: Report) -> Iterator[str]:
    memory = report.memory
    if memory.max_batch:
        yield f"batch {memory.max_batch}"
    if memory.max_context:
        yield f"{memory.max_context} tokens per sequence"
    if memory.least_tp is not None:
        yield f"--tp {memory.least_tp} (over {memory.least_tp} devices)"
    yield "narrower --weights or --kv"


def _totals(report: Report) -> Iterator[str]:
    bands = {band.metric: _band(band) for band in report.bands}
    clocks = ", ".join(f"{name} {phase.sample.clock_Hz / 1e6:.0f} MHz" for name, phase in report.phases.items())
    cells = []
    if report.ttft_s is not None:
        cells.append(("TTFT", format_quantity(report.ttft_s, "s"), bands.get("ttft_s", "")))
    if report.tpot_s is not None:
        cells.append(("TPOT", format_quantity(report.tpot_s, "s"), bands.get("tpot_s", "")))
    cells.append(("latency", format_quantity(report.latency_s, "s"), "end to end"))
    cells.append(("throughput", f"{_number(report.tokens_per_s)} tokens/s", _tokens(report)))
    per_token = format_quantity(report.total_energy_J / report.tokens, "J")
    unchecked = "never compared with a measurement of this device" if bands else ""
    cells.append(("energy", f"{per_token}/token", bands.get("energy_J", unchecked)))
    cells.append(("power", format_quantity(report.power_W, "W"), f"average; clock in {clocks}"))
    for name, value, note in cells:
        yield f"{name:<{_LABEL}}{value:<17} {note}".rstrip()


def _tokens(report: Report) -> str:
    return "of output, whole batch" if report.request.output_tokens else "of input, whole batch"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _band(band: Band) -> str:
    return f"± {band.mape:.0%} on average, {band.p90:.0%} at the 90th percentile"


def _units(report: Report) -> Iterator[str]:
    """Yield time and energy of each unit, where there are several."""
    if len(report.system.units) == 1:
        return
    yield f"{'unit':<41}{'busy':>9}{'share':>8}{'energy':>10}{'share':>8}"
    total_J = report.total_energy_J
    for unit in report.units():
        what = f"{unit.name} ({unit.count} x {unit.device})" if unit.device else unit.name
        yield (
            f"{_cut(what, 40):<41}{format_quantity(unit.busy_s, 's'):>9}{unit.share:>8.1%}"
            f"{format_quantity(unit.total_energy_J, 'J'):>10}{unit.total_energy_J / total_J:>8.1%}"
        )


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _operators(report: Report) -> Iterator[str]:
    rows = report.operators()
    yield f"{'operator':<32}{'phase':<9}{'time':>9}{'share':>8}{'FLOP/B':>9}  bound by"
    several = len(report.system.units) > 1
    for row in rows[:_ROWS]:
        yield _operator(row, f" on {row.unit}" if several else "")
    rest = rows[_ROWS:]
    if rest:
        time_s = sum(row.time_s for row in rest)
        share = sum(row.share for row in rest)
        yield f"{f'{len(rest)} more':<41}{format_quantity(time_s, 's'):>9}{share:>8.1%}"
    waiting = 1.0 - sum(row.share for row in rows)
    if waiting > 0.0005 and len(report.system.units) == 1:
        time_s = waiting * report.latency_s * report.parallel.pp
        yield f"{'waiting (host, pipeline)':<41}{format_quantity(time_s, 's'):>9}{waiting:>8.1%}"


def _operator(row: OperatorShare, where: str) -> str:
    name = _cut(row.name, 31 - len(where)) + where
    intensity = f"{row.intensity:.3g}" if row.intensity < 1000 else f"{row.intensity:.0f}"
    return (
        f"{name:<32}{row.phase:<9}{format_quantity(row.time_s, 's'):>9}{row.share:>8.1%}"
        f"{intensity if row.flops else '-':>9}  {_BOUNDS.get(row.bound, row.bound)}"
    )


def _outlook(report: Report) -> Iterator[str]:
    for resource, change in report.elasticities.items():
        effects = ", ".join(f"{_EFFECTS[name]} {_change(value)}" for name, value in change.items())
        if resource == "memory" and not report.memory.fits:
            short_B = -report.memory.margin_B - 0.1 * report.memory.usable_B
            effects = "still does not fit" if short_B > 0 else "fits"
        yield from _line(f"+10% {_RESOURCES[resource]}", effects or "changes nothing")
    if any(unit.device.type != "gpu" for unit in report.system.units):
        yield from _line("energy in", _energy(report))
    yield from _line("confidence", _confidence(report))
    if report.estimates:
        minor = _MINOR if report.parallel.devices > 1 else (*_MINOR, *_LINKS)
        yield from _line("inputs", _inputs(report.estimates, minor))


def _energy(report: Report) -> str:
    """Say where the energy goes, and by which tables: joules of two tables do not compare."""
    parts = sorted(report.energy_J.items(), key=lambda part: -part[1])
    shown = [f"{_BOUNDS.get(name, name)} {joules / report.total_energy_J:.0%}" for name, joules in parts]
    shares = ", ".join(text for text, (_, joules) in zip(shown, parts, strict=True) if joules > 0.0)
    bases = dict.fromkeys(unit.device.energy_basis for unit in report.system.units)
    return f"{shares}; by {', '.join(bases)}"


def _change(value: float) -> str:
    """Show a relative change, without a sign where it rounds to nothing."""
    text = f"{value:+.1%}"
    return "0.0%" if text in ("+0.0%", "-0.0%") else text


def _confidence(report: Report) -> str:
    if report.level == "roofline":
        return "a bound from the datasheet, not a prediction"
    if not report.bands:
        kinds = dict.fromkeys(unit.device.type for unit in report.system.units)
        return "; ".join(f"{kind}: {DEVICE_KINDS[kind].checked}" for kind in kinds)
    rows: dict[str, list[str]] = {}
    for band in report.bands:
        rows.setdefault(band.source.removeprefix(f"{band.rows} "), []).append(str(band.rows))
    return "± from " + "; ".join(f"{', '.join(counts)} {source}" for source, counts in rows.items())


def _inputs(estimates: Sequence[Estimate], minor: Sequence[str]) -> str:
    """Say which inputs are not from a datasheet or measured: how many of each kind, alike ones together."""
    by_kind: dict[str, dict[str, list[str]]] = {}
    for estimate in estimates:
        path = _short(estimate.path)
        by_kind.setdefault(estimate.kind, {}).setdefault(path.split(".")[0], []).append(path)
    kinds = sorted(by_kind, key=lambda kind: (_DOUBTFUL_FIRST.index(kind) if kind in _DOUBTFUL_FIRST else -1, kind))
    return "; ".join(
        f"{sum(map(len, by_kind[kind].values()))} {kind}: {_paths(by_kind[kind], minor)}" for kind in kinds
    )


def _paths(groups: Mapping[str, list[str]], minor: Sequence[str]) -> str:
    ordered = sorted(groups, key=lambda group: group in minor)
    return ", ".join(groups[g][0] if len(groups[g]) == 1 else f"{g} ({len(groups[g])})" for g in ordered)


def _short(path: str) -> str:
    """Return a path as ``--set`` takes it: without what every path of the only device begins with."""
    return path.removeprefix("units.0.").removeprefix("device.")
