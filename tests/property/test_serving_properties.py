"""Serving: random requests, policies and memories, with every invariant checked after every event."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.serving import layout
from simulator.serving.cluster import ROUTERS, Cluster, Fault, Link, Pool, Server, Speculation
from simulator.serving.policy import POLICIES
from simulator.serving.requests import INPUT, SESSION, Requests, as_requests
from simulator.serving.run import prepare, run_cluster
from workloads.step import Step


class Given:
    """Requests as they are."""

    def __init__(self, requests: Requests) -> None:
        self.requests = requests
        self.mean_tokens = 100.0
        self.longest_tokens = int(requests.columns[:, :2].sum(axis=1).max())

    def chunks(self):
        yield self.requests


def cost(step: Step) -> tuple[float, float]:
    """A step takes a floor, time per token and time per cached token."""
    context = sum(g.count * g.cached for g in step.groups)
    return 1e-3 + 1e-5 * step.tokens + 1e-7 * context, 1e-3 * step.tokens


def uneven(tokens: int) -> float:
    """One standard deviation adds a tenth of the floor, or a tenth of the time of the tokens."""
    return 1e-4 + 1e-6 * tokens


def requests(seed: int, count: int, longest: int, sessions: int) -> Requests:
    random = np.random.default_rng(seed)
    inputs = random.integers(1, longest, count)
    return as_requests(
        np.cumsum(random.exponential(0.01, count)),
        inputs,
        random.integers(1, max(longest // 4, 2), count),
        priority=random.integers(0, 3, count),
        session=random.integers(-1, sessions, count),
        group=random.integers(-1, 2, count),
        group_tokens=random.integers(0, longest, count),
    )


def conversations(seed: int, count: int, longest: int) -> Requests:
    """Conversations whose turns follow each other, each of up to five, with up to 40 ms between them."""
    random = np.random.default_rng(seed)
    turns = random.integers(1, 6, count)
    of = np.repeat(np.arange(count), turns)
    follows = np.append(False, of[1:] == of[:-1])
    begins = np.cumsum(random.exponential(0.02, count))
    return as_requests(
        np.where(follows, random.choice([0.0, 0.04], of.size), begins[of]),
        random.integers(1, longest, of.size),
        random.integers(1, max(longest // 4, 2), of.size),
        priority=random.integers(0, 3, count)[of],
        session=of,
        follows=follows,
    )


def serve(cluster: Cluster, given_requests: Requests, **options: object):
    source = Given(given_requests)
    rows: list[np.ndarray] = []
    result = run_cluster(
        prepare(cluster, source.longest_tokens),
        source,
        debug=True,
        on_finished=lambda r: rows.append(r.copy()),
        **options,
    )
    return result, np.concatenate(rows) if rows else np.zeros((0, layout.RESULT_SIZE))


def assert_nothing_lost(result, rows: np.ndarray, given_requests: Requests) -> None:
    assert result.arrived + result.unasked == len(given_requests)
    assert result.arrived == len(rows) == result.completed + result.rejected
    assert sorted(rows[:, layout.R_NUMBER]) == list(range(len(rows)))
    done = rows[rows[:, layout.R_STATUS] == layout.COMPLETED_OK]
    assert result.counts[:, layout.MADE_TOKENS].sum() == done[:, layout.R_OUTPUT].sum()
    used = result.counts[:, layout.CAPACITY] - result.counts[:, layout.FREE] - result.counts[:, layout.EVICTABLE]
    assert (used == 0).all()
    assert (result.counts[:, [layout.RUNNING, layout.WAITING, layout.PENDING, layout.HELD]] == 0).all()
    ordered = done[:, [layout.R_ARRIVED, layout.R_QUEUED, layout.R_SCHEDULED, layout.R_FIRST, layout.R_LAST]]
    assert (np.diff(ordered, axis=1) >= -1e-9).all()


server_settings = st.fixed_dictionaries(
    {
        "blocks": st.integers(20, 300),
        "page_tokens": st.sampled_from([1, 7, 16]),
        "sequences": st.integers(1, 24),
        "budget": st.integers(8, 300),
        "host_blocks": st.sampled_from([0, 5, 200]),
        "swap": st.booleans(),
        "prefix_cache": st.booleans(),
        "policy": st.sampled_from(sorted(POLICIES.values(), key=lambda policy: policy.name)),
        "queue_limit": st.sampled_from([None, 3]),
        "speculation": st.sampled_from([None, Speculation(3, 0.6), Speculation(7, distribution=(0.2, 0.5, 0.3))]),
        "uneven": st.sampled_from([None, uneven]),
        "look_every": st.sampled_from([1, 5]),
        "async_host": st.booleans(),
        "host_step_s": st.sampled_from([0.0, 0.002]),
    }
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    settings_of=server_settings,
    count=st.integers(1, 3),
    router=st.sampled_from(ROUTERS),
    seed=st.integers(0, 10_000),
    longest=st.sampled_from([4, 60, 700]),
    concurrency=st.sampled_from([0, 1, 9]),
)
def test_any_server_serves_everything_or_says_why(settings_of, count, router, seed, longest, concurrency) -> None:
    server = Server(name="x", cost=cost, host_link=Link(1e-4, 1e6), block_host_B=100.0, **settings_of)
    asked = requests(seed, 60, longest, 12)
    result, rows = serve(Cluster(pools=[Pool(server, count)], router=router), asked, concurrency=concurrency)
    assert_nothing_lost(result, rows, asked)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    settings_of=server_settings,
    split=st.booleans(),
    seed=st.integers(0, 10_000),
    longest=st.sampled_from([4, 60, 700]),
    concurrency=st.sampled_from([0, 1, 9]),
    stream_s=st.sampled_from([0.0, 0.01]),
    faulty=st.booleans(),
)
def test_turns_wait_for_answers(settings_of, split, seed, longest, concurrency, stream_s, faulty) -> None:
    server = Server(
        name="x",
        cost=cost,
        host_link=Link(1e-4, 1e6),
        block_host_B=100.0,
        stream_s=stream_s,
        ingest_s=0.002,
        **settings_of,
    )
    pools = [Pool(server, 1, "prefill"), Pool(server, 2, "decode")] if split else [Pool(server, 2)]
    faults = [Fault(0.1, 0, 0.0), Fault(0.3, 0, 1.0)] if faulty else []
    asked = conversations(seed, 30, longest)
    result, rows = serve(Cluster(pools=pools, faults=faults), asked, concurrency=concurrency)
    assert_nothing_lost(result, rows, asked)
    unasked = 0
    for session in np.unique(asked.columns[:, SESSION]):
        mine = np.flatnonzero(asked.columns[:, SESSION] == session)
        got = rows[rows[:, layout.R_SESSION] == session // 2]
        got = got[np.argsort(got[:, layout.R_NUMBER])]
        assert (got[:, layout.R_INPUT] == asked.columns[mine[: len(got)], INPUT]).all()
        waited = got[1:, layout.R_ARRIVED] - got[:-1, layout.R_LAST]
        assert waited == pytest.approx(asked.arrival_s[mine[1 : len(got)]], abs=1e-9)
        assert (got[:-1, layout.R_STATUS] == layout.COMPLETED_OK).all()
        unasked += len(mine) - len(got)
        assert len(got) == len(mine) or got[-1, layout.R_STATUS] != layout.COMPLETED_OK
    assert unasked == result.unasked


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    settings_of=server_settings,
    others=st.none() | server_settings,
    pools=st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(0, 1)),
    router=st.sampled_from(ROUTERS),
    seed=st.integers(0, 10_000),
    overlap=st.sampled_from([0, 8]),
    faulty=st.booleans(),
    lend=st.booleans(),
)
def test_split_phases_and_failures_lose_nothing(
    settings_of, others, pools, router, seed, overlap, faulty, lend
) -> None:
    """Pools may differ in everything: a request goes only where there is room for it at its end."""
    servers = [
        Server(name="x", cost=cost, link=Link(1e-3, 1e6), block_B=1000.0, overlap_layers=overlap, **each)
        for each in (settings_of, others or settings_of, settings_of)
    ]
    roles = zip(servers, pools, ("prefill", "decode", "both"), strict=True)
    faults = [Fault(0.1, 0, 0.0), Fault(0.2, pools[0], 0.0), Fault(0.25, 0, 1.0), Fault(0.4, pools[0], 3.0)]
    cluster = Cluster(
        pools=[Pool(server, number, role) for server, number, role in roles if number],
        router=router,
        spill_tokens=200,
        lend=lend,
        faults=faults if faulty else (),
    )
    asked = requests(seed, 60, 200, 12)
    result, rows = serve(cluster, asked)
    assert_nothing_lost(result, rows, asked)


@pytest.mark.parametrize("rate", [1.0, 1.7])
def test_more_of_everything_is_never_slower(rate: float) -> None:
    asked = requests(1, 400, 400, 1)
    asked = Requests(asked.arrival_s / rate, asked.columns)
    small = Server(name="s", cost=cost, blocks=100, sequences=8, budget=128)
    large = Server(name="l", cost=cost, blocks=400, sequences=32, budget=512)
    stays = []
    for server, count in ((small, 1), (large, 1), (large, 3)):
        _, rows = serve(Cluster(pools=[Pool(server, count)]), asked)
        stays.append((rows[:, layout.R_LAST] - rows[:, layout.R_ARRIVED]).mean())
    assert stays[0] > stays[1] > stays[2]


@pytest.mark.parametrize(
    ("blocks", "sequences", "speculation", "seed", "concurrency"),
    [
        (20, 1, None, 621, 1),  # the last to run pinned a prefix that it did not use, and had to go
        (29, 2, Speculation(7, 0.6), 156, 9),  # what was computed again was taken for drafts
    ],
)
def test_a_full_cache_with_prefixes_lets_everything_through(blocks, sequences, speculation, seed, concurrency) -> None:
    server = Server(
        name="x",
        cost=cost,
        blocks=blocks,
        page_tokens=1,
        sequences=sequences,
        budget=8,
        prefix_cache=True,
        speculation=speculation,
    )
    asked = requests(seed, 60, 60, 12)
    result, rows = serve(Cluster(pools=[Pool(server)]), asked, concurrency=concurrency)
    assert_nothing_lost(result, rows, asked)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_pools_that_lend_do_not_wait_for_each_other_for_ever(seed: int) -> None:
    server = Server(
        name="x", cost=cost, link=Link(1e-3, 1e6), block_B=1000.0, page_tokens=7, blocks=30, sequences=2, budget=8
    )
    pools = [Pool(server, 1, "prefill"), Pool(server, 2, "decode")]
    asked = requests(seed, 60, 200, 12)
    result, rows = serve(Cluster(pools=pools, router="round-robin", spill_tokens=200, lend=True), asked)
    assert_nothing_lost(result, rows, asked)
