"""What every operator tells: its dimensions as FLOPs, and per tensor role how many bytes. Devices need nothing more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

__all__ = ["Fusable", "Operator", "Role", "Tensor", "role_bytes", "total_bytes"]


class Role(StrEnum):
    """What a tensor is to the operator that touches it."""

    WEIGHT = "weight"
    INPUT = "input"
    OUTPUT = "output"
    KV_READ = "kv_read"
    KV_WRITE = "kv_write"
    SCALES = "scales"
    METADATA = "metadata"

    is_write: bool  # whether the bytes leave the operator

    def __init__(self, value: str) -> None:
        self.is_write = value in ("output", "kv_write")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One operand: ``value`` names it within the graph, so that producers and consumers find each other.

    ``qkv#q`` is a part of the value ``qkv``: parts of one value are read separately, but have one producer.
    """

    value: str
    role: Role
    size_B: float

    @property
    def base(self) -> str:
        """The whole value a part belongs to."""
        return self.value.partition("#")[0]


class Operator(Protocol):
    """A unit of work; implementations are frozen dataclasses, one file per kind.

    A device that does not know a kind costs it by these quantities alone.
    """

    @property
    def name(self) -> str:
        """What it does in the model: ``qkv``, ``attention``, ``down``..."""

    @property
    def kind(self) -> str:
        """Its kind: ``gemm``, ``attention``, ``vector``..."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Every operand with its least traffic in bytes."""

    @property
    def flops(self) -> float:
        """Multiply-adds on the matrix units, counted as two."""

    @property
    def vector_ops(self) -> float:
        """Operations on the ordinary cores: element-wise work, exponentials, unpacking of packed numbers."""

    def __hash__(self) -> int:
        """Of all it says: what equal operators cost is remembered."""


class Fusable(Operator, Protocol):
    """An operator that can take others into its kernel."""

    def fuse(self, parts: tuple[str, ...], vector_ops: float, operands: tuple[Tensor, ...]) -> Operator:
        """Return this operator doing ``vector_ops`` more and touching exactly ``operands``."""


def role_bytes(operators: Iterable[Operator]) -> dict[Role, float]:
    """Sum the bytes of some operators by role, bytes."""
    totals = dict.fromkeys(Role, 0.0)
    for operator in operators:
        for tensor in operator.tensors:
            totals[tensor.role] += tensor.size_B
    return totals


def total_bytes(operator: Operator) -> float:
    """Least traffic of one operator, bytes, reads and writes."""
    return sum(t.size_B for t in operator.tensors)
