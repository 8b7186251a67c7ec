"""The operator table of a batch: every kernel that a simulation of a request would launch, as arrays of numbers.

Built from the very steps, graphs and kernels that :func:`simulator.simulate` runs. Alike kernels of all steps are
stored once; a *run* (one stage of one step, what a device executes again and again) lists which it launches how often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dse.batch.columns import rate_slot
from hwmodels.gpu.analytic import (
    attention_backend,
    attention_shapes,
    format_code,
    gemm_work,
    grouped_work,
    stream_work,
)
from hwmodels.gpu.device import Gpu
from hwmodels.gpu.energy import compute_name, operator_work
from hwmodels.gpu.model import GpuModel
from simulator.api.phases import Setup, request_steps
from simulator.engine.lowering import LaunchedKernel
from simulator.engine.run import plan_step
from workloads.formats import compute_format
from workloads.operators import Attention, Collective, Gemm, GroupedGemm, Operator, Transfer

__all__ = [
    "ATTENTION",
    "BITS",
    "GEMM",
    "GROUPED",
    "STREAM",
    "WORK",
    "Operators",
    "Runs",
    "Steps",
    "Table",
    "build_table",
]

GEMM, GROUPED, ATTENTION, STREAM = 0, 1, 2, 3

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Operators(NamedTuple):
    """Every operator, each once: few and plain arrays, because compiled calls hand them on one by one."""

    codes: Ints  # (operators, 5): kind, format of its kernels, number of its rate, first group and one after the last
    numbers: Floats  # (operators, 18): GemmWork, GroupedWork or StreamWork; OperatorWork from WORK on; width at BITS
    groups: Floats  # (groups, 18): AttentionShape, its rate not filled in


#: Where the work that energy counts, and the operand width of products on the matrix units (0 of others), begin.
WORK, BITS = 10, 17


class Runs(NamedTuple):
    """What a device executes: run ``i`` launches entries ``[ptr[i], ptr[i + 1])``, and collectives likewise."""

    ptr: Ints
    operator: Ints
    repeat: Floats
    link_ptr: Ints
    link: Ints
    link_repeat: Floats
    routes: Floats  # (collectives, 5): Route
    host_s: Floats  # of all launches of a run


class Steps(NamedTuple):
    """Steps of the phases, the prefill's first: runs ``[ptr[i], ptr[i + 1])`` are the pipeline stages of step ``i``."""

    ptr: Ints
    slots: Floats
    busy: Floats
    waiting: Floats
    weight: Floats  # steps that it stands for
    prefill: int  # how many
    prefill_sample: int  # the step whose clock is the phase's
    decode_sample: int
    stages: float
    devices: float
    host_step_s: float


class Table(NamedTuple):
    """One request on one kind of system."""

    operators: Operators
    runs: Runs
    steps: Steps
    rate_slot: Ints  # of each format that products are computed in: its raw number
    rate_at_max: Ints  # 1: quoted at the highest clock, 0: at the clock that peaks are quoted at


@dataclass(slots=True)
class _Builder:
    """Collects operators, each once."""

    gpu: Gpu
    known: dict[Any, int] = field(default_factory=dict)
    codes: list[tuple[int, ...]] = field(default_factory=list)
    numbers: list[tuple[float, ...]] = field(default_factory=list)
    groups: list[tuple[float, ...]] = field(default_factory=list)
    formats: list[str] = field(default_factory=list)
    routes: dict[Any, int] = field(default_factory=dict)

    def route(self, operator: Collective | Transfer) -> int:
        """Return the number of a collective."""
        return self.routes.setdefault(self.gpu.network.route(operator), len(self.routes))

    def operator(self, operator: Operator) -> int:
        """Return the number of an operator, taken in where none like it was."""
        model = self.gpu.model
        name = compute_name(operator)
        mma = model.compute_format(name)
        work = operator_work(operator, mma)
        kind, numbers, code, rated = _numbers(operator, model)
        key = (kind, tuple(numbers), code, rated, work, mma)
        if key in self.known:
            return self.known[key]
        self.known[key] = len(self.known)
        first = len(self.groups)
        if kind == ATTENTION:
            self.groups += numbers
            numbers = ()
        bits = model.tensor_bits(mma) if kind in (GEMM, GROUPED) else 0.0
        self.codes.append((kind, code, self._rate(rated), first, len(self.groups)))
        self.numbers.append((*numbers, *[0.0] * (WORK - len(numbers)), *work, bits))
        return self.known[key]

    def _rate(self, operands: str) -> int:
        used = self.gpu.model.compute_format(operands)
        if used not in self.formats:
            self.formats.append(used)
        return self.formats.index(used)


