"""How families not of Llama's shape spell their architecture: GPT-2, OPT, BLOOM, BERT, XLM, T5, Transformer-XL.

Defaults are those of the ``transformers`` library's configuration classes, which apply when a field is absent.
"""

from __future__ import annotations

from dataclasses import replace

from workloads.config import Fields
from workloads.model import AttentionSpec, FeedForwardSpec, LayerGroup, ModelSpec, fold_layers

__all__ = [
    "layer_count",
    "read_bert",
    "read_bloom",
    "read_gpt2",
    "read_opt",
    "read_t5_encoder",
    "read_transformer_xl",
    "read_xlm",
]

_MAX_LAYERS = 10_000


def layer_count(c: Fields, *names: str) -> int:
    """Return the number of layers."""
    return c.integer(*names, high=_MAX_LAYERS)


def _learned(c: Fields, hidden: int, layers: tuple[LayerGroup, ...], positions: int, offset: int = 0) -> ModelSpec:
    """Return what GPT-2, OPT and BERT have in common: layer norms with bias and a table of positions."""
    return ModelSpec(
        name="",
        family="",
        hidden=hidden,
        vocab=c.integer("vocab_size"),
        layers=layers,
        norm="layernorm",
        norm_bias=True,
        learned_positions=positions + offset,
        max_context=positions,
        tied_embeddings=c.flag("tie_word_embeddings", default=True),
    )


