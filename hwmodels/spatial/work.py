"""What each operator of a transformer asks of a spatial array: times, bytes by level, operations by kind and array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hwmodels.spatial.binding import Binding
from hwmodels.spatial.fused_attention import AttentionRun, AttentionWork, FusedMachine, run_attention
from hwmodels.spatial.product import ProductArray, ProductPlan, blocked_plan
from hwmodels.spatial.spec import SpatialSpec
from hwmodels.spatial.systolic import DATAFLOWS
from workloads.formats import compute_format
from workloads.operators import Attention, Gemm, GroupedGemm, Operator, Vector

__all__ = ["SpatialWork", "compute_name", "operator_work", "roofline_work"]


class SpatialWork(NamedTuple):
    """One launch of one operator."""

    time_s: float
    compute_s: float  # of the 2D arrays alone
    special_s: float  # of the 1D array alone
    hbm_s: float
    read_B: float  # memory
    write_B: float
    edge_read_B: float  # between buffer and arrays
    edge_write_B: float
    word_B: float  # of an operand of a multiply-add
    operations_2d: Mapping[str, float]  # by kind: mac, add, exp...
    operations_1d: Mapping[str, float]
    how: str  # in words

    @property
    def macs(self) -> float:
        """Multiply-adds of products, each with operands out of registers."""
        return self.operations_2d.get("mac", 0.0)


def compute_name(operator: Operator, spec: SpatialSpec) -> str:
    """Return the format that an operator's products are computed in; of an operator without any, the first there is."""
    if isinstance(operator, (Gemm, GroupedGemm)):
        return spec.compute_format(compute_format(operator.activations, operator.weights).mma)
    if isinstance(operator, Attention):
        return spec.compute_format(compute_format(operator.activations, operator.activations).mma)
    return next(iter(spec.array.rates))


def operator_work(operator: Operator, spec: SpatialSpec, binding: Binding) -> SpatialWork:
    """Return the work of one launch; what overlaps takes as long as the longest."""
    if isinstance(operator, Gemm):
        return _products(operator, spec, float(operator.batch), operator.m)
    if isinstance(operator, GroupedGemm):
        active = max(operator.load.active, 1.0)
        return _products(operator, spec, active, max(1, round(operator.load.rows / active)))
    if isinstance(operator, Attention):
        return _attention(operator, spec, binding)
    how = f"{operator.vector_ops:.3g} operations on {spec.vector.lanes} lanes"
    return _overlapped(operator, spec, _peak_s(operator, spec), _vector_s(operator, spec), how=how)


def roofline_work(operator: Operator, spec: SpatialSpec) -> SpatialWork:
    """Bound an operator by its FLOPs, its operations and its least bytes: never slower than any mapping."""
    special_s = operator.vector_ops / (spec.vector.lanes * spec.clock_Hz)
    if isinstance(operator, Attention):
        special_s = 0.0  # exponentials may run on either array
    return _overlapped(operator, spec, _peak_s(operator, spec), special_s, how="bound")


def _peak_s(operator: Operator, spec: SpatialSpec) -> float:
    return operator.flops / spec.peak_flops(compute_name(operator, spec))


def _vector_s(operator: Operator, spec: SpatialSpec) -> float:
    special = operator.special_ops if isinstance(operator, Vector) else 0.0
    ops = operator.vector_ops + special * (spec.vector.special_ops - 1.0)
    return ops / (spec.vector.lanes * spec.clock_Hz)


def _operand_B(operator: Operator) -> tuple[float, float]:
    """Bytes read and written at the least."""
    read_B = sum(t.size_B for t in operator.tensors if not t.role.is_write)
    return read_B, sum(t.size_B for t in operator.tensors if t.role.is_write)


def _overlapped(
    operator: Operator,
    spec: SpatialSpec,
    compute_s: float,
    special_s: float,
    *,
    again_B: float = 0.0,  # read from memory beyond once
    edge_B: tuple[float, float] | None = None,  # None: operands cross the buffer once
    word_B: float = 2.0,
    how: str,
) -> SpatialWork:
    read_B, write_B = _operand_B(operator)
    read_B += again_B
    hbm_s = (read_B + write_B) / spec.hbm.bandwidth_Bps
    edge_read_B, edge_write_B = (read_B, write_B) if edge_B is None else edge_B
    special = operator.special_ops if isinstance(operator, Vector) else 0.0
    return SpatialWork(
        time_s=max(compute_s, special_s, hbm_s),
        compute_s=compute_s,
        special_s=special_s,
        hbm_s=hbm_s,
        read_B=read_B,
        write_B=write_B,
        edge_read_B=edge_read_B,
        edge_write_B=edge_write_B,
        word_B=word_B,
        operations_2d={"mac": operator.flops / 2.0},
        operations_1d={"add": operator.vector_ops - special, "div": special},
        how=how,
    )


