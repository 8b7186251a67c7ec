"""Grouped matrix multiplication: the experts of a mixture, each with its own rows and weights, in one launch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from workloads.formats import NumberFormat, compute_format
from workloads.moe import ExpertLoad
from workloads.operators.operator import Role, Tensor

__all__ = ["GroupedGemm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedGemm:
    """Rows sorted by expert times that expert's n x k weights; only experts with rows are read."""

    name: str
    load: ExpertLoad  # on this device
    n: int
    k: int
    activations: NumberFormat
    weights: NumberFormat
    output: NumberFormat
    source: str = "x"
    target: str = "y"
    bias: bool = False
    fused: bool = False  # by the kernels of a serving stack, as the execution profile says
    parts: tuple[str, ...] = ()  # operators fused into the kernel, by name
    fused_ops: float = 0.0  # their work on the ordinary cores
    operands: tuple[Tensor, ...] | None = None  # what the fused kernel touches; None: what the product alone does

    @property
    def kind(self) -> str:
        """Always ``grouped_gemm``."""
        return "grouped_gemm"

    @property
    def flops(self) -> float:
        """2 n k per row."""
        return 2.0 * self.load.rows * self.n * self.k

    @property
    def weight_elements(self) -> float:
        """Elements of the expected distinct experts."""
        return self.load.active * self.n * self.k

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Weights of the active experts with their scales, rows in, rows out."""
        if self.operands is not None:
            return self.operands
        w = self.weights
        side_B = w.total_B(self.weight_elements) - w.payload_B(self.weight_elements)
        inputs = [
            Tensor(f"{self.name}.weight", Role.WEIGHT, w.payload_B(self.weight_elements)),
            Tensor(self.source, Role.INPUT, self.activations.total_B(self.load.rows * self.k)),
        ]
        if side_B > 0:
            inputs.append(Tensor(f"{self.name}.scales", Role.SCALES, side_B))
        if self.bias:
            inputs.append(Tensor(f"{self.name}.bias", Role.WEIGHT, self.output.total_B(self.load.active * self.n)))
        return (*inputs, Tensor(self.target, Role.OUTPUT, self.output.total_B(self.load.rows * self.n)))

    @property
    def unpack_ops(self) -> float:
        """Ordinary-core operations that unpack the active experts' weights."""
        return compute_format(self.activations, self.weights).weight_unpack_op * self.weight_elements

    @property
    def vector_ops(self) -> float:
        """Unpacking, and what is fused into the kernel."""
        return self.unpack_ops + self.fused_ops

    def fuse(self, parts: tuple[str, ...], vector_ops: float, operands: tuple[Tensor, ...]) -> GroupedGemm:
        """Return this product with other operators in front of it or behind it in the same kernel."""
        return replace(self, parts=self.parts + parts, fused_ops=self.fused_ops + vector_ops, operands=operands)
