"""The compiled tier says of every point what simulating it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dse.evaluate import evaluate_shard
from dse.space.file import load_space
from dse.space.order import columns_of

FILE = """\
schema: ridgeline/space/v1
name: mixed
base:
  model: opt-125m
  hardware: h100
  run: {input_tokens: 64, output_tokens: 8, tp: 1}
axes:
  var.watts: [60, 300, 700]
  sms: [100, 132]
  run.batch: [1, 16]
  run.tp: [1, 5]
  tensor.bf16: [2048 FLOP/clk, 4096 FLOP/clk]
  hbm.bandwidth: [2 TB/s, 4 TB/s]
  hbm.capacity: [1 GB, 80 GB]
derived:
  power.limit: {formula: var.watts, unit: W}  # 60 W is below what the device idles at
  l2.capacity: {formula: 4e5 * sms, unit: B}
metrics: {edap: energy_J * latency_s * die_area_mm2}
objectives: {edap: min}
constraints: {area: {metric: die_area_mm2, at_most: 700 mm2}}
"""


@pytest.mark.slow
def test_compiled_equals_simulated(tmp_path: Path) -> None:
    path = tmp_path / "mixed.yaml"
    path.write_text(FILE, encoding="utf-8")
    space = load_space(path)
    assert set(columns_of(space)) == {
        "power.limit",
        "sms",
        "tensor.bf16",
        "hbm.bandwidth",
        "hbm.capacity",
        "l2.capacity",
    }
    indices = np.random.default_rng(1).permutation(space.size)[:40]  # out of order on purpose
    simulated = evaluate_shard(space, indices, "analytic", "points")
    compiled = evaluate_shard(space, indices, "analytic", "compiled")
    assert compiled.metrics.keys() == simulated.metrics.keys()
    for name, column in simulated.metrics.items():
        np.testing.assert_allclose(compiled.metrics[name], column, rtol=1e-12, err_msg=name)
    assert (compiled.feasible == simulated.feasible).all()
    assert compiled.tally.rejected == simulated.tally.rejected
    assert sum(compiled.tally.refused.values()) == sum(simulated.tally.refused.values()) > 20
    # What a front alone keeps is the same front.
    front = evaluate_shard(space, indices, "analytic", "compiled", "front")
    assert front.indices.tolist() == compiled.indices[compiled.front].tolist()
