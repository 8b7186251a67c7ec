"""A model spread over devices: shares add up to the whole, and collectives move what the shares lack."""

import math
from dataclasses import replace

import pytest

from simulator.core.errors import InputError
from workloads.catalog import load_model
from workloads.model import LayerGroup
from workloads.moe import Routing
from workloads.operators import Collective, Gemm, Role, Transfer
from workloads.parallel import Parallelism
from workloads.parameters import weight_B, weight_tensors
from workloads.precision import Precision
from workloads.sharding import device_weight_B, stage_weight_B
from workloads.step import Step
from workloads.transformer import build_graph
from workloads.transformer.build import stage_layers

BF16 = Precision.of()
BALANCED = Routing("balanced")
SINGLE = Parallelism()
STEPS = {
    "prefill": Step.of((2, 300, 0)),
    "decode": Step.of((16, 1, 5000)),
    "verification": Step.of((4, 5, 4094, 5)),
}


def graph(name, step, precision=BF16, parallel=SINGLE, **options):
    return build_graph(load_model(name), step, precision, parallel, **options)


def named(of, name):
    return [op for op, _ in of if op.name == name]


def only(of, name):
    (operator,) = named(of, name)
    return operator


# --- one device


@pytest.mark.parametrize("name", ["llama-3-8b", "gpt2", "deepseek-v3", "gpt-oss-20b", "opt-350m", "bert-base"])
def test_weights_on_one_device_are_the_model(name):
    model = load_model(name)
    precision = Precision.of("int4-g128")
    assert device_weight_B(model, precision, Parallelism()) == pytest.approx(
        weight_B(model, precision.weights, precision.stream), rel=1e-12
    )


# --- tensor parallelism


