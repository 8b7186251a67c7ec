"""Serving against real vLLM runs, published points and other simulators; on data that may be read, not committed."""

from __future__ import annotations

import json

import pytest

from simulator.cli import main
from simulator.validation.serving.golden import compare_golden
from simulator.validation.serving.points import compare_points
from simulator.validation.serving.vllm_runs import compare_runs

pytestmark = pytest.mark.shared_data


def test_vllm_runs_keep_their_limits(shared_data) -> None:
    replay = compare_runs(shared_data / "measured" / "llmservingsim_vllm_requests.csv")
    judged = [c for c in replay.comparisons if c.limit is not None]
    assert len(judged) >= 6
    assert not replay.unusable
    assert {c.figure: c.error for c in judged if not c.met} == {}


def test_serving_points_are_all_accounted_for(shared_data, tmp_path) -> None:
    whole = (shared_data / "measured" / "aiconfigurator_e2e_serving.csv").read_text().splitlines()
    chosen = [line for line in whole[1:] if "Llama-3.1-8B" in line][::9]
    chosen += [line for line in whole[1:] if "GLM-5" in line or "gb200" in line][::40]
    chosen += [line for line in whole[1:] if "Qwen3-32B-NVFP4" in line and ",disagg," in line]
    chosen += [line for line in whole[1:] if ",disagg," in line][::200]
    file = tmp_path / "aiconfigurator_e2e_serving.csv"
    file.write_text("\n".join([whole[0], *chosen]) + "\n")
    replay = compare_points(file)
    judged = {f["metric"]: f["n"] for f in replay.families if f["family"] == "all"}
    assert judged["TPOT"] == judged["TTFT"] > 5
    assert len(replay.points) + sum(replay.unusable.values()) == replay.rows == len(chosen)
    split = [point for point in replay.points if point.engine.endswith(" split")]  # shown, not judged
    assert split and judged["TPOT"] == len(replay.points) - len(split)
    assert len(replay.unusable) >= 2


def test_splitwise_s_own_step_times_give_its_simulator_s_latencies(shared_data) -> None:
    replay = compare_golden(shared_data / "golden" / "serving_golden_splitwise.csv")
    assert len(replay.comparisons) == 18
    assert max(abs(c.error) for c in replay.comparisons) < 0.07


@pytest.mark.slow
def test_vidur_s_scenarios_are_shown_side_by_side(shared_data, capsys) -> None:
    assert main(["replay", "serving", str(shared_data / "golden" / "serving_golden_vidur.csv"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {c["run"][:2] for c in document["comparisons"]} == {"V1", "V2", "V3", "V4", "V5"}
    assert all(c["limit"] is None for c in document["comparisons"])


@pytest.mark.slow
def test_models_whose_generation_nothing_was_fitted_on_keep_the_limits(shared_data, tmp_path) -> None:
    whole = (shared_data / "measured" / "aiconfigurator_e2e_serving.csv").read_text().splitlines()
    aggregated = [line for line in whole[1:] if ",agg," in line]
    names = ("Llama-3.1-70B,b200_sxm", "Kimi-K2.5,h200_sxm", "MiniMax-M2.5,h100_sxm")
    chosen = [line for name in names for line in [row for row in aggregated if name in row][::9]]
    file = tmp_path / "aiconfigurator_e2e_serving.csv"
    file.write_text("\n".join([whole[0], *chosen]) + "\n")
    found = {f["metric"]: f for f in compare_points(file).families if f["family"] == "all"}
    assert found["TPOT"]["n"] > 15
    assert {metric: f["mape"] for metric, f in found.items() if f["mape"] > f["limit"]} == {}
