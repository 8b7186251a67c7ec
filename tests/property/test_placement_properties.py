"""Properties of systems of several units, for any step, placement and pair of devices."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwmodels.catalog import load_hardware
from hwmodels.system import System, build_system
from simulator.engine.placement import Choices, place
from simulator.engine.profile import load_profile
from simulator.engine.run import StepResult, run_step
from workloads.catalog import load_model
from workloads.operators import Attention, GroupedGemm
from workloads.precision import Precision
from workloads.step import Step
from workloads.transformer import build_graph

QUICK = settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
MODELS = st.sampled_from(["mixtral-8x7b", "llama-3-8b", "gpt2-xl"]).map(load_model)
NEAR = st.sampled_from(["logic-pim", "bank-pim", "bank-group-pim", "attacc"])
POLICIES = st.sampled_from(["fixed", "fastest", "intensity", "co-processing"])
PROFILE, PRECISION = load_profile("ideal"), Precision.of()


@st.composite
def steps(draw: st.DrawFn) -> Step:
    groups = [(draw(st.integers(1, 200)), 1, draw(st.integers(1, 8000))) for _ in range(draw(st.integers(1, 3)))]
    if draw(st.booleans()):
        groups.append((draw(st.integers(1, 3)), draw(st.integers(2, 900)), draw(st.sampled_from([0, 64]))))
    return Step.of(*groups)


@st.composite
def placements(draw: st.DrawFn) -> dict[str, Any]:
    sections = draw(st.integers(1, 6))
    return {
        "policy": draw(POLICIES),
        "kinds": draw(st.sampled_from([{}, {"attention": "near"}, {"gemm": "near", "attention/prompt": "xpu"}])),
        "intensity": draw(st.floats(0.5, 300)),
        "sections": sections,
        "kv_sections": draw(st.integers(1, sections)),
        "head_groups": draw(st.sampled_from([1, 1, 3])),
        "interleave": draw(st.sampled_from([1, 1, 2])),
    }


def system(near: str, placement: dict[str, Any], apart: bool = False) -> System:
    beside = {"holds": ["kv"]} if apart else {"memory": "xpu"}
    units = [{"name": "xpu", "device": "h100"}, {"name": "near", "device": near, **beside}]
    units[0].update({"holds": ["weights"]} if apart else {})  # type: ignore[dict-item]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "system.yaml"
        file.write_text(json.dumps({"name": "Drawn", "units": units, "placement": placement}), encoding="utf-8")
        return build_system(load_hardware(file))


def run(model: Any, step: Step, near: System) -> StepResult:
    return run_step(model, step, PRECISION, near, PROFILE)


@QUICK
@given(MODELS, steps(), NEAR, placements())
def test_a_split_is_never_slower_than_the_best_unit_alone(model: Any, step: Step, near: str, rules: Any) -> None:
    built = system(near, {**rules, "policy": "co-processing"})
    assert built.spec.placement is not None
    choices = Choices(built.units, built.spec.placement)
    for operator, _ in build_graph(model, step, PRECISION):
        if isinstance(operator, GroupedGemm | Attention):
            pieces = place(operator, choices)
            alone_s = min(choices.time_s(unit, operator) for unit in choices.able(operator))
            assert choices.together_s(pieces) <= alone_s * (1 + 1e-12)
            assert sum(piece.operator.flops for piece in pieces) <= operator.flops * (1 + 1e-9)
            assert sum(piece.operator.flops for piece in pieces) >= operator.flops * (1 - 1e-9)


@QUICK
@given(MODELS, steps(), NEAR, placements(), st.booleans())
def test_schedules_keep_order_and_account_for_all_energy(
    model: Any, step: Step, near: str, rules: Any, apart: bool
) -> None:
    result = run(model, step, system(near, rules, apart))
    assert abs(sum(sum(u.energy_J.values()) for u in result.units) / result.total_energy_J - 1) < 1e-9
    (timeline,) = result.timelines
    busy_until: dict[tuple[str, str], float] = {}
    for span in timeline:
        assert span.end_s >= span.start_s >= 0
        if span.kind != "transfer":  # the latency of one message runs beside the bytes of the next
            key = (span.resource, "")
            assert span.start_s >= busy_until.get(key, 0.0) - 1e-12
            busy_until[key] = span.end_s
    assert timeline.time_s <= result.time_s * (1 + 1e-12)
    for use in result.units:
        assert use.busy_s <= result.time_s * (1 + 1e-9) or " to " in use.name


@QUICK
@given(MODELS, steps(), NEAR)
def test_co_processing_never_loses_to_turns_nor_to_the_processor_alone(model: Any, step: Step, near: str) -> None:
    def policy(name: str, sections: int) -> StepResult:
        return run(model, step, system(near, {"policy": name, "sections": sections}))

    together, fastest, alone = policy("co-processing", 4), policy("fastest", 4), policy("fixed", 4)
    # Placed at the highest clock, run at what the power limit leaves: a few thousandths apart.
    assert together.time_s <= fastest.time_s * 1.01
    assert fastest.time_s <= alone.time_s * 1.01


@QUICK
@given(MODELS, steps(), st.floats(1.05, 4.0), st.booleans())
def test_more_bandwidth_is_never_slower(model: Any, step: Step, factor: float, apart: bool) -> None:
    rules = {"policy": "fixed", "kinds": {"attention": "near"}} if apart else {"policy": "fastest"}
    base = system("attacc", rules, apart)
    assert run(model, step, base.scaled("hbm", factor)).time_s <= run(model, step, base).time_s * 1.003
