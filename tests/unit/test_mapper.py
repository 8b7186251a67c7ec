"""The mapper by hand: what it finds, what a user may ask of it, and the reason where nothing is valid."""

import math

import numpy as np
import pytest

from hwmodels.spatial.mapper.constraints import LevelConstraint, lay_out
from hwmodels.spatial.mapper.search import Progress, best_mapping
from hwmodels.spatial.mapper.space import divisors, prime_factors, reuse_orders
from hwmodels.spatial.mapping import MemoryLevel, NestMachine
from hwmodels.spatial.mapping_machines import load_machines, nest_machine
from simulator.core.errors import InputError, UnsupportedError
from workloads.einsum import batched_gemm, convolution, parse_einsum

MACHINE = nest_machine(load_machines(), "B8")
GEMM = batched_gemm(1, 32, 32, 32)


def test_all_units_work_and_the_result_is_proven() -> None:
    found = best_mapping(GEMM, MACHINE)
    assert found.proven
    assert found.cost is not None
    assert found.cost.fits
    assert found.cost.cycles == 32**3 // 64
    assert found.value == found.lower_bound == pytest.approx(found.cost.total_J * found.cost.cycles)
    assert found.explanation.startswith("optimal: ")


def test_objectives_differ_in_what_they_make_small() -> None:
    edp, energy, cycles = (best_mapping(GEMM, MACHINE, objective) for objective in ("edp", "energy", "cycles"))
    assert edp.cost is not None
    assert energy.cost is not None
    assert cycles.cost is not None
    assert energy.cost.total_J <= min(edp.cost.total_J, cycles.cost.total_J)
    assert cycles.cost.cycles <= min(edp.cost.cycles, energy.cost.cycles)


def test_the_same_question_has_the_same_answer_and_is_remembered() -> None:
    assert best_mapping(GEMM, MACHINE, seed=7) is best_mapping(batched_gemm(1, 32, 32, 32), MACHINE, seed=7)
    conv = convolution(1, 16, 8, 14, 14, 3, 3, 1)
    first = best_mapping(conv, MACHINE, budget=100_000)
    best_mapping(GEMM, MACHINE, seed=8)
    from hwmodels.spatial.mapper import search

    search._remembered.clear()
    assert best_mapping(conv, MACHINE, budget=100_000) == first


def test_a_search_that_stops_early_says_how_far_it_may_be_from_the_optimum() -> None:
    heard: list[Progress] = []
    found = best_mapping(convolution(1, 64, 32, 28, 28, 3, 3, 1), MACHINE, budget=60_000, progress=heard.append)
    assert not found.proven
    assert f"stopped after {found.steps} steps" in found.explanation
    assert found.lower_bound <= found.value
    assert [p.best for p in heard] == sorted((p.best for p in heard), reverse=True)
    assert heard[-1].evaluated + heard[-1].excluded == found.evaluated + found.excluded >= 60_000


def test_constraints_hold() -> None:
    rules = {
        "GB": LevelConstraint((("M", 2), ("K", 2)), (("N", 8),), frozenset({"K"}), innermost=("M",)),
        "RF": LevelConstraint(temporal=(("K", 1),), keep=frozenset({"W"}), bypass=frozenset({"A"})),
    }
    found = best_mapping(GEMM, MACHINE, constraints=rules)
    assert found.mapping is not None
    assert found.cost is not None
    _, buffer, registers = found.mapping
    spread = {rank: math.prod(b for r, b in buffer.spread if r == rank) for rank, _ in buffer.spread}
    assert spread == {"N": 8, "K": 8}
    assert buffer.temporal[-1] == ("M", 2)
    assert dict(buffer.temporal)["K"] == 2
    assert "K" not in dict(registers.temporal)
    assert "A" in registers.bypass
    assert "W" not in registers.bypass
    assert found.value >= best_mapping(GEMM, MACHINE).value


def test_a_machine_whose_energies_are_not_known_is_mapped_for_time() -> None:
    levels = tuple(level._replace(read_J=0.0, write_J=0.0) for level in MACHINE.levels)
    for objective in ("edp", "energy", "cycles"):
        found = best_mapping(GEMM, NestMachine("free", levels, 0.0), objective)
        assert found.cost is not None
        assert found.cost.total_J == 0.0
    assert found.cost.cycles == 32**3 // 64


