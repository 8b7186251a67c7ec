"""The graph of a step: FLOPs and bytes against closed forms from published dimensions, dataflow, shares of devices."""

from dataclasses import replace

import networkx
import pytest

from simulator.core.errors import InputError
from workloads.catalog import load_model, model_names
from workloads.formats import load_format
from workloads.moe import Routing
from workloads.operators import Attention, GroupedGemm, Role
from workloads.operators.attention import visible_pairs
from workloads.parallel import Parallelism
from workloads.parameters import weight_B, weight_tensors
from workloads.precision import Precision
from workloads.step import SequenceGroup, Step
from workloads.transformer import build_graph

BF16 = Precision.of()
BALANCED = Routing("balanced")
SINGLE = Parallelism()
STEPS = {
    "prefill": Step.of((2, 300, 0)),
    "decode": Step.of((16, 1, 5000)),
    "chunk": Step.of((1, 512, 4000, 0)),
    "mixed": Step.of((1, 512, 1000), (7, 1, 5500)),
    "verification": Step.of((4, 5, 4094, 5)),
}
# (layers, hidden, heads, KV heads, head width, feed-forward matrices x width, vocabulary, window of every other layer),
# from the models' papers and configuration files.
DENSE = {
    "llama-3-8b": (32, 4096, 32, 8, 128, 3 * 14336, 128256, None),
    "gpt2": (12, 768, 12, 12, 64, 2 * 3072, 50257, None),
    "gemma-2-9b": (42, 3584, 16, 8, 256, 3 * 14336, 256000, 4096),
    "qwen3-8b": (36, 4096, 32, 8, 128, 3 * 12288, 151936, None),
}


def graph(name, step, precision=BF16, parallel=SINGLE, **options):
    return build_graph(load_model(name), step, precision, parallel, **options)


def named(of, name):
    return [op for op, _ in of if op.name == name]


def only(of, name):
    (operator,) = named(of, name)
    return operator


def pairs(step, window=None):
    """Visible (query, key) pairs, counted one query at a time."""
    total = 0
    for g in step.groups:
        for i in range(g.new):
            keys = g.cached + i + 1
            total += g.count * (keys if window is None else min(keys, window))
    return total


def keys(step, window=None):
    """Keys that some query of the step sees."""
    total = 0
    for g in step.groups:
        oldest = 0 if window is None else max(0, g.cached - window + 1)
        total += g.count * (g.cached + g.new - oldest)
    return total


# --- steps


def test_a_step_counts_tokens_sequences_and_logits():
    step = Step.of((3, 100, 50), (2, 5, 10, 5), (1, 64, 0, 0))
    assert (step.tokens, step.sequences, step.logits) == (374, 6, 13)
    assert [g.kv_len for g in step.groups] == [150, 15, 64]


@pytest.mark.parametrize("group", [(0, 1), (1, 0), (1, 1, -1), (1, 2, 0, 3), (1, 1, 0, -1), (1.0, 1), (True, 1)])
def test_impossible_groups_are_refused(group):
    with pytest.raises(InputError):
        SequenceGroup(*group)


def test_sequences_are_dealt_out_not_rounded_up_group_by_group():
    # Eight requests of different lengths over eight replicas: one each, and the longest decides.
    step = Step(tuple(SequenceGroup(1, 1, 100 * i) for i in range(1, 9)))
    assert step.split(8) == Step.of((1, 1, 800))
    assert step.split(3).sequences == 3
    assert Step.of((5, 7, 0)).split(4) == Step.of((2, 7, 0))
    assert Step.of((2, 1, 9)).split(4) == Step.of((1, 1, 9))
    assert Step.of((1, 512, 0), (7, 1, 100)).split(2) == Step.of((1, 512, 0), (3, 1, 100))


# --- attention


@pytest.mark.parametrize("window", [None, 1, 3, 8, 50])
@pytest.mark.parametrize(("q_len", "kv_len"), [(1, 1), (1, 20), (5, 5), (5, 20), (20, 20)])
def test_visible_pairs_count_the_mask(q_len, kv_len, window):
    first = kv_len - q_len
    mask = [
        [key <= first + i and (window is None or key > first + i - window) for key in range(kv_len)]
        for i in range(q_len)
    ]
    assert visible_pairs(q_len, kv_len, True, window) == sum(map(sum, mask))