@pytest.mark.parametrize("tp", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", ["prefill", "decode", "verification"])
def test_tensor_parallel_shares_add_up(kind, tp):
    step = STEPS[kind]
    whole, share = graph("llama-3-8b", step), graph("llama-3-8b", step, parallel=Parallelism(tp=tp))
    assert share.flops * tp == pytest.approx(whole.flops, rel=1e-12)
    for role in (Role.KV_READ, Role.KV_WRITE):
        assert share.bytes_by_role()[role] * tp == whole.bytes_by_role()[role]
    for op, _ in whole:
        if isinstance(op, Gemm):
            (mine,) = named(share, op.name)
            assert mine.weight_elements * tp == op.weight_elements


@pytest.mark.parametrize("name", ["llama-3-8b", "mixtral-8x7b", "deepseek-v2-lite"])
def test_tensor_parallel_weights_add_up(name):
    model = load_model(name)
    replicated = sum(
        t.elements * 2
        for t in weight_tensors(model)
        if t.part in ("norm", "router", "bias") or t.name.endswith(("q_down", "kv_down"))
    )
    whole_B = device_weight_B(model, BF16, Parallelism())
    for tp in (2, 4, 8):
        share_B = device_weight_B(model, BF16, Parallelism(tp=tp))
        assert share_B * tp == pytest.approx(whole_B + (tp - 1) * replicated, rel=1e-12)


def test_kv_heads_are_replicated_beyond_their_number():
    step = STEPS["decode"]
    kv_B = {tp: graph("llama-3-8b", step, parallel=Parallelism(tp=tp)).bytes_by_role()[Role.KV_READ] for tp in (8, 16)}
    assert kv_B[16] == kv_B[8]
    attention = only(graph("llama-3-8b", step, parallel=Parallelism(tp=16)), "attention")
    assert (attention.heads, attention.kv_heads) == (2, 1)
    model = load_model("llama-3-8b")
    layer_kv_B = 32 * 2 * 4096 * 128 * 2  # the one KV head of a device, keys and values, 32 layers
    cut = [device_weight_B(model, BF16, Parallelism(tp=tp)) for tp in (8, 16)]
    norms_B = 65 * 4096 * 2
    assert cut[1] - norms_B - layer_kv_B == pytest.approx((cut[0] - norms_B - layer_kv_B) / 2, rel=1e-12)


@pytest.mark.parametrize("tp", [2, 8])
def test_collectives_of_tensor_parallelism(tp):
    step = STEPS["verification"]
    of = graph("llama-3-8b", step, parallel=Parallelism(tp=tp))
    collectives = {(op.name, op.op, op.message_B, op.world): n for op, n in of if isinstance(op, Collective)}
    tokens_B = step.tokens * 4096 * 2
    assert collectives == {
        ("embedding_reduce", "all_reduce", tokens_B, tp): 1,
        ("attention_reduce", "all_reduce", tokens_B, tp): 32,
        ("feed_forward_reduce", "all_reduce", tokens_B, tp): 32,
        ("logits_gather", "all_gather", step.logits * 128256 * 2, tp): 1,
    }


def test_sequence_parallelism_moves_the_same_bytes_and_normalises_shares():
    step, tp = STEPS["prefill"], 4
    plain = graph("llama-3-8b", step, parallel=Parallelism(tp=tp))
    split = graph("llama-3-8b", step, parallel=Parallelism(tp=tp, sequence_parallel=True))
    assert split.flops == plain.flops
    counts = {}
    for op, repeat in split:
        if isinstance(op, Collective) and op.name not in ("logits_gather", "head_gather"):
            assert op.message_B == step.tokens * 4096 * 2
            counts[op.op] = counts.get(op.op, 0) + repeat
    # An all-reduce is a reduce-scatter and an all-gather; the final norm's all-gather covers only rows with logits.
    assert counts == {"reduce_scatter": 65, "all_gather": 64}
    assert only(split, "head_gather").message_B == step.logits * 4096 * 2
    for name in ("attention_add", "attention_norm", "feed_forward_norm", "final_norm"):
        assert only(split, name).rows == math.ceil(step.tokens / tp)
        assert only(plain, name).rows == step.tokens


# --- pipeline parallelism


@pytest.mark.parametrize("name", ["llama-3-8b", "gemma-2-9b", "deepseek-v3", "gpt-oss-20b"])
@pytest.mark.parametrize("pp", [2, 3, 5])
def test_pipeline_stages_add_up(name, pp):
    model, step = load_model(name), STEPS["prefill"]
    whole = build_graph(model, step, BF16)
    stages = [build_graph(model, step, BF16, Parallelism(pp=pp), stage=stage) for stage in range(pp)]
    assert math.fsum(stage.flops for stage in stages) == pytest.approx(whole.flops, rel=1e-12)
    for role in (Role.WEIGHT, Role.KV_READ, Role.KV_WRITE):
        total = math.fsum(stage.bytes_by_role()[role] for stage in stages)
        assert total == pytest.approx(whole.bytes_by_role()[role], rel=1e-12)
    for group in model.layers:
        held = [g.count for stage in range(pp) for g in stage_layers(model, pp, stage) if g.layer == group.layer]
        assert sum(held) == group.count
    sizes = [sum(g.count for g in stage_layers(model, pp, stage)) for stage in range(pp)]
    assert max(sizes) - min(sizes) <= 1
    sent = [op for stage in stages for op, _ in stage if isinstance(op, Transfer)]
    assert len(sent) == pp - 1
    # The residual stream and the branch that the next layer adds to it.
    assert all(op.size_B == 2 * step.tokens * model.hidden * 2 for op in sent)


def test_alternating_layers_are_shared_out_and_leading_ones_are_not():
    gemma, deepseek = load_model("gemma-2-9b"), load_model("deepseek-v3")
    for stage in range(3):
        assert [g.count for g in stage_layers(gemma, 3, stage)] == [7, 7]
    assert [g.count for g in stage_layers(deepseek, 2, 0)] == [3, 28]
    assert [g.count for g in stage_layers(deepseek, 2, 1)] == [30]


def test_stage_weights_add_up_but_for_a_tied_embedding_held_twice():
    llama, gpt2 = load_model("llama-3-8b"), load_model("gpt2")
    stages = [stage_weight_B(llama, BF16, Parallelism(pp=3), stage) for stage in range(3)]
    assert sum(stages) == pytest.approx(device_weight_B(llama, BF16, Parallelism()), rel=1e-12)
    assert device_weight_B(llama, BF16, Parallelism(pp=3)) == max(stages)
    stages = [stage_weight_B(gpt2, BF16, Parallelism(pp=2), stage) for stage in range(2)]
    whole_B = device_weight_B(gpt2, BF16, Parallelism())
    assert sum(stages) == pytest.approx(whole_B + 50257 * 768 * 2, rel=1e-12)


def test_a_stage_gathers_what_each_device_of_the_last_one_sent():
    step = STEPS["decode"]
    first, last = (graph("llama-3-8b", step, parallel=Parallelism(tp=4, pp=2, dp=2), stage=stage) for stage in range(2))
    send = only(first, "to_next_stage")
    both_B = 2 * step.tokens * 4096 * 2
    assert (send.size_B, send.first, send.span) == (both_B / 4, 0, 16)
    gather = only(last, "from_last_stage")
    assert (gather.op, gather.message_B, gather.world) == ("all_gather", both_B, 4)


# --- expert parallelism


@pytest.mark.parametrize(("tp", "dp", "ep"), [(1, 8, 8), (8, 1, 8), (2, 4, 8), (2, 4, 4), (4, 2, 2), (1, 4, 2)])
def test_expert_parallel_shares_add_up(tp, dp, ep):
    parallel = Parallelism(tp=tp, dp=dp, ep=ep)
    step = Step.of((64, 1, 100))  # of one replica
    of = graph("mixtral-8x7b", step, parallel=parallel, routing=BALANCED)
    tokens = 64 * dp
    up = only(of, "experts_up")
    assert up.load.rows * ep == tokens * 2
    # all devices together hold all experts and do all the work
    assert up.weight_elements * tp * dp == 8 * 2 * 4096 * 14336
    assert up.flops * tp * dp == 2 * tokens * 2 * 2 * 4096 * 14336
    dispatch, back = only(of, "dispatch"), only(of, "return")
    for exchange in (dispatch, back):
        assert (exchange.op, exchange.world, exchange.stride) == ("all_to_all", ep, tp * dp // ep)
        # what all send is what all get: each expert's rows, on each device that shares the expert
        assert exchange.message_B * tp * dp == pytest.approx(up.load.rows * tp * dp * 4096 * 2)
    order = [op.name for op, _ in of]
    assert order.index("dispatch") < order.index("permute") < order.index("experts_down") < order.index("return")
    assert order.index("return") < order.index("combine")
    # partial sums of a sliced expert are added up, finished tokens of whole ones only handed round
    finish = [op.op for op, _ in of if isinstance(op, Collective) and op.name.startswith("feed_forward")]
    assert finish == ([] if tp == 1 else ["all_gather"] if parallel.expert_tp == 1 else ["all_reduce"])


@pytest.mark.parametrize(("tp", "dp", "ep"), [(1, 8, 8), (8, 1, 8), (2, 4, 8), (2, 4, 4), (4, 2, 2)])
def test_gathered_tokens_are_added_up_on_all_devices(tp, dp, ep):
    parallel = Parallelism(tp=tp, dp=dp, ep=ep)
    step = Step.of((64, 1, 100))
    of = graph("mixtral-8x7b", step, parallel=parallel, routing=BALANCED, expert_exchange="gather")
    tokens = 64 * dp
    assert only(of, "experts_up").load.rows * ep == tokens * 2
    assert only(of, "combine").rows == tokens  # what this device's experts add to each token
    exchanges = [(op.op, op.world, op.stride, op.message_B) for op, _ in of if getattr(op, "scope", "") == "dp"]
    size_B = tokens * 4096 * 2
    assert exchanges == ([] if dp == 1 else [("all_gather", dp, tp, size_B), ("reduce_scatter", dp, tp, size_B)])
    finish = [op.op for op, _ in of if isinstance(op, Collective) and op.name.startswith("feed_forward")]
    assert finish == ([] if tp == 1 else ["all_reduce"])


def test_inputs_of_wide_weights_stay_wide():
    precision = Precision.of("bf16", "nvfp4", experts="nvfp4")
    of = graph("deepseek-v3", Step.of((64, 1, 100)), precision)
    layer = next(block for block in of.blocks if block.repeat == 58)
    formats = {op.name: op.activations.name for op in layer.operators if op.kind in ("gemm", "grouped_gemm")}
    assert formats["experts_up"] == formats["experts_down"] == "nvfp4"
    assert formats["q_down"] == formats["out"] == formats["shared_up"] == "bf16"
    assert [op.name for op in layer.operators if op.name.startswith("quantize")] == [
        "quantize_h",
        "quantize_experts_act_out",
    ]


def test_latent_attention_folds_where_that_is_less_work():
    mixed = graph("deepseek-v3", Step.of((1, 4096, 0), (32, 1, 4096)))
    layer = next(block for block in mixed.blocks if block.repeat == 58)
    attention = [op for op in layer.operators if op.kind == "attention"]
    assert [(op.kv_heads, sum(g.count for g in op.groups)) for op in attention] == [(128, 1), (1, 32)]
    assert only([(op, 1) for op in layer.operators], "kv_up").m == 4096  # prompts only
    assert only([(op, 1) for op in layer.operators], "absorb_k").m == 32


def test_narrow_activations_are_quantised_once_per_token_and_sent_narrow():
    step = Step.of((64, 1, 100))
    parallel = Parallelism(dp=8, ep=8)
    of = graph("deepseek-v3", step, Precision.of("fp8", "fp8"), parallel, routing=BALANCED)
    layer = next(block for block in of.blocks if block.repeat == 58)
    quantised = [op for op in layer.operators if op.name == "quantize_h"]
    assert [op.rows for op in quantised] == [64, 64]  # before attention and before the experts
    dispatch = next(op for op in layer.operators if op.name == "dispatch")
    assert dispatch.message_B == 64 * 8 * 7168
    assert next(op for op in layer.operators if op.name == "return").message_B == 64 * 8 * 7168 * 2


def test_expert_weights_of_a_device():
    model = load_model("gpt-oss-20b")
    whole_B = device_weight_B(model, BF16, Parallelism())
    share_B = device_weight_B(model, BF16, Parallelism(dp=8, ep=8))
    experts_B = 24 * 32 * (3 * 2880 * 2880 + 3 * 2880) * 2  # matrices and biases
    assert whole_B - share_B == pytest.approx(experts_B * 7 / 8, rel=1e-12)


# --- parallelism that does not divide


@pytest.mark.parametrize(
    ("name", "degrees"),
    [
        ("llama-3-8b", {"tp": 3}),
        ("llama-3-8b", {"pp": 33}),
        ("llama-3-8b", {"ep": 2, "dp": 2}),
        ("mixtral-8x7b", {"ep": 16, "dp": 16}),
        ("mixtral-8x7b", {"tp": 32, "dp": 3, "ep": 3}),
    ],
)
def test_degrees_that_do_not_divide_are_refused(name, degrees):
    with pytest.raises(InputError, match="--"):
        Parallelism(**degrees).check(load_model(name))


def test_shared_experts_must_divide_too():
    model = load_model("qwen1.5-moe-a2.7b")
    (group,) = model.layers
    moe = replace(group.layer.moe, shared_width=100)
    uneven = replace(model, layers=(LayerGroup(count=24, layer=replace(group.layer, moe=moe)),))
    Parallelism(tp=8).check(model)
    with pytest.raises(InputError, match="shared experts"):
        Parallelism(tp=8).check(uneven)


@pytest.mark.parametrize("fields", [{"tp": 0}, {"pp": True}, {"ep": 3, "dp": 4}, {"dp": 1.5}, {"micro_batches": 0}])
def test_impossible_degrees_are_refused(fields):
    with pytest.raises(InputError):
        Parallelism(**fields)
