"""A Chrome trace (chrome://tracing, Perfetto) of one step of each phase, kernel by kernel."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from hwmodels.device import Cost
from simulator.api.report import Report
from simulator.core.errors import InputError
from simulator.engine.run import OperatorResult, StepResult

__all__ = ["check_trace_path", "trace_events", "write_trace"]


def write_trace(report: Report, path: Path) -> None:
    """Write the trace of a report.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    check_trace_path(path)
    document = {"traceEvents": list(trace_events(report)), "displayTimeUnit": "ms"}
    try:
        path.write_text(json.dumps(document, separators=(",", ":")) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"--trace {path}: {error.strerror}") from error


def check_trace_path(path: Path) -> None:
    """Raise :class:`InputError` if no file can be written there, before anything is computed."""
    if path.is_dir():
        raise InputError(f"--trace {path} is a folder; name a file")
    if not path.parent.is_dir():
        raise InputError(f"--trace {path}: the folder {path.parent} does not exist")


def trace_events(report: Report) -> Iterator[dict[str, Any]]:
    """Yield the events of a report: a process per phase, a thread per pipeline stage and unit; times in microseconds.

    The largest prefill step and the middle decode step are drawn, every layer and micro-batch of them, on one device of
    each stage.
    """
    for process, (name, phase) in enumerate(report.phases.items(), start=1):
        yield _label("process_name", process, 0, f"{name} step on {report.hardware}")
        yield from _step_events(phase.sample, process)


def _step_events(step: StepResult, process: int) -> Iterator[dict[str, Any]]:
    if any(step.timelines):
        yield from _unit_events(step, process)
        return
    stages = [list(members) for _, members in groupby(step.operators, key=lambda operator: operator.stage)]
    # A stage takes up the next micro-batch when the slowest has finished one.
    slot_us = max(sum(operator.time_s for operator in operators) for operators in stages) / step.slots * 1e6
    for stage, operators in enumerate(stages):
        thread = stage + 1
        yield _label("thread_name", process, thread, "kernels" if len(stages) == 1 else f"kernels of stage {stage}")
        for slot in range(step.slots):
            now_us = (stage + slot) * slot_us
            for operator, block in _launches(operators, step.slots):
                duration_us = operator.cost.time_s * 1e6
                yield _event(operator, block, process, thread, now_us, duration_us)
                now_us += duration_us


def _unit_events(step: StepResult, process: int) -> Iterator[dict[str, Any]]:
    """Yield one micro-batch in each stage of a system of several units: a thread per unit and link."""
    thread = 0
    start_us = 0.0
    for stage, spans in enumerate(step.timelines):
        suffix = f" of stage {stage}" if len(step.timelines) > 1 else ""
        for resource in dict.fromkeys(span.resource for span in spans):
            thread += 1
            yield _label("thread_name", process, thread, resource + suffix)
            for span in spans:
                if span.resource == resource:
                    at_us, for_us = start_us + span.start_s * 1e6, (span.end_s - span.start_s) * 1e6
                    event = _slice(span.name, span.kind, span.cost, span.block, process, thread, at_us, for_us)
                    event["args"]["part"] = span.part
                    event["args"]["share"] = span.share
                    yield event
        start_us += max(span.end_s for span in spans) * 1e6


def _launches(operators: Sequence[OperatorResult], slots: int) -> Iterator[tuple[OperatorResult, str]]:
    """Yield the launches of one micro-batch in order, with the layer that each belongs to."""
    for block, members in groupby(operators, key=lambda operator: operator.block):
        kernels = list(members)
        repeats = min(kernel.count for kernel in kernels) // slots
        for index in range(repeats):
            for kernel in kernels:
                for _ in range(kernel.count // slots // repeats):
                    yield kernel, f"{block}[{index}]"


def _label(what: str, process: int, thread: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "pid": process, "tid": thread, "name": what, "args": {"name": name}}


def _event(
    operator: OperatorResult, block: str, process: int, thread: int, start_us: float, duration_us: float
) -> dict[str, Any]:
    event = _slice(operator.name, operator.kind, operator.cost, block, process, thread, start_us, duration_us)
    event["args"]["fused"] = list(operator.parts)
    return event


def _slice(
    name: str, kind: str, cost: Cost, block: str, process: int, thread: int, start_us: float, duration_us: float
) -> dict[str, Any]:
    return {
        "ph": "X",
        "pid": process,
        "tid": thread,
        "name": name,
        "cat": kind,
        "ts": round(start_us, 4),
        "dur": round(duration_us, 4),
        "args": {
            "block": block,
            "bound": cost.bound,
            "flops": cost.flops,
            "hbm_B": cost.hbm_B,
        },
    }
