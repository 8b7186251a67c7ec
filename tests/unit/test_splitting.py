"""Parts of a split operator add up to the whole; expert counts are those of real draws."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from simulator.engine.fusion import fuse_block
from simulator.engine.profile import load_profile
from workloads.catalog import load_model
from workloads.moe import expert_load, load_routing
from workloads.operators import Attention, GroupedGemm, Operator, Role
from workloads.precision import Precision
from workloads.splitting import expert_counts, share_attention, split_experts, split_heads, split_sequences
from workloads.step import Step
from workloads.transformer import build_graph


def operators(model: str, step: Step, fused: bool) -> list[Operator]:
    graph = build_graph(load_model(model), step, Precision.of())
    groups = load_profile("ideal").fusion if fused else ()
    return [op for block in graph.blocks for op in fuse_block(block, groups).operators]


def assert_parts_add_up(whole: Operator, parts: tuple[Operator, ...]) -> None:
    assert sum(p.flops for p in parts) == pytest.approx(whole.flops)
    assert sum(p.vector_ops for p in parts) == pytest.approx(whole.vector_ops)
    sizes: dict[tuple[str, Role], float] = defaultdict(float)
    for part in parts:
        for tensor in part.tensors:
            sizes[tensor.value, tensor.role] += tensor.size_B
    for tensor in whole.tensors:
        assert sizes[tensor.value, tensor.role] == pytest.approx(tensor.size_B)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("number", [1, 3, 7])
def test_experts(fused: bool, number: int) -> None:
    for op in operators("mixtral-8x7b", Step.of((64, 1, 1000)), fused):
        if isinstance(op, GroupedGemm):
            many, few = split_experts(op, number)
            assert_parts_add_up(op, (many, few))
            assert few.load.rows / number < many.load.rows / (8 - number)
            assert few.load.max_tokens <= many.load.max_tokens == op.load.max_tokens


@pytest.mark.parametrize("fused", [False, True])
def test_attention(fused: bool) -> None:
    step = Step.of((2, 512, 0), (30, 1, 1000), (3, 1, 90))
    (op,) = [op for op in operators("llama-3-8b", step, fused) if isinstance(op, Attention)]
    for groups in (1, 2):
        assert_parts_add_up(op, split_sequences(op, groups))
    for heads in (1, 5, 7):
        assert_parts_add_up(op, split_heads(op, heads))
    assert_parts_add_up(op, (share_attention(op, 4),) * 4)
    assert share_attention(op, 3).flops >= op.flops / 3


@pytest.mark.parametrize(("experts", "top_k", "tokens"), [(8, 2, 32), (8, 2, 512), (64, 2, 64), (64, 2, 2048)])
def test_counts_are_those_of_multinomial_draws(experts: int, top_k: int, tokens: int) -> None:
    rng = np.random.default_rng(1)
    chosen = rng.random((max(20, 20_000 // tokens), tokens, experts)).argpartition(top_k, axis=2)[:, :, :top_k]
    drawn = np.stack([np.bincount(draw.ravel(), minlength=experts) for draw in chosen])
    expected = np.sort(drawn, axis=1).mean(axis=0)
    counts = np.zeros(experts)
    ours = expert_counts(expert_load(tokens, experts, top_k))
    counts[experts - len(ours) :] = ours
    assert counts.sum() == pytest.approx(top_k * tokens)
    # The running sum is what decides where to split.
    assert np.abs(np.cumsum(counts) - np.cumsum(expected)).max() < 0.06 * top_k * tokens


def test_skewed_counts_keep_sum_and_maximum() -> None:
    load = expert_load(256, 64, 4, load_routing("zipf:1.0"))
    counts = expert_counts(load)
    assert sum(counts) == pytest.approx(load.rows)
    assert list(counts) == sorted(counts)
    assert counts[-1] <= load.max_tokens