def _plain_attention(c: Fields, hidden: int, heads: int, head_dim: int | None, bias: bool = True) -> AttentionSpec:
    if head_dim is None:
        if hidden % heads:
            name, _ = c.find("num_attention_heads", "n_head")
            c.contradict(name, f"{heads} heads do not divide the width {hidden}", "hidden_size", "n_embd", "head_dim")
        head_dim = max(1, hidden // heads)
    return AttentionSpec(
        heads=heads,
        kv_heads=heads,
        head_dim=head_dim,
        v_head_dim=head_dim,
        rotary=False,
        qkv_bias=bias,
        out_bias=bias,
    )


def read_gpt2(c: Fields) -> ModelSpec:
    """Read GPT-2; also GPT-3, which adds ``head_dim``. Its sparse layers (every other one) count as dense ones."""
    hidden = c.integer("n_embd", "hidden_size")
    count = layer_count(c, "n_layer", "num_hidden_layers")
    heads = c.integer("n_head", "num_attention_heads", high=1 << 16)
    attention = _plain_attention(c, hidden, heads, c.optional("head_dim"))
    width = c.integer("n_inner", "intermediate_size", default=4 * hidden)
    body = FeedForwardSpec(
        width=width, gated=False, activation=c.text("activation_function", default="gelu_new"), bias=True
    )
    positions = c.integer("n_positions", "max_position_embeddings", "n_ctx")
    return _learned(c, hidden, fold_layers([attention] * count, [body] * count), positions)


def read_opt(c: Fields) -> ModelSpec:
    """Read OPT: two unused rows lead its position table; the 350m model embeds in a narrower space, norms last."""
    hidden = c.integer("hidden_size")
    count = layer_count(c, "num_hidden_layers")
    bias = c.flag("enable_bias", default=True)
    attention = _plain_attention(c, hidden, c.integer("num_attention_heads", high=1 << 16), None, bias)
    activation = c.text("activation_function", default="relu")
    body = FeedForwardSpec(width=c.integer("ffn_dim"), gated=False, activation=activation, bias=bias)
    positions = c.integer("max_position_embeddings", default=2048)
    width = c.integer("word_embed_proj_dim", default=hidden)
    final_norm = c.flag("do_layer_norm_before", default=True) and not c.flag("_remove_final_layer_norm", default=False)
    model = _learned(c, hidden, fold_layers([attention] * count, [body] * count), positions, offset=2)
    return replace(model, embedding_width=None if width == hidden else width, final_norm=final_norm)


def read_bloom(c: Fields) -> ModelSpec:
    """Read BLOOM (arXiv 2211.05100): a norm after the embedding, positions as slopes added to the scores (ALiBi).

    These additions are not counted. The model was trained on 2048 tokens; nothing in it ends a context there.
    """
    hidden = c.integer("hidden_size", "n_embed")
    count = layer_count(c, "n_layer", "num_hidden_layers")
    attention = _plain_attention(c, hidden, c.integer("num_attention_heads", "n_head", high=1 << 16), None)
    body = FeedForwardSpec(width=4 * hidden, gated=False, activation="gelu", bias=True)
    model = _learned(c, hidden, fold_layers([attention] * count, [body] * count), positions=0)
    return replace(model, embedding_norm=True, max_context=None)


def read_bert(c: Fields) -> ModelSpec:
    """Read BERT as an encoder with its pooler and without a vocabulary head."""
    hidden = c.integer("hidden_size")
    count = layer_count(c, "num_hidden_layers")
    attention = _plain_attention(c, hidden, c.integer("num_attention_heads", high=1 << 16), None)
    body = FeedForwardSpec(
        width=c.integer("intermediate_size"), gated=False, activation=c.text("hidden_act", default="gelu"), bias=True
    )
    layers = fold_layers([replace(attention, causal=False)] * count, [body] * count)
    model = _learned(c, hidden, layers, c.integer("max_position_embeddings", default=512))
    types = c.integer("type_vocab_size", default=2, low=0)
    return replace(model, token_types=types, embedding_norm=True, final_norm=False, lm_head=False, pooler=True)


def read_xlm(c: Fields) -> ModelSpec:
    """Read XLM as an encoder without its prediction layer: post-norm layers, learned positions (arXiv 1901.07291)."""
    hidden = c.integer("emb_dim", "hidden_size")
    count = layer_count(c, "n_layers", "num_hidden_layers")
    attention = _plain_attention(c, hidden, c.integer("n_heads", "num_attention_heads", high=1 << 16), None)
    activation = "gelu" if c.flag("gelu_activation", default=True) else "relu"
    body = FeedForwardSpec(width=4 * hidden, gated=False, activation=activation, bias=True)
    layers = fold_layers([replace(attention, causal=c.flag("causal", default=False))] * count, [body] * count)
    languages = c.integer("n_langs", default=1)
    model = _learned(c, hidden, layers, c.integer("max_position_embeddings", default=512))
    types = languages if languages > 1 and c.flag("use_lang_emb", default=True) else 0
    return replace(model, token_types=types, embedding_norm=True, final_norm=False, lm_head=False)


def read_t5_encoder(c: Fields) -> ModelSpec:
    """Read the encoder of T5 (arXiv 1910.10683): positions are biases of the scores, one table for all layers.

    The additions of these biases to the scores are not counted.
    """
    hidden = c.integer("d_model")
    count = layer_count(c, "num_layers")
    heads = c.integer("num_heads", high=1 << 16)
    width = c.integer("d_kv", high=1 << 16)
    attention = AttentionSpec(heads=heads, kv_heads=heads, head_dim=width, v_head_dim=width, causal=False, rotary=False)
    form = c.text("feed_forward_proj", default="relu")
    body = FeedForwardSpec(
        width=c.integer("d_ff"), gated=form.startswith("gated-"), activation=form.removeprefix("gated-")
    )
    return ModelSpec(
        name="",
        family="",
        hidden=hidden,
        vocab=c.integer("vocab_size"),
        layers=fold_layers([attention] * count, [body] * count),
        position_buckets=c.integer("relative_attention_num_buckets", default=32),
        lm_head=False,
        tied_embeddings=True,
        max_context=c.optional("n_positions"),
    )


def read_transformer_xl(c: Fields) -> ModelSpec:
    """Read Transformer-XL (arXiv 1901.02860): relative positions are projected and enter the scores as second keys.

    Its memory is taken as a cache of keys and values; the original keeps hidden states and projects them again.
    """
    hidden = c.integer("d_model")
    count = layer_count(c, "n_layer")
    heads = c.integer("n_head", high=1 << 16)
    width = c.integer("d_head", high=1 << 16)
    attention = AttentionSpec(
        heads=heads, kv_heads=heads, head_dim=width, v_head_dim=width, rotary=False, relative=True
    )
    body = FeedForwardSpec(width=c.integer("d_inner"), gated=False, activation="relu", bias=True)
    vocab = c.integer("vocab_size")
    cutoffs = [int(value) for value in c.items("cutoffs") or [] if isinstance(value, int)]
    ends = [*cutoffs, vocab]
    if sorted(set(ends)) != ends:
        c.contradict("cutoffs", f"expected ascending numbers below vocab_size {vocab}", "vocab_size")
    divisor, embedding = c.integer("div_val", default=4), c.integer("d_embed", default=hidden)
    rows = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    clusters = tuple((max(1, count), max(1, embedding // divisor**index)) for index, count in enumerate(rows))
    return ModelSpec(
        name="",
        family="",
        hidden=hidden,
        vocab=vocab,
        layers=fold_layers([attention] * count, [body] * count),
        norm="layernorm",
        norm_bias=True,
        final_norm=False,
        clusters=clusters,
        tied_embeddings=c.flag("tie_word_embeddings", "tie_weight", default=True),
        lm_head_bias=True,
        max_context=c.optional("clamp_len"),
    )
