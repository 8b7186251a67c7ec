"""Serving against closed forms: queues, Little's law, conservation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.serving import layout
from simulator.serving.arrivals import Stream
from simulator.serving.cluster import Cluster, Pool, Server
from simulator.serving.lengths import Distribution, ShapedLengths
from simulator.serving.policy import POLICIES
from simulator.serving.run import ClusterRun, prepare, run_cluster
from workloads.step import Step

SERVICE_S = 0.1


def constant(step: Step) -> tuple[float, float]:
    """Every step takes as long, whatever is in it."""
    return SERVICE_S, 2.0


def by_tokens(step: Step) -> tuple[float, float]:
    """One token of a prompt takes a millisecond."""
    return 1e-3 * step.tokens, 1.0


def run(server: Server, count: int, lengths: ShapedLengths, rate: float, requests: int, **options: object):
    prepared = prepare(Cluster(pools=[Pool(server, count)]), lengths.longest_tokens)
    rows: list[np.ndarray] = []
    source = Stream(lengths=lengths, rate=rate, count=requests, seed=3)
    result = run_cluster(prepared, source, on_finished=lambda r: rows.append(r.copy()), **options)
    return result, np.concatenate(rows)


def single(sequences: int = 1, cost=constant) -> Server:
    return Server(name="m", cost=cost, blocks=10_000, sequences=sequences, budget=1 << 20, policy=POLICIES["orca"])


ONE_TOKEN = ShapedLengths(Distribution(16, 16), Distribution(1, 1))


def test_one_server_waits_as_in_an_m_d_1_queue() -> None:
    # Pollaczek-Khinchine: mean wait = rho s / (2 (1 - rho)) for constant service.
    for load in (0.3, 0.7):
        _, rows = run(single(), 1, ONE_TOKEN, load / SERVICE_S, 60_000)
        wait = (rows[:, layout.R_SCHEDULED] - rows[:, layout.R_ARRIVED]).mean()
        assert wait == pytest.approx(load * SERVICE_S / (2.0 * (1.0 - load)), rel=0.06)


def test_exponential_service_waits_as_in_an_m_m_1_queue() -> None:
    # Service proportional to an exponential prompt length; mean time in system = s / (1 - rho).
    load = 0.5
    lengths = _Exponential(100.0)
    prepared = prepare(Cluster(pools=[Pool(single(cost=by_tokens))]), lengths.longest_tokens)
    rows: list[np.ndarray] = []
    source = Stream(lengths=lengths, rate=load / 0.1, count=60_000, seed=5)
    run_cluster(prepared, source, on_finished=lambda r: rows.append(r.copy()))
    stay = np.concatenate([r[:, layout.R_LAST] - r[:, layout.R_ARRIVED] for r in rows]).mean()
    assert stay == pytest.approx(0.1 / (1.0 - load), rel=0.06)


class _Exponential:
    """Prompt lengths drawn from an exponential distribution."""

    def __init__(self, mean: float) -> None:
        self.mean_tokens = mean
        self.longest_tokens = int(mean * 20)

    def draw(self, random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        drawn = np.clip(np.rint(random.exponential(self.mean_tokens, count)), 1, self.longest_tokens - 1)
        return drawn.astype(np.int64), np.ones(count, dtype=np.int64)


def test_several_servers_wait_as_in_an_m_m_c_queue() -> None:
    # Joining the queue with least work left is first come first served over all servers, close to M/M/c (Erlang C).
    servers, load = 4, 0.7
    lengths = _Exponential(100.0)
    cluster = Cluster(pools=[Pool(single(cost=by_tokens), servers)], router="fewest-tokens")
    prepared = prepare(cluster, lengths.longest_tokens)
    rows: list[np.ndarray] = []
    source = Stream(lengths=lengths, rate=servers * load / 0.1, count=60_000, seed=7)
    run_cluster(prepared, source, on_finished=lambda r: rows.append(r.copy()))
    wait = np.concatenate([r[:, layout.R_SCHEDULED] - r[:, layout.R_ARRIVED] for r in rows]).mean()
    offered = servers * load
    blocked = offered**servers / math.factorial(servers) / (1.0 - load)
    erlang = blocked / (sum(offered**k / math.factorial(k) for k in range(servers)) + blocked)
    assert wait == pytest.approx(erlang * 0.1 / (servers * (1.0 - load)), rel=0.2)


def _little(result: ClusterRun, rows: np.ndarray) -> tuple[float, float]:
    """Return the mean number of requests in the system, from the series and from stays times rate."""
    inside = result.series[:, [layout.S_RUNNING, layout.S_WAITING]].sum() / result.end_s
    stays = (rows[:, layout.R_LAST] - rows[:, layout.R_ARRIVED]).sum() / result.end_s
    return float(inside), float(stays)


def test_little_s_law_holds_over_a_run() -> None:
    lengths = ShapedLengths(Distribution(100, 300), Distribution(5, 60))
    server = Server(name="m", cost=constant, blocks=400, sequences=16, budget=512)
    result, rows = run(server, 1, lengths, 4.0, 3000)
    inside, stays = _little(result, rows)
    # The series looks at the queue at the end of each step; a request that comes within one is counted from its end.
    assert inside == pytest.approx(stays, rel=0.05)


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_everything_that_goes_in_comes_out(policy: str) -> None:
    lengths = ShapedLengths(Distribution(10, 900), Distribution(1, 80))
    server = Server(name="m", cost=constant, blocks=120, sequences=12, budget=256, policy=POLICIES[policy], idle_W=10.0)
    result, rows = run(server, 2, lengths, 6.0, 800, debug=True)
    assert result.arrived == result.completed == 800
    assert rows[:, layout.R_OUTPUT].sum() == result.counts[:, layout.MADE_TOKENS].sum()
    assert (result.counts[:, layout.FREE] == server.blocks).all()
    assert (result.counts[:, [layout.RUNNING, layout.WAITING, layout.PENDING]] == 0).all()
    assert (rows[:, layout.R_FIRST] <= rows[:, layout.R_LAST]).all()
    assert (rows[:, layout.R_ARRIVED] <= rows[:, layout.R_SCHEDULED]).all()
    # Energy: two joules a step, ten watts while waiting; the series holds the same sum.
    steps = result.counts[:, layout.STEPS].sum()
    waited_s = 2 * result.end_s - result.amounts[:, layout.BUSY_S].sum()
    energy_J = result.amounts[:, layout.ENERGY].sum()
    assert energy_J == pytest.approx(2.0 * steps + 10.0 * waited_s)
    assert result.series[:, layout.S_ENERGY].sum() == pytest.approx(energy_J)
    assert result.series[:, layout.S_MADE].sum() == rows[:, layout.R_OUTPUT].sum()


def test_a_seed_gives_the_same_run_again_and_another_another() -> None:
    lengths = ShapedLengths(Distribution(10, 900), Distribution(1, 80))
    server = Server(name="m", cost=by_tokens, blocks=200, sequences=12, budget=256)
    first, second = (run(server, 2, lengths, 3.0, 300)[1] for _ in range(2))
    assert (first == second).all()
    source = Stream(lengths=lengths, rate=3.0, count=300, seed=4)
    prepared = prepare(Cluster(pools=[Pool(server, 2)]), lengths.longest_tokens)
    rows: list[np.ndarray] = []
    run_cluster(prepared, source, on_finished=lambda r: rows.append(r.copy()))
    assert (np.concatenate(rows)[:, layout.R_LAST] != first[:, layout.R_LAST]).any()
