"""NSGA-II against fronts that are known because every point was looked at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dse.explorers import open_explorer
from dse.explorers.nsga2 import crowding
from dse.pareto import hypervolume, non_dominated, reference_point
from dse.space.file import load_space
from dse.space.space import Search, Space

SPACE = """\
schema: ridgeline/space/v1
name: gpu
base: {model: opt-125m, hardware: h100}
axes:
  sms: {from: 40, to: 196, step: 12}
  hbm.bandwidth: {from: 1 TB/s, to: 8 TB/s, steps: 22}
  l2.capacity: {from: 10 MiB, to: 200 MiB, step: 20 MiB}
  var.batch: {from: 1, to: 256, factor: 2}
  var.bits: [4, 8, 16]
objectives: {tpot_s: min, tokens_per_s: max, die_area_mm2: min}
"""


def designs(space: Space, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A roofline with area and power, jagged by waves of blocks as the real models are: objectives and violation."""
    n = space.numbers(space.codes(indices))
    batch, sms, bandwidth, l2, bits = (n[k] for k in ("var.batch", "sms", "hbm.bandwidth", "l2.capacity", "var.bits"))
    weights_B, flops = 7e9 * bits / 8.0, 2.0 * 7e9 * batch
    waves = np.ceil(512 / sms) / (512 / sms)
    reuse = 1.0 / (1.0 + l2 / 3e8)
    time_s = np.maximum(flops * waves / (sms * 7e12), (weights_B + batch * 3e8 * reuse) / bandwidth) + 1e-4
    area = sms * 5.0 + l2 / 2**20 * 0.4 + np.ceil(bandwidth / 8e11) * 10.45
    watts = 70 + sms * 2.5 + bandwidth / 8e10 * (0.5 + 0.5 * np.minimum(weights_B / bandwidth / time_s, 1))
    return np.stack([time_s, -batch / time_s, area], axis=1), np.maximum(watts / 450.0 - 1.0, 0.0)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Space:
    path = tmp_path_factory.mktemp("space") / "gpu.yaml"
    path.write_text(SPACE, encoding="utf-8")
    return load_space(path)


def explored(space: Space, search: Search) -> tuple[np.ndarray, int]:
    """Run an explorer and return the feasible values it saw, and how many points it asked for."""
    explorer = open_explorer(space, search, 1 << 12)
    seen, asked = [], 0
    while (indices := explorer.ask()) is not None:
        values, violation = designs(space, indices)
        explorer.tell(indices, values, violation)
        seen.append(values[violation == 0])
        asked += len(indices)
    return np.concatenate(seen), asked


def test_98_percent_of_the_hypervolume_with_2_percent_of_the_points(space: Space) -> None:
    values, violation = designs(space, np.arange(space.size))
    front = values[violation == 0]
    front = front[non_dominated(front)]
    reference = reference_point(front)
    whole = hypervolume(front, reference)
    budget = space.size // 50
    shares = {}
    for explorer in ("nsga2", "random"):
        shares[explorer] = []
        for seed in range(5):
            search = Search(explorer=explorer, points=budget, population=48, seed=seed)
            found, asked = explored(space, search)
            assert asked <= budget
            shares[explorer].append(hypervolume(found, reference) / whole)
    assert min(shares["nsga2"]) >= 0.98, shares
    assert min(shares["nsga2"]) > max(shares["random"]), shares


def test_a_whole_space_is_asked_for_once(space: Space) -> None:
    small = load_small(space)
    found, asked = explored(small, Search(explorer="nsga2", points=10**6, population=16, seed=1))
    assert asked == small.size
    assert len(found)


def load_small(space: Space) -> Space:
    return replace(space, axes=tuple(replace(axis, values=axis.values[:3]) for axis in space.axes))


def test_crowding_of_a_line() -> None:
    assert crowding(np.array([[0.0, 3.0], [1.0, 2.0], [3.0, 0.0]])).tolist() == [np.inf, 2.0, np.inf]
