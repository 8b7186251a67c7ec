"""Serving: what each mechanism does, on servers whose steps are easy to add up."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

from hwmodels.gpu.device import Gpu
from hwmodels.system import build_system
from simulator.api.simulate import prepare as prepare_setup
from simulator.serving import engine_server, layout
from simulator.serving import run as run_module
from simulator.serving.arrivals import Stream
from simulator.serving.capacity import find_capacity
from simulator.serving.cluster import Cluster, Fault, Link, Pool, Server, Speculation, parse_speculation
from simulator.serving.engine_server import _drafted
from simulator.serving.lengths import parse_lengths
from simulator.serving.policy import POLICIES
from simulator.serving.quantiles import Quantiles
from simulator.serving.requests import as_requests
from simulator.serving.run import prepare, run_cluster
from simulator.serving.serve import Deployment, deploy
from simulator.serving.trace_file import Trace
from workloads.step import Step

STEP_S = 0.01


def cost(step: Step) -> tuple[float, float]:
    """Ten milliseconds, and one per hundred prompt tokens."""
    prompt = sum(g.tokens for g in step.groups if g.new > 4)
    return STEP_S + 1e-5 * prompt, 1.0


def server(**changes: object) -> Server:
    return Server(**{"name": "x", "cost": cost, "blocks": 1000, "sequences": 8, "budget": 512, **changes})


def serve(cluster: Cluster, source, **options: object):
    rows: list[np.ndarray] = []
    result = run_cluster(
        prepare(cluster, source.longest_tokens),
        source,
        on_finished=lambda r: rows.append(r.copy()),
        **{"debug": True, **options},
    )
    found = np.concatenate(rows)
    return result, found[np.argsort(found[:, layout.R_NUMBER])]


def at(*arrivals: tuple[float, int, int], **columns: object) -> Trace:
    times, inputs, outputs = (np.array(column) for column in zip(*arrivals, strict=True))
    return Trace(as_requests(times.astype(float), inputs, outputs, **columns))


def test_one_request_takes_its_prompt_and_its_steps() -> None:
    _, rows = serve(Cluster(pools=[Pool(server())]), at((0.0, 1000, 11)))
    # 1000 tokens in chunks of 512 and 488, then ten more steps.
    assert rows[0, layout.R_FIRST] == pytest.approx(2 * STEP_S + 1e-5 * 1000)
    assert rows[0, layout.R_LAST] - rows[0, layout.R_FIRST] == pytest.approx(10 * STEP_S)
    assert rows[0, layout.R_GAP_P50] == pytest.approx(STEP_S, rel=0.1)


def test_prompts_first_delays_those_that_generate() -> None:
    asked = at((0.0, 100, 50), (0.055, 5000, 2))
    gaps = {}
    for name in ("continuous", "prefill-first"):
        _, rows = serve(Cluster(pools=[Pool(server(policy=POLICIES[name]))]), asked)
        gaps[name] = rows[0, layout.R_GAP_MAX]
    assert gaps["prefill-first"] > 3.0 * gaps["continuous"]


def test_prompts_in_chunks_hold_generation_up_until_they_are_done() -> None:
    asked = at((0.0, 100, 50), (0.055, 2000, 2))
    _, rows = serve(Cluster(pools=[Pool(server(policy=POLICIES["prompts-first"]))]), asked)
    # Four steps of 512 tokens and less in which nobody generates, and the next; bins of gaps are 19 % wide.
    assert rows[0, layout.R_GAP_MAX] == pytest.approx(5 * STEP_S + 1e-5 * 2000, rel=0.2)
    _, mixed = serve(Cluster(pools=[Pool(server())]), asked)
    assert rows[0, layout.R_GAP_MAX] > 3.0 * mixed[0, layout.R_GAP_MAX]


def test_promised_memory_lets_nobody_be_preempted() -> None:
    asked = at(*[(0.0, 64, 100)] * 6)
    kept, _ = serve(Cluster(pools=[Pool(server(blocks=24, policy=POLICIES["inflight"]))]), asked)
    taken, _ = serve(Cluster(pools=[Pool(server(blocks=24))]), asked)
    assert kept.counts[0, layout.PREEMPTIONS] == 0 < taken.counts[0, layout.PREEMPTIONS]


def test_a_scheduler_that_looks_seldom_lets_new_requests_wait() -> None:
    asked = at((0.0, 10, 200), (0.1005, 10, 2))
    waited = {}
    for every in (1, 20):
        _, rows = serve(Cluster(pools=[Pool(server(look_every=every))]), asked)
        waited[every] = rows[1, layout.R_SCHEDULED] - rows[1, layout.R_QUEUED]
    assert waited[1] < 1.1 * STEP_S
    assert 5 * STEP_S < waited[20] <= 21 * STEP_S
    # An idle server looks at once.
    _, rows = serve(Cluster(pools=[Pool(server(look_every=20))]), at((0.0, 10, 3), (5.0, 10, 3)))
    assert rows[1, layout.R_SCHEDULED] == rows[1, layout.R_QUEUED]


def test_static_batches_wait_for_their_longest() -> None:
    asked = at((0.0, 10, 2), (0.0, 10, 60), (0.1, 10, 2))
    _, static = serve(Cluster(pools=[Pool(server(policy=POLICIES["static"]))]), asked)
    _, continuous = serve(Cluster(pools=[Pool(server())]), asked)
    assert static[2, layout.R_SCHEDULED] >= static[1, layout.R_LAST]
    assert continuous[2, layout.R_SCHEDULED] < 0.12


def test_priorities_go_first_and_preempt_the_others() -> None:
    asked = at((0.0, 64, 100), (0.0, 64, 100), (0.5, 64, 100), priority=np.array([1, 1, 0]))
    result, rows = serve(Cluster(pools=[Pool(server(blocks=16))]), asked)
    assert result.counts[0, layout.PREEMPTIONS] > 0
    assert rows[2, layout.R_PREEMPTED] == 0
    assert rows[1, layout.R_PREEMPTED] > 0


def test_swapping_is_quicker_than_computing_again_where_the_link_is() -> None:
    asked = at(*[(0.0, 400, 200)] * 6)
    ends = {}
    for name, rate in (("recompute", 0.0), ("swap", 1e12), ("slow swap", 1e4)):
        changes = {"blocks": 120, "block_host_B": 1e6}
        if rate:
            changes |= {"swap": True, "host_blocks": 1000, "host_link": Link(0.0, rate * 1e3)}
        result, rows = serve(Cluster(pools=[Pool(server(**changes))]), asked)
        assert result.counts[0, layout.PREEMPTIONS] > 0
        ends[name] = rows[:, layout.R_LAST].max()
    assert ends["swap"] < ends["recompute"] < ends["slow swap"]


def test_conversations_find_what_was_said_before() -> None:
    source = Stream(
        lengths=parse_lengths("100:50"), rate=2.0, count=300, turns=5.0, think_s=20.0, prefix_tokens=320, seed=1
    )
    hits = {}
    for cached in (False, True):
        _, rows = serve(Cluster(pools=[Pool(server(prefix_cache=cached, blocks=20_000))]), source)
        hits[cached] = rows[:, layout.R_HITS].sum() / rows[:, layout.R_INPUT].sum()
        if cached:
            # All but what is new and what does not fill a block of 16.
            first_turns = rows[:, layout.R_INPUT] == 420
            assert (rows[first_turns, layout.R_HITS][1:] == 320).mean() > 0.9
    assert hits[False] == 0.0
    assert hits[True] > 0.7


def test_prefixes_come_back_from_host_memory() -> None:
    source = Stream(lengths=parse_lengths("200:50"), rate=2.0, count=300, turns=5.0, think_s=20.0, seed=1)
    found = {}
    for tier in (0, 20_000):
        small = server(prefix_cache=True, blocks=150, host_blocks=tier, host_link=Link(0.0, 1e12), block_host_B=1.0)
        result, rows = serve(Cluster(pools=[Pool(small)]), source)
        found[tier] = rows[:, layout.R_HITS].sum()
        assert (result.counts[0, layout.FOUND_AWAY] > 0) == (tier > 0)
    assert found[20_000] > 1.5 * found[0]


def test_a_prefix_aware_router_keeps_conversations_together() -> None:
    source = Stream(lengths=parse_lengths("200:50"), rate=3.0, count=200, turns=6.0, think_s=20.0, seed=2)
    hits = {}
    for router in ("round-robin", "prefix-aware"):
        cluster = Cluster(pools=[Pool(server(prefix_cache=True, blocks=1500), 4)], router=router)
        _, rows = serve(cluster, source)
        hits[router] = rows[:, layout.R_HITS].sum()
    assert hits["prefix-aware"] > 1.5 * hits["round-robin"]


def test_split_phases_pay_for_the_transfer_and_keep_gaps_short() -> None:
    lengths = parse_lengths("2000:40")
    source = Stream(lengths=lengths, rate=6.0, count=300)
    _, together = serve(Cluster(pools=[Pool(server(), 2)]), source)
    gap = {}
    for name, layers in (("serial", 0), ("layer by layer", 40)):
        apart = server(link=Link(0.0, 1e9), block_B=1e6, overlap_layers=layers)
        _, rows = serve(Cluster(pools=[Pool(apart, 1, "prefill"), Pool(apart, 1, "decode")]), source)
        gap[name] = rows[:, layout.R_GAP_MAX].mean()
        assert (rows[:, layout.R_FIRST_SERVER] != rows[:, layout.R_SERVER]).all()
        assert rows[:, layout.R_GAP_P90].mean() < together[:, layout.R_GAP_P90].mean()
    assert gap["layer by layer"] < gap["serial"]


def test_servers_of_one_pool_help_the_other_where_it_is_loaded() -> None:
    many_prompts = at(*((0.0, 4000, 2) for _ in range(12)))
    long_outputs = at(*((0.01 * i, 64, 300) for i in range(12)))
    for asked, helper in ((many_prompts, 1), (long_outputs, 0)):
        ends, tokens = {}, {}
        for lend in (False, True):
            pools = [Pool(server(blocks=260), 1, "prefill"), Pool(server(blocks=260), 1, "decode")]
            result, rows = serve(Cluster(pools=pools, spill_tokens=5000, lend=lend), asked)
            ends[lend] = rows[:, layout.R_LAST].max()
            column = layout.PROMPT_TOKENS if helper else layout.MADE_TOKENS
            tokens[lend] = result.counts[helper, column] - (0 if helper else len(rows))
        assert tokens[False] == 0 < tokens[True]  # beyond first tokens, which come out where the prompt was computed
        assert ends[True] < 0.8 * ends[False]


def test_speculation_yields_what_its_shares_say() -> None:
    speculation = Speculation(3, 0.7)
    lone = server(speculation=speculation)
    _, rows = serve(Cluster(pools=[Pool(lone)]), at((0.0, 100, 4001)))
    steps = (rows[0, layout.R_LAST] - rows[0, layout.R_FIRST]) / STEP_S
    assert 4000.0 / steps == pytest.approx(speculation.tokens_per_step, rel=0.05)
    assert speculation.tokens_per_step == pytest.approx((1.0 - 0.7**4) / 0.3)


def test_a_tree_yields_no_more_than_its_longest_path_and_its_shares() -> None:
    tree = parse_speculation("24:0.2,0.3,0.3,0.2")
    assert (tree.drafted, tree.depth, tree.width) == (24, 3, 8)
    result, _ = serve(Cluster(pools=[Pool(server(speculation=tree))]), at((0.0, 100, 5001)), log_steps=5000)
    gained = np.diff(result.log[result.log[:, layout.L_DECODING] > 0, layout.L_CONTEXT])
    found = np.bincount(gained.astype(int), minlength=5)[1:] / len(gained)
    assert found == pytest.approx(tree.shares, abs=0.03)
    assert gained.mean() == pytest.approx(tree.tokens_per_step, rel=0.03)


def test_what_drafts_a_tree_takes_a_step_for_each_level() -> None:
    asked: list[Step] = []

    def draft(step: Step) -> tuple[float, float]:
        asked.append(step)
        return 0.001, 0.1

    both = _drafted(cost, draft, parse_speculation("24:0.2,0.3,0.3,0.2"))
    time_s, energy_J = both(Step.of((5, 25, 100, 25)))
    assert time_s == pytest.approx(cost(Step.of((5, 25, 100, 25)))[0] + 3 * 0.001)
    assert energy_J == pytest.approx(1.0 + 0.3)
    assert asked == [Step.of((5, 8, 100, 8))]
    assert both(Step.of((1, 300, 0))) == cost(Step.of((1, 300, 0)))


def test_a_failure_sends_requests_elsewhere_and_loses_none() -> None:
    source = Stream(lengths=parse_lengths("100:50"), rate=8.0, count=400)
    healthy = Cluster(pools=[Pool(server(), 2)])
    failing = Cluster(pools=[Pool(server(), 2)], faults=[Fault(10.0, 0, 0.0), Fault(20.0, 0, 1.0)])
    slow = Cluster(pools=[Pool(server(), 2)], faults=[Fault(10.0, 0, 4.0), Fault(20.0, 0, 1.0)])
    stays = []
    for cluster in (healthy, failing, slow):
        result, rows = serve(cluster, source)
        assert result.completed == 400
        stays.append((rows[:, layout.R_LAST] - rows[:, layout.R_ARRIVED]).mean())
        if cluster is failing:
            assert result.returned > 0
            during = (rows[:, layout.R_ARRIVED] > 10.0) & (rows[:, layout.R_LAST] < 20.0)
            assert (rows[during, layout.R_SERVER] == 1).all()
    assert stays[1] > stays[0] < stays[2]


def test_what_can_never_fit_is_turned_away_with_its_reason() -> None:
    asked = at((0.0, 10, 5), (0.1, 900_000, 5), (0.2, 10, 30_000), (0.3, 10, 5))
    result, rows = serve(Cluster(pools=[Pool(server())], max_context=100_000), asked)
    assert rows[:, layout.R_STATUS].tolist() == [
        layout.COMPLETED_OK,
        layout.TOO_LONG_FOR_MODEL,
        layout.TOO_LONG_FOR_MEMORY,
        layout.COMPLETED_OK,
    ]
    assert result.rejected == 2


def test_conversations_come_at_their_rate_when_answers_are_slow() -> None:
    """Turns per second are those asked for, once as many conversations end as begin, and each waits for its answer."""
    source = Stream(lengths=parse_lengths("100-200:100"), rate=4.0, count=20_000, turns=4.0, think_s=5.0, seed=3)
    result, rows = serve(Cluster(pools=[Pool(server(sequences=64, blocks=100_000))]), source, debug=False)
    middle = (rows[:, layout.R_ARRIVED] > 0.1 * result.end_s) & (rows[:, layout.R_ARRIVED] < 0.8 * result.end_s)
    assert middle.sum() / (0.7 * result.end_s) == pytest.approx(4.0, rel=0.1)
    rows = rows[np.lexsort((rows[:, layout.R_NUMBER], rows[:, layout.R_SESSION]))]
    same = np.diff(rows[:, layout.R_SESSION]) == 0
    think_s = (rows[1:, layout.R_ARRIVED] - rows[:-1, layout.R_LAST])[same]
    assert think_s.min() >= 0.0
    assert think_s.mean() == pytest.approx(5.0, rel=0.05)
    said = rows[:-1, layout.R_INPUT] + rows[:-1, layout.R_OUTPUT]
    assert (rows[1:, layout.R_INPUT] > said)[same].all()


def test_a_conversation_ends_where_a_turn_is_turned_away() -> None:
    source = Stream(lengths=parse_lengths("100:10"), rate=2.0, count=200, turns=8.0, think_s=1.0)
    result, rows = serve(Cluster(pools=[Pool(server())], max_context=500), source)
    assert 0 < result.rejected < result.unasked
    assert result.arrived + result.unasked == 200
    last = {session: number for number, session in enumerate(rows[:, layout.R_SESSION])}
    turned_away = np.flatnonzero(rows[:, layout.R_STATUS] == layout.TOO_LONG_FOR_MODEL)
    assert turned_away.size == result.rejected
    assert all(last[rows[number, layout.R_SESSION]] == number for number in turned_away)


def test_as_many_conversations_as_asked_for_are_held_at_once() -> None:
    source = Stream(lengths=parse_lengths("10:20"), rate=float("inf"), count=400, turns=4.0, think_s=0.5, seed=1)
    _, rows = serve(Cluster(pools=[Pool(server())]), source, concurrency=5)
    sessions = np.unique(rows[:, layout.R_SESSION])
    spans = [rows[rows[:, layout.R_SESSION] == session] for session in sessions]
    begins = np.array([span[0, layout.R_ARRIVED] for span in spans])
    ends = np.array([span[-1, layout.R_LAST] for span in spans])
    inside = {int((begins <= t).sum() - (ends <= t).sum()) for t in np.linspace(0.1, begins.max() * 0.99, 50)}
    assert inside == {5}


def test_memory_does_not_grow_with_the_number_of_conversations(monkeypatch: pytest.MonkeyPatch) -> None:
    grown: list[int] = []
    for name in ("with_slots", "with_turns"):
        real = getattr(run_module, name)
        monkeypatch.setattr(run_module, name, lambda memory, real=real: grown.append(memory.n.size) or real(memory))
    for count in (5_000, 50_000):
        source = Stream(lengths=parse_lengths("10:2"), rate=20.0, count=count, turns=5.0, think_s=1.0)
        serve(Cluster(pools=[Pool(server(sequences=64))]), source, debug=False)
    assert len(grown) == 2  # turns of either run, once


def test_a_closed_loop_keeps_its_number() -> None:
    source = Stream(lengths=parse_lengths("10:50"), rate=float("inf"), count=100)
    result, rows = serve(Cluster(pools=[Pool(server(budget=4096))]), source, concurrency=4)
    starts, ends = rows[:, layout.R_ARRIVED], rows[:, layout.R_LAST]
    inside = [(starts <= t).sum() - (ends <= t).sum() for t in np.linspace(0.1, result.end_s * 0.9, 50)]
    assert set(inside) == {4}


def test_capacity_is_found_between_rates_that_hold_and_do_not() -> None:
    found = find_capacity(lambda rate: (1.0 if rate <= 13.7 else 0.2, 1000), 0.9, start=1.0)
    assert 13.7 / 1.03 < found.rate <= 13.7
    assert found.low <= found.rate < found.high


def test_quantiles_of_many_stay_close_to_exact() -> None:
    random = np.random.default_rng(0)
    values = random.lognormal(0.0, 1.0, 400_000)
    quantiles = Quantiles()
    for part in np.array_split(values, 40):
        quantiles.add(part)
    exact = np.quantile(values, [0.01, 0.5, 0.9, 0.99])
    assert quantiles.at(0.01, 0.5, 0.9, 0.99) == pytest.approx(exact, rel=0.005)
    assert quantiles.mean == pytest.approx(values.mean())


def test_a_step_is_costed_once_for_the_same_setup_and_system(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    run_step = engine_server.run_step
    monkeypatch.setattr(engine_server, "run_step", lambda *given: (runs.append(given), run_step(*given))[1])
    monkeypatch.setattr(engine_server, "_COSTS", deque(maxlen=2))
    step = Step.of((4, 1, 300))
    costs = {}
    for hardware, options in (("h200", {}), ("h200", {}), ("h200", {"tp": 1}), ("h200", {"kv": "fp8"}), ("h100", {})):
        setup, spec = prepare_setup("qwen3-0.6b", f"{hardware}x2", **options)
        cost = engine_server.engine_cost(setup, build_system(spec))
        costs[hardware, *options] = cost(step)
    assert len(runs) == len(costs) == len(set(costs.values())) == 4
    setup, spec = prepare_setup("qwen3-0.6b", "h100x2")
    assert engine_server.engine_cost(setup, build_system(spec, "roofline"))(step)[0] < costs["h100",][0]
    assert len(engine_server._COSTS) == 2


def test_step_times_are_tabulated_from_few_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, worked_out = [], []
    cost, costed = Gpu.cost, Gpu._costed
    monkeypatch.setattr(engine_server, "_COSTS", deque(maxlen=1))
    monkeypatch.setattr(Gpu, "cost", lambda self, *given: (asked.append(given), cost(self, *given))[1])
    monkeypatch.setattr(Gpu, "_costed", lambda self, *given: (worked_out.append(given), costed(self, *given))[1])
    source = Stream(lengths=parse_lengths("100:50"), rate=1.0, count=1)
    ready = deploy("qwen3-0.6b", "h200", Deployment(sequences=32), source)
    assert ready.prepared.surfaces[0].costed > 100
    assert len(worked_out) == len(set(worked_out)) < 0.5 * len(asked)
