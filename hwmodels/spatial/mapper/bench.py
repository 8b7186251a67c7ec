"""How fast the mapper is, and what its bounds save."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from hwmodels.spatial.mapper.constraints import LevelConstraint
from hwmodels.spatial.mapper.search import best_mapping, prime_table
from hwmodels.spatial.mapper.space import keep_choices, problem_of, space_of
from hwmodels.spatial.mapping import evaluate_mapping
from hwmodels.spatial.mapping_machines import load_machines, nest_machine
from workloads.einsum import batched_gemm

__all__ = ["MapperRates", "mapper_rates"]

_ROUNDS = 40


class MapperRates(NamedTuple):
    """Processor time, so that a busy machine counts less."""

    valid_per_s: float  # valid mappings that annealing evaluates, its invalid moves included in the time
    moves_per_s: float
    plain_s: float  # one evaluation in plain Python
    search_s: float  # one search to proven optimality, QK of an attention layer on 16 x 16 units
    search_steps: int


def mapper_rates() -> MapperRates:
    """Measure on Z[8,128,128] += A[8,128,64] W[8,64,128], 16 x 16 units."""
    from hwmodels.spatial.mapper.anneal import ROUND, anneal, new_state
    from hwmodels.spatial.mapper.branch import EVALUATED, new_best

    einsum, machine = batched_gemm(8, 128, 128, 64), nest_machine(load_machines(), "A16")
    best_mapping(batched_gemm(1, 2, 2, 2), machine, budget=1)  # compile
    problem, ranks = problem_of(einsum, machine, "edp")
    rules = [LevelConstraint()] * len(machine.levels)
    space, choices = space_of(problem, ranks, machine, rules), keep_choices(["A", "W", "Z"], rules)
    sizes = len(machine.levels), len(ranks), 3
    best, counts = new_best(*sizes), np.zeros(2, np.int64)
    states, primes = (new_state(*sizes), new_state(*sizes), new_state(*sizes)), prime_table(problem)

    def rounds() -> None:
        for seed in range(_ROUNDS):
            anneal(problem, space, choices, primes, best, states, counts, seed == 0, seed)

    annealed_s = _process_s(rounds)
    search_s = _process_s(lambda: best_mapping(einsum, machine, seed=1))
    found = best_mapping(einsum, machine, seed=1)
    mapping = found.mapping
    assert mapping is not None
    plain_s = _process_s(lambda: [evaluate_mapping(einsum, machine, mapping) for _ in range(200)]) / 200
    valid = int(counts[EVALUATED])
    return MapperRates(
        valid / annealed_s, _ROUNDS * ROUND / annealed_s, plain_s, search_s, found.evaluated + found.excluded
    )


def _process_s(run: Callable[[], object]) -> float:
    begin = time.process_time()
    run()
    return time.process_time() - begin
