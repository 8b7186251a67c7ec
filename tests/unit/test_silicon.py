"""Area and cost of GPUs against dies that exist."""

from __future__ import annotations

import numpy as np
import pytest

from hwmodels.catalog import load_gpu
from hwmodels.gpu.silicon import DieInputs, die_area_mm2, die_inputs, manufacturing_cost_USD, silicon_of


@pytest.mark.parametrize(
    ("name", "sms", "l2_MiB", "interfaces", "flop_per_clock", "area_mm2", "off"),
    [
        ("h100", 144, 60, 6, 4096, 814.0, 0.001),  # fitted
        ("rtx4090", 144, 96, 12, 1024, 608.5, 0.001),  # fitted
        ("rtx-pro-6000", 192, 128, 16, 1024, 750.0, 0.09),  # not fitted
        ("a100", 128, 48, 6, 2048, 826.0, 0.02),  # not fitted: other node, by density alone
    ],
)
def test_whole_dies(
    name: str, sms: int, l2_MiB: int, interfaces: int, flop_per_clock: int, area_mm2: float, off: float
) -> None:
    silicon = silicon_of(load_gpu(name))
    assert silicon is not None
    every = silicon.node.model_copy(update={"spare": 1.0})  # the whole die, not what of it must work
    memory = silicon.memory
    die = DieInputs(sms, flop_per_clock, l2_MiB * 2**20, interfaces * memory.bandwidth_Bps, 0.0)
    found = float(die_area_mm2(die, silicon._replace(node=every)))
    assert found == pytest.approx(area_mm2, rel=off)


def test_more_of_anything_is_larger_and_dearer() -> None:
    gpu = load_gpu("h100")
    silicon = silicon_of(gpu)
    assert silicon is not None
    die = die_inputs(gpu)
    base = die_area_mm2(die, silicon)
    for field in ("sms", "flop_per_clock", "l2_B", "bandwidth_Bps", "capacity_B"):
        more = die._replace(**{field: 2.0 * getattr(die, field)})
        assert die_area_mm2(more, silicon) > base
    areas = np.array([100.0, 400.0, 800.0])
    cost = manufacturing_cost_USD(areas, 80e9, silicon)
    memory = manufacturing_cost_USD(1e-3, 80e9, silicon)
    assert ((cost - memory)[1:] / areas[1:] > (cost - memory)[:-1] / areas[:-1]).all()  # large dies yield less


def test_what_is_not_known_has_no_area() -> None:
    assert silicon_of(load_gpu("v100")) is None
    assert silicon_of(load_gpu("b200")) is None  # two dies
    assert silicon_of(load_gpu("mi300x")) is None
