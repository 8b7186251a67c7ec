"""What a request asks for: lengths, spread over devices, routing with a capacity, pipeline overlap."""

from __future__ import annotations

import pytest

from hwmodels.catalog import load_hardware
from simulator import simulate
from simulator.api.request import Request, choose_parallelism
from simulator.core.errors import InputError
from simulator.engine.profile import load_profile
from workloads.catalog import load_model
from workloads.moe import expert_load, load_routing
from workloads.step import Step


def test_all_devices_are_used_unless_degrees_are_given() -> None:
    model, node = load_model("llama-3-8b"), load_hardware("h100x8")
    assert choose_parallelism(model, node).tp == 8
    assert choose_parallelism(model, node, tp=2).devices == 2
    # 12 heads: four devices share them, two replicas share the batch
    bert = choose_parallelism(load_model("bert-base"), node)
    assert (bert.tp, bert.dp) == (4, 2)


@pytest.mark.parametrize("degrees", [{"tp": 0}, {"pp": 0}, {"tp": 3}, {"tp": 16}, {"ep": 2}, {"pp": 33}])
def test_degrees_that_cannot_be(degrees: dict[str, int]) -> None:
    with pytest.raises(InputError):
        choose_parallelism(load_model("llama-3-8b"), load_hardware("h100x8"), **degrees)


def test_the_first_token_comes_out_of_the_prefill() -> None:
    request = Request(input_tokens=100, output_tokens=10, batch=2, context=7)
    assert request.decode_steps == 9
    assert request.final_tokens == 7 + 100 + 9  # the last token is never fed back
    only_decode = Request(input_tokens=0, output_tokens=10, batch=2, context=7)
    assert only_decode.decode_steps == 10


def test_a_capacity_drops_what_popular_experts_cannot_take() -> None:
    free, limited = load_routing("zipf:1.2"), load_routing("zipf:1.2@1.0")
    loads = [expert_load(4096, 8, 2, r, capacity_factor=r.capacity_factor) for r in (free, limited)]
    assert loads[0].dropped == 0.0 and loads[1].dropped > 0.1
    assert loads[1].max_tokens <= 4096 * 2 / 8 + 1e-9
    times = [
        simulate("mixtral-8x7b", "h200", batch=8, output_tokens=1, routing=text).ttft_s
        for text in ("zipf:1.2", "zipf:1.2@1.0")
    ]
    assert times[0] is not None and times[1] is not None and times[1] < times[0]


@pytest.mark.parametrize("text", ["uniform@", "uniform@x", "uniform@0", "uniform@-1", "zipf@1"])
def test_a_capacity_that_is_none(text: str) -> None:
    with pytest.raises(InputError):
        load_routing(text)


def test_prompts_overlap_in_the_pipeline() -> None:
    """Four stages and many prompts: close to a quarter of one device's time, and never less."""
    one = simulate("llama-3-8b", "h200x8", tp=1, input_tokens=8192, output_tokens=1, batch=32).ttft_s
    four = simulate("llama-3-8b", "h200x8", pp=4, input_tokens=8192, output_tokens=1, batch=32).ttft_s
    assert one is not None and four is not None
    assert 0.25 * one * 0.99 < four < 0.35 * one


def test_sequence_parallelism_trades_one_collective_for_two() -> None:
    reports = [
        simulate("llama-3-70b", "h100x8", batch=4, output_tokens=1, sequence_parallel=flag) for flag in (False, True)
    ]
    names = [{row.name for row in report.operators()} for report in reports]
    assert "attention_gather" in names[1] - names[0]


def test_a_prompt_of_very_many_chunks_is_a_few_steps() -> None:
    """All tokens are there, the last chunk is as it is, and what grows linearly with the cache adds up exactly."""
    stack = load_profile("ideal", ["step_tokens=1000"])
    long = stack.prefill_steps(3, 1_000_500, 70)
    assert len(long) == 129
    assert sum(step.groups[0].new * times for step, times in long) == 3 * 1_000_500
    assert sum(step.groups[0].cached * times for step, times in long) == 3 * sum(70 + 1000 * i for i in range(1001))
    assert long[-1][0] == Step.of((1, 500, 1_000_070, 1))
    assert stack.prefill_steps(1, 128_500, 0)[:-1] == [(Step.of((1, 1000, 1000 * i, 0)), 1) for i in range(128)]
