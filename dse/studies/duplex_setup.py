"""What the Duplex study runs: models, systems, lengths; a steady state each, with energy also on the paper's terms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

from dse.studies.steady_state import Steady, steady_state
from hwmodels.catalog import load_hardware
from hwmodels.system import System, build_system
from simulator.engine.memory import Residents, check_memory, pools_of
from simulator.engine.profile import load_profile
from simulator.engine.run import StepResult, run_step
from workloads.catalog import load_model
from workloads.model import ModelSpec
from workloads.parallel import Parallelism
from workloads.precision import Precision
from workloads.step import Step

__all__ = ["MODELS", "SYSTEMS", "Case", "Outcome", "grid", "run_case", "saturated_rate"]


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


@cache
def run_case(case: Case) -> Outcome:
    """Run one point; a batch for which there is no memory shrinks to what fits, as the paper's does."""
    design, model = SYSTEMS[case.system], _model(case.model)
    devices = MODELS[case.model].devices * design.copies
    system = _system(case.system, devices, case.published)
    parallel = _spread(model, devices, design.expert_tensor)
    precision, profile = Precision.of("fp16", "fp16", "fp16"), load_profile("ideal")
    resident = Residents(sequences=-(-case.batch // parallel.dp), tokens=2 * case.length, new=1)
    room = check_memory(model, precision, parallel, resident, pools_of(system), profile).max_batch * parallel.dp

    def run(step: Step) -> StepResult:
        result = run_step(model, step, precision, system, profile, parallel)
        return _with_hops(result) if case.published else result

    steady = steady_state(
        run,
        min(case.batch, room),
        case.length,
        case.length,
    )
    return Outcome(steady, _access_J(steady, system, devices))


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


#: Figure 13: requests of Mixtral, how many run at once; how many we follow, a rate that no system keeps up with.
_LENGTHS, _AT_ONCE = "4096:512", 128
_REQUESTS, _TOO_MANY = 400, 100.0


@cache
def saturated_rate(system: str) -> float:
    """Return the requests per second that Mixtral on a system finishes when more arrive, one by one."""
    from simulator.serving.arrivals import Stream
    from simulator.serving.lengths import parse_lengths
    from simulator.serving.serve import Deployment, Load, deploy, serve

    design, served = SYSTEMS[system], MODELS["Mixtral"]
    devices = served.devices * design.copies
    spread = _spread(_model("Mixtral"), devices, design.expert_tensor)
    source = Stream(lengths=parse_lengths(_LENGTHS), rate=_TOO_MANY, count=_REQUESTS)
    how = Deployment(
        weights="fp16",
        activations="fp16",
        kv="fp16",
        tp=spread.tp,
        ep=spread.ep,
        profile="ideal",
        sequences=_AT_ONCE,
    )
    deployed = deploy(_model("Mixtral"), _system(system, devices, False).spec, how, source)
    return serve(deployed, Load(source=source)).report.request_rate
