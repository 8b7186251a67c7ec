"""Steady state of continuous batching, by hand; the Duplex study where it is decided."""

from __future__ import annotations

import pytest

from dse.studies import duplex
from dse.studies.duplex_serving import saturated_rate, steady_rate
from dse.studies.duplex_setup import MODELS, SYSTEMS, Case, grid, run_case
from dse.studies.steady_state import steady_state, steady_steps
from dse.studies.study import study_text
from hwmodels.catalog import load_hardware
from hwmodels.system import build_system
from simulator.engine.profile import load_profile
from simulator.engine.run import StepResult, run_step
from workloads.catalog import load_model
from workloads.parameters import parameters
from workloads.precision import Precision
from workloads.step import Step

LENGTHS = [(64, 512, 256), (8, 100, 1000), (128, 64, 64), (100, 10, 30), (1, 5, 1)]


@pytest.mark.parametrize(("batch", "prompt", "output"), LENGTHS)
def test_steps_keep_the_batch_and_the_flow_of_prompts(batch: int, prompt: int, output: int) -> None:
    kinds = steady_steps(batch, prompt, output)
    assert sum(share for _, share in kinds) == pytest.approx(1.0)
    for step, _ in kinds:
        assert step.sequences == batch
    entering = sum(share * sum(g.count for g in step.groups if g.cached == 0) for step, share in kinds)
    assert entering == pytest.approx(batch / output)
    cached = sum(share * sum(g.count * g.cached for g in step.groups) for step, share in kinds)
    running = batch - batch / output
    if running:
        assert cached / running == pytest.approx(prompt + output / 2, rel=0.02, abs=0.5)


def test_means_by_hand() -> None:
    model, system, profile = load_model("llama-3-8b"), build_system(load_hardware("h200")), load_profile("ideal")

    def run(step: Step) -> StepResult:
        return run_step(model, step, Precision.of(), system, profile)

    steady = steady_state(run, 16, 512, 64)
    (without, often), (with_prompt, seldom) = steady.steps
    assert (often, seldom) == (0.75, 0.25)
    mean_s = 0.75 * without.interval_s + 0.25 * with_prompt.interval_s
    assert steady.tokens_per_s == pytest.approx(16 / mean_s)
    assert steady.median_step_s == without.interval_s
    assert steady.p99_step_s == steady.first_token_s == with_prompt.interval_s
    assert steady.request_s == pytest.approx(with_prompt.interval_s + 63 * mean_s)


def test_the_models_are_the_papers() -> None:
    stated = {"Mixtral": 47e9, "GLaM": 143e9, "Grok1": 314e9, "Llama3": 70e9, "OPT": 66e9}
    for name, served in MODELS.items():
        assert parameters(load_model(served.name, served.changes)) == pytest.approx(stated[name], rel=0.03)


def test_batch_that_fits_is_the_papers() -> None:
    """OPT-66B at batch 64 and 1024 tokens: "one marked point drops to batch 41 for lack of memory" (Fig. 14)."""
    assert run_case(Case("OPT", "GPU", 64, 1024)).steady.batch == pytest.approx(41, abs=3)


def test_order_of_systems() -> None:
    rates = {name: run_case(Case("Mixtral", name, 64, 1024)).steady.tokens_per_s for name in SYSTEMS}
    assert rates["GPU"] <= rates["Bank-PIM"] < rates["Duplex"] < rates["Duplex+PE"] < rates["Duplex+PE+ET"]
    assert rates["Duplex+PE+ET"] < 4 * rates["GPU"]  # no more than what the memory has more


def test_grouped_queries_favour_more_work_per_byte() -> None:
    gains = {}
    for model in ("Llama3", "OPT"):
        over = [
            run_case(case).steady.tokens_per_s / run_case(case._replace(system="Bank-PIM")).steady.tokens_per_s
            for case in grid((model,), ("Duplex+PE",), (64,))
        ]
        gains[model] = sum(over) / len(over)
    assert gains["Llama3"] > 1.0
    case = Case("OPT", "Duplex+PE", 64, 256)
    bank = run_case(case._replace(system="Bank-PIM")).steady.tokens_per_s
    assert run_case(case).steady.tokens_per_s < bank


@pytest.mark.slow
def test_the_study_says_what_it_missed() -> None:
    study = duplex.run(None, lambda line: None)
    missed = {comparison.what for comparison in study.missed}
    judged = [comparison for comparison in study.comparisons if comparison.tolerance is not None]
    assert len(judged) - len(missed) >= 12
    assert all("Bank-PIM" in what or "GLaM" in what for what in missed), missed
    assert "missed (20 %)" in study_text(study)


@pytest.mark.parametrize("published", [True, False])
def test_requests_one_by_one_saturate_a_little_below_the_steady_state(published: bool) -> None:
    """The loop keeps no batch full all the time, and takes the very steps of the steady state."""
    assert 0.90 * steady_rate("GPU", published) < saturated_rate("GPU", published) < steady_rate("GPU", published)
