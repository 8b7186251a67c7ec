"""Studies of serving: what their designs are made of, and their machinery on step times that are made up."""

from __future__ import annotations

import numpy as np
import pytest

from dse.studies import lamina, splitwise_setup
from dse.studies.splitwise_setup import Design, Timing, highest_rate, own_cost
from simulator.serving.lengths import Pairs
from workloads.step import Step


def idle(step: Step) -> tuple[float, float]:
    """Prompts a millisecond per ten tokens, tokens forty milliseconds."""
    prompt = sum(g.tokens for g in step.groups if g.new > 1)
    return (1e-4 * prompt if prompt else 0.04), 1.0


@pytest.mark.parametrize("trace", ["conversation", "coding"])
def test_splitwise_designs_keep_their_budgets(trace: str) -> None:
    designs = splitwise_setup.designs(trace)
    baseline = {d.group: d for d in designs if d.name == "Baseline-H100"}
    for design in designs:
        if design.group == "iso-power":
            assert design.power <= baseline["iso-power"].power * 1.01
        else:  # the capped design for coding is over, as in the artifact
            assert design.cost <= baseline["iso-cost"].cost * (1.055 if design.name == "HHcap" else 1.03)


def test_more_machines_hold_a_higher_rate() -> None:
    times = Timing("x", lambda hardware: idle, lambda prompt: Step.of((1, 1, prompt)), 100_000, 1000.0, 10)
    lengths = Pairs(np.array([200, 1000, 1500]), np.array([5, 10, 20]))
    rates = []
    for count in (2, 6):
        design = Design("x", "coding", "iso-power", [("a100-80gb", count, "both")])
        rate, broken = highest_rate(design, times, lengths, span_s=20.0, precision=0.1)
        rates.append(rate)
        assert broken.split()[0] in ("ttft", "tbt", "e2e")
    assert rates[1] > 2.0 * rates[0]


def test_own_devices_take_about_as_long_as_splitwise_measured() -> None:
    """Medians of splitwise_perf.csv, BLOOM-176B; host times of the profile are from other measurements."""
    for hardware, prompt_ms, token_ms in (("a100-80gb", 534.5, 49.4), ("h100-80gb", 246.0, 36.2)):
        cost = own_cost("bloom-176b", hardware)
        assert 1e3 * cost(Step.of((1, 2048, 0)))[0] == pytest.approx(prompt_ms, rel=0.20)
        assert 1e3 * cost(Step.of((1, 1, 576)))[0] == pytest.approx(token_ms, rel=0.15)
    capped = own_cost("bloom-176b", "h100-80gb-pcap")
    assert 1.2 < capped(Step.of((1, 2048, 0)))[0] / cost(Step.of((1, 2048, 0)))[0] < 1.7
    assert capped(Step.of((1, 1, 576)))[0] == pytest.approx(cost(Step.of((1, 1, 576)))[0], rel=0.02)


def test_lamina_compares_systems_of_about_one_price() -> None:
    for model in ("LLaMA-33B", "LLaMA-65B", "Llama-3-70B"):
        alone, hosted, one, two = lamina.settings(model)
        assert (hosted.spec, hosted.hourly_USD) == (alone.spec, alone.hourly_USD)
        assert hosted.host_step_s > alone.host_step_s == 0.0
        for offload in (one, two):
            assert offload.hourly_USD == pytest.approx(alone.hourly_USD, rel=0.1)
            assert [unit.count for unit in offload.spec.units] == [offload.tp, 2 * offload.tp]
        assert [s.spec.placement.interleave for s in (one, two)] == [1, 2]


def test_lamina_batches_what_the_memory_of_attention_holds() -> None:
    """The whole cache is used while others wait, and two batches in turns are ahead of one after the other."""
    lengths = Pairs(np.array([4000]), np.array([40]))
    found = {}
    for setting in lamina.settings("LLaMA-33B")[2:]:
        found[setting.name] = lamina.serve_decode(setting, lamina.ready(setting, 4040.0, 4040), lengths, requests=200)
    one, two = found[lamina.ALONE], found[lamina.TURNS]
    assert one["mean_batch"] == two["mean_batch"] == pytest.approx(one["cache_tokens"] / 4040, rel=0.05)
    assert one["tokens_per_s"] == pytest.approx(one["mean_batch"] / one["step_ms"] * 1e3)
    assert two["tokens_per_s"] > 1.15 * one["tokens_per_s"]
