"""The matrix-product formulas against closed forms, what cuBLAS does, and hardware counters of an H200."""

from __future__ import annotations

import math
import time

import pytest

from hwmodels.coefficients import load_coefficients
from hwmodels.gpu.gemm import (
    F16,
    FP8,
    INT8,
    TF32,
    GemmCoefficients,
    gemm_format,
    gemm_kernel,
    gemm_read_B,
    stream_Bps,
)
from hwmodels.gpu.gemm_tiles import TILE_CANDIDATES, Tile, gemm_tile, tile_repeats
from hwmodels.gpu.grouped_gemm import grouped_gemm_kernel, row_tiles
from hwmodels.gpu.params import GpuParams, KernelTime

H200 = GpuParams(
    sms=132.0,
    clock_Hz=1.98e9,
    max_clock_Hz=1.98e9,
    mma_f16_flop_per_clock=4096.0,
    vector_flop_per_clock=256.0,
    sfu_op_per_clock=16.0,
    smem_B=232448.0,
    l2_B=60.0 * 2**20,
    l2_Bps=5120.0 * 1.98e9,
    hbm_Bps=4.8e12,
    hbm_B=141e9,
)
HOPPER = load_coefficients("gemm", "hopper", GemmCoefficients)
MMA = gemm_format(F16, HOPPER)


def product(m: float, n: float, k: float, gpu: GpuParams = H200, c: GemmCoefficients = HOPPER) -> KernelTime:
    return gemm_kernel(m, n, k, 1.0, 2.0, 2.0, 2.0, 4096.0, gemm_format(F16, c), 0.0, 0.0, gpu, c)


def test_tiles_cover_the_output() -> None:
    for short, long, k in ((1.0, 28672.0, 4096.0), (139.0, 2208.0, 504.0), (8192.0, 8192.0, 8192.0), (7.0, 9.0, 80.0)):
        for index in range(TILE_CANDIDATES):
            tile = gemm_tile(index, short, long, k, 1.0, 132.0, 40960.0, 8.0)
            assert tile.rows * tile.short_tiles >= short
            assert tile.width * tile.long_tiles >= long
            assert tile.rows % 8.0 == 0.0
            assert tile.rows % 64.0 == 0.0 or tile.width % 64.0 == 0.0
            assert tile.rows * tile.width <= 40960.0
            assert 1.0 <= tile.split <= max(1.0, k / 256.0)


def test_repeats_are_repeats() -> None:
    for short in (1.0, 64.0, 65.0, 128.0, 129.0, 4096.0):
        cuts = [gemm_tile(i, short, 5000.0, 8192.0, 1.0, 132.0, 40960.0, 8.0) for i in range(TILE_CANDIDATES)]
        for index in range(TILE_CANDIDATES):
            assert not tile_repeats(index, short) or cuts[index] in cuts[:index]


def test_splits_fill_idle_multiprocessors_only() -> None:
    few = gemm_tile(9, 64.0, 1024.0, 8192.0, 1.0, 132.0, 40960.0, 8.0)
    assert few.short_tiles * few.long_tiles * few.split <= 132.0 < few.short_tiles * few.long_tiles * (few.split + 1.0)
    assert gemm_tile(9, 8192.0, 8192.0, 8192.0, 1.0, 132.0, 40960.0, 8.0).split == 1.0
    assert gemm_tile(9, 64.0, 1024.0, 8192.0, 1.0, 132.0, 16384.0, 128.0).split == 1.0  # padded kernels do not split


def test_the_tile_that_fills_one_wave() -> None:
    """28672 outputs of 128 rows on 132 SMs: one wave, as cuBLAS does with tiles of 64 x 448."""
    tiles = [gemm_tile(i, 128.0, 28672.0, 4096.0, 1.0, 132.0, 40960.0, 8.0) for i in range(TILE_CANDIDATES)]
    assert any(t.short_tiles * t.long_tiles <= 132.0 and t.long_tiles * t.width < 28672.0 * 1.05 for t in tiles)


