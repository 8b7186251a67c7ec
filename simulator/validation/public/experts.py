"""Public tables of experts: grouped products, and whole fused blocks of them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from simulator.core.errors import UnsupportedError
from simulator.validation.public.devices import source_of
from simulator.validation.public.models import table_model
from simulator.validation.sample import Sample, us
from simulator.validation.table import Row
from simulator.validation.target import Target
from simulator.validation.vector import least_B, vector_operator
from workloads.formats import NumberFormat, load_format
from workloads.moe import ExpertLoad, Routing, expert_load
from workloads.operators import GroupedGemm

__all__ = ["active_expert_rows", "expert_block_rows", "grouped_product_rows"]

_FORMATS = {
    "bf16": ("bf16", "bf16"),
    "fp8": ("fp8-e4m3", "fp8-e4m3"),
    "fp8_block": ("fp8-e4m3", "fp8-block"),
    "int4_wo": ("bf16", "int4-g128"),
}


def _grouped(
    load: ExpertLoad, n: int, k: int, stream: NumberFormat, weights: NumberFormat, fused: bool = False
) -> GroupedGemm:
    bf16 = load_format("bf16")
    return GroupedGemm(
        name="experts", load=load, n=n, k=k, activations=stream, weights=weights, output=bf16, fused=fused
    )


def _block_s(target: Target, load: ExpertLoad, hidden: int, inter: int, formats: tuple[str, str]) -> float:
    """Time of both products of a serving stack and the activation between them."""
    stream, weights = (load_format(name) for name in formats)
    rows = max(load.rows, 1.0)
    up = target.kernel(_grouped(load, 2 * inter, hidden, stream, weights, fused=True)).time_s
    down = target.kernel(_grouped(load, hidden, inter, stream, weights, fused=True)).time_s
    between = vector_operator("silu_mul", rows, 2.0 * inter, least_B("silu_mul", rows, 2.0 * inter))
    return up + target.kernel(between).time_s + down


def expert_block_rows(row: Row, target: Target) -> Iterator[Sample]:
    """Columns device, op, dtype, num_tokens, hidden, inter, topk, n_experts, tp, ep, routing, time_us.

    A whole fused block (vLLM): sorting, two grouped products, the activation, the weighted sum.
    """
    dtype, text = row.text("dtype"), row.text("routing")
    if dtype not in _FORMATS:
        raise row.error("dtype", f"expected one of {', '.join(_FORMATS)}, got {dtype!r}")
    if text == "balanced":
        routing = Routing("balanced")
    elif text.startswith("power_law_"):
        routing = Routing("power", float(text.removeprefix("power_law_")))
    else:
        raise UnsupportedError(f"routing {text!r} is not modelled: known are balanced and power_law_<exponent>")
    load = expert_load(
        row.integer("num_tokens"), row.integer("n_experts"), row.integer("topk"), routing, row.integer("ep")
    )
    inter = row.integer("inter") // row.integer("tp")
    time_s = _block_s(target, load, row.integer("hidden"), inter, _FORMATS[dtype])
    family = f"{source_of(row)}:experts/{dtype}/{text.partition('_')[0]}"
    yield Sample(row=row, family=family, measured=row.number("time_us"), predicted=us(time_s), shown=True)


def active_expert_rows(row: Row, target: Target) -> Iterator[Sample]:
    """Columns device, op, dtype, model, tp, tokens, activated_experts, time_us: a whole fused block."""
    model = table_model(row, target)
    moe = model.layers[0].layer.moe
    if moe is None:
        raise UnsupportedError(f"{row.text('model')} has no experts in its first layer")
    rows, active = float(row.integer("tokens") * moe.top_k), float(row.integer("activated_experts"))
    active = min(active, rows)
    load = ExpertLoad(float(moe.experts), active, min(math.ceil(rows / active), row.number("tokens")), rows, 0.0)
    inter = moe.expert_width // row.integer("tp")
    time_s = _block_s(target, load, model.hidden, inter, ("bf16", "bf16"))
    family = f"{source_of(row)}:experts/bf16"
    yield Sample(row=row, family=family, measured=row.number("time_us"), predicted=us(time_s), shown=True)


def grouped_product_rows(row: Row, target: Target) -> Iterator[Sample]:
    """Columns device, op, dtype, phase, n_experts, n_local_experts, topk, hidden, inter, tokens_per_gpu, ... time_us.

    DeepGEMM in fp8 over even loads of ``tokens_per_expert`` rows.
    """
    hidden, inter, local = row.integer("hidden"), row.integer("inter"), float(row.integer("n_local_experts"))
    each = row.number("tokens_per_expert")
    load = ExpertLoad(local, local, each, local * each, 0.0)
    shape = (2 * inter, hidden) if row.text("op") == "grouped_gemm_up" else (hidden, inter)
    operator = _grouped(load, *shape, load_format("fp8-e4m3"), load_format("fp8-e4m3"))
    predicted_us = us(target.kernel(operator).time_s)
    family = f"{source_of(row)}:grouped_gemm/{row.text('dtype')}/{row.text('phase')}"
    yield Sample(row=row, family=family, measured=row.number("time_us"), predicted=predicted_us)
