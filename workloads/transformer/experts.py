"""The mixture of experts: router, dispatch, grouped products over the experts with tokens, combine."""

from __future__ import annotations

from workloads.formats import NumberFormat
from workloads.model import MoeSpec
from workloads.moe import ExpertLoad, expert_load
from workloads.operators import Collective, Gather, Gemm, GroupedGemm, Operator, Role, Tensor, Vector
from workloads.operators.collective import CollectiveName
from workloads.transformer.feed_forward import activation, dense_operators
from workloads.transformer.site import Site, gather_tokens, linear_input, reduce_partial

__all__ = ["expert_operators"]


def expert_operators(site: Site, spec: MoeSpec) -> list[Operator]:
    """Experts of one layer on the device with the most work; reads ``h``, writes ``branch``.

    Under expert parallelism with ``all_to_all`` each device sends the copies of its own tokens to the devices of their
    experts and gets the results back, which it adds up. Its own are its replica's tokens, shared out over the devices
    of a tensor-parallel group; where several devices share an expert, each of them must be sent a copy. With ``gather``
    every device is given the tokens of all replicas, and what its experts add to each of them is summed over all
    devices: scattered over the replicas, then reduced in a tensor-parallel group as a dense block's partial sums are.
    """
    parallel = site.parallel
    spread = parallel.ep > 1
    sent = spread and site.expert_exchange == "all_to_all"
    moe_tokens = site.tokens * (parallel.dp if spread else 1)  # the tokens of all that share the experts
    load = expert_load(
        moe_tokens,
        spec.experts,
        spec.top_k,
        site.routing,
        ep=parallel.ep,
        capacity_factor=site.routing.capacity_factor,
    )
    width = spec.expert_width // parallel.expert_tp
    narrow = site.precision.inputs(site.precision.expert_weights)
    quantise, h = linear_input(site, "h", site.tokens, site.model.hidden, site.precision.expert_weights)
    operators = [*gather_tokens(site, "feed_forward_gather", "h"), *quantise, *_router(site, spec)]
    copies, routed, summed = load.rows, h, float(site.tokens)
    if spread and not sent:
        summed = float(moe_tokens)
        operators += _over_replicas(site, "dispatch", "all_gather", narrow, moe_tokens, h)
    if sent:
        copies, routed = moe_tokens / parallel.ep * spec.top_k, "dispatched"
        operators.append(_exchange(site, "dispatch", copies, narrow, h, routed))
    operators.append(_permute(site, load, routed))
    operators += _grouped(site, spec, load, width)
    if sent:
        operators.append(_exchange(site, "return", copies, site.stream, "experts_out", "experts_out"))
    operators.append(_combine(site, spec, copies, summed))
    if spread and not sent:
        operators += _over_replicas(site, "return", "reduce_scatter", site.stream, moe_tokens, "branch")
    if spec.shared:
        operators += _shared(site, spec, h if narrow == site.precision.inputs(site.precision.weights) else "h")
    if sent and parallel.expert_tp == 1 and not spec.shared:
        return operators + _regather(site)
    return operators + reduce_partial(site, "feed_forward_reduce", "branch")


def _regather(site: Site) -> list[Operator]:
    """Give every device of a tensor-parallel group the finished tokens of the others, unless they stay apart."""
    if site.parallel.tp == 1 or site.parallel.sequence_parallel:
        return []
    message_B = site.stream.total_B(site.tokens * site.model.hidden)
    name = "feed_forward_gather_back"
    return [Collective(name=name, op="all_gather", message_B=message_B, world=site.parallel.tp, value="branch")]


def _router(site: Site, spec: MoeSpec) -> list[Operator]:
    """Score every expert for every token (in the stream's format: routers are not quantised) and pick the best."""
    scores = site.tokens * spec.experts
    chosen = site.tokens * spec.top_k
    choice = [
        site.activation("scores", Role.INPUT, scores),
        Tensor("routes", Role.OUTPUT, chosen * 8.0),  # a 4-byte index and a 4-byte weight each
    ]
    if spec.correction_bias:
        choice.append(site.activation("router_topk.correction", Role.WEIGHT, spec.experts))
    return [
        _score(site, "router", spec.experts, spec.router_bias, "scores"),
        Vector(
            name="router_softmax",
            rows=site.tokens,
            columns=spec.experts,
            operands=(
                site.activation("scores", Role.INPUT, scores),
                site.activation("scores", Role.OUTPUT, scores),
            ),
            ops_per_element=3.0,
            special_per_element=1.0,
            reduction="softmax",
        ),
        Vector(
            name="router_topk",
            rows=site.tokens,
            columns=spec.experts,
            operands=tuple(choice),
            reduction="row",
        ),
    ]


