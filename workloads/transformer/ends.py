"""What stands before and after the layers: embedding, final norm, LM head, sampling, pooler."""

from __future__ import annotations

import math
from dataclasses import replace

from workloads.operators import Collective, Gather, Gemm, Operator, Role, Tensor, Vector
from workloads.transformer.site import Site, add, gather_tokens, linear_input, norm, reduce_partial

__all__ = ["embedding_operators", "head_operators"]


def embedding_operators(site: Site) -> list[Operator]:
    """Look up tokens (and learned positions and types) and, where the table is narrower, project them."""
    model = site.model
    width = model.clusters[0][1] if model.clusters else model.embedding_width or model.hidden
    tables = 1 + (model.learned_positions > 0) + (model.token_types > 0)
    elements = site.tokens * width
    operators: list[Operator] = [
        Gather(
            name="embedding",
            rows=site.tokens,
            columns=width,
            operands=(
                Tensor("token_ids", Role.METADATA, site.tokens * 4.0),
                site.activation("embedding.weight", Role.WEIGHT, elements * tables),
                site.activation("x", Role.OUTPUT, elements),
            ),
        )
    ]
    operators += reduce_partial(site, "embedding_reduce", "x", width)
    if model.embedding_width is not None and model.embedding_width != model.hidden:
        operators.append(_project(site, "project_in", width, model.hidden))
    if model.clusters:  # every token as if it were among the frequent words
        operators.append(_project(site, "project_in0", width, model.hidden))
    if model.embedding_norm:
        operators.append(norm(site, "embedding_norm", "x", "x"))
    return operators


def _project(site: Site, name: str, k: int, n: int) -> Gemm:
    return Gemm(
        name=name,
        m=site.tokens,
        n=n,
        k=k,
        activations=site.stream,
        weights=site.precision.weights,
        output=site.stream,
        source="x",
        target="x",
    )


def head_operators(site: Site) -> list[Operator]:
    """Final norm over every token, LM head over the rows that want logits, one sampled token each."""
    model, rows = site.model, site.step.logits
    operators: list[Operator] = [add(site, "final_add", "branch")]
    if model.final_norm:
        operators.append(norm(site, "final_norm", "x", "h"))
    h = "h" if model.final_norm else "x"
    if model.pooler:
        operators.append(_pooler(site, h))
    if not model.lm_head or rows == 0:
        return operators
    if model.clusters:
        return [*operators, *_cluster_logits(site, h, rows), _sample(site, rows)]
    width = model.embedding_width or model.hidden
    if width != model.hidden:
        operators.append(_project(site, "project_out", model.hidden, width))
    tp = site.parallel.tp
    vocab = math.ceil(model.vocab / tp)
    operators += gather_tokens(site, "head_gather", h, rows)
    weights = site.stream if model.tied_embeddings else site.precision.weights
    quantise, source = linear_input(site, h, rows, width, weights)
    operators += quantise
    operators.append(
        Gemm(
            name="lm_head",
            m=rows,
            n=vocab,
            k=width,
            activations=site.precision.inputs(weights),
            weights=weights,
            output=site.stream,
            source=source,
            target="logits",
            bias=model.lm_head_bias,
        )
    )
    if tp > 1:
        message_B = site.stream.total_B(rows * model.vocab)
        operators.append(
            Collective(name="logits_gather", op="all_gather", message_B=message_B, world=tp, value="logits")
        )
    operators.append(_sample(site, rows))
    return operators


def _sample(site: Site, rows: int) -> Vector:
    """Choose a token from each row of logits."""
    vocab = site.model.vocab
    return Vector(
        name="sample",
        rows=rows,
        columns=vocab,
        operands=(
            site.activation("logits", Role.INPUT, rows * vocab),
            Tensor("token_ids", Role.OUTPUT, rows * 4.0),
        ),
        reduction="row",
    )


def _cluster_logits(site: Site, source: str, rows: int) -> list[Operator]:
    """Project to the width of each cluster of an adaptive embedding and multiply with its table.

    The first cluster also scores the others. Tables are not shared out over a tensor-parallel group: they are small.
    """
    stream, first = site.stream, len(site.model.clusters) - 1
    operators: list[Operator] = []
    for index, (words, width) in enumerate(site.model.clusters):
        narrow = f"head{index}"
        operators.append(
            replace(
                _project(site, f"head_project{index}", site.model.hidden, width),
                m=rows,
                source=source,
                target=narrow,
            )
        )
        operators.append(
            Gemm(
                name=f"lm_head{index}",
                m=rows,
                n=words + (first if index == 0 else 0),
                k=width,
                activations=stream,
                weights=stream,
                output=stream,
                source=narrow,
                target="logits",
                bias=True,
            )
        )
    return operators


def _pooler(site: Site, source: str) -> Gemm:
    """BERT's pooler: a dense layer on the first token of each sequence."""
    return Gemm(
        name="pooler",
        m=site.step.sequences,
        n=site.model.hidden,
        k=site.model.hidden,
        activations=site.stream,
        weights=site.precision.weights,
        output=site.stream,
        source=source,
        target="pooled",
        bias=True,
    )
