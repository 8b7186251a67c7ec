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

__all__ = ["ATTENTION", "GEMM", "GROUPED", "STREAM", "Table", "build_table"]

GEMM, GROUPED, ATTENTION, STREAM = 0, 1, 2, 3

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Table(NamedTuple):
    """Arrays of one request on one kind of system. Ranges: item ``i`` is rows ``[ptr[i], ptr[i + 1])``."""

    kind: Ints  # of each operator
    row: Ints  # of each operator: in the array of its kind
    work: Floats  # of each operator: OperatorWork
    tensor_bits: Floats  # of each operator: operand width of products on the matrix units, 0 of others
    gemm: Floats  # GemmWork
    grouped: Floats  # GroupedWork
    product_code: Ints  # of each operator that is a product: kernels of which format
    product_rate: Ints  # of each operator with products: which of the rates below
    stream: Floats  # StreamWork
    attention_ptr: Ints
    attention: Floats  # AttentionShape of each group, its rate not filled in
    routes: Floats  # Route of each collective
    rate_slot: Ints  # of each format that products are computed in: its raw number
    rate_at_max: Ints  # 1: quoted at the highest clock, 0: at the clock that peaks are quoted at
    run_ptr: Ints
    run_operator: Ints
    run_repeat: Floats
    run_link_ptr: Ints
    run_link: Ints
    run_link_repeat: Floats
    run_host_s: Floats  # host time of all launches of a run
    step_ptr: Ints  # runs of each step: its pipeline stages
    step_slots: Floats
    step_busy: Floats
    step_waiting: Floats
    step_weight: Floats  # steps that it stands for
    prefill_steps: int  # the first ones
    prefill_sample: int  # the step whose clock is the phase's
    decode_sample: int
    stages: float
    devices: float
    host_step_s: float


@dataclass(slots=True)
class _Builder:
    """Collects operators, each once."""

    gpu: Gpu
    known: dict[Any, int] = field(default_factory=dict)
    kind: list[int] = field(default_factory=list)
    row: list[int] = field(default_factory=list)
    work: list[Sequence[float]] = field(default_factory=list)
    bits: list[float] = field(default_factory=list)
    code: list[int] = field(default_factory=list)
    rate: list[int] = field(default_factory=list)
    rows: dict[int, list[Sequence[float]]] = field(default_factory=lambda: {GEMM: [], GROUPED: [], STREAM: []})
    groups: list[list[Sequence[float]]] = field(default_factory=list)
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
        self.known[key] = number = len(self.kind)
        self.kind.append(kind)
        if kind == ATTENTION:
            self.row.append(len(self.groups))
            self.groups.append([tuple(group) for group in numbers])
        else:
            self.row.append(len(self.rows[kind]))
            self.rows[kind].append(tuple(numbers))
        self.work.append(work)
        self.bits.append(model.tensor_bits(mma) if kind in (GEMM, GROUPED) else 0.0)
        self.code.append(code)
        self.rate.append(self._rate(rated))
        return number

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
            return GEMM, gemm_work(operator), code, mma
        return GROUPED, grouped_work(operator, model.gemm), code, mma
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
    groups = builder.groups
    formats = builder.formats
    return Table(
        kind=_ints(builder.kind),
        row=_ints(builder.row),
        work=_matrix(builder.work, 7),
        tensor_bits=_floats(builder.bits),
        gemm=_matrix(builder.rows[GEMM], 9),
        grouped=_matrix(builder.rows[GROUPED], 9),
        product_code=_ints(builder.code),
        product_rate=_ints(builder.rate),
        stream=_matrix(builder.rows[STREAM], 7),
        attention_ptr=_pointers([len(g) for g in groups]),
        attention=_matrix([shape for g in groups for shape in g], 18),
        routes=_matrix(list(builder.routes), 5),
        rate_slot=_ints([rate_slot(used) for used in formats]),
        rate_at_max=_ints([int(used in ("fp32", "fp64")) for used in formats]),
        run_ptr=operators[0],
        run_operator=operators[1],
        run_repeat=operators[2],
        run_link_ptr=links[0],
        run_link=links[1],
        run_link_repeat=links[2],
        run_host_s=_floats([run[2] for run in runs]),
        step_ptr=_pointers([step[0] for step in steps]),
        step_slots=_floats([step[1] for step in steps]),
        step_busy=_floats([step[2] for step in steps]),
        step_waiting=_floats([step[3] for step in steps]),
        step_weight=_floats([step[4] for step in steps]),
        prefill_steps=len(prefill),
        prefill_sample=largest.index(max(largest)) if prefill else 0,
        decode_sample=len(prefill) + len(decode) // 2,
        stages=float(setup.parallel.pp),
        devices=float(setup.parallel.devices),
        host_step_s=float(setup.profile.host_step_s),
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