def test_reads_are_compulsory_within_one_wave() -> None:
    tile = Tile(128.0, 256.0, 8.0, 16.0, 1.0)
    assert gemm_read_B(1024.0, 4096.0, 512.0, 1.0, 2.0, 2.0, 2.0, tile, 132.0, 6e7, HOPPER) == 2.0 * 512.0 * 5120.0


def test_an_unbounded_l2_reads_each_operand_once_and_none_reads_every_wave_again() -> None:
    tile = Tile(128.0, 256.0, 64.0, 32.0, 1.0)
    once = 2.0 * 8192.0 * 16384.0
    assert gemm_read_B(8192.0, 8192.0, 8192.0, 1.0, 2.0, 2.0, 2.0, tile, 132.0, 1e15, HOPPER) == pytest.approx(once)
    side = math.sqrt(132.0 * 128.0 * 256.0)
    waves = once * (1.0 + HOPPER.raster_loss * (8192.0 / side - 1.0))
    none = gemm_read_B(8192.0, 8192.0, 8192.0, 1.0, 2.0, 2.0, 2.0, tile, 132.0, 0.0, HOPPER)
    assert none == pytest.approx(waves)


@pytest.mark.parametrize(
    ("m", "n", "k", "read_B"),
    [  # hardware counters of one cold launch, hwmodels/measured/h200/h200_traffic.csv
        (1, 4096, 4096, 33620480),
        (512, 4096, 14336, 132153344),
        (4096, 4096, 4096, 149026816),
        (8192, 8192, 8192, 1252148992),
        (16384, 6144, 4096, 857821440),
    ],
)
def test_dram_bytes_of_an_h200(m: int, n: int, k: int, read_B: int) -> None:
    cost = product(m, n, k)
    assert cost.hbm_read_B == pytest.approx(read_B, rel=0.12)
    assert cost.hbm_write_B == 2.0 * m * n


@pytest.mark.parametrize(
    ("m", "n", "k", "measured_s"),
    [  # h200_gemm.csv and h200_ceilings.csv, all short enough to run before the power limit acts
        (1, 28672, 4096, 57.0e-6),
        (64, 6144, 4096, 16.5e-6),
        (512, 4096, 4096, 24.7e-6),
        (1024, 4096, 4096, 45.6e-6),
        (4096, 4096, 4096, 177.1e-6),
        (6, 88, 88, 2.52e-6),
    ],
)
def test_times_of_an_h200(m: int, n: int, k: int, measured_s: float) -> None:
    assert product(m, n, k).time_s == pytest.approx(measured_s, rel=0.15)


def test_time_is_at_least_every_resource_and_the_roofline() -> None:
    for m, n, k in ((1, 4096, 4096), (100, 1904, 1056), (4096, 28672, 4096), (3, 70, 90)):
        cost = product(m, n, k)
        assert cost.time_s >= cost.fixed_s + max(cost.compute_s, cost.hbm_s, cost.l2_s)
        assert cost.time_s > 2.0 * m * n * k / (4096.0 * 132.0 * 1.98e9)
        assert cost.time_s > 2.0 * (m * k + n * k + m * n) / 4.8e12


def test_a_lower_clock_stretches_tensor_time_only() -> None:
    slow = H200._replace(clock_Hz=0.99e9)
    big, streamed = (8192.0, 8192.0, 8192.0), (1.0, 128256.0, 4096.0)
    assert product(*big, gpu=slow).time_s / product(*big).time_s == pytest.approx(2.0, rel=0.05)
    assert product(*streamed, gpu=slow).time_s / product(*streamed).time_s < 1.15


def test_formats() -> None:
    assert gemm_format(F16, HOPPER).granule == 8.0
    assert gemm_format(FP8, HOPPER).most_area == HOPPER.fp8_area
    assert gemm_format(INT8, HOPPER).most_area == HOPPER.int8_granule**2
    assert gemm_format(TF32, HOPPER).efficiency == HOPPER.efficiency * HOPPER.tf32_efficiency
    wide = HOPPER._replace(int8_granule=8.0)
    assert gemm_format(INT8, wide).most_area == HOPPER.most_area
    starts = [gemm_format(code, HOPPER).start_s for code in (FP8, INT8, TF32)]
    assert min(starts) > MMA.start_s