@pytest.mark.parametrize("window", [None, 1, 4, 30])
def test_visible_pairs_of_an_encoder(window):
    mask = [[window is None or abs(i - j) < window for j in range(12)] for i in range(12)]
    assert visible_pairs(12, 12, False, window) == sum(map(sum, mask))


# --- FLOPs and bytes of dense models


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("name", DENSE)
def test_flops_of_dense_models(name, kind):
    layers, hidden, heads, kv_heads, head_dim, feed_forward, vocab, window = DENSE[name]
    step = STEPS[kind]
    per_layer = hidden * (heads + 2 * kv_heads) * head_dim + heads * head_dim * hidden + hidden * feed_forward
    seen = (pairs(step, window) + pairs(step)) / 2
    expected = 2 * step.tokens * layers * per_layer + 4 * layers * heads * head_dim * seen
    expected += 2 * step.logits * hidden * vocab
    assert graph(name, step).flops == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("name", DENSE)
def test_cache_traffic_of_dense_models(name, kind):
    layers, _, _, kv_heads, head_dim, _, _, window = DENSE[name]
    step = STEPS[kind]
    roles = graph(name, step).bytes_by_role()
    per_token_B = 2 * kv_heads * head_dim * 2
    assert roles[Role.KV_WRITE] == layers * step.tokens * per_token_B
    assert roles[Role.KV_READ] == layers * (keys(step, window) + keys(step)) / 2 * per_token_B


@pytest.mark.parametrize("kind", STEPS)
def test_activation_traffic_of_llama(kind):
    layers, d, heads, kv_heads, head_dim, _, vocab, _ = DENSE["llama-3-8b"]
    step, f = STEPS[kind], 14336
    q, kv, T, rows = heads * head_dim, kv_heads * head_dim, step.tokens, step.logits
    # Per layer: two adds, two norms, qkv, two rotations, cache write, attention, out, up, activation, down; ends:
    # embedding, add, norm, head, sampling. The first layer's add counts though nothing precedes it.
    inputs = layers * T * (2 * (2 * d + d) + d + (q + kv) + 2 * kv + q + q + d + 2 * f + f) + T * 3 * d
    outputs = layers * T * (4 * d + (q + 2 * kv) + (q + kv) + q + d + 2 * f + f + d) + T * 3 * d
    if rows:
        inputs += rows * (d + vocab)
        outputs += rows * (vocab + 2)  # a token's number is 4 bytes
    roles = graph("llama-3-8b", step).bytes_by_role()
    assert roles[Role.INPUT] == 2 * inputs
    assert roles[Role.OUTPUT] == 2 * outputs


def test_an_encoder_reads_no_cache_and_attends_both_ways():
    step = Step.of((4, 128, 0))
    bert = graph("bert-base", step)
    d, T = 768, 512
    assert bert.flops == 2 * T * 12 * (4 * d * d + 2 * d * 3072) + 12 * 4 * d * (4 * 128 * 128) + 2 * 4 * d * d
    roles = bert.bytes_by_role()
    assert roles[Role.KV_READ] == roles[Role.KV_WRITE] == 0
    assert [op.name for op, _ in bert if op.kind == "kv_write"] == []
    attention = only(bert, "attention")
    assert sum(t.size_B for t in attention.tensors if t.role is Role.INPUT) == 2 * T * 3 * d


# --- experts


def test_flops_of_mixtral():
    step = STEPS["mixed"]
    d, width, T = 4096, 14336, step.tokens
    attention = d * (32 + 16) * 128 + 32 * 128 * d
    expected = 2 * T * 32 * (attention + 8 * d + 2 * 3 * d * width) + 32 * 4 * 32 * 128 * pairs(step)
    expected += 2 * step.logits * d * 32000
    assert graph("mixtral-8x7b", step).flops == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("tokens", [1, 2, 7, 32, 200])
def test_mixtral_decode_reads_the_expected_distinct_experts(tokens):
    weights_B = 0.0
    for op, repeat in graph("mixtral-8x7b", Step.of((tokens, 1, 100))):
        if isinstance(op, GroupedGemm):
            weights_B += repeat * sum(t.size_B for t in op.tensors if t.role is Role.WEIGHT)
    distinct = 8 * (1 - (1 - 2 / 8) ** tokens)
    assert weights_B == pytest.approx(32 * distinct * 3 * 4096 * 14336 * 2, rel=1e-9)


