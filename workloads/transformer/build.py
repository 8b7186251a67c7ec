"""A step's graph: embedding, folded layers, head, for the device of one pipeline stage that has the most work."""

from __future__ import annotations

from workloads.graph import Block, Graph
from workloads.model import LayerGroup, LayerSpec, ModelSpec
from workloads.moe import UNIFORM, Routing
from workloads.operators import Collective, Operator, Transfer
from workloads.parallel import ExpertExchange, Parallelism
from workloads.precision import Precision
from workloads.step import Step
from workloads.transformer.attention import attention_operators
from workloads.transformer.ends import embedding_operators, head_operators
from workloads.transformer.experts import expert_operators
from workloads.transformer.feed_forward import feed_forward_operators
from workloads.transformer.latent_attention import latent_attention_operators
from workloads.transformer.site import Site, add, norm

__all__ = ["build_graph", "stage_layers"]

SINGLE = Parallelism()


def build_graph(
    model: ModelSpec,
    step: Step,
    precision: Precision,
    parallel: Parallelism = SINGLE,
    *,
    routing: Routing = UNIFORM,
    stage: int = 0,
    expert_exchange: ExpertExchange = "all_to_all",
) -> Graph:
    """Build the operators one device executes in one step.

    Parameters
    ----------
    model, step, precision, parallel
        What to run, on which tokens, in which formats, spread how. ``step`` holds the sequences of one data-parallel
        replica and one micro-batch.
    routing : Routing
        How tokens choose experts.
    stage : int
        Pipeline stage, from 0.
    expert_exchange : 'all_to_all' or 'gather'
        How tokens come to experts on other devices.

    Returns
    -------
    Graph
        Blocks ``embedding`` (first stage), one per kind of layer, ``head`` (last stage), the transfers between.

    Notes
    -----
    A layer begins with the residual add of the block before, as kernels that fuse it with the norm do. Alike layers are
    stored once, so the very first layer is given such an add too, though nothing precedes it: one of 2 L + 1.
    """
    site = Site(
        model=model, step=step, precision=precision, parallel=parallel, routing=routing, expert_exchange=expert_exchange
    )
    blocks: list[Block] = []
    if stage == 0:
        blocks.append(Block("embedding", 1, tuple(embedding_operators(site))))
    else:
        blocks += _receive(site)
    for index, group in enumerate(stage_layers(model, parallel.pp, stage)):
        operators = tuple(_layer(site, group.layer))
        blocks.append(Block(f"layer{index}", group.count, operators, frozenset({"x", "branch"})))
    if stage == parallel.pp - 1:
        blocks.append(Block("head", 1, tuple(head_operators(site)), frozenset({"token_ids", "pooled"})))
    else:
        blocks.append(Block("stage", 1, (_send(site, stage),)))
    return Graph(tuple(blocks))


def _handed_on_B(site: Site) -> float:
    """Residual stream and the branch not yet added to it (vLLM's ``IntermediateTensors``: hidden states, residual)."""
    return 2.0 * site.stream.total_B(site.tokens * site.model.hidden)


def _send(site: Site, stage: int) -> Transfer:
    """Hand on to the next stage: each device of a tensor-parallel group sends its share."""
    devices = site.parallel.tp * site.parallel.dp
    size_B = _handed_on_B(site) / site.parallel.tp
    return Transfer(name="to_next_stage", size_B=size_B, first=stage * devices, span=2 * devices)


def _receive(site: Site) -> list[Block]:
    """Put the shares that arrived together, unless sequence parallelism leaves them apart."""
    tp = site.parallel.tp
    if tp == 1 or site.parallel.sequence_parallel:
        return []
    gather = Collective(name="from_last_stage", op="all_gather", message_B=_handed_on_B(site), world=tp)
    return [Block("receive", 1, (gather,), frozenset({"x", "branch"}))]


def stage_layers(model: ModelSpec, stages: int, stage: int) -> tuple[LayerGroup, ...]:
    """Return the layers of one pipeline stage: contiguous, the first stages one longer where they do not divide.

    A specification stores alike layers once and not their order: kinds of which there are equally many alternate
    (Gemma 2, gpt-oss, GLaM), others follow each other (DeepSeek's first dense layers).
    """
    total = sum(g.count for g in model.layers)
    size, extra = divmod(total, stages)
    start = stage * size + min(stage, extra)
    stop = start + size + (stage < extra)
    kinds = len(model.layers)
    alternate = len({g.count for g in model.layers}) == 1
    groups, position = [], 0
    for index, group in enumerate(model.layers):
        if alternate:
            count = -(-(stop - index) // kinds) - -(-(start - index) // kinds)
        else:
            count = min(stop, position + group.count) - max(start, position)
        if count > 0:
            groups.append(LayerGroup(count=count, layer=group.layer))
        position += group.count
    return tuple(groups)


def _layer(site: Site, layer: LayerSpec) -> list[Operator]:
    """One layer: the previous block's residual add and a norm before each half (post-norm layers cost the same)."""
    operators: list[Operator] = [add(site, "attention_add", "branch"), norm(site, "attention_norm", "x", "h")]
    if layer.attention.mla is None:
        operators += attention_operators(site, layer.attention)
    else:
        operators += latent_attention_operators(site, layer.attention)
    if layer.norms >= 4:
        operators.append(norm(site, "attention_post_norm", "branch", "branch"))
    operators.append(add(site, "feed_forward_add", "branch"))
    if not layer.parallel:  # else both halves read the same norm
        operators.append(norm(site, "feed_forward_norm", "x", "h"))
    if layer.moe is not None:
        operators += expert_operators(site, layer.moe)
    elif layer.feed_forward is not None:
        ff = layer.feed_forward
        operators += feed_forward_operators(site, ff.width, ff.gated, ff.bias)
    if layer.norms >= 4:
        operators.append(norm(site, "feed_forward_post_norm", "branch", "branch"))
    return operators
