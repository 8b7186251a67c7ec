"""Fronts against their definition, hypervolumes against closed forms and an independent library."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse import pareto
from dse.pareto import Front, hypervolume, knee, merge_fronts, non_dominated, ranks, reference_point

SMALL = settings(max_examples=60, deadline=None, derandomize=True)
#: Few different values, so that ties and duplicates are the rule.
CLOUDS = st.integers(1, 4).flatmap(
    lambda m: st.lists(st.lists(st.integers(0, 4).map(float), min_size=m, max_size=m), min_size=1, max_size=40)
)


def by_definition(values: np.ndarray) -> list[int]:
    """Two loops and the definition."""
    kept = []
    for i, row in enumerate(values):
        beaten = any((other <= row).all() and (other < row).any() for other in values)
        if not beaten and not any((values[j] == row).all() for j in range(i)):
            kept.append(i)
    return kept


@SMALL
@given(CLOUDS)
def test_both_ways_are_the_definition(rows: list[list[float]]) -> None:
    values = np.array(rows)
    wanted = by_definition(values)
    assert np.flatnonzero(pareto._compare_all(values)).tolist() == wanted
    assert pareto._scan(values).tolist() == wanted


@pytest.mark.parametrize("objectives", [1, 2, 3, 5])
def test_compiled_scan_equals_comparing_all(objectives: int) -> None:
    values = np.random.default_rng(objectives).integers(0, 12, size=(1500, objectives)).astype(float)
    mask = non_dominated(values)
    assert (mask == pareto._compare_all(values)).all()
    every = non_dominated(values, duplicates="all")
    front = {tuple(row) for row in values[mask]}
    assert (every == np.array([tuple(row) in front for row in values])).all()


def test_front_equals_an_independent_library() -> None:
    from optuna.study._multi_objective import _is_pareto_front

    values = np.random.default_rng(5).random((800, 3)).round(2)
    assert {tuple(r) for r in values[non_dominated(values)]} == {
        tuple(r) for r in values[_is_pareto_front(values, assume_unique_lexsorted=False)]
    }


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        non_dominated(np.array([[1.0, np.nan]]))


@SMALL
@given(CLOUDS, st.randoms(use_true_random=False))
def test_a_growing_front_does_not_depend_on_the_order(rows: list[list[float]], random: object) -> None:
    values = np.array(rows)
    order = list(range(len(values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    front = Front(values.shape[1])
    for part in np.array_split(np.array(order), 3):
        front.add(part, values[part])
    assert front.indices.tolist() == by_definition(values)


@SMALL
@given(CLOUDS, st.integers(0, 40))
def test_two_fronts_that_meet_are_the_front_of_all(rows: list[list[float]], cut: int) -> None:
    values = np.array(rows)
    indices = np.random.default_rng(cut).permutation(len(values))
    halves = [merge_fronts([(indices[part], values[part])]) for part in (slice(0, cut), slice(cut, None))]
    stays, enters = pareto._meet(*halves[0], *halves[1])
    found = np.concatenate((halves[0][0][stays], halves[1][0][enters]))
    assert sorted(found) == merge_fronts([(indices, values)])[0].tolist()


def test_a_large_front_grows_as_a_small_one_does() -> None:
    values = np.random.default_rng(3).random((4000, 6)).round(2)
    front = Front(6)
    for part in np.array_split(np.random.default_rng(4).permutation(4000), 4):
        front.add(part, values[part])
    assert len(front) > 300  # so that the compiled way was taken
    assert front.indices.tolist() == np.flatnonzero(non_dominated(values)).tolist()


def test_hypervolume_of_staircases() -> None:
    for n in (1, 5, 30):
        steps = np.arange(n, dtype=float)
        # Squares of a staircase below n: n (n + 1) / 2.
        assert hypervolume(np.stack([steps, n - 1 - steps], 1), np.array([n, n], float)) == n * (n + 1) / 2
    assert hypervolume(np.array([[1.0, 2.0, 3.0, 4.0]]), np.full(4, 6.0)) == 5 * 4 * 3 * 2
    assert hypervolume(np.array([[7.0, 0.0]]), np.array([6.0, 6.0])) == 0.0


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_hypervolume_equals_an_independent_library(objectives: int) -> None:
    from optuna._hypervolume import compute_hypervolume

    values = np.random.default_rng(objectives).random((60, objectives))
    reference = np.full(objectives, 1.1)
    assert hypervolume(values, reference) == pytest.approx(compute_hypervolume(values, reference), rel=1e-12)


def test_reference_point_is_worse_than_all() -> None:
    front = np.array([[0.0, 3.0], [1.0, 3.0]])
    assert (reference_point(front) > front).all()


def test_knee_is_the_corner() -> None:
    assert knee(np.array([[0.0, 10.0], [1.0, 1.0], [10.0, 0.0], [4.0, 0.8]])) == 1


def test_ranks_peel_fronts() -> None:
    values = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 2.0], [2.0, 0.0], [1.0, 1.0], [3.0, 3.0]])
    assert ranks(values).tolist() == [0, 1, 1, 1, 1, 2]
