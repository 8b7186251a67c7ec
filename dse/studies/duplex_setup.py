"""What the Duplex study runs: models, systems, lengths; a steady state each, with energy also on the paper's terms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

from dse.studies.steady_state import Steady, steady_state
from hwmodels.catalog import load_hardware
from hwmodels.system import System, build_system
from simulator.api.phases import Setup
from simulator.api.request import Request
from simulator.engine.memory import Residents, check_memory, pools_of
from simulator.engine.profile import load_profile
from simulator.engine.run import StepResult
from workloads.catalog import load_model
from workloads.model import ModelSpec
from workloads.moe import UNIFORM
from workloads.parallel import Parallelism
from workloads.precision import Precision
from workloads.step import Step

__all__ = ["MODELS", "SYSTEMS", "Case", "Outcome", "grid", "run_case", "run_step_of", "setup_of", "system_of"]


class Served(NamedTuple):
    """A model of the paper: ours by name with what it says otherwise, and the devices it is served on."""

    name: str
    changes: tuple[str, ...]
    devices: int
    lengths: tuple[int, ...]  # tokens in and as many out


#: Section VI: models, devices, lengths. GLaM is the one of 143 billion parameters, experts in every other layer.
MODELS: Mapping[str, Served] = {
    "Mixtral": Served("mixtral-8x7b", (), 4, (256, 1024, 4096)),
    "GLaM": Served(
        "glam-64b-64e",
        ("hidden_size=4096", "num_hidden_layers=32", "num_attention_heads=32", "intermediate_size=16384"),
        8,
        (512, 1024, 2048),
    ),
    "Grok1": Served("grok-1", (), 16, (256, 1024, 4096)),
    "Llama3": Served("llama-3-70b", (), 4, (256, 1024, 4096)),
    "OPT": Served("opt-66b", (), 4, (256, 1024, 4096)),
}

_TURNS = ("placement.policy=fastest", "placement.sections=1", "placement.kv_sections=1")


class Design(NamedTuple):
    """A system of the paper: one of ours, how many of it, and how experts are spread."""

    hardware: str
    changes: tuple[str, ...] = ()
    copies: int = 1  # devices, in multiples of the model's
    expert_tensor: bool = False  # experts cut over a node, as dense blocks are, rather than dealt to devices


#: PE: processor and Logic-PIM share operators. ET: experts in tensor parallel within a node.
SYSTEMS: Mapping[str, Design] = {
    "GPU": Design("h100"),
    "2xGPU": Design("h100", copies=2),
    "Bank-PIM": Design("h100-bank-pim"),
    "Duplex": Design("duplex", _TURNS),
    "Duplex+PE": Design("duplex"),
    "Duplex+PE+ET": Design("duplex", expert_tensor=True),
}

_NODE = 8

#: Energy of a 32-byte access with its share of an activation (0.909 nJ for each 1 KB row), and of an operation, as the
#: paper's simulator counts them. Source: LLMSimulator (commit f71dde4), power.h.
_ACCESS_J_PER_B = {
    "gpu": (0.891e-9 + 0.909e-9 / 32.0) / 32.0,
    "xpu": (0.891e-9 + 0.909e-9 / 32.0) / 32.0,
    "Duplex Logic-PIM": (0.464e-9 + 0.909e-9 / 32.0) / 32.0,
    "Bank-PIM (Duplex baseline)": (0.187e-9 + 0.909e-9 / 32.0) / 32.0,
}
_J_PER_FLOP = 0.23e-12


#: One hop between devices. Source: LLMSimulator, its default device_link_latency.
_HOP_S = 3.0e-6
_HOPS = {"reduce": 2}  # a reduce-scatter and an all-gather; other collectives are one


class Case(NamedTuple):
    """One point of the paper's grid.

    ``published``: on the terms of the paper's simulator, processors at their datasheet's rates, links with one latency
    a hop; else with our calibrated GPU and collectives. Memory that computes is timed by its commands in both.
    """

    model: str
    system: str
    batch: int
    length: int
    published: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a case gives."""

    steady: Steady
    access_J: float  # memory accesses and arithmetic per token, with the paper's energies


