"""What every building block needs to know, and the small operators they share."""

from __future__ import annotations

import math
from dataclasses import dataclass

from workloads.formats import NumberFormat
from workloads.model import ModelSpec
from workloads.moe import Routing
from workloads.operators import Collective, Operator, Role, Tensor, Vector
from workloads.operators.collective import CollectiveName
from workloads.parallel import ExpertExchange, Parallelism
from workloads.precision import Precision
from workloads.step import Step

__all__ = ["Site", "add", "gather_tokens", "linear_input", "norm", "reduce_partial"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One device at work on its share of one step."""

    model: ModelSpec
    step: Step  # this device's share: data parallelism and micro-batches already taken out
    precision: Precision
    parallel: Parallelism
    routing: Routing
    expert_exchange: ExpertExchange = "all_to_all"

    @property
    def tokens(self) -> int:
        """New tokens this device sees."""
        return self.step.tokens

    @property
    def stream(self) -> NumberFormat:
        """Format of the residual stream."""
        return self.precision.stream

    @property
    def norm_rows(self) -> int:
        """Tokens this device normalises: a share of them under sequence parallelism."""
        if self.parallel.sequence_parallel:
            return math.ceil(self.tokens / self.parallel.tp)
        return self.tokens

    def activation(self, value: str, role: Role, elements: float) -> Tensor:
        """Return a tensor of the residual stream's format."""
        return Tensor(value, role, self.stream.total_B(elements))


def add(site: Site, name: str, branch: str) -> Vector:
    """Residual add: x += branch."""
    elements = site.norm_rows * site.model.hidden
    return Vector(
        name=name,
        rows=site.norm_rows,
        columns=site.model.hidden,
        operands=(
            site.activation("x", Role.INPUT, elements),
            site.activation(branch, Role.INPUT, elements),
            site.activation("x", Role.OUTPUT, elements),
        ),
    )


def norm(site: Site, name: str, source: str, target: str) -> Vector:
    """RMSNorm (square, sum, scale: 4 operations an element) or LayerNorm (7) over the hidden width."""
    elements = site.norm_rows * site.model.hidden
    layernorm = site.model.norm == "layernorm"
    parameters = site.model.hidden * (2 if layernorm and site.model.norm_bias else 1)
    return Vector(
        name=name,
        rows=site.norm_rows,
        columns=site.model.hidden,
        operands=(
            site.activation(source, Role.INPUT, elements),
            site.activation(f"{name}.weight", Role.WEIGHT, parameters),
            site.activation(target, Role.OUTPUT, elements),
        ),
        ops_per_element=7.0 if layernorm else 4.0,
        reduction="row",
    )


def part_norm(site: Site, name: str, rows: float, width: int, value: str) -> Vector:
    """RMSNorm in place over a part of a projection: each head of the queries and keys, or a latent."""
    elements = rows * width
    return Vector(
        name=name,
        rows=rows,
        columns=width,
        operands=(
            site.activation(value, Role.INPUT, elements),
            site.activation(f"{name}.weight", Role.WEIGHT, width),
            site.activation(value, Role.OUTPUT, elements),
        ),
        ops_per_element=4.0,
        reduction="row",
    )


def linear_input(
    site: Site, value: str, rows: float, columns: int, weights: NumberFormat | None = None
) -> tuple[list[Operator], str]:
    """Return what must run before a product reads ``value``, and the name it then reads.

    Narrow activations are quantised by an operator of their own (scale, round, clamp: 3 operations an element); a
    profile may fuse it into its producer. ``weights``: of the product, where these are not the dense ones.
    """
    act = site.precision.inputs(site.precision.weights if weights is None else weights)
    if act.bits >= 16:
        return [], value
    quantised = f"{value}_q"
    operator = Vector(
        name=f"quantize_{value}",
        rows=rows,
        columns=columns,
        operands=(
            site.activation(value, Role.INPUT, rows * columns),
            Tensor(quantised, Role.OUTPUT, act.total_B(rows * columns)),
        ),
        ops_per_element=3.0,
        reduction="row",
    )
    return [operator], quantised


def reduce_partial(site: Site, name: str, value: str, width: int | None = None) -> list[Operator]:
    """Sum the partial results of a row-parallel product over the tensor-parallel group.

    All-reduce; under sequence parallelism a reduce-scatter, whose all-gather stands before the next product.
    """
    if site.parallel.tp == 1:
        return []
    message_B = site.stream.total_B(site.tokens * (width or site.model.hidden))
    op: CollectiveName = "reduce_scatter" if site.parallel.sequence_parallel else "all_reduce"
    return [Collective(name=name, op=op, message_B=message_B, world=site.parallel.tp, value=value)]


def gather_tokens(site: Site, name: str, value: str, rows: int | None = None) -> list[Operator]:
    """All-gather the normalised tokens (or ``rows`` of them) before a column-parallel product.

    Under sequence parallelism only: without it every device has them all.
    """
    if site.parallel.tp == 1 or not site.parallel.sequence_parallel:
        return []
    message_B = site.stream.total_B((site.tokens if rows is None else rows) * site.model.hidden)
    return [Collective(name=name, op="all_gather", message_B=message_B, world=site.parallel.tp, value=value)]
