"""Einsums as text, and one mapping by hand."""

import math

import pytest

from hwmodels.spatial.mapping import LevelMapping, MemoryLevel, NestMachine, evaluate_mapping
from hwmodels.spatial.mapping_machines import load_machines, nest_machine
from simulator.core.errors import InputError
from workloads.einsum import batched_gemm, convolution, parse_einsum

MACHINE = NestMachine(
    "two levels",
    (
        MemoryLevel("DRAM", math.inf, 2.0, 1.0, 100e-12, 100e-12, (4, 1)),
        MemoryLevel("RF", 8.0, math.inf, math.inf, 1e-12, 2e-12),
    ),
    3e-12,
)
GEMM = batched_gemm(1, 4, 2, 6)


def mapped(**changes: LevelMapping) -> list[LevelMapping]:
    levels = {
        "dram": LevelMapping((("M", 4), ("N", 2), ("K", 2)), ((("K", 3),),)),
        "rf": LevelMapping(()),
    }
    return list((levels | changes).values())


def test_a_product_by_hand() -> None:
    cost = evaluate_mapping(GEMM, MACHINE, mapped())
    # Innermost loop k moves both inputs every time; three units add up their products before DRAM sees them.
    assert cost.words["DRAM", "A"] == (48, 0, 0)
    assert cost.words["DRAM", "W"] == (48, 0, 0)
    assert cost.words["RF", "A"] == (48, 48, 0)
    assert cost.words["DRAM", "Z"] == (0, 0, 8)  # k moves nothing of Z, so each sum leaves once
    assert cost.words["RF", "Z"] == (48 - 8 * 3, 0, 48)
    assert (cost.cycles, cost.bound, cost.instances) == (48, "DRAM", {"DRAM": 1, "RF": 3})
    assert cost.utilisation == pytest.approx(48 / (48 * 4))
    assert cost.energy_J["mac"] == pytest.approx(48 * 3e-12)
    assert cost.energy_J["DRAM"] == pytest.approx((96 + 8) * 100e-12)
    assert cost.energy_J["RF"] == pytest.approx((96 + 24) * 1e-12 + (96 + 48) * 2e-12)
    assert cost.margin_words == {"DRAM": math.inf, "RF": 8.0 - 3.0}


def test_loops_that_do_not_index_a_tensor_leave_it_when_innermost() -> None:
    inner = evaluate_mapping(GEMM, MACHINE, mapped(dram=LevelMapping((("K", 2), ("N", 2), ("M", 4)), ((("K", 3),),))))
    assert inner.words["RF", "W"].fills == 2 * 2 * 3
    assert inner.words["RF", "A"].fills == 2 * 2 * 4 * 3
    assert inner.words["DRAM", "Z"] == (8, 0, 16)


def test_what_does_not_fit_is_a_result() -> None:
    mapping = [LevelMapping((("N", 2),)), LevelMapping((("K", 6), ("M", 4)))]
    cost = evaluate_mapping(GEMM, MACHINE, mapping)
    assert cost.margin_words["RF"] == 8.0 - (24 + 6 + 4)
    assert not cost.fits


def test_a_tensor_that_passes_a_level_by_takes_no_room_there() -> None:
    mapping = [LevelMapping((("N", 2),)), LevelMapping((("K", 6), ("M", 4)), (), frozenset({"A"}))]
    cost = evaluate_mapping(GEMM, MACHINE, mapping)
    assert cost.margin_words["RF"] == 8.0 - (6 + 4)
    assert cost.words["RF", "A"] == (0, 0, 0)
    assert cost.words["DRAM", "A"].reads == GEMM.macs


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (mapped()[:1], "1 levels mapped"),
        (mapped(rf=LevelMapping((("K", 2),))), "rank K: factors multiply to 12, its bound is 6"),
        (mapped(rf=LevelMapping((("Q", 1),))), "no rank 'Q'"),
        (mapped(rf=LevelMapping((("K", 0),))), "bound 0"),
        (mapped(rf=LevelMapping((("K", 1), ("K", 1)))), "looped over twice"),
        (mapped(dram=LevelMapping((("M", 4), ("N", 2)), ((("K", 6),),))), "K spread 6-fold along x, there are 4"),
        (mapped(dram=LevelMapping((), ((), (), ()))), "spread along 3 axes"),
        (mapped(rf=LevelMapping((), (), frozenset({"Y"}))), "no tensor 'Y'"),
        (mapped(dram=LevelMapping((("M", 4), ("N", 2), ("K", 6)), (), frozenset({"A"}))), "outermost level keeps"),
    ],
)
def test_mappings_refused(mapping: list[LevelMapping], message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate_mapping(GEMM, MACHINE, mapping)


def test_convolution_words() -> None:
    layer = convolution(2, 8, 3, 5, 4, 3, 3, 2)
    image, filters, out = layer.tensors
    assert layer.macs == 2 * 8 * 3 * 5 * 4 * 9
    assert image.words(layer.bounds) == 2 * 3 * (2 * 4 + 2 + 1) * (2 * 3 + 2 + 1)
    assert filters.words(layer.bounds) == 8 * 3 * 9
    assert out.words(layer.bounds) == 2 * 8 * 5 * 4
    assert image.words({"P": 2, "R": 3}) == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Z[m]", "write it as"),
        ("Z[m] = A[m,k", "expected a tensor"),
        ("Z[m] = A[m,k] * A[k,m]", "named twice"),
        ("Z[m+k] = A[m,k]", "output is one rank"),
        ("Z[m] = A[m,-k]", "expected an index"),
        ("Z[m] = A[m,0*k]", "expected an index"),
        ("Z[m,n] = A[m,k]", "ranks without bound: \\['n'\\]"),
        ("Z[m] = A[m]", "bounds of no rank: \\['k'\\]"),
    ],
)
def test_einsums_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_einsum(text, {"m": 2, "k": 3})


def test_einsum_bounds_refused() -> None:
    with pytest.raises(InputError, match="rank k has bound 0"):
        parse_einsum("Z[m] = A[m,k]", {"m": 2, "k": 0})
    with pytest.raises(InputError, match="output has a rank that no input has"):
        parse_einsum("Z[n] = A[m]", {"m": 2, "n": 2})
    with pytest.raises(InputError, match="2\\^53"):
        batched_gemm(2**20, 2**20, 2**20, 1)


def test_bundled_machines() -> None:
    large, small = (nest_machine(load_machines(), name) for name in ("A16", "B8"))
    assert (large.units, small.units) == (256, 64)
    assert [level.name for level in large.levels] == ["DRAM", "GB", "RF"]
    assert large.levels[0].read_J == pytest.approx(64e-12)
