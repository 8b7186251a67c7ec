"""Attention of one layer: projections, rotary embedding, cache write, attention itself, output projection."""

from __future__ import annotations

import math

from workloads.model import AttentionSpec
from workloads.operators import KV_CACHE, Attention, AttentionGroup, Gemm, KvWrite, Operator, Role, Vector
from workloads.transformer.site import Site, gather_tokens, linear_input, part_norm, reduce_partial

__all__ = ["attention_groups", "attention_operators", "rotary"]


def attention_groups(site: Site) -> tuple[AttentionGroup, ...]:
    """Return the step's groups as attention sees them."""
    return tuple(AttentionGroup(g.count, g.new, g.kv_len) for g in site.step.groups)


def local_heads(spec: AttentionSpec, tp: int) -> tuple[int, int]:
    """Query and KV heads on one of ``tp`` devices; KV heads are replicated where there are fewer than devices."""
    return spec.heads // tp, max(math.ceil(spec.kv_heads / tp), 1)


def rotary(site: Site, name: str, heads: int, dim: int, source: str, target: str) -> Vector:
    """Rotary position embedding in place: 2 multiplies and an add per element, tables stay in cache."""
    elements = site.tokens * heads * dim
    return Vector(
        name=name,
        rows=site.tokens * heads,
        columns=dim,
        operands=(
            site.activation(source, Role.INPUT, elements),
            site.activation(target, Role.OUTPUT, elements),
        ),
        ops_per_element=3.0,
    )


def attention_operators(site: Site, spec: AttentionSpec) -> list[Operator]:
    """Multi-head, grouped-query or multi-query attention of one layer on one device; reads ``h``, writes ``branch``."""
    p = site.precision
    heads, kv_heads = local_heads(spec, site.parallel.tp)
    q_width, k_width, v_width = heads * spec.head_dim, kv_heads * spec.head_dim, kv_heads * spec.v_head_dim
    operators = gather_tokens(site, "attention_gather", "h")
    quantise, h = linear_input(site, "h", site.tokens, site.model.hidden)
    operators += quantise
    operators.append(
        Gemm(
            name="qkv",
            m=site.tokens,
            n=q_width + k_width + v_width,
            k=site.model.hidden,
            activations=p.inputs(p.weights),
            weights=p.weights,
            output=site.stream,
            source=h,
            target="qkv",
            bias=spec.qkv_bias,
        )
    )
    q, k = "qkv#q", "qkv#k"
    if spec.qk_norm:
        operators.append(part_norm(site, "q_norm", site.tokens * heads, spec.head_dim, "qkv#q"))
        operators.append(part_norm(site, "k_norm", site.tokens * kv_heads, spec.head_dim, "qkv#k"))
    if spec.rotary:
        q, k = "q", "k"
        operators.append(rotary(site, "rope_q", heads, spec.head_dim, "qkv#q", q))
        operators.append(rotary(site, "rope_k", kv_heads, spec.head_dim, "qkv#k", k))
    operators += _relative_keys(site, spec, q_width)
    if spec.causal:
        operators.append(
            KvWrite(
                name="kv_write",
                tokens=site.tokens,
                sources=((k, k_width), ("qkv#v", v_width)),
                activations=site.stream,
                kv=p.kv,
            )
        )
    operators.append(
        Attention(
            name="attention",
            groups=attention_groups(site),
            heads=heads,
            kv_heads=kv_heads,
            qk_dim=spec.head_dim * (2 if spec.relative else 1),  # second keys: projected distances
            v_dim=spec.v_head_dim,
            causal=spec.causal,
            window=spec.window,
            activations=site.stream,
            kv=p.kv if spec.causal else site.stream,
            sinks=spec.sinks,
            source=q,
            kv_source=KV_CACHE if spec.causal else k if spec.rotary else "qkv#kv",
        )
    )
    return operators + output_projection(site, heads * spec.v_head_dim, spec.out_bias)


def _relative_keys(site: Site, spec: AttentionSpec, width: int) -> list[Operator]:
    """Project the distances to all keys, once for all sequences (Transformer-XL, arXiv 1901.02860, section 3.3)."""
    if not spec.relative:
        return []
    product = Gemm(
        name="relative",
        m=max(g.kv_len for g in site.step.groups),
        n=width,
        k=site.model.hidden,
        activations=site.precision.inputs(site.precision.weights),
        weights=site.precision.weights,
        output=site.stream,
        source="distances",
        target="relative_keys",
    )
    return [product]


def output_projection(site: Site, width: int, bias: bool) -> list[Operator]:
    """Project the heads' results back to the hidden width and sum them over the tensor-parallel group."""
    quantise, source = linear_input(site, "attention_out", site.tokens, width)
    product = Gemm(
        name="out",
        m=site.tokens,
        n=site.model.hidden,
        k=width,
        activations=site.precision.inputs(site.precision.weights),
        weights=site.precision.weights,
        output=site.stream,
        source=source,
        target="branch",
        bias=bias,
    )
    return [*quantise, product, *reduce_partial(site, "attention_reduce", "branch")]
