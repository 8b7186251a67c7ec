"""A product mapped by search: the best loop nest over memory, buffer and units, instead of folds of a systolic array.

For arrays whose units take any loop order. A search takes a moment for each shape, and the first one of all longer,
while it is compiled; results are remembered.
"""

from __future__ import annotations

import math

from hwmodels.components import EnergyTable
from hwmodels.spatial.mapper.search import best_mapping
from hwmodels.spatial.mapping import LevelMapping, MemoryLevel, NestMachine
from hwmodels.spatial.product import ProductPlan
from hwmodels.spatial.spec import SpatialSpec
from workloads.einsum import parse_einsum

__all__ = ["searched_plan"]

#: Steps of a search for one shape: about a tenth of a second.
_BUDGET = 100_000

#: Bounds up to this are left as they are; larger ones grow to the next product of small primes, which can be cut up.
_LEFT = 16
_PRIMES = (2, 3, 5, 7)


def _machine(spec: SpatialSpec, table: EnergyTable, word_B: float, fmt: str) -> NestMachine:
    rate = spec.hbm.bandwidth_Bps / word_B / spec.clock_Hz
    array = spec.array
    levels = (
        MemoryLevel("memory", math.inf, rate, rate, table.memory * word_B, table.memory * word_B),
        MemoryLevel(
            "buffer",
            spec.buffer_B / word_B,
            math.inf,
            math.inf,
            table.buffer_read * word_B,
            table.buffer_write * word_B,
            (array.rows, array.columns * array.count),
        ),
        MemoryLevel(
            "registers",
            array.registers,
            math.inf,
            math.inf,
            table.register_read * word_B,
            table.register_write * word_B,
        ),
    )
    return NestMachine(spec.name, levels, table.mac_J(fmt))


def _divisible(bound: int) -> int:
    """Return the next number that has no prime factor above 7."""
    while bound > _LEFT:
        rest = bound
        for prime in _PRIMES:
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            break
        bound += 1
    return bound


def searched_plan(m: int, n: int, k: int, input_B: float, weight_B: float, spec: SpatialSpec, fmt: str) -> ProductPlan:
    """Return the plan of a product with the least energy x cycles that a search finds within its budget.

    Parameters
    ----------
    m, n, k
        Of the product; primes are padded.
    input_B, weight_B
        Bytes of one element.
    spec
        The device.
    fmt
        What is computed in.
    """
    table = spec.energies
    bounds = {"M": _divisible(m), "N": _divisible(n), "K": _divisible(k)}
    word_B = max(input_B, weight_B)
    einsum = parse_einsum("Z[M,N] += A[M,K] * W[N,K]", bounds)
    found = best_mapping(einsum, _machine(spec, table, word_B, fmt), budget=_BUDGET)
    assert found.cost is not None and found.mapping is not None  # registers of three words hold one of each tensor
    words, mapping = found.cost.words, found.mapping
    size_B = {"A": input_B, "W": weight_B, "Z": word_B}
    moved_B = sum((words["memory", name].reads + words["memory", name].updates) * size for name, size in size_B.items())
    once_B = sum(tensor.words(bounds) * size_B[tensor.name] for tensor in einsum.tensors)
    return ProductPlan(
        cycles=einsum.macs / (found.cost.instances["registers"] * spec.array.rates[fmt]),
        again_B=moved_B - once_B,
        edge_read_B=sum(words["buffer", name].reads * size for name, size in size_B.items()),
        edge_write_B=words["buffer", "Z"].updates * word_B,
        how=f"{m} x {n} x {k}: {_loops(mapping)}; {found.explanation}",
    )


def _loops(mapping: tuple[LevelMapping, ...]) -> str:
    """Write the loops from the outermost to the innermost, with what is spread over units between them."""
    parts = []
    for name, level in zip(("memory", "buffer", "registers"), mapping, strict=True):
        loops = " ".join(f"{rank}{bound}" for rank, bound in level.temporal)
        if loops:
            parts.append(f"{loops} over {name}")
        spread = " ".join(f"{rank}{bound}" for axis in level.spatial for rank, bound in axis)
        if spread:
            parts.append(f"{spread} over units")
    return ", ".join(parts) or "no loops"