def _score(site: Site, name: str, n: int, bias: bool, target: str) -> Gemm:
    """A small product on the unquantised stream that decides how much an expert counts."""
    return Gemm(
        name=name,
        m=site.tokens,
        n=n,
        k=site.model.hidden,
        activations=site.stream,
        weights=site.stream,
        output=site.stream,
        source="h",
        target=target,
        bias=bias,
    )


def _exchange(site: Site, name: str, copies: float, fmt: NumberFormat, value: str, target: str) -> Collective:
    """All-to-all of the ``copies`` of a device's tokens to and from the devices that hold their experts."""
    parallel = site.parallel
    return Collective(
        name=name,
        op="all_to_all",
        message_B=fmt.total_B(copies * site.model.hidden),
        world=parallel.ep,
        scope="ep",
        stride=parallel.expert_tp,
        value=value,
        target=target,
    )


def _over_replicas(
    site: Site, name: str, op: CollectiveName, fmt: NumberFormat, tokens: int, value: str
) -> list[Operator]:
    """Gather the tokens of all replicas, or scatter their sums back."""
    parallel = site.parallel
    if parallel.dp == 1:
        return []
    message_B = fmt.total_B(tokens * site.model.hidden)
    return [
        Collective(
            name=name, op=op, message_B=message_B, world=parallel.dp, scope="dp", stride=parallel.tp, value=value
        )
    ]


def _permute(site: Site, load: ExpertLoad, source: str) -> Gather:
    """Copies of tokens in the order of their experts, in the format that the products read."""
    size_B = site.precision.inputs(site.precision.expert_weights).total_B(load.rows * site.model.hidden)
    return Gather(
        name="permute",
        rows=load.rows,
        columns=site.model.hidden,
        operands=(
            Tensor("routes", Role.METADATA, load.rows * 8.0),
            Tensor(source, Role.INPUT, size_B),
            Tensor("rows", Role.OUTPUT, size_B),
        ),
    )


def _grouped(site: Site, spec: MoeSpec, load: ExpertLoad, width: int) -> list[Operator]:
    p = site.precision
    up = GroupedGemm(
        name="experts_up",
        load=load,
        n=width * (2 if spec.gated else 1),
        k=site.model.hidden,
        activations=p.inputs(p.expert_weights),
        weights=p.expert_weights,
        output=site.stream,
        source="rows",
        target="experts_up_out",
        bias=spec.bias,
    )
    act = activation(site, "experts_activation", load.rows, width, spec.gated, "experts_up_out", "experts_act_out")
    requantise, source = linear_input(site, "experts_act_out", load.rows, width, p.expert_weights)
    down = GroupedGemm(
        name="experts_down",
        load=load,
        n=site.model.hidden,
        k=width,
        activations=p.inputs(p.expert_weights),
        weights=p.expert_weights,
        output=site.stream,
        source=source,
        target="experts_out",
        bias=spec.bias,
    )
    return [up, act, *requantise, down]


def _combine(site: Site, spec: MoeSpec, copies: float, tokens: float) -> Vector:
    """Weighted sum of the experts of each of ``tokens`` tokens, back in token order."""
    sent = site.expert_exchange == "all_to_all"
    rows = min(copies / spec.top_k, tokens) if sent else tokens
    return Vector(
        name="combine",
        rows=rows,
        columns=site.model.hidden,
        operands=(
            site.activation("experts_out", Role.INPUT, copies * site.model.hidden),
            Tensor("routes", Role.METADATA, copies * 8.0),
            site.activation("branch", Role.OUTPUT, rows * site.model.hidden),
        ),
        ops_per_element=2.0 * copies / rows,
    )


def _shared(site: Site, spec: MoeSpec, source: str) -> list[Operator]:
    """The experts that see every token, their gate where they have one, and the sum with the routed ones."""
    width = spec.shared * spec.shared_width // site.parallel.tp
    operators = dense_operators(site, "shared_", width, spec.gated, spec.bias, source, "shared_out")
    elements = site.tokens * site.model.hidden
    operands = [
        site.activation("branch", Role.INPUT, elements),
        site.activation("shared_out", Role.INPUT, elements),
        site.activation("branch", Role.OUTPUT, elements),
    ]
    if spec.shared_gate:
        operators.append(_score(site, "shared_gate", 1, False, "shared_score"))
        operands.append(site.activation("shared_score", Role.INPUT, site.tokens))
    total = Vector(
        name="shared_add",
        rows=site.tokens,
        columns=site.model.hidden,
        operands=tuple(operands),
        ops_per_element=2.0 if spec.shared_gate else 1.0,
    )
    return [*operators, total]
