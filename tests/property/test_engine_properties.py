"""Properties of whole steps that must hold for any model, step, hardware and stack."""

import math
from dataclasses import replace

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hwmodels.catalog import load_gpu, load_hardware
from hwmodels.gpu.model import gpu_model
from hwmodels.system import build_system
from simulator.engine.profile import load_profile, profile_names
from simulator.engine.run import run_step
from workloads.catalog import load_model
from workloads.model import AttentionSpec, FeedForwardSpec, LayerGroup, LayerSpec, MlaSpec, ModelSpec, MoeSpec
from workloads.moe import Routing
from workloads.operators import Role
from workloads.parallel import Parallelism
from workloads.precision import Precision
from workloads.sharding import device_weight_B
from workloads.step import Step
from workloads.transformer import build_graph

QUICK = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
#: The clock that a power limit leaves is searched to a thousandth of the limit, so times are exact to about that.
SETTLED = 1.003

GPUS = st.sampled_from(["h200", "h100", "a100", "b200", "mi300x", "l40s", "t4", "rtx4090", "v100"])
LEVELS = st.sampled_from(["roofline", "analytic"])
STACKS = st.sampled_from(profile_names()).map(load_profile)
BUNDLED = st.sampled_from(["llama-3-8b", "gpt2-xl", "mixtral-8x7b", "gemma-2-9b", "deepseek-v2-lite", "gpt-oss-20b"])


@st.composite
def attentions(draw):
    kv_heads = draw(st.sampled_from([1, 2, 4, 8]))
    head_dim = draw(st.sampled_from([64, 80, 128, 256]))
    common = {"head_dim": head_dim, "v_head_dim": head_dim, "qkv_bias": draw(st.booleans())}
    if draw(st.integers(0, 3)) == 0:
        mla = MlaSpec(
            q_lora_rank=draw(st.sampled_from([None, 512])), kv_lora_rank=256, nope_head_dim=128, rope_head_dim=64
        )
        heads = 4 * kv_heads
        return AttentionSpec(heads=heads, kv_heads=heads, head_dim=192, v_head_dim=128, mla=mla)
    return AttentionSpec(
        heads=kv_heads * draw(st.sampled_from([1, 2, 7, 8])),
        kv_heads=kv_heads,
        window=draw(st.sampled_from([None, None, 100, 4096])),
        qk_norm=draw(st.booleans()),
        rotary=draw(st.booleans()),
        **common,
    )


@st.composite
def layers(draw):
    gated = draw(st.booleans())
    if draw(st.booleans()):
        experts = draw(st.sampled_from([4, 8, 64]))
        moe = MoeSpec(
            experts=experts,
            top_k=draw(st.integers(1, min(experts, 6))),
            expert_width=128 * draw(st.integers(1, 40)),
            gated=gated,
            shared=draw(st.integers(0, 2)),
            shared_width=512,
        )
        return LayerSpec(attention=draw(attentions()), moe=moe)
    width = 64 * draw(st.integers(4, 300))
    return LayerSpec(
        attention=draw(attentions()),
        feed_forward=FeedForwardSpec(width=width, gated=gated),
        norms=draw(st.sampled_from([2, 4])),
    )


INVENTED = st.builds(
    lambda hidden, vocab, kinds, tied, norm: ModelSpec(
        name="invented", family="test", hidden=hidden, vocab=vocab, layers=kinds, tied_embeddings=tied, norm=norm
    ),
    st.integers(8, 80).map(lambda n: 64 * n),
    st.integers(1000, 200_000),
    st.lists(
        st.builds(lambda n, layer: LayerGroup(count=n, layer=layer), st.integers(1, 40), layers()),
        min_size=1,
        max_size=2,
    ).map(tuple),
    st.booleans(),
    st.sampled_from(["rmsnorm", "layernorm"]),
)
MODELS = st.one_of(BUNDLED.map(load_model), INVENTED)
GROUPS = st.one_of(
    st.tuples(st.integers(1, 300), st.just(1), st.integers(0, 20_000)),
    st.tuples(st.integers(1, 4), st.integers(2, 3000), st.integers(0, 5000)),
)
WORK = st.lists(GROUPS, min_size=1, max_size=3).map(lambda groups: Step.of(*groups))
PRECISIONS = st.builds(
    Precision.of,
    st.sampled_from(["bf16", "fp8", "int8", "int4-g128", "int3-g64-z4-o0.5%", "mxfp4"]),
    st.sampled_from(["bf16", "fp8", "int8"]),
    st.sampled_from(["bf16", "fp8", "int4-g64"]),
)


