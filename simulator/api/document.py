"""The report as JSON: one documented form, the same from the command line and from Python.

``ridgeline simulate ... --json`` prints it, :meth:`simulator.api.report.Report.to_json` returns it, and
``ridgeline schema report`` prints the JSON Schema below, which says what each key means. Times are seconds, energies
joules, sizes bytes, always as the key says. Within ``ridgeline/report/v1`` keys are added but none is renamed, removed
or given another meaning.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from hwmodels.device import RESOURCES
from simulator.api.report import OperatorShare, Phase, Report, UnitShare
from simulator.engine.memory import MemoryReport

__all__ = ["SCHEMA", "operator_document", "report_document"]

_Schema = dict[str, Any]


def _number(description: str, **limits: Any) -> _Schema:
    return {"type": "number", "minimum": 0, "description": description, **limits}


def _change(description: str) -> _Schema:
    return {"type": "number", "description": description}


def _count(description: str, least: int = 0) -> _Schema:
    return {"type": "integer", "minimum": least, "description": description}


def _text(description: str) -> _Schema:
    return {"type": "string", "description": description}


def _maybe(schema: _Schema) -> _Schema:
    """Return a schema that also allows ``null``."""
    return {**schema, "type": [schema["type"], "null"]}


def _object(description: str, **properties: _Schema) -> _Schema:
    return {
        "type": "object",
        "description": description,
        "required": list(properties),
        "properties": properties,
    }


def _named(description: str, values: _Schema) -> _Schema:
    return {"type": "object", "description": description, "additionalProperties": values}


def _list(description: str, items: _Schema) -> _Schema:
    return {"type": "array", "description": description, "items": items}


_ENERGY = _named(
    "energy by part: idle and clock (standing), compute, vector, l2, hbm, link... (dynamic, as the devices have them)",
    _number("joules"),
)
_REQUEST = _object(
    "what was asked for",
    input_tokens=_count("prompt tokens of each sequence"),
    output_tokens=_count("generated tokens of each sequence"),
    batch=_count("sequences, all starting together", 1),
    context=_count("tokens of each sequence cached before"),
)
_PARALLEL = _object(
    "how the model is spread; tp x pp x dp devices are in use",
    tp=_count("tensor parallelism", 1),
    pp=_count("pipeline stages", 1),
    ep=_count("expert parallelism", 1),
    dp=_count("replicas that share the batch", 1),
    sequence_parallel={"type": "boolean", "description": "norms on 1/tp of the tokens"},
    micro_batches=_maybe(_count("micro-batches of a step; null: as many as stages", 1)),
)
_FORMATS = _object(
    "number formats",
    weights=_text("of the weights"),
    activations=_text("of the inputs of products"),
    kv=_text("of the KV cache"),
    experts=_text("of the routed experts' weights"),
)
_MEMORY = _object(
    "memory of the fullest device",
    name=_text("unit of the system whose memory has the least room"),
    fits={"type": "boolean", "description": "whether everything fits"},
    capacity_B=_number("what the device has"),
    usable_B=_number("what the profile lets the model fill"),
    parts_B=_object(
        "what must be resident at the worst moment",
        weights=_number("weights"),
        kv=_number("KV cache at the final length"),
        activations=_number("largest set of intermediate values alive at once"),
        framework=_number("context and workspaces of the software stack"),
    ),
    margin_B=_change("usable minus needed; negative is what is missing"),
    max_batch=_count("largest batch per replica that fits at this length; 0: not even one sequence"),
    max_context=_count("most tokens per sequence that fit at this batch; 0: not even one"),
    least_tp=_maybe(_count("smallest tensor parallelism that fits; null: none", 1)),
)
_PHASE = {
    "anyOf": [
        {"type": "null", "description": "there was no such phase"},
        _object(
            "one phase of the request",
            steps=_count("forward passes"),
            time_s=_number("of all of them"),
            energy_J=_ENERGY,
            power_W=_number("average, all devices"),
            clock_Hz=_number("of the cores, settled at the power limit, in the largest prefill or middle decode step"),
            bound={
                "enum": list(RESOURCES),
                "description": "the resource that bounds the kernels which most of the time goes to",
            },
        ),
    ]
}
_OPERATOR = _object(
    "one operator of one phase, summed over the request, on one device (of each pipeline stage)",
    phase={"enum": ["prefill", "decode"]},
    name=_text("as the graph calls it"),
    kind=_text("gemm, grouped_gemm, attention, vector, collective, ..."),
    unit=_text("of the system that ran it; an operator split between units has a row for each"),
    launches=_number("how often it ran"),
    time_s=_number("of all launches"),
    share=_number("of the latency (of all pipeline stages)"),
    bound={"enum": list(RESOURCES), "description": "the resource that bounds most of its time"},
    flops=_number("useful work on the matrix units"),
    hbm_B=_number("bytes read from and written to device memory"),
    energy_J=_number("dynamic energy; standing power is in energy_parts_J"),
    how=_text("the mapping that its device chose, in words; empty where there was no choice"),
    intensity_flop_per_B=_number("arithmetic intensity: flops / hbm_B"),
)
_UNIT = _object(
    "one unit of the system, or one link between memories",
    name=_text("as the system's specification calls it"),
    device=_text("what it is; empty for a link"),
    count=_count("devices in use", 1),
    busy_s=_number("how long one of them (for each rank of the model) worked"),
    share=_number("of the latency (of all pipeline stages)"),
    energy_J=_number("of all its devices while steps ran; sum of energy_parts_J"),
    energy_parts_J=_ENERGY,
    energy_basis=_text("the table of components or family of coefficients behind it; empty for a link"),
)
_BAND = _object(
    "how far off such predictions were when they were checked",
    metric={"enum": ["ttft_s", "tpot_s", "energy_J"], "description": "the key above that it speaks of"},
    family=_text("of ridgeline validate"),
    rows=_count("measurements compared with", 1),
    mape=_number("mean absolute error, as a fraction"),
    p90=_number("nine in ten were off by less, as a fraction"),
    source=_text("where the measurements are from"),
)
_ESTIMATE = _object(
    "an input that is neither from a datasheet nor measured",
    path=_text("of the field in the hardware"),
    kind=_text("estimated, derived, calibrated, unstated, override"),
    source=_text("what it rests on"),
)
_PROVENANCE = _object(
    "what the result was made with",
    tool={"const": "ridgeline"},
    version=_text("of ridgeline"),
    git={"type": ["object", "null"], "description": "commit and whether the checkout was changed; null if installed"},
    specs=_named("SHA-256 of each resolved specification", {"type": "string", "pattern": "^[0-9a-f]{64}$"}),
    seed={"type": ["integer", "null"], "description": "of random numbers; null where none are drawn"},
    command=_list("the command line; empty from Python", {"type": "string"}),
    libraries=_named("versions of Python and of libraries that compute", {"type": "string"}),
)

#: JSON Schema (draft 2020-12) of a report.
SCHEMA: _Schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Ridgeline simulation report",
    **_object(
        "latency, throughput, energy and memory of one batch of requests; energy and power are of all devices in use",
        schema={"const": "ridgeline/report/v1"},
        model=_text("name of the model"),
        hardware=_text("name of the system"),
        profile=_text("execution profile"),
        level={"enum": ["roofline", "analytic", "cycle"], "description": "detail of the device model"},
        request=_REQUEST,
        parallel=_PARALLEL,
        formats=_FORMATS,
        ttft_s=_maybe(_number("time to first token of the whole batch; null without a prompt")),
        tpot_s=_maybe(_number("mean time per output token after the first; null where there is none")),
        latency_s=_number("from the start to the last token of the batch"),
        tokens_per_s=_number("output tokens of the batch per second of latency (input tokens where none come out)"),
        energy_J=_number("of the whole batch; sum of energy_parts_J"),
        energy_parts_J=_ENERGY,
        energy_per_token_J=_number("per output token (input token where none come out)"),
        power_W=_number("average over the latency"),
        memory=_MEMORY,
        phases=_object("prefill and decode", prefill=_PHASE, decode=_PHASE),
        operators=_list("longest first", _OPERATOR),
        units=_list("units of the system, then links between their memories", _UNIT),
        elasticities=_named(
            "what 10 % more of a resource (hbm bandwidth, compute, link bandwidth, memory capacity) would change",
            _named("relative change of ttft, tpot, energy or max_batch", _change("-0.05: five percent less")),
        ),
        bands=_list("expected error of the results", _BAND),
        estimates=_list("inputs to doubt first", _ESTIMATE),
        warnings=_list("what the user should know", {"type": "string"}),
        provenance=_PROVENANCE,
    ),
}


def report_document(report: Report) -> dict[str, Any]:
    """Return a report as plain data that :data:`SCHEMA` describes."""
    return {
        "schema": "ridgeline/report/v1",
        "model": report.model,
        "hardware": report.hardware,
        "profile": report.profile,
        "level": report.level,
        "request": asdict(report.request),
        "parallel": asdict(report.parallel),
        "formats": dict(report.formats),
        "ttft_s": report.ttft_s,
        "tpot_s": report.tpot_s,
        "latency_s": report.latency_s,
        "tokens_per_s": report.tokens_per_s,
        "energy_J": report.total_energy_J,
        "energy_parts_J": report.energy_J,
        "energy_per_token_J": report.total_energy_J / report.tokens,
        "power_W": report.power_W,
        "memory": _memory(report.memory),
        "phases": {"prefill": _phase(report.prefill), "decode": _phase(report.decode)},
        "operators": [operator_document(row) for row in report.operators()],
        "units": [_unit(unit) for unit in report.units()],
        "elasticities": {name: dict(change) for name, change in report.elasticities.items()},
        "bands": [asdict(band) for band in report.bands],
        "estimates": [asdict(estimate) for estimate in report.estimates],
        "warnings": list(report.warnings),
        "provenance": dict(report.provenance),
    }


def operator_document(row: OperatorShare) -> dict[str, Any]:
    """Return one operator as plain data."""
    document = asdict(row)
    document["intensity_flop_per_B"] = row.intensity
    return document


def _unit(unit: UnitShare) -> dict[str, Any]:
    return {
        "name": unit.name,
        "device": unit.device,
        "count": unit.count,
        "busy_s": unit.busy_s,
        "share": unit.share,
        "energy_J": unit.total_energy_J,
        "energy_parts_J": dict(unit.energy_J),
        "energy_basis": unit.energy_basis,
    }


def _memory(memory: MemoryReport) -> dict[str, Any]:
    return {**asdict(memory), "parts_B": dict(memory.parts_B)}


def _phase(phase: Phase | None) -> dict[str, Any] | None:
    if phase is None:
        return None
    return {
        "steps": phase.steps,
        "time_s": phase.time_s,
        "energy_J": dict(phase.energy_J),
        "power_W": phase.total_energy_J / phase.time_s,
        "clock_Hz": phase.sample.clock_Hz,
        "bound": phase.bound,
    }
