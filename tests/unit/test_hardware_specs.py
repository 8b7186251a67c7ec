"""Bundled hardware: each number sourced, each peak its datasheet's, systems by name, inheritance, overrides."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from hwmodels.catalog import SPECS, bundled, hardware_names, load_gpu, load_hardware
from hwmodels.coefficients import coefficient_provenance, load_coefficients
from hwmodels.host_link import HostLinkCoefficients
from hwmodels.schema import hardware_schema
from hwmodels.spec import HostSpec, LinkSpec, StorageSpec
from simulator.core.errors import InputError, SpecError, UnknownNameError, UnsupportedError
from simulator.core.specfile import KINDS, load_spec, resolved_hash

T = 1e12
#: Dense peaks as vendors print them (sparse figures halved), memory bandwidth and board power:
#: the datasheet's own rounding is the tolerance. (name, {format: TFLOP/s}, fp32 TFLOP/s, TB/s, W)
DATASHEETS: list[tuple[str, dict[str, float], float, float, float]] = [
    ("t4", {"fp16": 65, "int8": 130, "int4": 260}, 8.1, 0.320, 70),
    ("v100", {"fp16": 125}, 15.7, 0.900, 300),
    ("v100-pcie", {"fp16": 112}, 14.0, 0.900, 250),
    ("a100", {"tf32": 156, "bf16": 312, "fp16": 312, "int8": 624, "int4": 1248, "fp64": 19.5}, 19.5, 2.039, 400),
    ("a100-40", {"bf16": 312}, 19.5, 1.555, 400),
    ("a100-pcie", {"bf16": 312}, 19.5, 1.935, 300),
    ("a800", {"bf16": 312}, 19.5, 2.039, 400),
    ("a6000", {"tf32": 77.4, "bf16": 154.8, "int8": 309.7, "int4": 619.3}, 38.7, 0.768, 300),
    ("rtx3090", {"tf32": 35.6, "bf16": 71, "int8": 284, "int4": 568}, 35.6, 0.936, 350),
    ("rtx4090", {"tf32": 82.6, "bf16": 165.2, "fp8": 330.3, "int8": 660.6, "int4": 1321.2}, 82.6, 1.008, 450),
    ("l40s", {"tf32": 183, "bf16": 366.5, "fp8": 733, "int8": 733}, 91.6, 0.864, 350),
    ("h100", {"tf32": 494.7, "bf16": 989.4, "fp8": 1978.9, "int8": 1978.9, "fp64": 66.9}, 66.9, 3.35, 700),
    ("h100-pcie", {"bf16": 756, "fp8": 1513, "fp64": 51.2}, 51.2, 2.0, 350),
    ("h200", {"tf32": 494.7, "bf16": 989.4, "fp8": 1978.9, "int8": 1978.9}, 66.9, 4.8, 700),
    ("h800", {"bf16": 989.4, "fp8": 1978.9, "fp64": 1}, 66.9, 3.35, 700),
    ("h20", {"tf32": 74, "bf16": 148, "fp8": 296, "int8": 296, "fp64": 1}, 39.5, 4.0, 500),
    ("b200", {"tf32": 1125, "bf16": 2250, "fp8": 4500, "fp4": 9000, "int8": 4500, "fp64": 40}, 75, 8.0, 1000),
    ("b300", {"tf32": 1125, "bf16": 2250, "fp8": 4500, "fp4": 13500, "int8": 187.5, "fp64": 1.25}, 75, 8.0, 1100),
    ("rtx-pro-6000", {"tf32": 251.9, "bf16": 503.8, "fp8": 1007.6, "fp4": 2015.2}, 125, 1.792, 600),
    ("mi300x", {"tf32": 653.7, "bf16": 1307.4, "fp8": 2614.9, "int8": 2614.9, "fp64": 163.4}, 163.4, 5.3, 750),
    ("mi210", {"bf16": 181, "int8": 181, "fp64": 45.3}, 22.6, 1.6, 300),
]


@pytest.mark.parametrize(("name", "peaks", "fp32", "memory", "limit"), DATASHEETS, ids=[d[0] for d in DATASHEETS])
def test_datasheet_peaks(name: str, peaks: dict[str, float], fp32: float, memory: float, limit: float) -> None:
    gpu = load_gpu(name)
    for number_format, peak in peaks.items():
        assert gpu.peak_flops(number_format) == pytest.approx(peak * T, rel=0.01), number_format
        assert gpu.tensor_format(number_format) == number_format
    assert gpu.peak_flops("fp32") == pytest.approx(fp32 * T, rel=0.015)
    assert gpu.hbm.bandwidth_Bps == pytest.approx(memory * T, rel=0.025)
    assert gpu.power.limit_W == limit


def test_every_bundled_gpu_is_checked_against_its_datasheet() -> None:
    assert set(bundled("gpu")) - {name for name, *_ in DATASHEETS} <= {"v100-16"}


#: Capacity as sold: memory comes in binary sizes, less what error correction and the driver keep (at most 7 %).
SOLD_GB = {"t4": 16, "v100-16": 16, "v100": 32, "a100-40": 40, "a100": 80, "a6000": 48, "l40s": 48, "rtx4090": 24}
SOLD_GB |= {
    "h100": 80,
    "h200": 144,
    "h20": 96,
    "b200": 192,
    "b300": 288,
    "mi300x": 192,
    "mi210": 64,
    "rtx-pro-6000": 96,
}


@pytest.mark.parametrize("name", SOLD_GB)
def test_capacity_is_what_the_driver_reports(name: str) -> None:
    assert 0.93 * SOLD_GB[name] * 2**30 <= load_gpu(name).hbm.capacity_B <= SOLD_GB[name] * 2**30


@pytest.mark.parametrize("name", hardware_names())
def test_every_number_has_a_source(name: str) -> None:
    system = load_hardware(name)
    assert len(system.provenance) > 15
    for path, about in system.provenance.items():
        assert about.source, path
        assert about.kind in KINDS, path
        assert about.place.file.startswith("hwmodels/specs/"), path


@pytest.mark.parametrize("name", bundled("gpu"))
def test_plausible(name: str) -> None:
    gpu = load_gpu(name)
    p = gpu.params()
    assert 20 < gpu.peak_flops("bf16") / gpu.hbm.bandwidth_Bps < 500  # FLOP per byte at the ridge
    assert 2 <= p.l2_Bps / p.hbm_Bps <= 8  # a cache is faster than what it caches
    assert 2 <= p.mma_f16_flop_per_clock / p.vector_flop_per_clock <= 64
    assert 64 * 1024 <= p.smem_B <= 256 * 1024
    assert p.clock_Hz == p.max_clock_Hz >= gpu.peak_clock_Hz
    assert gpu.params(1e9).clock_Hz == 1e9
    assert gpu.host_link.bandwidth_Bps <= gpu.link.bandwidth_Bps
    assert gpu.link.bandwidth_Bps < gpu.hbm.bandwidth_Bps


@pytest.mark.parametrize(("kind", "record"), [("link", LinkSpec), ("storage", StorageSpec), ("host", HostSpec)])
def test_parts_load(kind: str, record: type[LinkSpec] | type[StorageSpec] | type[HostSpec]) -> None:
    assert len(bundled(kind)) >= 2
    for path in bundled(kind).values():
        if "base:" not in path.read_text(encoding="utf-8"):
            load_spec(path, record)


@pytest.mark.parametrize(
    ("name", "one_way_GBps"),
    [("nvlink2", 150), ("nvlink3", 300), ("nvlink4", 450), ("nvlink5", 900), ("pcie3", 15.75), ("pcie5", 63)],
)
def test_links_count_one_direction(name: str, one_way_GBps: float) -> None:
    link = load_spec(SPECS / "link" / f"{name}.yaml", LinkSpec)
    assert link.bandwidth_Bps == one_way_GBps * 1e9
    assert link.params().bandwidth_Bps == link.bandwidth_Bps


@pytest.mark.parametrize(
    ("name", "device", "devices", "nodes", "family"),
    [
        ("h200", "NVIDIA H200", 1, 1, "nvlink4"),
        ("H200x2", "NVIDIA H200", 2, 1, "nvlink4"),
        ("h100-x4", "NVIDIA H100 SXM", 4, 1, "nvlink4"),
        ("H100 x8", "NVIDIA H100 SXM", 8, 1, "nvlink4"),
        ("h100x16", "NVIDIA H100 SXM", 16, 2, "nvlink4"),
        ("h100x64", "NVIDIA H100 SXM", 64, 8, "nvlink4"),
        ("a100x4", "NVIDIA A100 SXM4 80 GB", 4, 1, "nvlink3"),
        ("b200x8", "NVIDIA B200", 8, 1, "nvlink5"),
        ("mi300xx8", "AMD Instinct MI300X", 8, 1, "infinity_fabric"),
        ("mi300x-x2", "AMD Instinct MI300X", 2, 1, "infinity_fabric"),
        ("mi300x", "AMD Instinct MI300X", 1, 1, "infinity_fabric"),
        ("l40sx4", "NVIDIA L40S", 4, 1, "pcie4"),
        ("rtx4090x2", "NVIDIA GeForce RTX 4090", 2, 1, "pcie4"),
        ("v100x8", "NVIDIA V100 SXM2 32 GB", 8, 1, "nvlink2"),
        ("RTX_PRO_6000", "NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 1, 1, "pcie5"),
    ],
)
def test_names(name: str, device: str, devices: int, nodes: int, family: str) -> None:
    system = load_hardware(name)
    assert (system.device.name, system.devices, system.nodes) == (device, devices, nodes)
    assert system.link.family == family
    assert (system.network is not None) or nodes == 1


@pytest.mark.parametrize("name", ["h20o", "h100x0", "x8", "", "rtx409", "h100x-4"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(UnknownNameError):
        load_hardware(name)


@pytest.mark.parametrize("name", ["h100x12", "t4x17", "h100x999999"])
def test_counts_that_make_no_node(name: str) -> None:
    with pytest.raises(InputError):
        load_hardware(name)


def test_formats_without_hardware_fall_back() -> None:
    assert load_gpu("a100").tensor_format("fp8") == "bf16"
    assert load_gpu("a100").mma_flop_per_clock("fp8") == 2048
    assert load_gpu("v100").tensor_format("bf16") == "fp16"
    assert load_gpu("v100").tensor_format("int4") == "fp16"
    assert load_gpu("h100").tensor_format("fp4") == "fp8"
    assert load_gpu("h100").tensor_format("int4") == "int8"
    assert load_gpu("t4").tensor_format("tf32") == "fp32"
    with pytest.raises(UnsupportedError):
        load_gpu("rtx4090").tensor_format("fp64")
    with pytest.raises(UnsupportedError):
        load_gpu("h100").tensor_format("fp5")


def test_a_users_gpu_is_five_lines(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: H-200\nname: Mine\nhbm: {bandwidth: 6 TB/s}\nsms: 160\nlink: pcie5\n")
    mine, h200 = load_gpu(path), load_gpu("h200")
    assert mine.hbm.bandwidth_Bps == 6e12
    assert mine.hbm.capacity_B == h200.hbm.capacity_B
    # More multiprocessors bring their matrix units along.
    assert mine.peak_flops("bf16") == pytest.approx(h200.peak_flops("bf16") * 160 / 132)
    assert mine.link.family == "pcie5"
    assert not mine.link.multicast  # nothing of the link it replaces is left
    system = tmp_path / "system.yaml"
    system.write_text("name: Rack\nunits:\n  - {device: ./mine.yaml, count: 4}\nnodes: 2\nnetwork: infiniband-ndr\n")
    assert load_hardware(system).devices == 8
    assert load_hardware(system, ["hbm.bandwidth=7 TB/s"]).device.hbm.bandwidth_Bps == 7e12
    path.write_text("base: h100x8\nunits: [{device: h200, count: 2}]\n")
    assert load_hardware(path).devices == 2


@pytest.mark.parametrize("name", ["h200", "h200x8", "h200x2", "h200x16"])
@pytest.mark.parametrize("path", ["hbm.bandwidth", "device.hbm.bandwidth", "units.0.device.hbm.bandwidth"])
def test_overrides_reach_the_device(name: str, path: str) -> None:
    system = load_hardware(name, [f"{path}=6 TB/s"])
    assert system.device.hbm.bandwidth_Bps == 6e12
    assert system.provenance["units.0.device.hbm.bandwidth"].kind == "override"
    assert resolved_hash(system) != resolved_hash(load_hardware(name))


def test_overrides_of_structure() -> None:
    assert load_hardware("h200", ["count=2"]).devices == 2
    assert load_hardware("h200x8", ["nodes=3"]).devices == 24
    assert load_hardware("h200x8", ["device=h100"]).device.name == "NVIDIA H100 SXM"
    assert load_hardware("h200", ["link=pcie4"]).link.name == "PCIe 4.0 x16"
    assert load_hardware("h200", ["link.bandwidth=1 TB/s"]).link.bandwidth_Bps == 1e12
    assert load_hardware("h200", ["clock.max=2.2 GHz"]).device.params().max_clock_Hz == 2.2e9
    assert load_hardware("h200", ["tensor.fp4=4 PFLOP/s"]).device.peak_flops("fp4") == 4e15
    assert load_hardware("h200", ["coefficients.gemm.fixed=1 us"]).device.coefficients.gemm == {"fixed": "1 us"}


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("hbm.bandwith=6 TB/s", "did you mean 'hbm.bandwidth'"),
        ("hbm.bandwidth=6", "a bare number needs its unit"),
        ("hbm.bandwidth=fast", "expected a quantity in B/s"),
        ("sms=-1", "greater than or equal to 1"),
        ("link=nvlink9", "unknown link specification"),
        ("tensor.fp5=1 TFLOP/s", "did you mean 'tensor.fp"),
        ("hbm=5", "expected a mapping"),
    ],
)
def test_wrong_overrides(assignment: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_hardware("h200x8", [assignment])
    assert str(caught.value).startswith("--set:1:1: ")
    assert says in str(caught.value)
    assert len(caught.value.problems) == 1


def test_units_of_two_kinds_must_be_named(tmp_path: Path) -> None:
    path = tmp_path / "mixed.yaml"
    path.write_text("name: Mixed\nunits: [{device: h200}, {device: a100, count: 2}]\n")
    assert load_hardware(path).devices == 3
    with pytest.raises(UnsupportedError):
        _ = load_hardware(path).device
    with pytest.raises(SpecError, match=r"is ambiguous here: say units\.0\.device\.sms or units\.1\.device\.sms"):
        load_hardware(path, ["sms=5"])
    assert load_hardware(path, ["units.1.device.sms=5"]).units[1].device.sms == 5


@pytest.mark.parametrize("path", [*bundled("gpu").values(), *bundled("system").values()], ids=lambda p: p.stem)
def test_editors_accept_the_bundled_files(path: Path) -> None:
    validator = jsonschema.Draft202012Validator(hardware_schema())
    assert not list(validator.iter_errors(yaml.safe_load(path.read_text(encoding="utf-8"))))


@pytest.mark.parametrize(
    "hbm", [{"bandwidth": 3}, {"bandwidth": "3 TB"}, {"bandwith": "3 TB/s"}, {"bandwidth": {"value": "3 TB/s", "x": 1}}]
)
def test_editors_mark_what_loading_refuses(hbm: dict[str, object]) -> None:
    schema = hardware_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert jsonschema.Draft202012Validator(schema).is_valid({"base": "h100", "hbm": {"bandwidth": "3 TB/s"}})
    assert not jsonschema.Draft202012Validator(schema).is_valid({"base": "h100", "hbm": hbm})


def test_coefficients() -> None:
    values = load_coefficients("host_link", "pcie5", HostLinkCoefficients)
    assert 0.5 < values.efficiency < 1
    slower = load_coefficients("host_link", "pcie5", HostLinkCoefficients, {"latency": "9 us"})
    assert slower == values._replace(latency_s=9e-6)
    assert coefficient_provenance("host_link", "pcie5")["latency"].kind == "calibrated"
    with pytest.raises(InputError, match="did you mean 'latency'"):
        load_coefficients("host_link", "pcie5", HostLinkCoefficients, {"latancy": "9 us"})
    with pytest.raises(SpecError, match="a bare number needs its unit"):
        load_coefficients("host_link", "pcie5", HostLinkCoefficients, {"latency": 9})
    with pytest.raises(InputError, match="no coefficients of section 'nothing'"):
        load_coefficients("nothing", "hopper", HostLinkCoefficients)
