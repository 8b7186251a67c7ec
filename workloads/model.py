"""Model architecture as the facts that decide cost: widths, heads, experts and how often each layer repeats."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = [
    "AttentionSpec",
    "Body",
    "FeedForwardSpec",
    "LayerGroup",
    "LayerSpec",
    "MlaSpec",
    "ModelSpec",
    "MoeSpec",
    "fold_layers",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class MlaSpec:
    """Multi-head latent attention (DeepSeek-V2, section 2.1): one latent vector per token replaces keys and values."""

    q_lora_rank: int | None  # None: queries are projected in one step
    kv_lora_rank: int
    nope_head_dim: int
    rope_head_dim: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionSpec:
    """One attention block. ``head_dim`` is the width of a query or key, ``v_head_dim`` that of a value."""

    heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int
    causal: bool = True
    window: int | None = None  # sliding window in tokens; None: the whole context
    rotary: bool = True
    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: bool = False  # a norm over each query and key head, its weights shared by the heads (Qwen 3)
    sinks: bool = False  # one learned logit per head (gpt-oss)
    relative: bool = False  # projected distances enter the scores as second keys (Transformer-XL)
    mla: MlaSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedForwardSpec:
    """A dense feed-forward block; ``gated`` ones have two input projections (SwiGLU, GeGLU)."""

    width: int
    gated: bool
    activation: str = "silu"
    bias: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MoeSpec:
    """A mixture of experts: a router picks ``top_k`` of ``experts`` for a token; ``shared`` experts see every token."""

    experts: int
    top_k: int
    expert_width: int
    gated: bool
    activation: str = "silu"
    bias: bool = False
    router_bias: bool = False
    correction_bias: bool = False  # a per-expert offset that only steers the choice (DeepSeek-V3)
    shared: int = 0
    shared_width: int = 0  # width of one shared expert
    shared_gate: bool = False  # a learned gate on the shared expert (Qwen 2 MoE)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSpec:
    """One transformer layer: attention, then a dense feed-forward block or a mixture of experts (one of the two)."""

    attention: AttentionSpec
    feed_forward: FeedForwardSpec | None = None
    moe: MoeSpec | None = None
    norms: int = 2  # norms of width ``hidden`` per layer (Gemma 2 has 4)
    parallel: bool = False  # attention and feed-forward read the same norm and are added together


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerGroup:
    """Layers that are alike, stored once even where others stand between them."""

    count: int
    layer: LayerSpec


#: What follows attention in a layer.
Body = FeedForwardSpec | MoeSpec


def fold_layers(attentions: Iterable[AttentionSpec], bodies: Iterable[Body], norms: int = 2) -> tuple[LayerGroup, ...]:
    """Store equal layers once, in order of first appearance."""
    counts: dict[LayerSpec, int] = {}
    for attention, body in zip(attentions, bodies, strict=True):
        if isinstance(body, MoeSpec):
            layer = LayerSpec(attention=attention, moe=body, norms=norms)
        else:
            layer = LayerSpec(attention=attention, feed_forward=body, norms=norms)
        counts[layer] = counts.get(layer, 0) + 1
    return tuple(LayerGroup(count=count, layer=layer) for layer, count in counts.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A whole model: embeddings, layers, head."""

    name: str
    family: str  # the HF model_type it was read from
    hidden: int
    vocab: int
    layers: tuple[LayerGroup, ...]
    norm: str = "rmsnorm"  # or layernorm
    norm_bias: bool = False
    learned_positions: int = 0  # rows of a learned position table; 0: rotary or none
    token_types: int = 0
    position_buckets: int = 0  # distances told apart by a learned bias of each head's scores (T5); 0: none
    clusters: tuple[tuple[int, int], ...] = ()  # (rows, width) of an adaptive embedding: rare words are narrower
    embedding_width: int | None = None  # where it differs from hidden and is projected (OPT-350m)
    embedding_norm: bool = False  # a norm right after the embedding (BERT)
    final_norm: bool = True
    lm_head: bool = True  # False: an encoder without a vocabulary projection
    lm_head_bias: bool = False
    tied_embeddings: bool = False
    pooler: bool = False
    max_context: int | None = None
    weight_format: str = "bf16"  # of the linear layers, as published
    expert_format: str | None = None  # of the routed experts, where it differs (gpt-oss); None: the same
    source: str = ""
    warnings: tuple[str, ...] = ()  # fields of the configuration that cost something but are not modelled

    @property
    def is_decoder(self) -> bool:
        """Whether it generates tokens: its attention is causal and keeps a cache."""
        return all(group.layer.attention.causal for group in self.layers)
