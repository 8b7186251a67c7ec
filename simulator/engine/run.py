"""Run one step of a model on a system: every pipeline stage, every kernel, time, clock, power and energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hwmodels.device import Cost
from hwmodels.system import System
from simulator.engine.execution import StageRun, UnitUse, execute
from simulator.engine.lowering import LaunchedKernel, lower
from simulator.engine.profile import Profile
from simulator.engine.timeline import Timeline
from workloads.model import ModelSpec
from workloads.moe import UNIFORM, Routing
from workloads.parallel import Parallelism
from workloads.precision import Precision
from workloads.step import Step
from workloads.transformer import build_graph

__all__ = ["OperatorResult", "StepPlan", "StepResult", "plan_step", "run_step"]

SINGLE = Parallelism()


@dataclass(frozen=True, slots=True)
class OperatorResult:
    """One kernel of a step on one device: what it is, how often it runs, what one launch costs."""

    stage: int  # of the pipeline, from 0
    block: str
    name: str
    kind: str
    parts: tuple[str, ...]
    count: int
    cost: Cost
    unit: str  # of the system that ran it; pieces of one operator on several units are several results

    @property
    def time_s(self) -> float:
        """Time of all launches in the step."""
        return self.count * self.cost.time_s


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What one step takes. Times are of the whole system, energy of all devices in use."""

    step: Step
    time_s: float  # from the first launch to the last token, the pipeline empty before
    interval_s: float  # until the same sequences can take their next step, the pipeline kept full
    occupied_s: float  # until the first stage is free for other sequences
    slots: int  # micro-batches that pass each stage one after the other; kernels are counted over all of them
    clock_Hz: float  # of the slowest stage
    power_W: float  # mean over the interval, all devices together
    standing_W: float  # of all devices while they wait
    energy_J: Mapping[str, float]  # per interval by part, all devices together
    operators: tuple[OperatorResult, ...]  # of one device of each stage
    units: tuple[UnitUse, ...]  # and the links between them: time of one rank, energy of all
    timelines: tuple[Timeline, ...]  # of each stage, one slot; empty where kernels follow each other

    @property
    def total_energy_J(self) -> float:
        """Sum of the energy parts."""
        return sum(self.energy_J.values())


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What one step launches, before any device is asked what it costs."""

    slots: int  # micro-batches that pass each stage one after the other
    parts: int  # of a micro-batch that take turns on the units of a system
    busy: int  # devices of a stage that work,
    waiting: int  # and that have no sequences
    stages: tuple[list[LaunchedKernel], ...]  # kernels of one part on one rank of each stage


def run_step(
    model: ModelSpec,
    step: Step,
    precision: Precision,
    system: System,
    profile: Profile,
    parallel: Parallelism = SINGLE,
    routing: Routing = UNIFORM,
) -> StepResult:
    """Run one step.

    Parameters
    ----------
    model, step, precision, parallel, routing
        The work. ``step`` holds all sequences; data-parallel replicas and micro-batches take equal shares of them.
    system : System
        Devices and links, at the level of detail they were built with.
    profile : Profile
        The software stack.

    Returns
    -------
    StepResult
        Time, interval, clock, power, energy, operators.

    Notes
    -----
    With ``pp`` stages and m micro-batches the first pass takes (m + pp - 1) slots of the slowest stage, and steps that
    follow each other max(m, pp) slots (GPipe, Huang et al. 2019, section 2.3).
    """
    rules = system.spec.placement
    plan = plan_step(model, step, precision, profile, parallel, routing, 1 if rules is None else rules.interleave)
    stages = [execute(system, stage, plan.parts) for stage in plan.stages]
    return _combine(step, plan, stages, system, profile, parallel)


def plan_step(
    model: ModelSpec,
    step: Step,
    precision: Precision,
    profile: Profile,
    parallel: Parallelism = SINGLE,
    routing: Routing = UNIFORM,
    interleave: int = 1,
) -> StepPlan:
    """Return the kernels of a step; parameters as of :func:`run_step`, which takes ``interleave`` of the system."""
    share = step.split(parallel.dp)
    slots = _micro_batches(share, parallel)
    micro = share.split(slots)
    parts = min(interleave, micro.sequences)
    micro = profile.pad(micro.split(parts))
    # A replica without sequences waits, unless its devices hold experts that the others need.
    replicas = parallel.dp if parallel.ep > 1 else min(parallel.dp, step.sequences)
    graphs = (
        build_graph(
            model, micro, precision, parallel, routing=routing, stage=stage, expert_exchange=profile.expert_exchange
        )
        for stage in range(parallel.pp)
    )
    return StepPlan(
        slots=slots,
        parts=parts,
        busy=parallel.tp * replicas,
        waiting=parallel.tp * (parallel.dp - replicas),
        stages=tuple(lower(graph, micro, profile) for graph in graphs),
    )


def _micro_batches(share: Step, parallel: Parallelism) -> int:
    """Return the fewest micro-batches of the size that the wanted number leads to: five in fours are three of two."""
    wanted = parallel.pp if parallel.micro_batches is None else parallel.micro_batches
    size = -(-share.sequences // min(wanted, share.sequences))
    return -(-share.sequences // size)


def _combine(
    step: Step,
    plan: StepPlan,
    stages: Sequence[StageRun],
    system: System,
    profile: Profile,
    parallel: Parallelism,
) -> StepResult:
    slots = plan.slots
    slot_s = max(stage.time_s for stage in stages)
    interval_s = max(slots, parallel.pp) * slot_s + profile.host_step_s
    energy_J: dict[str, float] = {}
    for stage in stages:
        for part, joules in stage.energy_J.items():
            energy_J[part] = energy_J.get(part, 0.0) + joules * slots * plan.busy
        waiting_s = plan.busy * (interval_s - slots * stage.time_s) + plan.waiting * interval_s
        energy_J["idle"] = energy_J.get("idle", 0.0) + system.idle_W * waiting_s
    operators = tuple(
        OperatorResult(
            stage=index,
            block=launched.kernel.block,
            name=launched.kernel.kernel.operator.name,
            kind=launched.kernel.kernel.operator.kind,
            parts=getattr(launched.kernel.kernel.operator, "parts", ()),
            count=launched.repeat * slots,
            cost=launched.cost,
            unit=launched.unit,
        )
        for index, stage in enumerate(stages)
        for launched in stage.launched
    )
    return StepResult(
        step=step,
        time_s=(slots + parallel.pp - 1) * slot_s + profile.host_step_s,
        interval_s=interval_s,
        occupied_s=slots * slot_s + profile.host_step_s,
        slots=slots,
        clock_Hz=min(stage.clock_Hz for stage in stages),
        power_W=sum(energy_J.values()) / interval_s,
        standing_W=system.idle_W * parallel.devices,
        energy_J=energy_J,
        operators=operators,
        units=_units(stages, slots, plan.busy),
        timelines=tuple(stage.timeline for stage in stages),
    )


def _units(stages: Sequence[StageRun], slots: int, ranks: int) -> tuple[UnitUse, ...]:
    """Add up what each unit did: busy time of one rank over all stages, energy of all ranks while stages run."""
    totals: dict[str, tuple[float, dict[str, float]]] = {}
    for stage in stages:
        for use in stage.units:
            busy_s, energy_J = totals.get(use.name, (0.0, {}))
            for part, joules in use.energy_J.items():
                energy_J[part] = energy_J.get(part, 0.0) + joules * slots * ranks
            totals[use.name] = (busy_s + use.busy_s * slots, energy_J)
    return tuple(UnitUse(name=name, busy_s=busy_s, energy_J=energy_J) for name, (busy_s, energy_J) in totals.items())
