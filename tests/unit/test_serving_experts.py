"""Serving a mixture of experts: what a step takes varies with its routing, around what the engine expects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwmodels.system import build_system
from simulator.api.simulate import prepare as prepare_setup
from simulator.core.errors import InputError
from simulator.serving import layout
from simulator.serving.arrivals import Stream
from simulator.serving.cluster import Cluster, Pool, Server
from simulator.serving.engine_server import engine_cost, uneven_cost
from simulator.serving.lengths import parse_lengths
from simulator.serving.run import ClusterRun, prepare, run_cluster
from workloads.moe import expert_load
from workloads.step import Step

EP = 8


def mixture(model: str = "qwen3-30b-a3b", ep: int | None = EP):
    setup, spec = prepare_setup(model, "h200x8", tp=8, ep=ep, profile="vllm-0.19")
    return setup, build_system(spec, "analytic")


def fullest_ranks(tokens: int, experts: int, top_k: int, draws: int) -> np.ndarray:
    """Rows of the fullest rank in so many draws: each token picks distinct experts at random."""
    random = np.random.default_rng(5)
    chosen = np.argsort(random.random((draws, tokens, experts)), axis=2)[:, :, :top_k] % EP
    return np.array([np.bincount(one.ravel(), minlength=EP).max() for one in chosen])


@pytest.mark.parametrize("tokens", [4, 16])
def test_drawn_layer_by_layer_the_mean_is_the_engines_and_the_spread_is_tabulated(tokens: int) -> None:
    setup, system = mixture()
    layers, experts, top_k = 48, 128, 8
    expected = expert_load(tokens, experts, top_k, ep=EP).rows
    surges = np.linspace(0.4, 2.5, 43)
    step = Step.of((tokens, 1, 1, 1))
    times = [engine_cost(replace(setup, routing=replace(setup.routing, surge=s)), system)(step)[0] for s in surges]
    drawn = np.interp(fullest_ranks(tokens, experts, top_k, 300 * layers) / expected, surges, times)
    steps = drawn.reshape(300, layers).mean(axis=1)  # each layer takes its share of what all take at its load
    uneven = uneven_cost(setup, system)
    assert uneven is not None
    assert steps.mean() == pytest.approx(engine_cost(setup, system)(step)[0], rel=0.01)
    assert uneven(tokens) == pytest.approx(steps.std(), rel=0.25)
    assert uneven(tokens) > 1e-3 * steps.mean()


def test_without_expert_parallelism_no_rank_waits_and_without_experts_it_is_refused() -> None:
    assert uneven_cost(*mixture(ep=1)) is None
    with pytest.raises(InputError, match="has no experts"):
        uneven_cost(*mixture("llama-3-8b", ep=None))


def serve(uneven, seed: int = 0) -> ClusterRun:
    server = Server(name="x", cost=lambda step: (0.01, 1.0), blocks=10_000, uneven=uneven, idle_W=100.0)
    source = Stream(lengths=parse_lengths("1:2000"), rate=float("inf"), count=1)
    return run_cluster(prepare(Cluster(pools=[Pool(server)]), 4000), source, seed=seed, log_steps=2000)


def test_steps_are_drawn_around_their_mean_by_the_seed() -> None:
    even, drawn, again, other = serve(None), serve(lambda _: 1e-3), serve(lambda _: 1e-3), serve(lambda _: 1e-3, 1)
    times = drawn.log[:, layout.L_TIME]
    assert (times == again.log[:, layout.L_TIME]).all()
    assert (times != other.log[:, layout.L_TIME]).mean() > 0.99
    assert even.log[:, layout.L_TIME] == pytest.approx(0.01)
    assert times.mean() == pytest.approx(0.01, abs=4 * 1e-3 / len(times) ** 0.5)
    assert times.std() == pytest.approx(1e-3, rel=0.08)
    middle, z = times - 0.01, 1e-3
    assert (np.abs(middle) < z).mean() == pytest.approx(0.683, abs=0.04)
    assert drawn.log[:, layout.L_ENERGY] == pytest.approx(1.0 + 100.0 * middle)