def test_flops_of_gpt_oss():
    step = STEPS["chunk"]
    d, T = 2880, step.tokens
    attention = d * (64 + 16) * 64 + 64 * 64 * d
    experts = d * 32 + 4 * 3 * d * 2880
    seen = (pairs(step, 128) + pairs(step)) / 2
    expected = 2 * T * 24 * (attention + experts) + 24 * 4 * 64 * 64 * seen
    assert graph("gpt-oss-20b", step).flops == pytest.approx(expected, rel=1e-12)


# --- latent attention


@pytest.mark.parametrize(
    ("step", "absorbed"),
    [
        (Step.of((1, 1024, 0)), False),
        (Step.of((8, 1, 4096)), True),
        (Step.of((2, 4, 4096, 4)), True),
        (Step.of((1, 2048, 2048)), False),
    ],
)
def test_latent_attention_of_deepseek_v3(step, absorbed):
    of = graph("deepseek-v3", step)
    heads, q_rank, rank, nope, rope, v, d, T = 128, 1536, 512, 128, 64, 128, 7168, step.tokens
    common = d * q_rank + q_rank * heads * (nope + rope) + d * (rank + rope) + heads * v * d
    expand = rank * heads * (nope + v)
    if absorbed:
        expected = 2 * T * (common + expand) + 2 * heads * (rank + rope + rank) * pairs(step)
    else:
        expected = 2 * T * common + 2 * keys(step) * expand + 2 * heads * (nope + rope + v) * pairs(step)
    dense = 3 * 3 * d * 18432
    experts = 58 * (256 * d + (8 + 1) * 3 * d * 2048)
    total = 61 * expected + 2 * T * (dense + experts) + 2 * step.logits * d * 129280
    assert of.flops == pytest.approx(total, rel=1e-12)
    roles = of.bytes_by_role()
    cached = sum(g.count * (g.kv_len if absorbed else g.cached) for g in step.groups)
    assert roles[Role.KV_READ] == 61 * cached * (rank + rope) * 2
    assert roles[Role.KV_WRITE] == 61 * T * (rank + rope) * 2


def test_expanded_latents_are_fetched_in_the_format_of_the_cache():
    step = Step.of((1, 2048, 2048))
    for name, size_B in (("bf16", 2), ("fp8", 1)):
        of = graph("deepseek-v2-lite", step, Precision.of("bf16", "bf16", name))
        assert of.bytes_by_role()[Role.KV_READ] == 27 * 2048 * 576 * size_B
        (read,) = [t for t in only(replace(of, blocks=of.blocks[1:2]), "kv_up").tensors if t.role is Role.INPUT]
        assert read.size_B == 4096 * 512 * 2  # the product itself reads 16-bit latents


@pytest.mark.parametrize("new", [1, 32, 128, 200, 256, 1024, 4096])
def test_absorption_takes_the_fewer_flops(new):
    step = Step.of((1, new, 4096 - new))
    heads, rank, nope, rope, v = 16, 512, 128, 64, 128
    expand = heads * rank * (nope + v)
    expanded = 2 * 4096 * expand + 2 * heads * (nope + rope + v) * pairs(step)
    absorbed = 2 * new * expand + 2 * heads * (rank + rope + rank) * pairs(step)
    layer = graph("deepseek-v2-lite", step).blocks[1]
    ours = sum(op.flops for op in layer.operators if op.name in ("kv_up", "attention", "absorb_k", "absorb_v"))
    assert ours == min(expanded, absorbed)


# --- weights


