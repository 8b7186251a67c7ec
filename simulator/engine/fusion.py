"""Fusion: operators become one kernel, and what passed between them never reaches memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple, cast

from workloads.graph import Block
from workloads.operators import Fusable, Gemm, Operator, Role, Tensor

__all__ = ["fuse", "fuse_block", "merge_products"]

#: Which member of a group becomes the kernel: matrix work first, then row reductions, then the first one.
_PRIMARY = {"gemm": 0, "grouped_gemm": 0, "attention": 1, "vector": 3}

#: Links do this work, and no kernel of the device can take it in.
_APART = ("collective", "transfer")


def merge_products(operators: Sequence[Operator], groups: Sequence[Sequence[str]]) -> list[Operator]:
    """Make one product of those of a group that read the same value: their weights lie side by side in one matrix.

    It stands where the first of them stood. Products of other shapes or formats than the first stay apart.
    """
    result = list(operators)
    for group in groups:
        names = set(group)
        found = [op for op in result if isinstance(op, Gemm) and op.name in names and op.batch == 1]
        alike = [op for op in found if _multiplies(op) == _multiplies(found[0])]
        if len(alike) < 2:
            continue
        first, others = alike[0], alike[1:]
        extra = [t for op in others for t in op.tensors if t.role is not Role.INPUT]
        merged = replace(
            first,
            n=sum(op.n for op in alike),
            parts=first.parts + tuple(name for op in others for name in (op.name, *op.parts)),
            fused_ops=sum(op.fused_ops for op in alike),
            operands=(*first.tensors, *extra),
        )
        result = [merged if op is first else op for op in result if op not in others]
    return result


def _multiplies(product: Gemm) -> tuple[object, ...]:
    return (product.source, product.m, product.k, product.activations, product.weights, product.output)


def fuse_block(block: Block, groups: Sequence[Iterable[str]]) -> Block:
    """Fuse every run of consecutive operators whose names all stand in one of ``groups``.

    Parameters
    ----------
    block : Block
        A layer, or an end of the model.
    groups : sequence of sets of names
        What the software fuses; a group may name operators this model does not have. Communication ends a run, and a
        run none of whose members can take in others stays as it is.

    Returns
    -------
    Block
        The same work in fewer operators: bytes of values that live and die inside a group are gone.
    """
    operators: list[Operator] = list(block.operators)
    for group in groups:
        names = set(group)
        if sum(operator.name in names for operator in operators) < 2:
            continue
        fused: list[Operator] = []
        run: list[Operator] = []
        for position, operator in enumerate([*operators, None]):
            if operator is not None and operator.name in names and operator.kind not in _APART:
                run.append(operator)
                continue
            if run:
                fused += fuse(run, operators[position:], block.carries)
                run = []
            if operator is not None:
                fused.append(operator)
        operators = fused
    return Block(block.name, block.repeat, tuple(operators), block.carries)


def fuse(run: Sequence[Operator], later: Sequence[Operator], carries: frozenset[str]) -> list[Operator]:
    """Fuse a run of operators into one, given the operators that follow and the values that outlive the block."""
    able = [op for op in run if hasattr(op, "fuse")]
    if len(run) == 1 or not able:
        return list(run)
    primary = min(able, key=_rank)
    others = [op for op in run if op is not primary]
    return [
        cast(Fusable, primary).fuse(
            tuple(name for op in others for name in (op.name, *getattr(op, "parts", ()))),
            sum(op.vector_ops for op in others),
            _external(run, later, carries),
        )
    ]


def _rank(operator: Operator) -> int:
    rank = _PRIMARY.get(operator.kind, 4)
    if operator.kind == "vector" and getattr(operator, "reduction", "none") != "none":
        rank = 2
    return rank


def _external(run: Sequence[Operator], later: Sequence[Operator], carries: frozenset[str]) -> tuple[Tensor, ...]:
    """Return what a fused run reads from memory and leaves in it.

    A value written inside is not read back; it is written out only where somebody later needs it (the cache always is);
    a value that two members read is read once.
    """
    reads: dict[tuple[str, Role], Tensor] = {}
    writes: dict[tuple[str, Role], Tensor] = {}
    inside: set[str] = set()
    for operator in run:
        tensors = operator.tensors
        for tensor in tensors:
            if tensor.role.is_write or (tensor.role is not Role.KV_READ and _held(tensor, inside)):
                continue
            key = (tensor.value, tensor.role)
            if key not in reads or reads[key].size_B < tensor.size_B:
                reads[key] = tensor
        for tensor in tensors:
            if tensor.role.is_write:
                inside.add(tensor.value)
                writes[tensor.value, tensor.role] = tensor
    kept = [t for t in writes.values() if t.role is Role.KV_WRITE or _needed(t, later, carries)]
    if not kept and writes:  # the last value is what the run was for
        kept = [list(writes.values())[-1]]
    return (*reads.values(), *kept)


def _held(tensor: Tensor, inside: set[str]) -> bool:
    """Whether a value was made inside: itself or the whole it is part of. A whole made in parts is read from memory."""
    return tensor.value in inside or tensor.base in inside


def _needed(tensor: Tensor, later: Sequence[Operator], carries: frozenset[str]) -> bool:
    """Whether somebody reads a value before it is written anew, or it outlives the block.

    A part shares memory with itself and with the whole, the whole with every part.
    """
    value, base = tensor.value, tensor.base
    for operator in later:
        touched = _touched(operator)
        if value in touched.read or base in (touched.read_of if value == base else touched.read):
            return True
        if value in touched.written or base in touched.written:
            return False
    return base in carries


class _Touched(NamedTuple):
    """Names of values that an operator reads, the wholes that these are of, and those that it writes."""

    read: frozenset[str]
    read_of: frozenset[str]
    written: frozenset[str]


@lru_cache(4096)
def _touched(operator: Operator) -> _Touched:
    reads = [t for t in operator.tensors if not t.role.is_write]
    return _Touched(
        frozenset(t.value for t in reads),
        frozenset(t.base for t in reads),
        frozenset(t.value for t in operator.tensors if t.role.is_write),
    )