def _numbers(operator: Operator, model: GpuModel) -> tuple[int, Sequence[Any], int, str]:
    """Return kind, numbers, format code and the format whose rate counts."""
    if isinstance(operator, (Gemm, GroupedGemm)):
        mma = compute_format(operator.activations, operator.weights).mma
        code = format_code(mma, model)
        if isinstance(operator, Gemm):
            return GEMM, gemm_work(operator, model), code, mma
        return GROUPED, grouped_work(operator, model), code, mma
    if isinstance(operator, Attention):
        shapes = attention_shapes(operator, model, attention_backend(operator, model))
        unrated = tuple(shape._replace(mma_flop_per_clock=0.0) for shape in shapes)
        return ATTENTION, unrated, 0, operator.activations.mma
    return STREAM, stream_work(operator), 0, "bf16"


def build_table(setup: Setup, gpu: Gpu) -> Table:
    """Return the table of a request.

    Parameters
    ----------
    setup : Setup
        The request.
    gpu : Gpu
        The device; of it only what no column may change: families, formats, how nodes are made up.
    """
    builder = _Builder(gpu)
    prefill, decode = request_steps(setup)
    runs: list[tuple[dict[int, float], dict[int, float], float]] = []
    steps: list[tuple[int, float, float, float, float]] = []
    for step, weight in [*prefill, *decode]:
        plan = plan_step(setup.model, step, setup.precision, setup.profile, setup.parallel, setup.routing)
        runs += [_run(stage, builder) for stage in plan.stages]
        steps.append((len(plan.stages), plan.slots, plan.busy, plan.waiting, weight))
    largest = [step.tokens for step, _ in prefill]
    operators, links = [_listed(run[0] for run in runs), _listed(run[1] for run in runs)]
    return Table(
        Operators(np.asarray(builder.codes, np.int64), _matrix(builder.numbers, BITS + 1), _matrix(builder.groups, 18)),
        Runs(*operators, *links, routes=_matrix(list(builder.routes), 5), host_s=_floats([run[2] for run in runs])),
        Steps(
            ptr=_pointers([step[0] for step in steps]),
            slots=_floats([step[1] for step in steps]),
            busy=_floats([step[2] for step in steps]),
            waiting=_floats([step[3] for step in steps]),
            weight=_floats([step[4] for step in steps]),
            prefill=len(prefill),
            prefill_sample=largest.index(max(largest)) if prefill else 0,
            decode_sample=len(prefill) + len(decode) // 2,
            stages=float(setup.parallel.pp),
            devices=float(setup.parallel.devices),
            host_step_s=float(setup.profile.host_step_s),
        ),
        _ints([rate_slot(used) for used in builder.formats]),
        _ints([int(used in ("fp32", "fp64")) for used in builder.formats]),
    )


def _run(stage: Sequence[LaunchedKernel], builder: _Builder) -> tuple[dict[int, float], dict[int, float], float]:
    """Return how often a stage launches each operator and each collective, and the host time of all of that."""
    operators: dict[int, float] = {}
    links: dict[int, float] = {}
    for launched in stage:
        operator, repeat = launched.kernel.operator, launched.kernel.repeat
        if isinstance(operator, (Collective, Transfer)):
            number = builder.route(operator)
            links[number] = links.get(number, 0.0) + repeat
        else:
            number = builder.operator(operator)
            operators[number] = operators.get(number, 0.0) + repeat
    return operators, links, sum(launched.kernel.repeat * launched.kernel.host_s for launched in stage)


def _listed(runs: Any) -> tuple[Ints, Ints, Floats]:
    """Return ranges, numbers and repeats of what each run launches."""
    lists = list(runs)
    numbers = [number for run in lists for number in run]
    repeats = [repeat for run in lists for repeat in run.values()]
    return _pointers([len(run) for run in lists]), _ints(numbers), _floats(repeats)


def _pointers(counts: Sequence[int]) -> Ints:
    return np.concatenate(([0], np.cumsum(np.asarray(counts, np.int64)))).astype(np.int64)


def _ints(values: Sequence[int]) -> Ints:
    return np.asarray(values, np.int64)


def _floats(values: Sequence[float]) -> Floats:
    return np.asarray(values, np.float64)


def _matrix(rows: Sequence[Sequence[float]], columns: int) -> Floats:
    return np.asarray(rows, np.float64).reshape(len(rows), columns)
