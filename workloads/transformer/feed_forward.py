"""The dense feed-forward block: one or two projections in, an activation, one projection out."""

from __future__ import annotations

from workloads.operators import Gemm, Operator, Role, Vector
from workloads.transformer.site import Site, gather_tokens, linear_input, reduce_partial

__all__ = ["activation", "dense_operators", "feed_forward_operators"]


def activation(site: Site, name: str, rows: float, width: int, gated: bool, source: str, target: str) -> Vector:
    """SiLU, GELU or ReLU of ``width`` columns (times the other half of the input, where gated).

    Counted as one exponential, one division and three operations an element.
    """
    elements = rows * width
    return Vector(
        name=name,
        rows=rows,
        columns=width,
        operands=(
            site.activation(source, Role.INPUT, elements * (2 if gated else 1)),
            site.activation(target, Role.OUTPUT, elements),
        ),
        ops_per_element=4.0 if gated else 3.0,
        special_per_element=2.0,
    )


def dense_operators(
    site: Site, prefix: str, width: int, gated: bool, bias: bool, source: str, target: str
) -> list[Operator]:
    """Up, activation, down over all tokens of the device, from ``source`` to ``target``; ``width`` is its share."""
    p = site.precision
    hidden = site.model.hidden
    up = Gemm(
        name=f"{prefix}up",
        m=site.tokens,
        n=width * (2 if gated else 1),
        k=hidden,
        activations=p.inputs(p.weights),
        weights=p.weights,
        output=site.stream,
        source=source,
        target=f"{prefix}up_out",
        bias=bias,
    )
    act = activation(site, f"{prefix}activation", site.tokens, width, gated, f"{prefix}up_out", f"{prefix}act_out")
    requantise, inner = linear_input(site, f"{prefix}act_out", site.tokens, width)
    down = Gemm(
        name=f"{prefix}down",
        m=site.tokens,
        n=hidden,
        k=width,
        activations=p.inputs(p.weights),
        weights=p.weights,
        output=site.stream,
        source=inner,
        target=target,
        bias=bias,
    )
    return [up, act, *requantise, down]


def feed_forward_operators(site: Site, width: int, gated: bool, bias: bool) -> list[Operator]:
    """Dense block of one layer on one device; reads ``h``, writes ``branch``."""
    quantise, h = linear_input(site, "h", site.tokens, site.model.hidden)
    return [
        *gather_tokens(site, "feed_forward_gather", "h"),
        *quantise,
        *dense_operators(site, "", width // site.parallel.tp, gated, bias, h, "branch"),
        *reduce_partial(site, "feed_forward_reduce", "branch"),
    ]