@pytest.mark.parametrize("name", model_names())
@pytest.mark.parametrize("formats", [("bf16", None), ("int4-g128", "mxfp4")])
def test_weight_traffic_is_the_parameters(name, formats):
    model = load_model(name)
    precision = Precision.of(formats[0], "bf16", None, formats[1])
    tokens = 512
    roles = graph(name, Step.of((1, tokens, 0)), precision, routing=BALANCED).bytes_by_role()
    tensors = list(weight_tensors(model))
    whole_B = weight_B(model, precision.weights, precision.stream, precision.experts)
    width = model.embedding_width or model.hidden
    # Of the embedding tables, rows; of a tied one, once more the whole as the head.
    tables_B = 2 * sum(t.elements for t in tensors if t.part == "embedding")
    rows_B = 2 * tokens * width * sum(t.part == "embedding" for t in tensors)
    head_B = 2 * model.vocab * width if model.lm_head and model.tied_embeddings else 0
    if model.clusters:  # tokens are looked up in the first table, the head reads all of them
        rows_B, head_B = 2 * tokens * model.clusters[0][1], 2 * sum(r * w for r, w in model.clusters)
    # Biases of positions, a few values for each head, are not counted as traffic.
    whole_B -= 2 * sum(t.elements for t in tensors if "position_bias" in t.name or "content_bias" in t.name)
    assert roles[Role.WEIGHT] + roles[Role.SCALES] == pytest.approx(whole_B - tables_B + rows_B + head_B, rel=1e-12)


# --- dataflow


@pytest.mark.parametrize("activations", ["bf16", "fp8"])
@pytest.mark.parametrize("kind", ["prefill", "decode", "chunk"])
@pytest.mark.parametrize(
    "name", ["llama-3-8b", "mixtral-8x7b", "deepseek-v3", "gpt2", "bert-base", "gemma-2-9b", "gpt-oss-20b", "opt-350m"]
)
def test_values_have_producers_and_the_order_is_topological(name, kind, activations):
    model = load_model(name)
    step = STEPS["prefill"] if not model.is_decoder else STEPS[kind]
    of = graph(name, step, Precision.of("bf16", activations))
    digraph = of.networkx()
    nodes = list(digraph)
    assert len(nodes) == sum(len(block.operators) for block in of.blocks)
    assert networkx.is_directed_acyclic_graph(digraph)
    order = {node: position for position, node in enumerate(nodes)}
    assert all(order[a] < order[b] for a, b in digraph.edges)
    written = {"token_ids", "branch"}  # given from outside; the first layer has nothing to add
    for op, _ in of:
        for tensor in op.tensors:
            if tensor.role in (Role.INPUT, Role.METADATA, Role.KV_READ):
                assert tensor.base in written, (op.name, tensor.value)
        written |= {t.base for t in op.tensors if t.role.is_write}


def test_producers_of_a_layer():
    digraph = graph("mixtral-8x7b", Step.of((2, 64, 0)), Precision.of("fp8", "fp8")).networkx()

    def producers(name):
        return {node.removeprefix("layer0/") for node in digraph.predecessors(f"layer0/{name}")}

    assert producers("attention_add") == {"embedding/embedding"}
    assert producers("qkv") == {"quantize_h"}
    assert producers("kv_write") == {"rope_k", "qkv"}
    assert producers("attention") == {"rope_q", "kv_write"}
    assert producers("out") == {"quantize_attention_out"}
    assert producers("router") == {"feed_forward_norm"}
    assert producers("permute") == {"router_topk", "quantize_h#2"}
    assert producers("combine") == {"experts_down", "router_topk"}
    assert set(digraph.predecessors("head/final_add")) == {"layer0/combine", "layer0/feed_forward_add"}
    assert digraph.nodes["layer0/out"]["repeat"] == 32


# --- formats


def test_formats_of_weights_activations_and_cache_are_separate():
    step = STEPS["decode"]
    base = graph("llama-3-8b", step).bytes_by_role()
    packed = graph("llama-3-8b", step, Precision.of("int4-g128")).bytes_by_role()
    cached = graph("llama-3-8b", step, Precision.of("bf16", "bf16", "fp8")).bytes_by_role()
    linear = 32 * (4096 * 6144 + 4096 * 4096 + 3 * 4096 * 14336) + 4096 * 128256
    assert base[Role.WEIGHT] - packed[Role.WEIGHT] == linear * 1.5
    assert packed[Role.SCALES] == linear / 128 * 2
    assert packed[Role.KV_READ] == base[Role.KV_READ] and packed[Role.INPUT] == base[Role.INPUT]
    assert cached[Role.KV_READ] * 2 == base[Role.KV_READ] and cached[Role.WEIGHT] == base[Role.WEIGHT]
    attention = next(op for op, _ in graph("llama-3-8b", step, Precision.of("fp8", "fp8")) if isinstance(op, Attention))
    assert attention.activations == attention.kv == load_format("bf16")
