"""Serving: many steps at one go come to what one step after the other comes to."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from simulator.serving import kernel_run, layout
from simulator.serving.arrivals import Stream
from simulator.serving.cluster import Cluster, Fault, Link, Pool, Server
from simulator.serving.lengths import parse_lengths
from simulator.serving.policy import POLICIES
from simulator.serving.run import prepare, run_cluster
from workloads.step import Step


def cost(step: Step) -> tuple[float, float]:
    """A step takes a floor, time per token and time per cached token."""
    context = sum(g.count * g.cached for g in step.groups)
    return 1e-3 + 1e-5 * step.tokens + 1e-7 * context, 1e-3 * step.tokens


def server(**changes: object) -> Server:
    given = {"name": "x", "cost": cost, "blocks": 400, "sequences": 8, "budget": 256, "idle_W": 5.0, "captured": (1, 4)}
    return Server(**{**given, **changes})


def serve(cluster: Cluster, concurrency: int, **options: object):
    rows: list[np.ndarray] = []
    source = Stream(lengths=parse_lengths("20-200:2-90"), rate=100.0, count=60, seed=3, **options)
    result = run_cluster(
        prepare(cluster, source.longest_tokens),
        source,
        concurrency=concurrency,
        on_finished=lambda r: rows.append(r.copy()),
    )
    return result, np.concatenate(rows)


CASES = {
    "two servers": (Cluster(pools=[Pool(server(), 2)]), 0, {}),
    "least kv": (Cluster(pools=[Pool(server(), 3)], router="least-kv"), 0, {}),
    "closed loop": (Cluster(pools=[Pool(server(), 2)], router="least-kv"), 5, {}),
    "full steps": (Cluster(pools=[Pool(server(sequences=3))]), 0, {}),
    "little memory": (Cluster(pools=[Pool(server(blocks=30))]), 0, {}),
    "swapped": (Cluster(pools=[Pool(server(blocks=30, swap=True, host_blocks=50, block_host_B=1.0))]), 0, {}),
    "prompts first": (Cluster(pools=[Pool(server(policy=POLICIES["prefill-first"]), 2)]), 0, {}),
    "cached prefixes": (
        Cluster(pools=[Pool(server(prefix_cache=True, blocks=60), 2)], router="prefix-aware"),
        0,
        {"prefix_tokens": 64, "prefix_groups": 3},
    ),
    "split": (
        Cluster(pools=[Pool(server(link=Link(1e-4, 1e6), block_B=100.0), 1, "prefill"), Pool(server(), 2, "decode")]),
        0,
        {},
    ),
    "faults": (
        Cluster(pools=[Pool(server(), 2)], faults=[Fault(0.2, 0, 0.0), Fault(0.3, 1, 3.0), Fault(0.4, 0, 1.0)]),
        0,
        {},
    ),
    "uneven experts": (Cluster(pools=[Pool(server(uneven=lambda tokens: 1e-4), 2)]), 0, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_steps_at_one_go_come_to_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, concurrency, options = CASES[name]
    result, rows = serve(cluster, concurrency, **options)
    # The same loop, interpreted, one step after the other.
    monkeypatch.setattr(kernel_run, "run_ahead", lambda *arguments: None)
    monkeypatch.setattr(kernel_run, "run", kernel_run.run.py_func)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # random numbers wrap around
        slow, slow_rows = serve(cluster, concurrency, **options)
    assert len(rows) == 60
    assert (rows == slow_rows).all()
    counted = [i for i in range(layout.HEAD) if i not in (layout.TABLES, layout.LIST)]
    assert (result.counts[:, counted] == slow.counts[:, counted]).all()
    assert (result.gaps == slow.gaps).all()
    assert result.end_s == slow.end_s
    assert result.amounts[:, layout.ENERGY] == pytest.approx(slow.amounts[:, layout.ENERGY], rel=1e-12)
    np.testing.assert_allclose(result.series, slow.series, rtol=1e-9, atol=1e-12)


def test_most_steps_are_taken_at_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    monkeypatch.setattr(kernel_run, "run", kernel_run.run.py_func)
    complete = kernel_run.complete
    monkeypatch.setattr(kernel_run, "complete", lambda *arguments: (steps.append(1), complete(*arguments)))
    result, _ = serve(CASES["two servers"][0], 0)
    assert 0 < len(steps) < 0.7 * result.counts[:, layout.STEPS].sum()
