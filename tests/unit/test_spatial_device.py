"""Spatial arrays as devices: whole models run, published figures of their datasheets and areas come out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dse.studies.fusemax_setup import run_design
from hwmodels.catalog import bundled, load_hardware
from hwmodels.components import energy_factor, load_energy_table
from hwmodels.device import Kernel
from hwmodels.spatial.device import Spatial
from hwmodels.spatial.product import ProductArray, blocking, product_run
from hwmodels.spatial.spec import SpatialSpec
from hwmodels.spatial.systolic import DATAFLOWS, gemm_layer, layer_run, systolic_array
from hwmodels.system import build_system
from simulator import simulate
from simulator.api.explain import explanation
from simulator.core.errors import InputError, UnsupportedError
from workloads.formats import load_format
from workloads.operators import Gemm

NAMES = tuple(bundled("spatial"))


def _spec(name: str) -> SpatialSpec:
    spec = load_hardware(name).device
    assert isinstance(spec, SpatialSpec)
    return spec


def _device(name: str) -> Spatial:
    device = build_system(load_hardware(name)).device
    assert isinstance(device, Spatial)
    return device


def _gemm(m: int, n: int, k: int, fmt: str = "bf16") -> Gemm:
    number = load_format(fmt)
    return Gemm(name="g", m=m, n=n, k=k, activations=number, weights=number, output=load_format("bf16"))


@pytest.mark.parametrize(
    ("name", "fmt", "tera"),
    [("tpu-v5e", "bf16", 197), ("tpu-v5e", "int8", 393), ("tpu-v4i", "bf16", 138), ("fusemax-cloud", "bf16", 123.2)],
)
def test_peaks_are_the_datasheets(name: str, fmt: str, tera: float) -> None:
    assert _spec(name).peak_flops(fmt) / 1e12 == pytest.approx(tera, rel=0.005)


def test_attention_of_bert_on_fusemax_is_the_papers() -> None:
    report = simulate("bert-base", "fusemax-cloud", input_tokens=65536, batch=64)
    attention = next(row for row in report.operators() if row.name == "attention")
    assert attention.time_s == pytest.approx(12 * run_design("FuseMax", "BERT", 65536).attention.time_s, rel=1e-12)


def test_decode_on_a_tpu_reads_every_weight_once() -> None:
    report = simulate("llama-3-8b", "tpu-v5e", input_tokens=512, output_tokens=16)
    read_s = (report.memory.parts_B["weights"] - 128256 * 4096 * 2) / 819e9  # all but the table of embeddings
    assert report.tpot_s is not None
    assert read_s < report.tpot_s < 1.05 * read_s


@pytest.mark.parametrize("name", NAMES)
def test_every_device_runs_prefill_and_decode(name: str) -> None:
    report = simulate("llama-3.2-1b", name, input_tokens=64, output_tokens=4)
    bound = simulate("llama-3.2-1b", name, input_tokens=64, output_tokens=4, level="roofline")
    assert sum(report.energy_J.values()) == pytest.approx(report.power_W * report.latency_s)
    assert {"compute", "vector", "register", "buffer", "hbm", "idle"} <= set(report.energy_J)
    assert report.ttft_s is not None and bound.ttft_s is not None and bound.ttft_s <= report.ttft_s
    assert report.tpot_s is not None and bound.tpot_s is not None and bound.tpot_s <= report.tpot_s


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("shape", [(1, 300, 500), (64, 64, 64), (1000, 130, 70), (17, 17, 1000)])
def test_cycles_of_a_product_are_the_systolic_arrays(dataflow: str, shape: tuple[int, int, int]) -> None:
    array = systolic_array(32, 16, dataflow, overlapped=True, scratchpad_words=(2**40,) * 3)
    run = layer_run(gemm_layer(*shape), array)
    product = product_run(*shape, 2.0, 2.0, ProductArray(32, 16, 1, DATAFLOWS.index(dataflow), True, 1.0, 2.0**40))
    assert product.cycles == run.compute_cycles
    assert product.input_words == run.input_reads
    assert product.weight_words == run.weight_reads
    assert product.output_words == run.output_writes + run.output_reads


def test_arrays_share_a_product() -> None:
    one = ProductArray(128, 128, 1, 1, True, 1.0, 2.0**40)
    single, four = product_run(4096, 4096, 4096, 2, 2, one), product_run(4096, 4096, 4096, 2, 2, one._replace(arrays=4))
    assert four.cycles == pytest.approx(single.cycles / 4, rel=0.001)


def test_blocking_reads_once_what_fits() -> None:
    array = ProductArray(16, 16, 1, 1, True, 1.0, 1e6)
    fits = blocking(1000, 4000, 400, 2.0, 2.0, array)
    assert (fits.input_times, fits.weight_times) == (1.0, 1.0)
    tight = blocking(1000, 4000, 400, 2.0, 2.0, array._replace(buffer_B=2e5))
    moved = 800e3 * tight.input_times + 3200e3 * tight.weight_times
    assert 4e6 < moved <= 800e3 * 5 + 3200e3 * 8


def test_narrow_formats_double_the_rate_where_the_units_do() -> None:
    wide, narrow = (_device("tpu-v5e").cost(_gemm(4096, 4096, 4096, fmt)) for fmt in ("bf16", "int8"))
    assert narrow.resource_s["compute"] == pytest.approx(wide.resource_s["compute"] / 2, rel=0.01)


def test_a_power_limit_makes_the_device_wait() -> None:
    device = _device("tpu-v5e")
    kernels = [Kernel(_gemm(4096, 4096, 4096))]
    free = device.execute(kernels)
    power = device.spec.power.model_copy(update={"limit_W": 0.8 * free.power_W})
    held = replace(device, spec=device.spec.model_copy(update={"power": power})).execute(kernels)
    assert held.power_W == pytest.approx(power.limit_W)
    assert held.time_s > free.time_s
    assert held.clock_Hz < free.clock_Hz
    assert held.costs[0].time_s == pytest.approx(held.time_s)


def test_how_says_the_mapping() -> None:
    device = _device("tpu-v5e")
    assert "weights stay on 128 x 128" in device.cost(_gemm(512, 4096, 4096)).how


def test_cycle_level_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="no cycle level"):
        build_system(load_hardware("tpu-v5e"), "cycle")


def test_a_format_without_units_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="no units for fp64"):
        _spec("gemmini").peak_flops("fp64")


def test_energy_tables_are_not_mixed_and_scale_whole() -> None:
    table = load_energy_table("horowitz-45nm")
    scaled = table.at_node(16)
    assert scaled.mac["int8"] == pytest.approx(0.0521e-12, rel=0.01)  # Stillmaker and Baas as Accelergy scales it
    assert scaled.buffer_read / table.buffer_read == pytest.approx(energy_factor(45, 16))
    assert scaled.memory == table.memory
    assert "scaled to 16 nm" in scaled.name
    assert _device("gemmini").energy.model_dump() == scaled.for_buffer(320 * 1024).model_dump()
    with pytest.raises(InputError, match="no scaling to 10 nm"):
        table.at_node(10)


def test_energy_of_a_buffer_grows_with_its_capacity() -> None:
    """Horowitz's own caches of 8 KB, 32 KB and 1 MB take 10, 20 and 100 pJ for 64 bits."""
    table = load_energy_table("horowitz-45nm")
    for kibibytes, picojoule in ((8, 10), (32, 20), (1024, 100)):
        assert table.for_buffer(kibibytes * 1024).buffer_read == pytest.approx(picojoule / 8 * 1e-12, rel=0.15)
    common = load_energy_table("tpu-7nm").for_buffer(128 * 2**20)
    assert common.buffer_read == pytest.approx(1.88e-12 * 8, rel=0.3)


def test_report_says_mapping_energy_table_and_levels() -> None:
    report = simulate("llama-3.2-1b", "gemmini", input_tokens=32, output_tokens=2)
    assert "by Horowitz 45 nm, scaled to 16 nm" in " ".join(str(report).split())
    assert report.units()[0].energy_basis.startswith("Horowitz 45 nm")
    said = explanation(report)
    assert "weights stay on 16 x 16" in said
    assert "unfused (3-pass attention)" in said
    assert "how" in report.to_json()["operators"][0]
