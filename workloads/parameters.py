"""What a model weighs: its list of weight tensors, and the parameters, bytes and FLOPs that follow from it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

from workloads.formats import NumberFormat
from workloads.model import AttentionSpec, FeedForwardSpec, LayerSpec, ModelSpec, MoeSpec

__all__ = [
    "Part",
    "WeightTensor",
    "active_parameters",
    "flops_per_token",
    "layer_tensors",
    "parameters",
    "parameters_by_part",
    "weight_B",
    "weight_tensors",
]

Part = Literal["embedding", "attention", "feed_forward", "experts", "router", "norm", "bias", "head"]

#: Parts that checkpoints quantise; the others stay in the 16-bit stream's format.
_LINEAR: frozenset[Part] = frozenset({"attention", "feed_forward", "experts", "head"})


class WeightTensor(NamedTuple):
    """One weight tensor, ``copies`` times in the model; of these a token uses ``used``."""

    name: str
    part: Part
    shape: tuple[int, ...]
    copies: int = 1
    used: int = 1

    @property
    def elements(self) -> int:
        """Elements of all copies."""
        return math.prod(self.shape) * self.copies

    @property
    def active_elements(self) -> int:
        """Elements one token uses."""
        return math.prod(self.shape) * self.used


def weight_tensors(model: ModelSpec) -> Iterator[WeightTensor]:
    """Yield every weight tensor of the model; those of repeated layers and experts once, with the number of copies."""
    yield from _embeddings(model)
    if model.position_buckets:
        yield WeightTensor("position_bias", "bias", (model.position_buckets, model.layers[0].layer.attention.heads))
    for index, group in enumerate(model.layers):
        for tensor in layer_tensors(model, group.layer):
            yield tensor._replace(
                name=f"layers{index}.{tensor.name}", copies=tensor.copies * group.count, used=tensor.used * group.count
            )
    if model.final_norm:
        yield from _norm(model, "final_norm")
    if model.pooler:
        yield WeightTensor("pooler", "head", (model.hidden, model.hidden))
        yield WeightTensor("pooler.bias", "bias", (model.hidden,))
    if model.lm_head:
        yield from _head(model)


def _embeddings(model: ModelSpec) -> Iterator[WeightTensor]:
    """Yield the tables that a token is looked up in, and what brings their rows to the hidden width."""
    width = model.embedding_width or model.hidden
    if model.clusters:
        yield from _clusters(model)
    else:
        yield WeightTensor("embedding", "embedding", (model.vocab, width))
    if model.learned_positions:
        yield WeightTensor("positions", "embedding", (model.learned_positions, model.hidden))
    if model.token_types:
        yield WeightTensor("token_types", "embedding", (model.token_types, model.hidden))
    if width != model.hidden:
        yield WeightTensor("project_in", "feed_forward", (model.hidden, width))
    if model.embedding_norm:
        yield from _norm(model, "embedding_norm")


def _head(model: ModelSpec) -> Iterator[WeightTensor]:
    """Yield what turns a hidden vector into logits, beside tables shared with the embedding."""
    width = model.embedding_width or model.hidden
    if width != model.hidden:
        yield WeightTensor("project_out", "feed_forward", (width, model.hidden))
    if model.clusters:
        first = model.clusters[0][1]
        yield WeightTensor("head_project0", "feed_forward", (first, model.hidden))
        yield WeightTensor("cluster_head", "bias", (len(model.clusters) - 1, first))
        yield WeightTensor("cluster_head.bias", "bias", (len(model.clusters) - 1,))
    elif not model.tied_embeddings:
        yield WeightTensor("lm_head", "head", (model.vocab, width))
    if model.lm_head_bias:
        yield WeightTensor("lm_head.bias", "bias", (model.vocab,))


def _clusters(model: ModelSpec) -> Iterator[WeightTensor]:
    """Yield the tables of an adaptive embedding and their projections; the head shares all but the first projection."""
    for index, (rows, width) in enumerate(model.clusters):
        yield WeightTensor(f"embedding{index}", "embedding", (rows, width))
        yield WeightTensor(f"project_in{index}", "feed_forward", (model.hidden, width))


def layer_tensors(model: ModelSpec, layer: LayerSpec) -> Iterator[WeightTensor]:
    """Yield the weight tensors of one layer."""
    for index in range(layer.norms):
        yield from _norm(model, f"norm{index}")
    if layer.attention.mla is not None:
        yield from _latent_attention(model.hidden, layer.attention)
    else:
        yield from _attention(model.hidden, layer.attention)
    if layer.feed_forward is not None:
        yield from _feed_forward(model.hidden, layer.feed_forward)
    if layer.moe is not None:
        yield from _experts(model.hidden, layer.moe)


def _norm(model: ModelSpec, name: str) -> Iterator[WeightTensor]:
    yield WeightTensor(f"{name}.weight", "norm", (model.hidden,))
    if model.norm_bias:
        yield WeightTensor(f"{name}.bias", "bias", (model.hidden,))


def _attention(hidden: int, spec: AttentionSpec) -> Iterator[WeightTensor]:
    widths = {
        "q": spec.heads * spec.head_dim,
        "k": spec.kv_heads * spec.head_dim,
        "v": spec.kv_heads * spec.v_head_dim,
    }
    for name, width in widths.items():
        yield WeightTensor(name, "attention", (width, hidden))
        if spec.qkv_bias:
            yield WeightTensor(f"{name}.bias", "bias", (width,))
    if spec.relative:
        yield WeightTensor("relative", "attention", (spec.heads * spec.head_dim, hidden))
        yield WeightTensor("relative.content_bias", "bias", (spec.heads, spec.head_dim))
        yield WeightTensor("relative.position_bias", "bias", (spec.heads, spec.head_dim))
    if spec.qk_norm:
        yield WeightTensor("q_norm", "norm", (spec.head_dim,))
        yield WeightTensor("k_norm", "norm", (spec.head_dim,))
    yield from _attention_end(hidden, spec)


def _latent_attention(hidden: int, spec: AttentionSpec) -> Iterator[WeightTensor]:
    mla = spec.mla
    assert mla is not None
    q_width = spec.heads * spec.head_dim
    if mla.q_lora_rank is None:
        yield WeightTensor("q", "attention", (q_width, hidden))
    else:
        yield WeightTensor("q_down", "attention", (mla.q_lora_rank, hidden))
        yield WeightTensor("q_norm", "norm", (mla.q_lora_rank,))
        yield WeightTensor("q_up", "attention", (q_width, mla.q_lora_rank))
    yield WeightTensor("kv_down", "attention", (mla.kv_lora_rank + mla.rope_head_dim, hidden))
    yield WeightTensor("kv_norm", "norm", (mla.kv_lora_rank,))
    yield WeightTensor("kv_up", "attention", (spec.heads * (mla.nope_head_dim + spec.v_head_dim), mla.kv_lora_rank))
    yield from _attention_end(hidden, spec)


def _attention_end(hidden: int, spec: AttentionSpec) -> Iterator[WeightTensor]:
    yield WeightTensor("out", "attention", (hidden, spec.heads * spec.v_head_dim))
    if spec.out_bias:
        yield WeightTensor("out.bias", "bias", (hidden,))
    if spec.sinks:
        yield WeightTensor("sinks", "bias", (spec.heads,))


def _projections(hidden: int, width: int, gated: bool, bias: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name in ("gate", "up") if gated else ("up",):
        yield name, (width, hidden)
        if bias:
            yield f"{name}.bias", (width,)
    yield "down", (hidden, width)
    if bias:
        yield "down.bias", (hidden,)


def _feed_forward(hidden: int, spec: FeedForwardSpec) -> Iterator[WeightTensor]:
    for name, shape in _projections(hidden, spec.width, spec.gated, spec.bias):
        yield WeightTensor(name, "feed_forward" if len(shape) == 2 else "bias", shape)


def _experts(hidden: int, spec: MoeSpec) -> Iterator[WeightTensor]:
    yield WeightTensor("router", "router", (spec.experts, hidden))
    if spec.router_bias:
        yield WeightTensor("router.bias", "bias", (spec.experts,))
    if spec.correction_bias:
        yield WeightTensor("router.correction", "bias", (spec.experts,))
    for name, shape in _projections(hidden, spec.expert_width, spec.gated, spec.bias):
        part: Part = "experts" if len(shape) == 2 else "bias"
        yield WeightTensor(f"experts.{name}", part, shape, spec.experts, spec.top_k)
    if spec.shared:
        for name, shape in _projections(hidden, spec.shared_width, spec.gated, spec.bias):
            part = "feed_forward" if len(shape) == 2 else "bias"
            yield WeightTensor(f"shared.{name}", part, shape, spec.shared, spec.shared)
    if spec.shared_gate:
        yield WeightTensor("shared.gate_score", "router", (1, hidden))


def parameters(model: ModelSpec) -> int:
    """Number of parameters: every element of every weight tensor, tied embeddings once.

    Examples
    --------
    >>> from workloads.catalog import load_model
    >>> parameters(load_model("llama-3-8b"))
    8030261248
    """
    return sum(t.elements for t in weight_tensors(model))


def active_parameters(model: ModelSpec) -> int:
    """Parameters one token uses: all but the routed experts it does not visit (whole embedding tables included)."""
    return sum(t.active_elements for t in weight_tensors(model))


def parameters_by_part(model: ModelSpec) -> dict[Part, int]:
    """Parameters of each :data:`Part`; shared experts count as feed-forward."""
    totals: dict[Part, int] = dict.fromkeys(get_args(Part), 0)
    for tensor in weight_tensors(model):
        totals[tensor.part] += tensor.elements
    return totals


def flops_per_token(model: ModelSpec, context: float = 0.0) -> float:
    """FLOPs of one token's forward pass with logits, when it attends to ``context`` tokens (itself included).

    Model: two per element of each matrix a token is multiplied with (the LM head also where it is tied; not the
    embedding tables), plus 2 heads (head_dim + v_head_dim) per layer and visible key, at most ``window`` of them.
    Latent attention counts each token's expansion once, as prefill does. Biases, norms, softmax and activations are
    not counted.
    """
    none = ("embedding", "norm", "bias")
    # The pooler sees one token of a sequence, not each.
    matrices = sum(t.active_elements for t in weight_tensors(model) if t.part not in none and t.name != "pooler")
    if model.lm_head and model.clusters:
        matrices += sum(rows * width for rows, width in model.clusters)
    elif model.lm_head and model.tied_embeddings:
        matrices += model.vocab * (model.embedding_width or model.hidden)
    pairs = 0.0
    for group in model.layers:
        spec = group.layer.attention
        keys = context if spec.window is None else min(context, spec.window)
        query = spec.head_dim * (2 if spec.relative else 1)
        pairs += group.count * spec.heads * (query + spec.v_head_dim) * keys
    return 2.0 * (matrices + pairs)


def weight_B(
    model: ModelSpec,
    weights: NumberFormat,
    stream: NumberFormat,
    experts: NumberFormat | None = None,
) -> float:
    """Bytes of all weights.

    Parameters
    ----------
    model
        The model.
    weights : NumberFormat
        Of the linear layers and an untied LM head.
    stream : NumberFormat
        Of embeddings (tied head included), norms, biases and routers, which checkpoints leave in 16 bits.
    experts : NumberFormat, optional
        Of the routed experts where it differs from ``weights``.
    """
    total = 0.0
    for part, elements in parameters_by_part(model).items():
        if part == "experts" and experts is not None:
            total += experts.total_B(elements)
        else:
            total += (weights if part in _LINEAR else stream).total_B(elements)
    return total