def system(name, level, factor=1.0, resource=None):
    built = build_system(load_hardware(name), level)
    return built if resource is None else built.scaled(resource, factor)


# --- more is never slower


@QUICK
@given(MODELS, WORK, PRECISIONS, GPUS, LEVELS, STACKS, st.sampled_from(["hbm", "compute"]), st.floats(1.01, 8.0))
def test_more_bandwidth_or_compute_is_never_slower(model, step, precision, gpu, level, stack, resource, factor):
    before = run_step(model, step, precision, system(gpu, level), stack).time_s
    after = run_step(model, step, precision, system(gpu, level, factor, resource), stack).time_s
    assert after <= before * SETTLED


@QUICK
@given(
    BUNDLED,
    WORK,
    st.sampled_from(["h100x8", "a100x8", "mi300x-x8", "v100x8", "a100x4-mesh"]),
    LEVELS,
    STACKS,
    st.sampled_from([(2, 1), (4, 1), (2, 2), (1, 2)]),
    st.floats(1.01, 8.0),
)
def test_more_link_bandwidth_is_never_slower(name, step, hardware, level, stack, degrees, factor):
    model, parallel = load_model(name), Parallelism(tp=degrees[0], pp=degrees[1])
    if name == "gpt2-xl" and parallel.tp > 1:  # 25 heads
        parallel = Parallelism(pp=2)
    precision = Precision.of()
    before = run_step(model, step, precision, system(hardware, level), stack, parallel).time_s
    after = run_step(model, step, precision, system(hardware, level, factor, "link"), stack, parallel).time_s
    assert after <= before * SETTLED


@QUICK
@given(MODELS, WORK, PRECISIONS, GPUS, STACKS)
def test_the_roofline_is_a_bound(model, step, precision, gpu, stack):
    bound, model_s = (
        run_step(model, step, precision, system(gpu, level), stack).time_s for level in ("roofline", "analytic")
    )
    assert bound <= model_s


def splits_by_rule(stack, gpu):
    """Whether FlashAttention-2 runs, which cuts the cache by a rule of its own and not by time."""
    wanted = {rule.backend for rule in stack.attention}
    return bool(wanted & {"flash2", "flash2_paged"}) or ("flash3" in wanted and not gpu_model(load_gpu(gpu)).has_flash3)


@settings(QUICK, max_examples=60)
@given(
    MODELS,
    st.integers(1, 200),
    st.integers(1, 30_000),
    st.integers(1, 30_000),
    PRECISIONS,
    GPUS,
    LEVELS,
    STACKS,
)
def test_a_longer_context_never_makes_a_decode_step_shorter(model, batch, context, more, precision, gpu, level, stack):
    """FlashAttention-2's split rule does not promise this; the others do."""
    assume(level == "roofline" or not splits_by_rule(stack, gpu))
    device = system(gpu, level)
    short, long = (
        run_step(model, Step.of((batch, 1, tokens)), precision, device, stack).time_s
        for tokens in (context, context + more)
    )
    assert long >= short / SETTLED


# --- energy