def _products(operator: Gemm | GroupedGemm, spec: SpatialSpec, count: float, m: int) -> SpatialWork:
    """``count`` products of m rows, each with weights of its own, one after the other."""
    array = spec.array
    input_B, weight_B = operator.activations.bits_per_element / 8.0, operator.weights.bits_per_element / 8.0
    shape = ProductArray(
        rows=array.rows,
        columns=array.columns,
        arrays=array.count,
        dataflow=DATAFLOWS.index(array.dataflow),
        overlapped=array.overlapped,
        rate=array.rates[compute_name(operator, spec)],
        buffer_B=spec.buffer_B,
    )
    plan = blocked_plan(m, operator.n, operator.k, input_B, weight_B, shape)
    if spec.products == "searched":
        plan = _quicker_plan(plan, operator, spec, count, m)
    return _overlapped(
        operator,
        spec,
        count * plan.cycles / spec.clock_Hz,
        _vector_s(operator, spec),
        again_B=count * plan.again_B,
        edge_B=(count * plan.edge_read_B, count * plan.edge_write_B),
        word_B=max(input_B, weight_B),
        how=(f"{count:g} products of " if count != 1.0 else "") + plan.how,
    )


def _quicker_plan(
    blocked: ProductPlan, operator: Gemm | GroupedGemm, spec: SpatialSpec, count: float, m: int
) -> ProductPlan:
    """Return the plan in blocks, or the one that a search over loop nests finds, whichever is quicker."""
    from hwmodels.spatial.searched import searched_plan

    input_B, weight_B = operator.activations.bits_per_element / 8.0, operator.weights.bits_per_element / 8.0
    fmt, least_B = compute_name(operator, spec), sum(_operand_B(operator))
    searched = searched_plan(m, operator.n, operator.k, input_B, weight_B, spec, fmt)

    def rank(plan: ProductPlan) -> tuple[float, float]:
        moved_B = least_B + count * plan.again_B
        return max(count * plan.cycles / spec.clock_Hz, moved_B / spec.hbm.bandwidth_Bps), plan.again_B

    return min(blocked, searched, key=rank)


def _attention(operator: Attention, spec: SpatialSpec, binding: Binding) -> SpatialWork:
    """Each group of equal sequences as the cascade of the binding; query heads of a KV head side by side."""
    array, word_B = spec.array, operator.activations.bits_per_element / 8.0
    machine = FusedMachine(
        rows=array.rows,
        columns=array.columns,
        lanes=max(1, spec.vector.lanes // array.count),
        arrays=array.count,
        clock_Hz=spec.clock_Hz,
        memory_Bps=spec.hbm.bandwidth_Bps,
        buffer_B=spec.buffer_B,
        word_B=word_B,
    )
    runs = [
        run_attention(
            AttentionWork(
                problems=float(group.count * operator.kv_heads),
                queries=operator.heads // operator.kv_heads * group.q_len,
                positions=group.q_len,
                keys=group.kv_len,
                qk_width=operator.qk_dim,
                v_width=operator.v_dim,
                causal=operator.causal,
                window=operator.window or 0,
                shared_kv=operator.shared_kv,
                kv_word_B=operator.kv.bits_per_element / 8.0,
            ),
            machine,
            binding,
        )
        for group in operator.groups
    ]
    beside_s = (operator.fused_ops + operator.unpack_op * operator.kv_elements) / (spec.vector.lanes * spec.clock_Hz)
    read_B, write_B = sum(run.read_B for run in runs), sum(run.write_B for run in runs)
    on_1d = _summed([run.operations_1d for run in runs])
    on_2d = {op: done - on_1d.get(op, 0.0) for op, done in _summed([run.operations for run in runs]).items()}
    described = [
        _describe_attention(group.q_len, group.kv_len, run, binding)
        for group, run in zip(operator.groups, runs, strict=True)
    ]
    # Along the edges of an array a word serves a whole row or column of units.
    edge_B = on_2d.get("mac", 0.0) * word_B * (1.0 / array.rows + 1.0 / array.columns)
    return SpatialWork(
        time_s=max(sum(run.time_s for run in runs), beside_s),
        compute_s=sum(run.array_2d_s for run in runs),
        special_s=max(sum(run.array_1d_s for run in runs), beside_s),
        hbm_s=sum(run.memory_s for run in runs),
        read_B=read_B,
        write_B=write_B,
        edge_read_B=edge_B,
        edge_write_B=write_B,
        word_B=word_B,
        operations_2d=on_2d,
        operations_1d=on_1d,
        how="; ".join(described),
    )


def _summed(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = total.get(name, 0.0) + value
    return total


def _describe_attention(q_len: int, kv_len: int, run: AttentionRun, binding: Binding) -> str:
    uses = f"2D array busy {run.array_2d_s / run.time_s:.0%}, 1D array {run.array_1d_s / run.time_s:.0%}"
    kept = f", state of {run.tiles_held} query tiles stays in the buffer" if run.tiles_held else ""
    if run.dataflow is not None:
        names = [name for name in ("queries", "keys", "values") if getattr(run.dataflow, f"{name}_stay")]
        if run.dataflow.weight_stationary:
            kept = ", scores spill to memory"
        else:
            rows = run.dataflow.row_tiles
            kept = f", scores of {f'{rows} query tiles' if rows else 'a head'} in the buffer"
            kept += f" with {' and '.join(names)}" if names else ""
    name = f"{binding.name} ({binding.cascade.name})"
    return f"{q_len} queries x {kv_len} keys: {name}, {run.tiles:.0f} tiles a head{kept}; {uses}"