def grid(models: tuple[str, ...], systems: tuple[str, ...], batches: tuple[int, ...]) -> Iterator[Case]:
    """Yield the cases of some models and systems at every length of the paper."""
    for model in models:
        for batch in batches:
            for length in MODELS[model].lengths:
                for system in systems:
                    yield Case(model, system, batch, length)


@cache
def _model(name: str) -> ModelSpec:
    served = MODELS[name]
    return load_model(served.name, served.changes)


@cache
def _system(name: str, devices: int, published: bool) -> System:
    design = SYSTEMS[name]
    nodes, inside = max(1, devices // _NODE), min(devices, _NODE)
    changes = [*design.changes, *([f"nodes={nodes}"] if nodes > 1 else [])]
    full = f"{design.hardware}x{inside}" if design.hardware == "h100" else f"{design.hardware}-x{inside}"
    system = build_system(load_hardware(full, changes))
    if not published:
        return system
    bound = build_system(system.spec, "roofline").units[0]
    return replace(system, units=(bound, *system.units[1:]))


def _spread(model: ModelSpec, devices: int, expert_tensor: bool) -> Parallelism:
    """Tensor parallel within a node, replicas over nodes; experts dealt to devices, or cut within each node."""
    tp = min(devices, _NODE)
    experts = max((g.layer.moe.experts for g in model.layers if g.layer.moe is not None), default=1)
    ep = devices // tp if expert_tensor else min(experts, devices)
    return Parallelism(tp=tp, dp=devices // tp, ep=ep if experts > 1 else 1)


def _devices(case: Case) -> int:
    return MODELS[case.model].devices * SYSTEMS[case.system].copies


def system_of(case: Case) -> System:
    """Return what a case runs on."""
    return _system(case.system, _devices(case), case.published)


@cache
def setup_of(case: Case) -> Setup:
    """Return what a case runs: model, formats, parallelism, kernels."""
    model = _model(case.model)
    parallel = _spread(model, _devices(case), SYSTEMS[case.system].expert_tensor)
    precision = Precision.of("fp16", "fp16", "fp16")
    request = Request(input_tokens=case.length, output_tokens=case.length, batch=case.batch)
    return Setup(model, precision, parallel, load_profile("ideal"), UNIFORM, request)


def run_step_of(case: Case, step: Step) -> StepResult:
    """Run a step of a case; on the terms of the paper's simulator every hop of a collective takes its time."""
    result = setup_of(case).run(step, system_of(case))
    return _with_hops(result) if case.published else result


@cache
def run_case(case: Case) -> Outcome:
    """Run one point; a batch for which there is no memory shrinks to what fits, as the paper's does."""
    setup, system = setup_of(case), system_of(case)
    replicas = setup.parallel.dp
    resident = Residents(sequences=-(-case.batch // replicas), tokens=2 * case.length, new=1)
    memory = check_memory(setup.model, setup.precision, setup.parallel, resident, pools_of(system), setup.profile)
    steady = steady_state(
        lambda step: run_step_of(case, step),
        min(case.batch, memory.max_batch * replicas),
        case.length,
        case.length,
    )
    return Outcome(steady, _access_J(steady, system, _devices(case)))


def _with_hops(result: StepResult) -> StepResult:
    """Add the latency of every collective, which a roofline leaves out; it is in none of our energies."""
    hops = sum(
        op.count * _HOPS.get(op.name.rpartition("_")[2], 1) for op in result.operators if op.kind == "collective"
    )
    return replace(result, time_s=result.time_s + hops * _HOP_S, interval_s=result.interval_s + hops * _HOP_S)


def _access_J(steady: Steady, system: System, devices: int) -> float:
    names = {unit.name: unit.device.name for unit in system.units}
    total_J = 0.0
    for result, share in steady.steps:
        for op in result.operators:
            per_B = _ACCESS_J_PER_B.get(op.unit) or _ACCESS_J_PER_B[names[op.unit]]
            total_J += share * op.count * (op.cost.hbm_B * per_B + op.cost.flops * _J_PER_FLOP)
    return total_J * devices / steady.batch
