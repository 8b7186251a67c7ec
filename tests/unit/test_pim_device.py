"""Memory that computes as a device: every operator, closed forms by hand, parts of energy, what its records say."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels.catalog import bundled, load_hardware
from hwmodels.device import RESOURCES, Kernel
from hwmodels.pim.closed_form import product_time
from hwmodels.pim.device import Pim
from hwmodels.pim.layout import Product
from hwmodels.pim.params import PimParams
from hwmodels.pim.table import pim_dram
from hwmodels.system import build_system
from simulator.core.errors import InputError, SpecError, UnknownNameError
from workloads.catalog import load_model
from workloads.formats import load_format
from workloads.operators import Gemm
from workloads.parallel import Parallelism
from workloads.precision import Precision
from workloads.step import Step
from workloads.transformer import build_graph

DEVICES = tuple(bundled("pim"))
BF16 = load_format("bf16")


@cache
def _device(name: str, level: str = "analytic", *overrides: str) -> Pim:
    device = build_system(load_hardware(name, overrides), level).device  # type: ignore[arg-type]
    assert isinstance(device, Pim)
    return device


def _gemm(m: int, n: int, k: int) -> Gemm:
    return Gemm(name="y", m=m, n=n, k=k, activations=BF16, weights=BF16, output=BF16)


def _matrix(m: float, n: float, k: float) -> Product:
    return Product(1.0, m, n, k, 2.0, 2.0, 2.0)


@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("model", ["mixtral-8x7b", "deepseek-v3"])
def test_every_operator_of_a_model_is_costed(name: str, model: str) -> None:
    device = _device(name)
    graph = build_graph(load_model(model), Step.of((4, 1, 300), (1, 64, 0)), Precision.of(), Parallelism(tp=2))
    for operator, _ in graph:
        cost = device.cost(operator)
        assert cost.time_s > 0.0
        assert set(cost.resource_s) <= set(RESOURCES)
        assert min(cost.resource_s.values()) >= 0.0
        assert min(cost.energy_J.values()) >= 0.0


@pytest.mark.parametrize("name", DEVICES)
def test_record_agrees_with_its_table(name: str) -> None:
    device = _device(name)
    spec, dram = device.spec, pim_dram(device.spec)
    channels = spec.all_channels
    assert device.idle_W == pytest.approx(spec.power.idle_W, rel=0.05)
    assert channels * dram.peak_Bps == pytest.approx(spec.hbm.bandwidth_Bps, rel=0.01)
    assert channels * dram.banks * dram.rows * dram.bursts_per_row * dram.burst_B == spec.hbm.capacity_B
    assert device.params.banks <= dram.banks * 1.01


@pytest.mark.parametrize(
    ("name", "multiplier"),
    [("bank-pim", 16.0), ("logic-pim", 4.0), ("bank-group-pim", 4.0), ("attacc", 16.0 * 4 / 6), ("attacc-buffer", 1.0)],
)
def test_bandwidth_with_rows_open_over_what_leaves_the_memory(name: str, multiplier: float) -> None:
    device = _device(name)
    assert device.params.stream_Bps / device.params.external_Bps == pytest.approx(multiplier, rel=0.01)


def test_peak_of_logic_pim_is_the_papers() -> None:
    # 32 modules x 512 multiply-adds x 650 MHz = 21.3 TFLOP/s a stack, 8 Op/B at 2.66 TB/s.
    device = _device("logic-pim")
    assert device.params.flops / device.spec.stacks == pytest.approx(21.3e12, rel=0.002)
    assert device.params.flops / device.params.stream_Bps == pytest.approx(8.0, rel=0.01)


def test_attacc_reaches_its_papers_bandwidth_with_rows_changing() -> None:
    # 40 stacks at 9 times 670.4 GB/s: 242 TB/s; ours is one eighth, refresh included.
    time = product_time(_matrix(1.0, 81920.0, 8192.0), _device("attacc").params)
    assert 81920 * 8192 * 2 / time.time_s == pytest.approx(242e12 / 8, rel=0.15)


def test_product_by_hand() -> None:
    # 80 channels of 64 banks, inputs of a result in one bank: 2 results a bank, 8192 / 16 bursts each.
    p = _device("attacc").params._replace(refresh_s=0.0, bank_split=1.0, buffer_B=1e9, channels=1.0, external_Bps=1e30)
    time = product_time(_matrix(1.0, 128.0, 8192.0), p)
    bursts, rows = 2 * 512, 32
    row_change_s = (8 + 19 + 19 - 6) * 0.769e-9
    expected = 512 * 4 * 0.769e-9 + bursts * 6 * 0.769e-9 + (rows - 1) * row_change_s  # the first opens meanwhile
    assert time.time_s == pytest.approx(expected, rel=1e-9)


def test_a_burst_is_read_again_in_banks_and_waits_on_the_logic_die() -> None:
    bank, logic = _device("bank-pim"), _device("logic-pim")
    for device, factor in ((bank, 8.0), (logic, 1.0)):
        one, eight = (device.cost(_gemm(m, 8192, 8192)) for m in (1, 8))
        assert eight.time_s / one.time_s == pytest.approx(factor, rel=0.02)
        assert eight.energy_J["bank"] / one.energy_J["bank"] == pytest.approx(factor, rel=0.02)
    assert logic.cost(_gemm(32, 8192, 8192)).bound == "compute"
    assert bank.cost(_gemm(32, 8192, 8192)).bound == "bank"


def test_knobs_of_the_stacked_template() -> None:
    four, eight = (_device("stacked-3d", "analytic", f"compute.bandwidth_multiplier={m}") for m in (4, 8))
    thin = _device("stacked-3d", "analytic", "compute.op_per_byte=2")
    matrix = _gemm(1, 16384, 16384)
    assert four.cost(matrix).time_s / eight.cost(matrix).time_s == pytest.approx(2.0, rel=0.05)
    assert thin.cost(_gemm(8, 8192, 8192)).time_s / four.cost(_gemm(8, 8192, 8192)).time_s == pytest.approx(
        4.0, rel=0.05
    )


@pytest.mark.parametrize("name", DEVICES)
def test_energy_adds_up_and_roofline_is_a_bound(name: str) -> None:
    device, bound = _device(name), _device(name, "roofline")
    kernels = [Kernel(_gemm(1, 4096, 4096), repeat=3), Kernel(_gemm(4, 1024, 4096))]
    run = device.execute(kernels)
    assert sum(run.energy_J.values()) == pytest.approx(run.power_W * run.time_s)
    assert run.time_s == pytest.approx(3 * run.costs[0].time_s + run.costs[1].time_s)
    assert bound.execute(kernels).time_s < run.time_s


def test_refresh_costs_its_share() -> None:
    p: PimParams = _device("pim-gpt").params
    with_refresh = product_time(_matrix(1.0, 8192.0, 8192.0), p).time_s
    without = product_time(_matrix(1.0, 8192.0, 8192.0), p._replace(refresh_s=0.0)).time_s
    assert with_refresh / without == pytest.approx(1.0 / (1.0 - 455 / 6825), rel=1e-3)


def test_area_follows_the_knobs_of_the_template() -> None:
    base = _device("stacked-3d").spec.area_mm2_by_component()
    fast = _device("stacked-3d", "analytic", "compute.clock=1300 MHz").spec.area_mm2_by_component()
    wide = _device("stacked-3d", "analytic", "compute.bandwidth_multiplier=8").spec.area_mm2_by_component()
    assert fast["multipliers"] == pytest.approx(base["multipliers"] / 2.0)  # half as many at twice the clock
    assert wide["vias"] == pytest.approx(2.0 * base["vias"])
    assert wide["multipliers"] == pytest.approx(2.0 * base["multipliers"])


@given(
    n=st.integers(1000, 40000),  # products of a single row are a few commands: rounding rules there
    k=st.integers(500, 30000),
    m=st.integers(1, 40),
    name=st.sampled_from(["attacc", "logic-pim", "aim", "pim-gpt", "hbm-pim"]),
)
def test_more_is_never_slower(n: int, k: int, m: int, name: str) -> None:
    device = _device(name)
    job, p = _matrix(float(m), float(n), float(k)), device.params
    time_s = product_time(job, p).time_s
    assert product_time(job, p._replace(refresh_s=0.0)).time_s <= time_s
    assert product_time(job, p._replace(flop_per_s=4.0 * p.flop_per_s)).time_s <= time_s * (1.0 + 1e-9)
    for resource in ("hbm", "compute"):
        assert product_time(job, device.scaled(resource, 1.5).params).time_s <= time_s * (1.0 + 1e-9)
    twice = product_time(job._replace(m=2.0 * m), p)
    assert time_s <= twice.time_s * (1.0 + 1e-9)
    assert twice.time_s <= 2.0 * time_s * (1.0 + 1e-9) or name == "logic-pim"


def test_more_banks_are_never_slower() -> None:
    p = _device("attacc").params
    for n, k in ((8192.0, 8192.0), (1000.0, 128.0), (5.0, 70000.0)):
        times = [product_time(_matrix(1.0, n, k), p._replace(banks=banks)).time_s for banks in (4.0, 8.0, 16.0, 64.0)]
        assert times == sorted(times, reverse=True)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("commands.compute=FOO", "has no command FOO"),
        ("commands.move_within=Foo", "has no level Foo"),
        ("compute.banks=1000", "1000 banks would compute together, a channel of HBM3-PIM has 64"),
        ("compute.turns=2", "compute.turns is 2, HBM3-PIM has 1 Channel"),
        ("dram.standard=foo", "known: gddr6-aim"),
        ("dram.speed=foo", "known: HBM3_5200"),
        ("compute.op_per_byte=2", "say either macs or op_per_byte"),
    ],
)
def test_what_the_table_lacks_is_said(override: str, says: str) -> None:
    with pytest.raises((InputError, SpecError, UnknownNameError)) as caught:
        _device("attacc", "analytic", override)
    assert says in str(caught.value)


def test_energy_by_hand() -> None:
    # Logic-PIM, 8192 x 8192: each weight passes the logic die once, rows of eight banks open once for 32 bursts each.
    device = _device("logic-pim")
    time = product_time(_matrix(1.0, 8192.0, 8192.0), device.params)
    padding = time.layout.bursts * 256 * 160 / (8192 * 8192 * 2)
    spent = device.cost(_gemm(1, 8192, 8192)).energy_J
    bursts = 8192 * 8192 * 2 / 32 * padding
    assert 1.0 <= padding < 1.05
    assert spent["bank"] == pytest.approx(bursts * 0.464e-9)
    assert spent["activate"] == pytest.approx(time.layout.rows * 8 * 160 * 0.909e-9)
    assert spent["compute"] == pytest.approx(2 * 8192 * 8192 * 0.23e-12)
    assert spent["bank"] / (bursts * 256) == pytest.approx(1.81e-12, rel=0.01)  # pJ/bit to the logic die, as published