@QUICK
@given(
    MODELS,
    WORK,
    PRECISIONS,
    GPUS,
    STACKS,
    st.sampled_from([Parallelism(), Parallelism(pp=2), Parallelism(dp=2), Parallelism(pp=3, dp=2)]),
)
def test_energy_is_power_times_time_and_within_what_boards_draw(model, step, precision, gpu, stack, parallel):
    if parallel.pp > sum(g.count for g in model.layers):
        parallel = Parallelism(dp=2)
    board = load_hardware(gpu).device.power
    result = run_step(model, step, precision, system(gpu, "analytic"), stack, parallel)
    assert math.isclose(math.fsum(result.energy_J.values()), result.total_energy_J)
    assert math.isclose(result.power_W * result.interval_s, result.total_energy_J)
    assert all(joules >= 0 for joules in result.energy_J.values())
    mean_W = result.power_W / parallel.devices
    assert board.idle_W <= mean_W <= board.limit_W * 1.002
    assert result.time_s >= sum(op.time_s for op in result.operators) / parallel.pp / (1 + 1e-9)


# --- batches


@QUICK
@given(MODELS, st.integers(2, 400), st.integers(2, 8), st.integers(0, 4000))
def test_splitting_a_batch_never_lowers_the_weights_read(model, batch, parts, context):
    def weights_B(step):
        roles = build_graph(model, step, Precision.of("int4-g128")).bytes_by_role()
        return roles[Role.WEIGHT] + roles[Role.SCALES]

    whole = weights_B(Step.of((batch, 1, context)))
    sizes = [batch * (i + 1) // parts - batch * i // parts for i in range(parts)]
    split = math.fsum(weights_B(Step.of((size, 1, context))) for size in sizes if size)
    assert split >= whole * (1 - 1e-12)


@QUICK
@given(MODELS, GROUPS, PRECISIONS, GPUS, LEVELS, STACKS)
def test_a_group_is_the_same_in_one_piece_or_in_several(model, group, precision, gpu, level, stack):
    count, new, cached = group
    one = Step.of(group)
    several = Step.of(*[(1, new, cached)] * min(count, 3), *([(count - 3, new, cached)] if count > 3 else []))
    for step in (one, several):
        graph = build_graph(model, step, precision)
        assert math.isclose(graph.flops, build_graph(model, one, precision).flops)
        for role, size_B in build_graph(model, one, precision).bytes_by_role().items():
            assert math.isclose(graph.bytes_by_role()[role], size_B)
    if new == 1:
        device = system(gpu, level)
        times = [run_step(model, step, precision, device, stack).time_s for step in (one, several)]
        assert math.isclose(*times, rel_tol=0.05)


@QUICK
@given(MODELS, WORK, PRECISIONS, GPUS, LEVELS, STACKS)
def test_data_parallel_replicas_of_one_sequence_each_run_like_a_single_device(
    model, step, precision, gpu, level, stack
):
    first = replace(step.groups[0], count=1)
    device = system(gpu, level)
    alone = run_step(model, Step((first,)), precision, device, stack)
    spread = run_step(model, Step((replace(first, count=4),)), precision, device, stack, Parallelism(dp=4))
    assert spread.time_s == alone.time_s
    assert math.isclose(spread.total_energy_J, 4 * alone.total_energy_J)


# --- weights


@QUICK
@given(INVENTED, PRECISIONS)
def test_more_devices_never_hold_more_weights_each(model, precision):
    heads = min(g.layer.attention.heads for g in model.layers)
    held = [device_weight_B(model, precision, Parallelism(tp=tp)) for tp in (1, 2, 4, 8) if heads % tp == 0]
    assert held == sorted(held, reverse=True)
    stages = min(4, sum(g.count for g in model.layers))
    assert device_weight_B(model, precision, Parallelism(pp=stages)) <= held[0]


@QUICK
@given(MODELS, WORK, st.sampled_from(["uniform", "balanced", "zipf"]))
def test_fewer_bits_never_read_more_weights(model, step, kind):
    routing = Routing(kind, alpha=1.0 if kind == "zipf" else 0.0)

    def weights_B(name):
        roles = build_graph(model, step, Precision.of(name), routing=routing).bytes_by_role()
        return roles[Role.WEIGHT] + roles[Role.SCALES]

    read = [weights_B(name) for name in ("fp32", "bf16", "fp8", "int6-g128", "int4-g32", "int4-g128", "int4", "int2")]
    assert read == sorted(read, reverse=True)