def test_a_fourth_level_is_searched_too() -> None:
    cluster = MemoryLevel("cluster", 512.0, 16.0, 16.0, 1e-12, 1e-12, (4, 1))
    dram, buffer, registers = MACHINE.levels
    dram = dram._replace(read_words_per_cycle=64.0, write_words_per_cycle=64.0)
    machine = NestMachine("clusters", (dram, buffer._replace(below=(4, 4)), cluster, registers), MACHINE.mac_J)
    found = best_mapping(batched_gemm(1, 16, 16, 16), machine, budget=400_000)
    assert found.cost is not None
    assert found.cost.instances == {"DRAM": 1, "GB": 1, "cluster": 16, "RF": 64}
    assert found.cost.utilisation == 1.0


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            {"RF": LevelConstraint(temporal=(("M", 8), ("N", 8)), keep=frozenset("AWZ"))},
            "RF holds 32 words, the smallest block tried needs 80",
        ),
        ({"GB": LevelConstraint(spatial=(("M", 16), ("N", 8)))}, "spreading M 16-fold, N 8-fold does not fit 8 x 8"),
        (
            {level: LevelConstraint((("K", 2),), (), frozenset()) for level in ("DRAM", "GB", "RF")},
            "rank K: the factors asked for multiply to 8 and no level is free for the rest of 32",
        ),
    ],
)
def test_the_reason_when_nothing_is_valid(rules: dict[str, LevelConstraint], message: str) -> None:
    rules = {"GB": LevelConstraint(spatial_ranks=frozenset()), **rules}
    found = best_mapping(GEMM, MACHINE, constraints=rules)
    assert found.mapping is None
    assert found.cost is None
    assert found.proven
    assert math.isinf(found.value)
    assert message in found.explanation


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"L9": LevelConstraint()}, "has levels DRAM, GB, RF"),
        ({"RF": LevelConstraint(temporal=(("Q", 2),))}, "no rank 'Q'"),
        ({"RF": LevelConstraint(temporal=(("M", 0),))}, "bound 0, must be at least 1"),
        ({"RF": LevelConstraint(temporal=(("M", 3),))}, "multiply to 3, which does not divide 32"),
        ({"RF": LevelConstraint(innermost=("M", "M"))}, "named twice in innermost"),
        ({"RF": LevelConstraint(keep=frozenset("Y"))}, "no tensor 'Y'"),
        ({"RF": LevelConstraint(keep=frozenset("A"), bypass=frozenset("A"))}, "both to be kept and to pass by"),
        ({"DRAM": LevelConstraint(bypass=frozenset("A"))}, "outermost level keeps"),
    ],
)
def test_constraints_refused(rules: dict[str, LevelConstraint], message: str) -> None:
    with pytest.raises(InputError, match=message):
        best_mapping(GEMM, MACHINE, constraints=rules)


def test_arguments_refused() -> None:
    with pytest.raises(InputError, match="known: edp, energy, cycles"):
        best_mapping(GEMM, MACHINE, "speed")
    with pytest.raises(InputError, match="budget"):
        best_mapping(GEMM, MACHINE, budget=0)
    many = parse_einsum("Z[a,b,c,d,e,f] += X[a,b,c,d,e,f,g,h,i,j,k]", dict.fromkeys("abcdefghijk", 2))
    with pytest.raises(UnsupportedError, match="11 ranks"):
        best_mapping(many, MACHINE)


def test_numbers() -> None:
    assert divisors(12) == [1, 2, 3, 4, 6, 12]
    assert prime_factors(84) == [2, 2, 3, 7]
    assert prime_factors(1) == []


def test_orders_of_a_product_differ_in_the_innermost_loop_alone() -> None:
    relevant = np.array([[True, False, True], [False, True, True], [True, True, False]])
    assert {order[-1] for order in reuse_orders(relevant, [0, 1, 2])} == {0, 1, 2}
    assert len(reuse_orders(relevant, [0, 1, 2])) == 3
    assert reuse_orders(relevant, []) == [()]


def test_loops_are_laid_along_two_axes() -> None:
    assert lay_out([16, 4], (8, 8)) == ((8, 2), (1, 4))
    assert lay_out([], (1, 1)) == ()
    assert lay_out([9], (8, 2)) is None
