"""Areas by component against the published ones: spatial arrays, and the logic added to memory."""

from __future__ import annotations

import pytest

from hwmodels.catalog import load_hardware
from hwmodels.components import area_factor


def test_area_of_fusemax_is_the_artifacts() -> None:
    """12.2 cm2 at 45 nm; the artifact's sweep has a buffer of 256 KiB."""
    parts = load_hardware("fusemax-cloud").device.area_mm2_by_component()
    sweep = parts["2D array"] + parts["1D array"] + parts["buffer"] / 64
    assert sweep == pytest.approx(1220.9, rel=0.01)


def test_area_of_a_tpu_is_near_its_die() -> None:
    """ISCA 2021: below 400 mm2. Units as transistors over density come out 7 % above, an fp32 unit for each adder."""
    device = load_hardware("tpu-v4i").device
    assert device.die_area_mm2 == 400.0
    assert sum(device.area_mm2_by_component().values()) == pytest.approx(400.0, rel=0.1)


def test_area_of_duplex_is_the_papers() -> None:
    """Section VII-E: 17.80 mm2 of each of five logic dies."""
    parts = load_hardware("logic-pim").device.area_mm2_by_component()
    assert sum(parts.values()) == pytest.approx(5 * 17.80, rel=0.001)
    assert parts["vias"] > parts["multipliers"] > parts["functions"]


def test_more_multipliers_are_larger() -> None:
    base = load_hardware("logic-pim").device.area_mm2_by_component()
    more = load_hardware("logic-pim", ["compute.macs=1024"]).device.area_mm2_by_component()
    assert more["multipliers"] == pytest.approx(2 * base["multipliers"])
    assert more["vias"] == base["vias"]


def test_area_of_pim_gpts_asic() -> None:
    """One chip of 0.64 mm2 beside all memory."""
    assert load_hardware("pim-gpt").device.area_mm2_by_component() == {"other": 0.64}


def test_a_device_that_does_not_say_has_no_area() -> None:
    assert load_hardware("h200").device.area_mm2_by_component() == {}


def test_nodes_scale_area() -> None:
    assert area_factor(45, 7) == 0.059
