"""Experts: closed forms, Monte Carlo, and the rows measured for this project on an H200."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.core.errors import InputError, UnknownNameError
from simulator.core.formula import register_formulas
from workloads.moe import Routing, expert_load, load_routing
from workloads.occupancy import expected_active, expected_excess, expected_maximum
from workloads.routing_draws import rank_spread


def draw(tokens, experts, top_k, alpha, trials, seed=0):
    """Counts per expert when each token draws top_k distinct experts with weights rank^-alpha (Gumbel top-k)."""
    rng = np.random.default_rng(seed)
    weights = -alpha * np.log(np.arange(1, experts + 1))
    counts = []
    for _ in range(trials):
        keys = weights + rng.gumbel(size=(tokens, experts))
        chosen = np.argpartition(-keys, top_k - 1, axis=1)[:, :top_k]
        counts.append(np.bincount(chosen.ravel(), minlength=experts))
    return np.array(counts)


@pytest.mark.parametrize(
    ("experts", "top_k", "tokens", "active"),
    [
        (8, 2, 0, 0),
        (8, 2, 1, 2),
        (8, 2, 2, 8 * (1 - (6 / 8) ** 2)),
        (8, 2, 32, 8 * (1 - 0.75**32)),
        (128, 8, 16, 128 * (1 - (120 / 128) ** 16)),
        (256, 8, 1, 8),
        (4, 4, 3, 4),
        (1, 1, 5, 1),
    ],
)
def test_distinct_experts_in_closed_form(experts, top_k, tokens, active):
    load = expert_load(tokens, experts, top_k)
    assert load.active == pytest.approx(active, rel=1e-12)
    assert load.rows == tokens * top_k
    assert load.experts == experts


def test_decode_reads_more_experts_as_the_batch_grows():
    """GenZ loads top-k experts for any batch: Mixtral decode at 32 must read nearly all eight and not two."""
    assert expert_load(1, 8, 2).active == 2
    assert expert_load(32, 8, 2).active > 7.99


# Tolerances: distinct experts and the largest load in percent of Monte Carlo, whose own error is about 1 %.
CASES = [
    # tokens, experts, top_k, alpha, ep, tolerance of active, of max, of rank rows
    (1, 8, 2, 0.0, 4, 1e-9, 1e-9, 0.06),
    (4, 8, 2, 0.0, 2, 0.02, 0.03, 0.02),
    (16, 8, 2, 0.0, 4, 0.02, 0.03, 0.02),
    (16, 128, 8, 0.0, 8, 0.01, 0.03, 0.02),
    (64, 64, 6, 0.0, 8, 0.01, 0.02, 0.01),
    (256, 256, 8, 0.0, 32, 0.01, 0.03, 0.01),
    (2048, 64, 6, 0.0, 8, 0.01, 0.01, 0.01),
    (16, 8, 2, 0.6, 2, 0.02, 0.06, 0.03),
    (64, 64, 6, 0.6, 8, 0.01, 0.03, 0.02),
    (16, 128, 8, 1.0, 8, 0.02, 0.03, 0.04),
    (64, 64, 6, 1.0, 8, 0.01, 0.02, 0.02),
    (512, 8, 2, 1.0, 4, 0.01, 0.05, 0.03),
    (256, 256, 8, 1.4, 32, 0.01, 0.02, 0.02),
]


@pytest.mark.parametrize(("tokens", "experts", "top_k", "alpha", "ep", "active", "largest", "rank"), CASES)
def test_monte_carlo(tokens, experts, top_k, alpha, ep, active, largest, rank):
    trials = 600 if tokens <= 64 else 200
    counts = draw(tokens, experts, top_k, alpha, trials)
    routing = Routing("zipf", alpha=alpha) if alpha else Routing()
    load = expert_load(tokens, experts, top_k, routing)
    assert load.active == pytest.approx((counts > 0).sum(axis=1).mean(), rel=active)
    assert load.max_tokens == pytest.approx(counts.max(axis=1).mean(), rel=largest)
    by_rank = np.stack([counts[:, r::ep].sum(axis=1) for r in range(ep)], axis=1)
    local = expert_load(tokens, experts, top_k, routing, ep=ep)
    assert local.rows == pytest.approx(by_rank.max(axis=1).mean(), rel=rank)
    fullest = by_rank.argmax(axis=1)
    touched = np.array([(row[f::ep] > 0).sum() for row, f in zip(counts, fullest, strict=True)])
    assert local.active == pytest.approx(touched.mean(), rel=0.15 if tokens == 1 else 0.08)


@pytest.mark.parametrize("case", [case for case in CASES if case[0] < 2048])
def test_spread_of_the_fullest_rank(case):
    tokens, experts, top_k, alpha, ep = case[:5]
    trials = 1000 if tokens <= 64 else 400
    counts = draw(tokens, experts, top_k, alpha, trials)
    fullest = np.stack([counts[:, r::ep].sum(axis=1) for r in range(ep)], axis=1).max(axis=1)
    routing = Routing("zipf", alpha=alpha) if alpha else Routing()
    # The deviation of so many draws is itself off by 2 to 4 % (one standard deviation).
    assert rank_spread(tokens, experts, top_k, routing, ep) == pytest.approx(fullest.std() / fullest.mean(), rel=0.12)


def test_nothing_varies_where_no_rank_waits_or_loads_are_even():
    assert rank_spread(64, 128, 8, Routing(), 1) == 0.0
    assert rank_spread(64, 128, 8, Routing("balanced"), 8) == 0.0


def test_a_surge_is_of_the_fullest_rank_alone():
    usual = expert_load(64, 128, 8, Routing(), ep=8)
    more = expert_load(64, 128, 8, Routing(surge=1.5), ep=8)
    assert more.rows == pytest.approx(1.5 * usual.rows)
    assert usual.active < more.active <= 16
    assert expert_load(64, 128, 8, Routing(surge=1.5)) == expert_load(64, 128, 8)


@pytest.mark.parametrize(
    ("tokens", "experts", "top_k", "alpha"), [(64, 64, 6, 0.0), (512, 64, 6, 0.6), (64, 64, 6, 1.0)]
)
def test_capacity_against_monte_carlo(tokens, experts, top_k, alpha):
    factor = 1.25
    limit = math.ceil(factor * tokens * top_k / experts)
    counts = draw(tokens, experts, top_k, alpha, 300)
    dropped = np.maximum(0, counts - limit).sum(axis=1).mean() / (tokens * top_k)
    routing = Routing("zipf", alpha=alpha) if alpha else Routing()
    load = expert_load(tokens, experts, top_k, routing, capacity_factor=factor)
    assert load.dropped == pytest.approx(dropped, rel=0.05, abs=0.001)
    assert load.rows == pytest.approx(tokens * top_k * (1 - load.dropped))
    assert load.max_tokens <= limit


def test_capacity_of_all_tokens_drops_nothing():
    assert expert_load(64, 8, 2, capacity_factor=4.0) == expert_load(64, 8, 2)


def test_balanced_routing():
    load = expert_load(100, 8, 2, load_routing("balanced"), ep=4)
    assert (load.active, load.max_tokens, load.rows, load.dropped) == (2, 25, 50, 0)
    few = expert_load(2, 8, 2, load_routing("balanced"))
    assert (few.active, few.max_tokens) == (4, 1)
    assert expert_load(100, 8, 2, load_routing("balanced"), capacity_factor=1.0).dropped == 0


def test_measured_h200_draws():
    """Own data: experts with tokens and the largest load, as drawn once each on the H200 (uniform and Zipf 1.0)."""
    zipf = load_routing("zipf:1.0")
    for tokens, experts, top_k, active, largest in [
        (128, 128, 8, 122, 105),
        (4096, 128, 8, 128, 3413),
        (128, 8, 2, 8, 76),
    ]:
        load = expert_load(tokens, experts, top_k, zipf)
        assert load.active == pytest.approx(active, rel=0.02)
        assert load.max_tokens == pytest.approx(largest, rel=0.03)
    for tokens, experts, top_k, largest in [(128, 128, 8, 18), (4096, 128, 8, 300), (4096, 8, 2, 1061)]:
        assert expert_load(tokens, experts, top_k).max_tokens == pytest.approx(
            largest, rel=0.15
        )  # one draw, not a mean


@pytest.mark.parametrize(
    "text", ["uniform", "zipf:0.5", "zipf:2", "power:1.2", "power:1", "power:1.01:1000", "counts:9,5,3,3,2,2,1,0"]
)
def test_inclusion_probabilities_add_up(text):
    chances = load_routing(text).inclusion(8, 2)
    assert math.fsum(chances) == pytest.approx(2, rel=1e-9)
    assert all(0 <= p <= 1 for p in chances)
    assert list(chances) == sorted(chances, reverse=True)


def test_given_counts_are_loads():
    # Counts that fit: the shares themselves.
    assert load_routing("counts:4,2,1,1").inclusion(4, 1) == (0.5, 0.25, 0.125, 0.125)
    # One expert cannot take more than every token; the rest goes to the others.
    assert load_routing("counts:90,5,3,2").inclusion(4, 2) == pytest.approx((1.0, 0.5, 0.3, 0.2))


def test_power_law_span():
    chances = load_routing("power:1.2:100").inclusion(512, 1)
    assert 60 < chances[0] / chances[-1] < 100  # quantiles lie inside the ends


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("zipff:1", UnknownNameError),
        ("", UnknownNameError),
        ("zipf", InputError),
        ("zipf:", InputError),
        ("zipf:x", InputError),
        ("zipf:nan", InputError),
        ("zipf:inf", InputError),
        ("zipf:-1", InputError),
        ("zipf:1:2", InputError),
        ("power:1:0.5", InputError),
        ("uniform:3", InputError),
        ("counts:0,0", InputError),
        ("counts:1,,2", InputError),
    ],
)
def test_bad_routing(text, error):
    with pytest.raises(error):
        load_routing(text)


@pytest.mark.parametrize(
    "arguments",
    [
        {"tokens": -1, "experts": 8, "top_k": 2},
        {"tokens": math.nan, "experts": 8, "top_k": 2},
        {"tokens": 1, "experts": 8, "top_k": 9},
        {"tokens": 1, "experts": 8, "top_k": 0},
        {"tokens": 1, "experts": 8, "top_k": 2, "ep": 3},
        {"tokens": 1, "experts": 8, "top_k": 2, "ep": 0},
        {"tokens": 1, "experts": 8, "top_k": 2, "capacity_factor": 0},
        {"tokens": 1, "experts": 8, "top_k": 2, "routing": Routing("counts", counts=(1.0, 2.0))},
        {"tokens": 1, "experts": 4, "top_k": 2, "routing": Routing("counts", counts=(1.0, 0.0, 0.0, 0.0))},
    ],
)
def test_bad_arguments(arguments):
    with pytest.raises(InputError):
        expert_load(**arguments)


@pytest.mark.slow
def test_formulas_compile_to_the_same_numbers():
    from numba import njit

    from simulator.core.formula import HOUSE_JIT

    register_formulas()

    @njit(**HOUSE_JIT)
    def compiled(trials, p, count):
        return (
            expected_active(count, p * count, trials),
            expected_maximum(trials, p, count),
            expected_excess(trials, p, 1.25 * trials * p),
        )

    for trials, p, count in [
        (1.0, 0.25, 8.0),
        (64.0, 0.0625, 128.0),
        (4096.0, 0.0625, 128.0),
        (5.0, 1.0, 4.0),
        (9.0, 0.5, 1.0),
    ]:
        expected = (
            expected_active(count, p * count, trials),
            expected_maximum(trials, p, count),
            expected_excess(trials, p, 1.25 * trials * p),
        )
        assert compiled(trials, p, count) == pytest.approx(expected, rel=1e-12, abs=1e-12)
