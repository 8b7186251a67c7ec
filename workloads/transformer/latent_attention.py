"""Multi-head latent attention (DeepSeek-V2, section 2.1), absorbed or not, whichever needs a sequence fewer FLOPs.

Not absorbed, keys and values of every visible token are expanded from the latent by a product and attended to as
ordinary heads (prefill). Absorbed, the expansion is folded into query and output so that all heads attend to the latent
itself, which is shared by all of them and read once (decode).
"""

from __future__ import annotations

from dataclasses import replace

from workloads.model import AttentionSpec, MlaSpec
from workloads.operators import KV_CACHE, Attention, Gather, Gemm, KvWrite, Operator, Role, Tensor
from workloads.step import SequenceGroup, Step
from workloads.transformer.attention import attention_groups, output_projection, rotary
from workloads.transformer.site import Site, gather_tokens, linear_input, part_norm

__all__ = ["absorb", "latent_attention_operators"]


def absorb(spec: AttentionSpec, mla: MlaSpec, group: SequenceGroup) -> bool:
    """Whether folding the expansion into the query costs a group of sequences fewer FLOPs than expanding its cache."""
    tokens = group.count * group.new
    pairs = tokens * (group.cached + (group.new + 1) / 2)
    per_head_expand = mla.kv_lora_rank * (mla.nope_head_dim + spec.v_head_dim)
    expanded = group.count * group.kv_len * per_head_expand + pairs * (spec.head_dim + spec.v_head_dim)
    absorbed = tokens * per_head_expand + pairs * (2 * mla.kv_lora_rank + mla.rope_head_dim)
    return absorbed < expanded


def latent_attention_operators(site: Site, spec: AttentionSpec) -> list[Operator]:
    """One layer's latent attention on one device; reads ``h``, writes ``branch``. The latent is replicated under TP."""
    mla = spec.mla
    assert mla is not None
    heads = spec.heads // site.parallel.tp
    latent = mla.kv_lora_rank + mla.rope_head_dim
    operators = gather_tokens(site, "attention_gather", "h")
    quantise, h = linear_input(site, "h", site.tokens, site.model.hidden)
    operators += quantise
    operators += _queries(site, spec, mla, h, heads)
    operators += [
        _product(site, "kv_down", site.model.hidden, latent, h, "latent"),
        part_norm(site, "kv_norm", site.tokens, mla.kv_lora_rank, "latent"),
        rotary(site, "rope_q", heads, mla.rope_head_dim, "q#rope", "q#rope"),
        rotary(site, "rope_k", 1, mla.rope_head_dim, "latent#rope", "latent#rope"),
        KvWrite(
            name="kv_write",
            tokens=site.tokens,
            sources=(("latent", latent),),
            activations=site.stream,
            kv=site.precision.kv,
        ),
    ]
    folded = tuple(group for group in site.step.groups if absorb(spec, mla, group))
    whole = tuple(group for group in site.step.groups if group not in folded)
    if whole:
        operators += _expanded(replace(site, step=Step(whole)), spec, mla, heads)
    if folded:
        operators += _absorbed(replace(site, step=Step(folded)), spec, mla, heads)
    return operators + output_projection(site, heads * spec.v_head_dim, spec.out_bias)


def _product(site: Site, name: str, k: int, n: int, source: str, target: str, m: int | None = None) -> Gemm:
    return Gemm(
        name=name,
        m=site.tokens if m is None else m,
        n=n,
        k=k,
        activations=site.precision.inputs(site.precision.weights),
        weights=site.precision.weights,
        output=site.stream,
        source=source,
        target=target,
    )


def _queries(site: Site, spec: AttentionSpec, mla: MlaSpec, h: str, heads: int) -> list[Operator]:
    if mla.q_lora_rank is None:
        return [_product(site, "q", site.model.hidden, heads * spec.head_dim, h, "q")]
    quantise, source = linear_input(site, "q_latent", site.tokens, mla.q_lora_rank)
    return [
        _product(site, "q_down", site.model.hidden, mla.q_lora_rank, h, "q_latent"),
        part_norm(site, "q_norm", site.tokens, mla.q_lora_rank, "q_latent"),
        *quantise,
        _product(site, "q_up", mla.q_lora_rank, heads * spec.head_dim, source, "q"),
    ]


def _absorbed(site: Site, spec: AttentionSpec, mla: MlaSpec, heads: int) -> list[Operator]:
    rank = mla.kv_lora_rank
    return [
        _head_products(site, "absorb_k", heads, mla.nope_head_dim, rank, "q", "q_absorbed"),
        Attention(
            name="attention",
            groups=attention_groups(site),
            heads=heads,
            kv_heads=1,
            qk_dim=rank + mla.rope_head_dim,
            v_dim=rank,
            causal=spec.causal,
            activations=site.stream,
            kv=site.precision.kv,
            shared_kv=True,
            source="q_absorbed",
            target="latent_out",
        ),
        _head_products(site, "absorb_v", heads, rank, spec.v_head_dim, "latent_out", "attention_out"),
    ]


def _head_products(site: Site, name: str, heads: int, k: int, n: int, source: str, target: str) -> Gemm:
    """One product per head, each with a slice of the expansion as its weight."""
    return Gemm(
        name=name,
        m=site.tokens,
        n=n,
        k=k,
        batch=heads,
        activations=site.stream,
        weights=site.precision.weights,
        output=site.stream,
        source=source,
        target=target,
    )


def _expanded(site: Site, spec: AttentionSpec, mla: MlaSpec, heads: int) -> list[Operator]:
    """Expand the latents of all visible tokens: new ones as they are, cached ones fetched from the cache before."""
    operators: list[Operator] = []
    latent = mla.kv_lora_rank + mla.rope_head_dim
    cached = sum(g.count * g.cached for g in site.step.groups)
    if cached:
        fetched = (
            Tensor(KV_CACHE, Role.KV_READ, site.precision.kv.total_B(cached * latent)),
            site.activation("latent", Role.OUTPUT, cached * latent),
        )
        operators.append(Gather(name="latent_gather", rows=cached, columns=latent, operands=fetched))
    keys = cached + site.tokens
    quantise, source = linear_input(site, "latent", keys, mla.kv_lora_rank)
    width = heads * (mla.nope_head_dim + spec.v_head_dim)
    return [
        *operators,
        *quantise,
        _product(site, "kv_up", mla.kv_lora_rank, width, source, "kv", m=keys),
        Attention(
            name="attention",
            groups=attention_groups(site),
            heads=heads,
            kv_heads=heads,
            qk_dim=spec.head_dim,
            v_dim=spec.v_head_dim,
            causal=spec.causal,
            activations=site.stream,
            kv=site.stream,
            source="q",
            kv_source="kv",  # what kv_up wrote, not the cache
        ),
    ]
