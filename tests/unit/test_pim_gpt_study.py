"""PIM-GPT against its baselines: floors by hand, order of baselines, what the sensitivities say."""

from __future__ import annotations

import pytest

from dse.studies import pim_gpt
from dse.studies.pim_gpt_baselines import BASELINES, run_baseline
from dse.studies.study import Study, study_text
from workloads.catalog import load_model
from workloads.parameters import parameters


@pytest.fixture(scope="module")
def study() -> Study:
    return pim_gpt.run(None, lambda line: None)


def test_nothing_recalled_is_judged(study: Study) -> None:
    assert study.missed == []
    assert {c.confidence for c in study.comparisons if c.source == "results"} == {"secondary", "recalled"}
    assert "no cache" in study_text(study)


def test_latency_is_above_the_floor_of_its_banks(study: Study) -> None:
    rows = study.tables["1024 tokens at batch 1"]
    for row in rows:
        weights_B = 2.0 * parameters(load_model(pim_gpt.MODELS[row["model"]]))
        floor_ms = 1e3 * weights_B / 4.096e12
        assert 1.3 * floor_ms < row["ms/token"] < 2.2 * floor_ms
        assert row["row hits"] == pytest.approx(63 / 64, abs=0.002)
        assert 4 < row["power W"] < 20


def test_baselines_from_kind_to_unkind() -> None:
    times = [run_baseline(name, "gpt2", 1024).time_s for name in BASELINES]
    t4, cpu = times[:4], times[4:]
    assert t4 == sorted(t4)
    assert cpu == sorted(cpu)
    # GPT-2 small reads 124 M 16-bit parameters at 320 GB/s, 1023 times, and a cache that grows to 38 MB.
    floor_s = 1023 * (2 * parameters(load_model("gpt2")) + 0.5 * 1024 * 12 * 2 * 768 * 2) / 320e9
    assert t4[0] == pytest.approx(floor_s, rel=0.1)


def test_sensitivities(study: Study) -> None:
    rows = {row["change"]: row for row in study.tables["Sensitivity: time over that of the design"]}
    for model in pim_gpt.MODELS:
        assert 1.0 < rows["ASIC at 500 MHz"][model] < rows["ASIC at 100 MHz"][model]
        assert 1.7 < rows["4 channels"][model] < 2.0
        assert rows["16 channels"][model] < 0.6
        assert rows["32 channels"][model] < rows["16 channels"][model]
        assert rows["interface at four times"][model] == pytest.approx(1.0, abs=0.02)
        assert 1.5 < rows["multipliers at 500 MHz"][model] < 2.0
