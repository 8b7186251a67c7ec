"""How each Hugging Face model family spells its architecture: one reader per ``model_type``.

Defaults are those of the ``transformers`` library's configuration classes, which apply when a field is absent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from workloads.config import Fields
from workloads.families_plain import (
    layer_count,
    read_bert,
    read_bloom,
    read_gpt2,
    read_opt,
    read_t5_encoder,
    read_transformer_xl,
    read_xlm,
)
from workloads.model import (
    AttentionSpec,
    Body,
    FeedForwardSpec,
    LayerGroup,
    MlaSpec,
    ModelSpec,
    MoeSpec,
    fold_layers,
)

__all__ = ["FAMILIES", "Reader"]

#: Reads the fields of one family into a model that still lacks its name, formats and source.
Reader = Callable[[Fields], ModelSpec]

_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Traits:
    """What a family of gated, rotary, RMS-normed decoders fixes in code rather than in its configuration."""

    qkv_bias: bool | None = None  # None: the field attention_bias says
    out_bias: bool | None = None
    bias: bool = False  # default of attention_bias
    qk_norm: bool = False
    sinks: bool = False
    rotary: bool = True
    norms: int = 2
    tied: bool = False  # default of tie_word_embeddings
    head_dim: int | None = None  # default of head_dim; None: hidden / heads
    kv_heads: int | None = None  # default of num_key_value_heads; None: as many as query heads
    activation: str = "silu"
    window: int | None = None  # default of sliding_window
    windowed: bool = True  # default of use_sliding_window
    alternate: bool = False  # where layer_types is absent, every other layer slides, beginning with the first


def _heads(c: Fields, hidden: int, traits: _Traits) -> tuple[int, int, int]:
    """Return query heads, KV heads and head dimension, checked against each other."""
    heads = c.integer("num_attention_heads", high=1 << 16)
    kv_heads = c.integer("num_key_value_heads", default=traits.kv_heads or heads, high=1 << 16)
    if heads % kv_heads:
        message = f"{kv_heads} KV heads do not divide the {heads} attention heads"
        c.contradict("num_key_value_heads", message, "num_attention_heads")
    head_dim = c.optional("head_dim", high=1 << 16) or traits.head_dim
    if head_dim is None:
        if hidden % heads:
            message = f"{heads} heads do not divide hidden_size {hidden}; give head_dim"
            c.contradict("num_attention_heads", message, "hidden_size", "head_dim")
        head_dim = max(1, hidden // heads)
    return heads, kv_heads, head_dim


def _windows(c: Fields, layers: int, traits: _Traits) -> list[int | None]:
    """Return the sliding window of each layer."""
    window = c.optional("sliding_window") if "sliding_window" in c.members else traits.window
    windowed = c.flag("use_sliding_window", default=traits.windowed)
    first = c.integer("max_window_layers", default=0, low=0)
    types = c.items("layer_types")
    c.used.update(("sliding_window", "sliding_window_pattern"))
    if types is not None:
        if len(types) != layers or not set(map(str, types)) <= {"sliding_attention", "full_attention"}:
            message = f"expected {layers} entries, each sliding_attention or full_attention"
            c.contradict("layer_types", message, "num_hidden_layers")
            return [None] * layers
        if window is None and "sliding_attention" in types:
            c.contradict("layer_types", "names sliding_attention, but sliding_window is missing", "sliding_window")
        return [window if kind == "sliding_attention" else None for kind in types]
    if window is None or not windowed:
        return [None] * layers
    return [window if (index % 2 == 0 if traits.alternate else index >= first) else None for index in range(layers)]


def _dense(c: Fields, traits: _Traits) -> FeedForwardSpec:
    activation = c.text("hidden_activation", "hidden_act", "hidden_activation_function", default=traits.activation)
    bias = c.flag("mlp_bias", default=False)
    return FeedForwardSpec(width=c.integer("intermediate_size"), gated=True, activation=activation, bias=bias)


def _top_k(c: Fields, experts: int) -> int:
    names = ("num_experts_per_tok", "num_experts_per_token", "experts_per_token")
    top_k = c.integer(*names, high=1 << 16)
    if top_k > experts:
        name, _ = c.find(*names)
        c.contradict(name, f"{top_k} experts per token, but there are only {experts}", *_EXPERTS)
    return top_k


def _all_dense(c: Fields, layers: int, traits: _Traits) -> list[Body]:
    return [_dense(c, traits)] * layers


def _decoder(
    c: Fields, traits: _Traits = _Traits(), bodies: Callable[[Fields, int, _Traits], list[Body]] = _all_dense
) -> ModelSpec:
    """Read a decoder of the Llama shape; ``bodies`` gives each layer its dense block or its experts."""
    hidden = c.integer("hidden_size")
    layers = layer_count(c, "num_hidden_layers")
    heads, kv_heads, head_dim = _heads(c, hidden, traits)
    bias = c.flag("attention_bias", default=traits.bias) if None in (traits.qkv_bias, traits.out_bias) else False
    attention = AttentionSpec(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        v_head_dim=head_dim,
        rotary=traits.rotary,
        qkv_bias=bias if traits.qkv_bias is None else traits.qkv_bias,
        out_bias=bias if traits.out_bias is None else traits.out_bias,
        qk_norm=traits.qk_norm,
        sinks=traits.sinks,
    )
    attentions = [replace(attention, window=window) for window in _windows(c, layers, traits)]
    return _model(c, hidden, fold_layers(attentions, bodies(c, layers, traits), traits.norms), traits)


def _model(c: Fields, hidden: int, layers: tuple[LayerGroup, ...], traits: _Traits) -> ModelSpec:
    return ModelSpec(
        name="",
        family="",
        hidden=hidden,
        vocab=c.integer("vocab_size"),
        layers=layers,
        tied_embeddings=c.flag("tie_word_embeddings", default=traits.tied),
        max_context=c.optional("max_position_embeddings", "max_sequence_length"),
    )


def _mixtral_experts(c: Fields, layers: int, traits: _Traits) -> list[Body]:
    experts = c.integer("num_local_experts", "num_experts", high=1 << 16)
    activation = c.text("hidden_act", default=traits.activation)
    width = c.integer("moe_intermediate_size", "intermediate_size")
    top_k = _top_k(c, experts)
    return [MoeSpec(experts=experts, top_k=top_k, expert_width=width, gated=True, activation=activation)] * layers


def _gpt_oss_experts(c: Fields, layers: int, traits: _Traits) -> list[Body]:
    moe = _mixtral_experts(c, 1, traits)[0]
    assert isinstance(moe, MoeSpec)
    return [replace(moe, bias=True, router_bias=True)] * layers


def _minimax_experts(c: Fields, layers: int, traits: _Traits) -> list[Body]:
    moe = _mixtral_experts(c, 1, traits)[0]
    assert isinstance(moe, MoeSpec)
    return [replace(moe, correction_bias=c.flag("use_routing_bias", default=True))] * layers


def _qwen_experts(c: Fields, layers: int, traits: _Traits, shared: bool) -> list[Body]:
    """Every ``decoder_sparse_step``-th layer has experts, but for those in ``mlp_only_layers``."""
    experts = c.integer("num_experts", high=1 << 16)
    moe = MoeSpec(
        experts=experts,
        top_k=_top_k(c, experts),
        expert_width=c.integer("moe_intermediate_size"),
        gated=True,
        activation=c.text("hidden_act", default="silu"),
        shared=1 if shared else 0,
        shared_width=c.integer("shared_expert_intermediate_size") if shared else 0,
        shared_gate=shared,
    )
    step = c.integer("decoder_sparse_step", default=1)
    dense_only = set(c.items("mlp_only_layers") or ())
    sparse = [(index + 1) % step == 0 and index not in dense_only for index in range(layers)]
    c.used.add("intermediate_size")  # published even where no layer is dense
    return [moe if is_sparse else _dense(c, traits) for is_sparse in sparse]


def _deepseek(c: Fields, correction: bool) -> ModelSpec:
    """Read latent attention, a few dense layers, then experts with shared ones (arXiv 2405.04434 and 2412.19437)."""
    traits = _Traits()
    hidden = c.integer("hidden_size")
    layers = layer_count(c, "num_hidden_layers")
    bias = c.flag("attention_bias", default=False)
    heads = c.integer("num_attention_heads", high=1 << 16)
    mla = MlaSpec(
        q_lora_rank=c.optional("q_lora_rank"),
        kv_lora_rank=c.integer("kv_lora_rank"),
        nope_head_dim=c.integer("qk_nope_head_dim"),
        rope_head_dim=c.integer("qk_rope_head_dim"),
    )
    attention = AttentionSpec(
        heads=heads,
        kv_heads=heads,
        head_dim=mla.nope_head_dim + mla.rope_head_dim,
        v_head_dim=c.integer("v_head_dim"),
        out_bias=bias,
        mla=mla,
    )
    c.used.update(("num_key_value_heads", "head_dim"))  # published beside, but latent attention has no use for them
    experts = c.integer("n_routed_experts", high=1 << 16)
    width = c.integer("moe_intermediate_size")
    moe = MoeSpec(
        experts=experts,
        top_k=_top_k(c, experts),
        expert_width=width,
        gated=True,
        activation=c.text("hidden_act", default="silu"),
        correction_bias=correction,
        shared=c.integer("n_shared_experts", default=0, low=0, high=1 << 16),
        shared_width=width,
    )
    dense = _dense(c, traits)
    first = c.integer("first_k_dense_replace", default=0, low=0)
    step = c.integer("moe_layer_freq", default=1)
    bodies = [moe if index >= first and index % step == 0 else dense for index in range(layers)]
    return _model(c, hidden, fold_layers([attention] * layers, bodies), traits)


def _glam_experts(c: Fields, layers: int, traits: _Traits) -> list[Body]:
    """Every other layer has experts, not gated; the dense blocks between are gated (arXiv 2112.06905, section 4)."""
    experts = c.integer("num_experts", high=1 << 16)
    dense = _dense(c, traits)
    moe = MoeSpec(
        experts=experts, top_k=_top_k(c, experts), expert_width=dense.width, gated=False, activation=dense.activation
    )
    step = c.integer("moe_layer_freq", default=2)
    return [moe if (index + 1) % step == 0 else dense for index in range(layers)]


_LLAMA = _Traits()
_MISTRAL = _Traits(qkv_bias=False, out_bias=False, kv_heads=8, window=4096)
_MIXTRAL = _Traits(qkv_bias=False, out_bias=False, kv_heads=8)
_QWEN2 = _Traits(qkv_bias=True, out_bias=False, windowed=False)
_QWEN3 = _Traits(qk_norm=True, head_dim=128, windowed=False)
_MINIMAX = _Traits(qkv_bias=False, out_bias=False, qk_norm=True, head_dim=128)
_PHI3 = _Traits(qkv_bias=False, out_bias=False)
_GEMMA = _Traits(head_dim=256, tied=True, activation="gelu_pytorch_tanh")
_GEMMA2 = replace(_GEMMA, norms=4, window=4096, alternate=True)
_GPT_OSS = _Traits(bias=True, sinks=True, head_dim=64, window=128, alternate=True)
_GROK = _Traits(qkv_bias=False, out_bias=False, norms=4, tied=True, activation="gelu")
_GLAM = _Traits(qkv_bias=False, out_bias=False, rotary=False, tied=True, activation="gelu")

#: Reader of each ``model_type``.
FAMILIES: dict[str, Reader] = {
    "bert": read_bert,
    "bloom": read_bloom,
    "deepseek_v2": partial(_deepseek, correction=False),
    "deepseek_v3": partial(_deepseek, correction=True),
    "gemma": partial(_decoder, traits=_GEMMA),
    "gemma2": partial(_decoder, traits=_GEMMA2),
    "glam": partial(_decoder, traits=_GLAM, bodies=_glam_experts),
    "gpt2": read_gpt2,
    "gpt3": read_gpt2,
    "gpt_oss": partial(_decoder, traits=_GPT_OSS, bodies=_gpt_oss_experts),
    "grok-1": partial(_decoder, traits=_GROK, bodies=_mixtral_experts),
    "kimi_k2": partial(_deepseek, correction=True),
    "llama": partial(_decoder, traits=_LLAMA),
    "minimax_m2": partial(_decoder, traits=_MINIMAX, bodies=_minimax_experts),
    "mistral": partial(_decoder, traits=_MISTRAL),
    "mixtral": partial(_decoder, traits=_MIXTRAL, bodies=_mixtral_experts),
    "opt": read_opt,
    "phi3": partial(_decoder, traits=_PHI3),
    "qwen2": partial(_decoder, traits=_QWEN2),
    "qwen2_moe": partial(_decoder, traits=_QWEN2, bodies=partial(_qwen_experts, shared=True)),
    "qwen3": partial(_decoder, traits=_QWEN3),
    "qwen3_moe": partial(_decoder, traits=_QWEN3, bodies=partial(_qwen_experts, shared=False)),
    "t5": read_t5_encoder,
    "transfo-xl": read_transformer_xl,
    "xlm": read_xlm,
}
