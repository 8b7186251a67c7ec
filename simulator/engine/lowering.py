"""Lowering: from what a step must do to the kernels a software stack launches for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hwmodels.device import Kernel
from simulator.engine.fusion import fuse_block, merge_products
from simulator.engine.profile import Insertion, Profile
from workloads.graph import Block, Graph
from workloads.operators import (
    Attention,
    Collective,
    Gather,
    Gemm,
    GroupedGemm,
    KvWrite,
    Operator,
    Role,
    Tensor,
    Vector,
)
from workloads.step import Step

__all__ = ["LaunchedKernel", "lower"]


@dataclass(frozen=True, slots=True)
class LaunchedKernel:
    """A kernel and the block it came from, for reports and timelines."""

    block: str
    kernel: Kernel


def lower(graph: Graph, step: Step, profile: Profile) -> list[LaunchedKernel]:
    """Return the kernels of a step in launch order, alike layers counted.

    Operators are omitted, inserted, fused and given the kernels that the profile names; an eager stack
    pays the host for every launch.
    """
    host_s = profile.launch.interval_s(step)
    uncached = all(g.cached == 0 for g in step.groups)
    backend = profile.backend(step)
    kernels = []
    for block in graph.blocks:
        operators = [op for op in block.operators if not (uncached and op.name in profile.omit_uncached)]
        moe = any(op.kind == "grouped_gemm" for op in operators)
        operators = merge_products(_insert(operators, profile.insert), profile.merge)
        fused = fuse_block(replace(block, operators=tuple(operators)), profile.fusion)
        for operator in fused.operators:
            kernel = Kernel(_dress(operator, profile, backend), block.repeat, host_s)
            kernels.append(LaunchedKernel(block.name, kernel))
        small = _small_count(block, profile, moe)
        if small:
            kernels.append(LaunchedKernel(block.name, Kernel(_SMALL, block.repeat * small, host_s)))
    return kernels


#: A launch with next to no work: 4 bytes in, 4 bytes out.
_SMALL = Vector(
    name="small_kernels",
    rows=1.0,
    columns=1.0,
    operands=(Tensor("index", Role.METADATA, 4.0), Tensor("index", Role.OUTPUT, 4.0)),
)


def _small_count(block: Block, profile: Profile, moe: bool) -> int:
    if block.name == "head":
        return profile.small_kernels.step
    if block.name.startswith("layer"):
        return profile.small_kernels.layer + (profile.small_kernels.moe_layer if moe else 0)
    return 0


def _insert(operators: list[Operator], insertions: tuple[Insertion, ...]) -> list[Operator]:
    if not insertions:
        return operators
    result: list[Operator] = []
    for operator in operators:
        result.append(operator)
        if any(t.role.is_write for t in operator.tensors):
            result += [_copy(operator, insertion) for insertion in insertions if insertion.after == operator.name]
    return result


def _copy(operator: Operator, insertion: Insertion) -> Vector:
    """Return a copy of everything ``operator`` writes."""
    written = [t for t in operator.tensors if t.role.is_write]
    size_B = sum(t.size_B for t in written)
    value = written[0].value
    return Vector(
        name=insertion.name,
        rows=1.0,
        columns=size_B / 2.0,  # as 16-bit elements
        operands=(Tensor(value, Role.INPUT, size_B), Tensor(value, Role.OUTPUT, size_B)),
        implementation=insertion.implementation,
    )


def _dress(operator: Operator, profile: Profile, backend: str) -> Operator:
    if isinstance(operator, Attention):
        return replace(operator, backend=backend)
    if isinstance(operator, Collective) and profile.direct_all_reduce:
        return replace(operator, direct=True)
    if isinstance(operator, GroupedGemm) and profile.fused_experts:
        return replace(operator, fused=True)
    if isinstance(operator, Gemm) and profile.packed_products == "cores" and operator.unpack_ops > 0:
        return replace(operator, on_cores=True)
    if isinstance(operator, (Vector, Gather, KvWrite)) and operator.name in profile.implementations:
        return replace(operator, implementation=profile.implementations[operator.name])
    return operator
