"""Power: parts sum, voltage, the clock a limit leaves, and boards known to run near their limits."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels.catalog import load_hardware
from hwmodels.coefficients import coefficient_families, load_coefficients
from hwmodels.device import Kernel
from hwmodels.gpu.device import Gpu
from hwmodels.gpu.power import (
    KernelWork,
    PowerCoefficients,
    PowerParams,
    burst_clock,
    kernel_energy,
    mma_energy_ratio,
    padded_rows,
    step_energy,
    step_power_W,
    tensor_clock,
    voltage,
)
from hwmodels.system import build_system
from simulator.core.errors import SpecError
from simulator.engine.lowering import lower
from simulator.engine.profile import load_profile
from workloads.catalog import load_model
from workloads.formats import load_format
from workloads.moe import ExpertLoad
from workloads.operators import Gemm, GroupedGemm
from workloads.parallel import Parallelism
from workloads.precision import Precision
from workloads.step import Step
from workloads.transformer import build_graph

H200 = PowerParams(idle_W=80.0, limit_W=700.0, sms=132.0, max_clock_Hz=1980e6, min_clock_Hz=345e6)


def family(name: str = "hopper") -> PowerCoefficients:
    return load_coefficients("power", name, PowerCoefficients)


def test_parts_are_products_of_counts_and_energies() -> None:
    c = family()
    e = kernel_energy(KernelWork(2e12, 8.0, 0.0, 1e9, 1e8, 1e10, 2e9, 1e9, 3e9), c)
    assert e.mma_J == pytest.approx(2e12 * c.mma_J_per_flop * c.mma_8bit_ratio)
    assert e.vector_J == pytest.approx(1e9 * c.vector_J_per_flop)
    assert e.special_J == pytest.approx(1e8 * c.special_J_per_op)
    assert e.l2_J == pytest.approx(1e10 * c.l2_J_per_B)
    assert e.hbm_J == pytest.approx((2e9 + c.hbm_write_ratio * 1e9) * c.hbm_J_per_B)
    assert e.link_J == pytest.approx(3e9 * c.link_J_per_B)


def test_products_issued_warp_by_warp_cost_more_only_where_wider_instructions_exist() -> None:
    narrow, wide = (KernelWork(1e12, 16.0, warp, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0) for warp in (1.0, 0.0))
    hopper, ampere = family(), family("ampere")
    assert kernel_energy(narrow, hopper).mma_J > 1.5 * kernel_energy(wide, hopper).mma_J
    assert kernel_energy(narrow, ampere).mma_J == kernel_energy(wide, ampere).mma_J


def test_narrow_operands_cost_less() -> None:
    ratios = [mma_energy_ratio(bits, family()) for bits in (4.0, 8.0, 16.0, 32.0)]
    assert ratios == sorted(ratios)
    assert ratios[2] == 1.0


def test_voltage_is_a_line_down_to_a_floor() -> None:
    c = family()
    assert voltage(1.0, c) == 1.0
    assert voltage(0.8, c) == pytest.approx(1.0 - 0.2 * c.voltage_slope)
    assert voltage(0.1, c) == c.voltage_floor


def test_awake_without_work_as_measured() -> None:
    # One spinning warp on an H200 draws 123 W at 1980 MHz (hwmodels/measured/h200_probes).
    assert step_power_W(0.0, 0.0, 1.0, 1980e6, H200, family()) == pytest.approx(123.0, rel=0.03)


@pytest.mark.parametrize(
    ("work", "time_s", "measured_W"),
    [
        (KernelWork(0.0, 16.0, 0.0, 43.25e9, 0.0, 0.0, 0.0, 0.0, 0.0), 717.7e-6, 384.9),  # fp32 multiply-adds, all SMs
        (KernelWork(0.0, 16.0, 0.0, 0.0, 10.81e9, 0.0, 0.0, 0.0, 0.0), 2605e-6, 189.5),  # exponentials on all SMs
        (KernelWork(0.0, 16.0, 0.0, 0.0, 0.0, 2.0**24, 0.0, 0.0, 0.0), 3.87e-6, 356.6),  # reads from L2
        (KernelWork(0.0, 16.0, 0.0, 0.0, 0.0, 2.0**29, 2.0**29, 0.0, 0.0), 121.1e-6, 633.0),  # reads from HBM
    ],
)
def test_one_part_alone_as_measured(work: KernelWork, time_s: float, measured_W: float) -> None:
    e = kernel_energy(work, family())
    watts = step_power_W(e.mma_J + e.vector_J + e.special_J + e.l2_J, e.hbm_J, time_s, 1980e6, H200, family())
    assert watts == pytest.approx(measured_W, rel=0.06)


def test_parts_sum_to_power_times_time() -> None:
    e = step_energy(3.0, 1.0, 0.01, 1500e6, H200, family())
    assert sum(e) == pytest.approx(0.01 * step_power_W(3.0, 1.0, 0.01, 1500e6, H200, family()))


@pytest.mark.parametrize(
    ("name", "board", "flop_per_s", "hbm_Bps", "least", "most"),
    [
        # Boards known to sit near their limit in long dense products: power at the highest clock over the limit.
        ("ampere", PowerParams(55, 400, 108, 1410e6, 210e6), 0.85 * 312e12, 0.5e12, 0.85, 1.25),
        # An H200 settles at 1.44 GHz there: unthrottled, 1.98 / 1.44 of the work at 1 / v^2 of its energy, 1.79 limits.
        ("hopper", PowerParams(80, 700, 132, 1980e6, 345e6), 0.85 * 989e12, 0.8e12, 1.1, 1.8),
        ("blackwell", PowerParams(140, 1000, 148, 1965e6, 345e6), 0.85 * 2250e12, 1.2e12, 0.9, 1.9),
        ("volta", PowerParams(40, 300, 80, 1530e6, 135e6), 0.85 * 125e12, 0.3e12, 0.8, 1.3),
        ("turing", PowerParams(12, 70, 40, 1590e6, 300e6), 0.85 * 65e12, 0.15e12, 1.4, 3.0),
        ("cdna", PowerParams(140, 750, 304, 2100e6, 500e6), 0.85 * 1307e12, 1.0e12, 1.1, 2.2),
        ("ada", PowerParams(40, 350, 142, 2520e6, 210e6), 0.85 * 362e12, 0.3e12, 0.9, 1.6),
    ],
)
def test_dense_products_against_limits_of_other_boards(
    name: str, board: PowerParams, flop_per_s: float, hbm_Bps: float, least: float, most: float
) -> None:
    c = family(name)
    e = kernel_energy(KernelWork(flop_per_s, 16.0, 0.0, 0.0, 0.0, flop_per_s * 0.0075, hbm_Bps, 0.0, 0.0), c)
    watts = step_power_W(e.mma_J + e.l2_J, e.hbm_J, 1.0, board.max_clock_Hz, board, c)
    assert least < watts / board.limit_W < most


def test_every_family_has_energies() -> None:
    names = {"ampere", "ada", "blackwell", "blackwell-dc", "cdna", "hopper", "turing", "volta"}
    assert names <= set(coefficient_families("power"))


def test_rows_that_only_fill_tiles() -> None:
    assert padded_rows(1.0, 8.0) == 7.0
    assert padded_rows(256.0, 128.0) == 0.0


def test_tensor_kernels_slow_down_only_below_their_own_clock() -> None:
    c = family()
    assert tensor_clock(1980e6, 1980e6, 16.0, c) == 1980e6
    assert tensor_clock(1900e6, 1980e6, 16.0, c) == 1980e6
    assert tensor_clock(1400e6, 1980e6, 16.0, c) == pytest.approx(1400e6 / c.tensor_clock_16bit)


def test_a_burst_holds_the_highest_clock_until_the_mean_reacts() -> None:
    c = family()
    assert burst_clock(0.5 * c.hold_s, 1400e6, 1980e6, c) == 1980e6
    assert burst_clock(2.0 * c.hold_s, 1400e6, 1980e6, c) == pytest.approx(1690e6)
    assert burst_clock(1e3, 1400e6, 1980e6, c) == pytest.approx(1400e6, rel=1e-4)


# --- the whole GPU


def gpu(limit_W: float = 700.0) -> Gpu:
    spec = load_hardware("h200")
    device = build_system(spec).device
    return replace(device, model=replace(device.model, board=device.model.board._replace(limit_W=limit_W)))


def step(batch: int, tokens: int, cached: int, model: str = "llama3-8b") -> list[Kernel]:
    work = Step.of((batch, tokens, cached))
    profile = load_profile("pytorch-sdpa")
    graph = build_graph(load_model(model), work, Precision.of(), Parallelism())
    return [launched.kernel for launched in lower(graph, work, profile)]


def bf16_product(m: int, n: int, k: int) -> Gemm:
    bf16 = load_format("bf16")
    return Gemm(name="gemm", m=m, n=n, k=k, activations=bf16, weights=bf16, output=bf16)


def experts(rows: float, active: float, of: float, most: float, n: int, k: int) -> GroupedGemm:
    bf16 = load_format("bf16")
    load = ExpertLoad(of, active, most, rows, 0.0)
    return GroupedGemm(name="experts", load=load, n=n, k=k, activations=bf16, weights=bf16, output=bf16)


@pytest.mark.parametrize(
    ("operator", "time_us", "measured_MHz", "measured_W"),
    [
        # hwmodels/measured/h200_probes/h200_power_grouped.csv and h200_power.csv, boards that drew some 4 % less than
        # the one that the coefficients are for.
        (bf16_product(16, 28672, 4096), 55.6, 1980, 639),
        (bf16_product(64, 28672, 4096), 60.5, 1780, 696),
        (bf16_product(1024, 28672, 4096), 368.7, 1463, 703),
        (bf16_product(8192, 8192, 8192), 1645.8, 1468, 686),
        (experts(2, 2, 8, 1, 28672, 4096), 217.7, 1980, 524),  # one row per expert: tiles all but empty
        (experts(32, 8, 8, 6, 28672, 4096), 694.4, 1980, 637),
        (experts(4096, 8, 8, 549, 28672, 4096), 1886.4, 1482, 677),
        (experts(16384, 8, 8, 2096, 28672, 4096), 6128.9, 1453, 700),
        (experts(128, 81, 128, 4, 1536, 2048), 181.3, 1980, 655),
        (experts(32768, 128, 128, 290, 1536, 2048), 516.0, 1534, 682),
    ],
)
def test_board_power_at_the_measured_time_and_clock(
    operator: Gemm | GroupedGemm, time_us: float, measured_MHz: float, measured_W: float
) -> None:
    device, clock_Hz, time_s = gpu(), measured_MHz * 1e6, time_us * 1e-6
    standing = step_energy(0.0, 0.0, time_s, clock_Hz, device.model.board, device.model.power)
    watts = (sum(standing) + sum(device.cost(operator, clock_Hz).energy_J.values())) / time_s
    assert -0.05 < watts / measured_W - 1.0 < 0.13


def test_rows_up_to_a_tile_cost_tensor_energy_as_a_full_one() -> None:
    one, eight, nine = (gpu().cost(bf16_product(m, 4096, 4096)).energy_J["compute"] for m in (1, 8, 9))
    assert one == pytest.approx(eight)
    assert nine > 1.5 * eight


@pytest.mark.parametrize("work", [(1, 2048, 0), (16, 1, 16384), (64, 1, 1024)])
def test_a_lower_limit_lowers_the_clock_and_lengthens_the_step(work: tuple[int, int, int]) -> None:
    kernels = step(*work)
    runs = [gpu(limit_W).execute(kernels) for limit_W in (1200.0, 700.0, 600.0, 500.0, 400.0, 300.0, 200.0)]
    for more, less in pairwise(runs):
        assert less.clock_Hz <= more.clock_Hz * (1 + 1e-9)
        assert less.time_s >= more.time_s * (1 - 1e-9)
        assert less.power_W <= more.power_W * (1 + 1e-12)
    assert runs[0].clock_Hz == 1980e6
    energies = [sum(run.energy_J.values()) for run in runs]
    # Less voltage saves energy, until the board's standing power over the longer time eats it.
    assert min(energies) < 0.95 * energies[0]
    assert energies.index(min(energies)) not in (0, len(runs) - 1)


STEPS = [step(1, 512, 0), step(8, 2048, 0), step(256, 1, 1024), step(16, 1, 1024, "mixtral-8x7b")]


@given(st.sampled_from(STEPS), st.floats(85.0, 1500.0))
@settings(deadline=None, max_examples=60)
def test_power_never_passes_the_limit_above_the_lowest_clock(kernels: list[Kernel], limit_W: float) -> None:
    device = gpu(limit_W)
    run = device.execute(kernels)
    assert run.power_W <= limit_W * (1.0 + 1e-12) or run.clock_Hz == device.model.board.min_clock_Hz
    assert sum(run.energy_J.values()) == pytest.approx(run.power_W * run.time_s)


def test_the_limit_and_the_lowest_clock_come_from_the_specification() -> None:
    board = build_system(load_hardware("h200", ["power.limit=500 W"])).device.model.board
    assert board.limit_W == 500.0
    assert board.min_clock_Hz == 345e6
    other = build_system(load_hardware("a100")).device.model.board
    assert other.min_clock_Hz == pytest.approx(other.max_clock_Hz / 4)
    with pytest.raises(SpecError, match="min 3000 MHz is above max 1980 MHz"):
        load_hardware("h200", ["clock.min=3000 MHz"])
