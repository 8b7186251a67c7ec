"""Tensor engines: sizes, cycles of each form, cost of formats, and the study that compares them."""

import json

import pytest

from hwmodels.spatial.systolic import gemm_layer, layer_run, systolic_array
from hwmodels.spatial.tensor_engine import engine_file, tensor_engine
from simulator.cli import main
from simulator.core.errors import InputError, UnsupportedError


@pytest.mark.parametrize(
    ("name", "bit_weight", "tops_per_mm2", "tops_per_W"),
    [
        ("systolic-os", False, 0.132, 2.85),
        ("systolic-os", True, 0.287, 2.93),
        ("systolic-ws", False, 0.224, 4.90),
        ("systolic-ws", True, 0.296, 3.87),
        ("cube", False, 0.209, 4.76),
        ("cube", True, 0.296, 4.39),
        ("tree", True, 1.134, 4.98),
    ],
)
def test_efficiencies_are_those_of_the_reports(
    name: str, bit_weight: bool, tops_per_mm2: float, tops_per_W: float
) -> None:
    engine = tensor_engine(name, bit_weight)
    assert engine.ops_per_mm2() == pytest.approx((tops_per_mm2 * 1e12,) * 2, rel=3e-3)
    assert engine.ops_per_J() == pytest.approx((tops_per_W * 1e12,) * 2, rel=3e-3)


def test_cycles_of_each_form() -> None:
    for name in ("systolic-os", "systolic-ws"):
        array = systolic_array(16, 16, name[-2:], overlapped=True, scratchpad_words=(2**40,) * 3)
        assert tensor_engine(name).run(100, 70, 50).cycles == layer_run(gemm_layer(100, 70, 50), array).compute_cycles
    assert tensor_engine("cube").run(17, 8, 9).cycles == 3 * 1 * 2
    assert tensor_engine("tree", True).run(5, 17, 33).cycles == 5 * 2 * 3
    assert tensor_engine("matrix").run(17, 16, 33).cycles == 2 * 1 * 33
    assert tensor_engine("cube").run(16, 16, 16).utilisation == 1.0


@pytest.mark.parametrize("name", list(engine_file().engines))
def test_what_holds_of_every_engine(name: str) -> None:
    engine = tensor_engine(name, bit_weight=True)
    for shape in ((1, 1, 1), (3, 500, 70), (128, 128, 128)):
        run = engine.run(*shape)
        assert 0.0 < run.utilisation <= 1.0
        assert run.time_s == pytest.approx(run.cycles / engine.clock_Hz)
    larger = tensor_engine(name, True, columns=2 * engine.columns)
    assert larger.area_mm2()[0] == pytest.approx(2 * engine.area_mm2()[0])
    assert larger.mac_J() == engine.mac_J()
    (least, most), (int8, _) = engine.mac_J("fp8"), engine.mac_J()
    assert (least / int8, most / int8) == pytest.approx((1.5, 2.8))
    assert engine.ops_per_mm2("fp8")[1] < engine.ops_per_mm2()[0]


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="known: systolic-os"):
        tensor_engine("tensor")
    with pytest.raises(UnsupportedError, match="synthesised only with the bit-weight"):
        tensor_engine("tree")
    with pytest.raises(InputError, match="has no depth"):
        tensor_engine("matrix", depth=4)
    with pytest.raises(InputError, match="rows 0"):
        tensor_engine("cube", rows=0)
    with pytest.raises(UnsupportedError, match="known: int8, fp8"):
        tensor_engine("cube").mac_J("fp4")


def test_the_study(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "tensor-engines", "--json"]) == 0
    study = json.loads(capsys.readouterr().out)
    assert len(study["comparisons"]) == 6
    assert {c["verdict"] for c in study["comparisons"]} == {"shown"}
    assert all(row["useful TOPS/mm2"] > 0.0 for row in study["tables"]["Products on 1024 units"])
