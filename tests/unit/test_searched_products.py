"""Products mapped by search against products in blocks: a search is an option that is never slower."""

from __future__ import annotations

import math

import pytest

from hwmodels.catalog import load_hardware
from hwmodels.spatial.device import Spatial
from hwmodels.spatial.mapper.search import best_mapping
from hwmodels.spatial.mapping import MemoryLevel, NestMachine
from hwmodels.spatial.product import ProductArray, blocking
from hwmodels.spatial.searched import searched_plan
from hwmodels.system import build_system
from workloads.einsum import parse_einsum
from workloads.formats import load_format
from workloads.operators import Gemm

pytestmark = pytest.mark.slow  # the search is compiled


def _device(*overrides: str) -> Spatial:
    device = build_system(load_hardware("eyeriss", ["array.registers=64", *overrides])).device
    assert isinstance(device, Spatial)
    return device


@pytest.mark.parametrize("shape", [(64, 512, 256), (1, 768, 768), (17, 100, 300)])
def test_a_search_is_never_slower(shape: tuple[int, int, int]) -> None:
    bf16 = load_format("bf16")
    gemm = Gemm(name="g", m=shape[0], n=shape[1], k=shape[2], activations=bf16, weights=bf16, output=bf16)
    blocked, searched = _device().cost(gemm), _device("products=searched").cost(gemm)
    assert searched.time_s <= blocked.time_s
    assert searched.hbm_B >= sum(t.size_B for t in gemm.tensors)
    assert searched.time_s >= build_system(load_hardware("eyeriss"), "roofline").device.cost(gemm).time_s


def test_a_search_says_its_loops() -> None:
    plan = searched_plan(64, 509, 256, 2.0, 2.0, _device().spec, "bf16")  # 509 is prime: padded to 512
    assert "over units" in plan.how
    assert "mappings evaluated" in plan.how
    assert plan.cycles >= 64 * 512 * 256 / 168


@pytest.mark.parametrize(("shape", "most"), [((64, 256, 128), 1.0), ((8, 512, 512), 1.0), ((256, 64, 512), 1.6)])
def test_blocks_are_near_the_least_traffic_of_all_loop_nests(shape: tuple[int, int, int], most: float) -> None:
    """32 KiB: sums of four bytes and streams of two slabs cost the blocks some room that ideal nests have."""
    m, n, k = shape
    words = 16384
    memory = MemoryLevel("memory", math.inf, math.inf, math.inf, 1.0, 1.0)
    buffer = MemoryLevel("buffer", words, math.inf, math.inf, 0.0, 0.0, (8, 8))
    registers = MemoryLevel("registers", 3, math.inf, math.inf, 0.0, 0.0)
    einsum = parse_einsum("Z[M,N] += A[M,K] * W[N,K]", {"M": m, "N": n, "K": k})
    found = best_mapping(einsum, NestMachine("traffic", (memory, buffer, registers), 0.0), "energy")
    assert found.proven
    block = blocking(m, n, k, 2.0, 2.0, ProductArray(8, 8, 1, 0, True, 1.0, 2.0 * words))
    moved = block.input_times * m * k + block.weight_times * n * k + m * n
    assert found.value <= moved <= most * found.value * (1 + 1e-12)
