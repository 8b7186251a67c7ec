"""One step on a system: pipeline slots and bubbles, shares of the batch, links between nodes, and what adds up."""

import math

import pytest

from hwmodels.catalog import load_hardware
from hwmodels.system import build_system
from simulator.engine.profile import load_profile
from simulator.engine.run import run_step
from workloads.catalog import load_model
from workloads.operators import Collective, Transfer
from workloads.parallel import Parallelism
from workloads.precision import Precision
from workloads.step import Step

IDEAL = load_profile("ideal")


def run(step, parallel, hardware="h100x8", level="analytic", model="llama-3-8b", profile=IDEAL):
    system = build_system(load_hardware(hardware), level)
    return run_step(load_model(model), step, Precision.of(), system, profile, parallel)


def stage_s(result, stage):
    """Time of one slot of a stage."""
    return sum(op.time_s for op in result.operators if op.stage == stage) / result.slots


@pytest.mark.parametrize(
    ("batch", "pp", "micro_batches", "slots", "size"),
    [
        (8, 4, None, 4, 2),
        (5, 4, None, 3, 2),  # two of two and one of one, not four of two
        (1, 4, None, 1, 1),
        (3, 4, None, 3, 1),
        (8, 4, 8, 8, 1),
        (8, 4, 2, 2, 4),
        (8, 4, 100, 8, 1),
        (8, 1, None, 1, 8),
    ],
)
def test_micro_batches_fill_and_drain_the_pipeline(batch, pp, micro_batches, slots, size):
    parallel = Parallelism(pp=pp, micro_batches=micro_batches)
    result = run(Step.of((batch, 1, 1000)), parallel)
    assert result.slots == slots
    head = next(op for op in result.operators if op.name == "lm_head")
    assert head.count == slots and head.cost.flops == 2 * size * 4096 * 128256
    slot_s = max(stage_s(result, stage) for stage in range(pp))
    assert result.time_s == pytest.approx((slots + pp - 1) * slot_s)
    assert result.interval_s == pytest.approx(max(slots, pp) * slot_s)


def test_more_micro_batches_shrink_the_bubble_of_a_prefill():
    step = Step.of((16, 2048, 0))
    times = [run(step, Parallelism(pp=4, micro_batches=m)).time_s for m in (1, 2, 4, 8, 16)]
    assert times == sorted(times, reverse=True)
    # one micro-batch leaves three of four stages idle; sixteen leave 3 of 19 slots
    assert times[0] / times[-1] == pytest.approx(4 * 16 / 19, rel=0.1)


def test_a_mixed_batch_of_single_requests_is_shared_out():
    lengths = [100, 2000, 700, 1500, 300, 900, 1200, 4000]
    step = Step.of(*[(1, 1, n) for n in lengths])
    spread = run(step, Parallelism(dp=8))
    assert spread.time_s == run(Step.of((1, 1, 4000)), Parallelism()).time_s
    piped = run(step, Parallelism(pp=2))
    assert piped.slots == 2
    head = next(op for op in piped.operators if op.name == "lm_head")
    assert head.cost.flops == 2 * 4 * 4096 * 128256


def test_replicas_without_sequences_only_idle():
    idle_W = build_system(load_hardware("h100x8")).device.idle_W
    alone = run(Step.of((1, 1, 1000)), Parallelism())
    spread = run(Step.of((1, 1, 1000)), Parallelism(dp=4))
    assert spread.time_s == alone.time_s
    assert spread.total_energy_J == pytest.approx(alone.total_energy_J + 3 * idle_W * alone.time_s)


def test_stages_that_wait_idle():
    result = run(Step.of((1, 1, 1000)), Parallelism(pp=4))
    assert math.fsum(result.energy_J.values()) == pytest.approx(result.power_W * result.interval_s)
    alone = run(Step.of((1, 1, 1000)), Parallelism())
    # the same work and weights, but four boards awake
    assert alone.total_energy_J < result.total_energy_J < 4 * alone.total_energy_J
    assert result.power_W < 4 * alone.power_W


def test_host_time_of_a_step_is_waited_for():
    slow = load_profile("ideal", ["host_step=3 ms"])
    step = Step.of((4, 1, 1000))
    assert run(step, Parallelism(), profile=slow).time_s == pytest.approx(run(step, Parallelism()).time_s + 3e-3)


def test_an_eager_host_that_cannot_keep_up_decides():
    step = Step.of((1, 1, 100))
    eager = load_profile("ideal", ["launch.mode=eager", "launch.host_interval=50 us"])
    result = run(step, Parallelism(), model="gpt2", profile=eager)
    assert result.time_s == pytest.approx(50e-6 * sum(op.count for op in result.operators))


# --- which links are used


def network(hardware="h100x8"):
    return build_system(load_hardware(hardware)).device.network


def test_groups_of_neighbours_fill_a_node_and_strided_ones_do_not():
    net = network()
    assert net.per_node == 8
    assert [net.nodes(world) for world in (2, 8, 9, 16, 64)] == [1, 1, 2, 2, 8]
    assert [net.nodes(world, 8) for world in (1, 2, 4)] == [1, 2, 4]
    assert net.nodes(4, 4) == 2


def test_experts_on_other_nodes_are_reached_by_the_network():
    net = network()
    near, far = (
        Collective(name="dispatch", op="all_to_all", message_B=1e8, world=2, scope="ep", stride=stride)
        for stride in (1, 8)
    )
    assert net.collective(far).time_s > 3 * net.collective(near).time_s
    assert net.fastest_Bps(near) == net.intra.bandwidth_Bps


@pytest.mark.parametrize(
    ("first", "devices", "crosses"),
    [(0, 4, False), (4, 4, True), (0, 8, True), (8, 8, True), (8, 2, False), (3, 3, True)],
)
def test_stages_on_other_nodes_are_reached_by_the_network(first, devices, crosses):
    net = network()
    send = Transfer(name="send", size_B=1e8, first=first, span=2 * devices)
    slow_s, fast_s = 1e8 / net.inter.bandwidth_Bps, 1e8 / net.intra.bandwidth_Bps
    assert (net.transfer(send).time_s > 0.9 * slow_s) is crosses
    assert net.transfer(send).time_s > fast_s
    assert net.spent(send) == net.transfer(send)
    bound = net.spent(send, bound=True)
    assert bound.time_s == pytest.approx(bound.wire_B / net.fastest_Bps(send)) and bound.latency_s == 0.0
    assert bound.time_s <= net.spent(send).time_s
    assert net.fastest_Bps(send) == (net.inter if crosses else net.intra).bandwidth_Bps
