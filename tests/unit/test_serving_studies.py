"""Studies of serving: what their designs are made of, and their machinery on step times that are made up."""

from __future__ import annotations

import numpy as np
import pytest

from dse.studies import lamina, splitwise
from simulator.serving.lengths import Pairs
from workloads.step import Step


def idle(step: Step) -> tuple[float, float]:
    """Prompts a millisecond per ten tokens, tokens forty milliseconds."""
    prompt = sum(g.tokens for g in step.groups if g.new > 1)
    return (1e-4 * prompt if prompt else 0.04), 1.0


@pytest.mark.parametrize("trace", ["conversation", "coding"])
def test_splitwise_designs_keep_their_budgets(trace: str) -> None:
    designs = splitwise.designs(trace)
    baseline = {d.group: d for d in designs if d.name == "Baseline-H100"}
    for design in designs:
        if design.group == "iso-power":
            assert design.power <= baseline["iso-power"].power * 1.01
        else:
            assert design.cost <= baseline["iso-cost"].cost * 1.03


def test_more_machines_hold_a_higher_rate() -> None:
    class Material:
        def cost(self, hardware: str):
            return idle

        def lengths(self, trace: str) -> Pairs:
            return Pairs(np.array([200, 1000, 1500]), np.array([5, 10, 20]))

    rates = []
    for count in (2, 6):
        design = splitwise.Design("x", "coding", "iso-power", [("a100-80gb", count, "both")])
        rate, broken = splitwise.highest_rate(design, Material(), span_s=20.0, precision=0.1)
        rates.append(rate)
        assert broken.split()[0] in ("ttft", "tbt", "e2e")
    assert rates[1] > 2.0 * rates[0]


def test_lamina_compares_systems_of_about_one_price() -> None:
    for model in ("LLaMA-33B", "LLaMA-65B", "Llama-3-70B"):
        alone, offload = lamina.settings(model)
        assert offload.hourly_USD == pytest.approx(alone.hourly_USD, rel=0.1)
        assert [unit.count for unit in offload.spec.units] == [offload.tp, 2 * offload.tp]