def test_unpacking_is_a_roof_of_its_own() -> None:
    """4-bit weights multiplied on the ordinary cores take time in proportion to rows, as measured from m = 8 on."""
    times = [
        gemm_kernel(m, 4096.0, 4096.0, 1.0, 2.0, 0.53, 2.0, 4096.0, MMA, 1.625, 2.0, H200, HOPPER).time_s
        for m in (64.0, 128.0, 512.0)
    ]
    assert times[1] / times[0] == pytest.approx(155.28 / 79.55, rel=0.05)
    assert times[2] == pytest.approx(595.1e-6, rel=0.1)
    tensor = gemm_kernel(512.0, 4096.0, 4096.0, 1.0, 2.0, 0.53, 2.0, 4096.0, MMA, 1.625, 0.0, H200, HOPPER)
    assert tensor.time_s < 0.2 * times[2]
    assert tensor.special_s > 0.0


def test_memory_needs_bytes_in_flight() -> None:
    rates = [stream_Bps(busy, H200, HOPPER) for busy in (1.0, 33.0, 66.0, 132.0)]
    assert rates == sorted(rates)
    assert rates[-1] < H200.hbm_Bps * HOPPER.hbm_efficiency
    faster = stream_Bps(132.0, H200._replace(hbm_Bps=9.6e12), HOPPER)
    assert rates[-1] < faster < 2.0 * rates[-1]


def test_misaligned_rows_cost_more() -> None:
    assert product(1937.0, 1424.0, 11960.0).time_s > product(1937.0, 1424.0, 12032.0).time_s


def test_row_tiles() -> None:
    assert row_tiles(8.0, 8.0, 1.0, 128.0) == 1.0
    assert row_tiles(512.0, 8.0, 76.0, 128.0) == 1.0  # nobody needs a second tile
    assert row_tiles(1024.0, 8.0, 138.0, 128.0) == 1.5  # half of the experts do
    assert row_tiles(65536.0, 8.0, 8300.0, 128.0) == 64.5


@pytest.mark.parametrize(
    ("rows", "active", "most", "n", "k", "measured_s"),
    [  # h200_moe_grouped_gemm.csv
        (256, 8, 39, 28672, 4096, 652.5e-6),
        (8192, 8, 1061, 28672, 4096, 2743.9e-6),
        (1024, 128, 18, 1536, 2048, 264.4e-6),
        (65536, 128, 572, 2048, 768, 405.5e-6),
    ],
)
def test_grouped_times_of_an_h200(
    rows: float, active: float, most: float, n: float, k: float, measured_s: float
) -> None:
    cost = grouped_gemm_kernel(rows, active, most, n, k, 2.0, 2.0, 2.0, 4096.0, MMA, 0.0, 0.0, H200, HOPPER)
    assert cost.time_s == pytest.approx(measured_s, rel=0.15)


def test_grouped_reads_only_active_experts() -> None:
    cost = grouped_gemm_kernel(2.0, 2.0, 1.0, 28672.0, 4096.0, 2.0, 2.0, 2.0, 4096.0, MMA, 0.0, 0.0, H200, HOPPER)
    assert cost.hbm_read_B == pytest.approx(2.0 * 28672.0 * 4096.0 * 2.0 + 2.0 * 4096.0 * 2.0)


def test_every_family_has_coefficients() -> None:
    for family in ("volta", "turing", "ampere", "ada", "hopper", "blackwell", "blackwell-dc", "cdna"):
        c = load_coefficients("gemm", family, GemmCoefficients)
        assert 0.0 < c.efficiency <= 1.0
        assert 0.0 < product(4096.0, 4096.0, 4096.0, c=c).time_s < 1e-3


@pytest.mark.slow
def test_one_kernel_takes_microseconds() -> None:
    """All candidates cost less than 400 sweeps of a bare loop of as many turns: no allocation, no search."""
    start = time.process_time()
    for _ in range(2000):
        for index in range(TILE_CANDIDATES):
            math.ceil(index / 3.0)
    bare_s = time.process_time() - start
    start = time.process_time()
    for _ in range(2000):
        product(512.0, 28672.0, 4096.0)
    assert time.process_time() - start < 400.0 * bare_s
