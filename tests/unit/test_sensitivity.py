"""Elasticities: signs and sizes that physics fixes."""

from __future__ import annotations

from pathlib import Path

import pytest

from dse.refine import refine, refined_text
from dse.sensitivity import elasticities, elasticities_text
from dse.space.file import load_space
from dse.sweep import Plan, run_sweep
from simulator.core.errors import InputError

FILE = """\
schema: ridgeline/space/v1
name: one
base:
  model: opt-125m
  hardware: h100
  run: {input_tokens: 0, context: 4000, output_tokens: 2, batch: 256}
axes:
  hbm.bandwidth: [3 TB/s, 3.35 TB/s, 4 TB/s]
  run.kv: [bf16, fp8]
objectives: {tpot_s: min, energy_J: min}
"""


def space_of(tmp_path: Path) -> object:
    path = tmp_path / "one.yaml"
    path.write_text(FILE, encoding="utf-8")
    return load_space(path)


def test_decoding_with_a_large_cache_follows_bandwidth(tmp_path: Path) -> None:
    space = space_of(tmp_path)
    found = elasticities(space, 1, "roofline")
    by_path = {item.path: item for item in found}
    assert by_path["hbm.bandwidth"].swept
    assert by_path["hbm.bandwidth"].change["tpot_s"] == pytest.approx(-1.0, abs=0.1)
    assert by_path["hbm.capacity"].change["memory_fill"] == pytest.approx(-1.0, abs=0.01)
    assert by_path["sms"].change["tpot_s"] == pytest.approx(0.0, abs=0.05)
    assert "run.kv" not in by_path  # no number
    assert found == sorted(found, key=lambda item: -item.largest)
    text = elasticities_text(found)
    assert "hbm.bandwidth (swept)" in text
    assert "others change nothing" in text


def test_the_best_of_one_level_at_another(tmp_path: Path) -> None:
    space = space_of(tmp_path)
    plan = Plan(space=space, source=FILE, folder=tmp_path / "out", search=space.search, level="roofline")
    outcome = run_sweep(plan)
    refined = refine(plan, outcome, 3, "analytic")
    assert len(refined.indices) == 3
    assert (refined.after[:, 0] >= refined.before[:, 0]).all()  # the roofline is a bound
    assert set(outcome.front.indices) <= set(refined.indices.tolist())
    assert "points are on the front at level analytic" in refined_text(refined)
    with pytest.raises(InputError, match="was run at level roofline itself"):
        refine(plan, outcome, 3, "roofline")
