"""Bundled systems of several units: names, reports, traces, memories; beside the GPU they start from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import jsonschema
import pytest

from hwmodels.catalog import load_hardware
from hwmodels.kinds import DEVICE_KINDS
from hwmodels.system import Level, build_system
from simulator.api.document import SCHEMA
from simulator.api.report import Report
from simulator.api.simulate import simulate
from simulator.api.text import report_text
from simulator.api.trace import trace_events
from simulator.cli import main
from simulator.core.errors import InputError
from simulator.engine.execution import execute
from simulator.engine.profile import load_profile
from simulator.engine.run import plan_step
from workloads.catalog import load_model
from workloads.precision import Precision
from workloads.step import Step

REQUEST = {"input_tokens": 1024, "output_tokens": 1024, "batch": 64}


@pytest.fixture(scope="module")
def duplex() -> Report:
    return simulate("mixtral-8x7b", "duplex-x4", **REQUEST)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def gpus() -> Report:
    return simulate("mixtral-8x7b", "h100x4", **REQUEST)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("duplex", (1, 1)),
        ("duplex-x4", (4, 4)),
        ("Duplex_x8", (8, 8)),
        ("attacc-dgx", (8, 8)),
        ("h100-bank-pim-x2", (2, 2)),
    ],
)
def test_names_and_counts(name: str, counts: tuple[int, ...]) -> None:
    system = load_hardware(name)
    assert tuple(unit.count for unit in system.units) == counts
    assert system.ranks == counts[0]


@pytest.mark.parametrize("name", ["duplex-x40", "h100x8x2"])
def test_counts_that_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        load_hardware(name)


def test_near_memory_helps_decode_and_leaves_prefill(duplex: Report, gpus: Report) -> None:
    assert duplex.tpot_s is not None
    assert gpus.tpot_s is not None
    assert duplex.ttft_s is not None
    assert gpus.ttft_s is not None
    assert duplex.tpot_s < 0.7 * gpus.tpot_s
    assert duplex.ttft_s <= gpus.ttft_s * (1 + 1e-6)
    assert duplex.total_energy_J < gpus.total_energy_J
    assert duplex.memory.total_B == gpus.memory.total_B


def test_units_add_up(duplex: Report, gpus: Report) -> None:
    for report in (duplex, gpus):
        assert sum(unit.total_energy_J for unit in report.units()) == pytest.approx(report.total_energy_J)
        for unit in report.units():
            assert 0 < unit.share <= 1 + 1e-9
    assert [(unit.name, unit.count) for unit in duplex.units()] == [("xpu", 4), ("pim", 4)]
    assert [(unit.name, unit.count) for unit in gpus.units()] == [("gpu", 4)]
    split = {row.unit for row in duplex.operators() if row.name == "experts_up" and row.phase == "decode"}
    assert split == {"xpu", "pim"}


def test_report_says_what_each_unit_did(duplex: Report, gpus: Report) -> None:
    document = duplex.to_json()
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert [unit["name"] for unit in document["units"]] == ["xpu", "pim"]
    text = report_text(duplex)
    assert "pim (4 x Duplex Logic-PIM)" in text
    assert "experts_up on pim" in text
    assert DEVICE_KINDS["pim"].checked.split(" (")[0] in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 100
    assert "busy" not in report_text(gpus)


def test_trace_has_a_thread_per_unit_and_shows_the_overlap(duplex: Report) -> None:
    events = list(trace_events(duplex))
    threads = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert set(threads.values()) == {"xpu", "pim"}
    slices = [e for e in events if e["ph"] == "X" and e["pid"] == 2 and e["args"]["block"] == "layer0[5]"]
    experts = {threads[e["pid"], e["tid"]]: e for e in slices if e["name"] == "experts_up"}
    first, second = experts["xpu"], experts["pim"]
    both = min(first["ts"] + first["dur"], second["ts"] + second["dur"]) - max(first["ts"], second["ts"])
    assert both > 0.5 * max(first["dur"], second["dur"])


def test_cache_and_weights_in_memories_apart() -> None:
    apart = simulate("llama-3-70b", "attacc-dgx", **REQUEST)  # type: ignore[arg-type]
    alone = simulate("llama-3-70b", "h100x8", **REQUEST)  # type: ignore[arg-type]
    assert {unit.name for unit in apart.units()} == {"gpu", "attacc", "gpu to attacc", "attacc to gpu"}
    assert apart.memory.fits
    assert apart.memory.parts_B["kv"] == 0  # the GPUs' memory is the fuller one
    assert apart.memory.max_batch > 1.2 * alone.memory.max_batch
    much = simulate("gpt3-175b", "attacc-dgx", input_tokens=1024, output_tokens=1024, batch=512)
    assert much.memory.name == "attacc"
    assert not much.memory.fits
    assert much.memory.parts_B["weights"] == 0


def test_levels_place_alike_and_memory_that_computes_agrees() -> None:
    model, profile, step = load_model("llama-3-8b"), load_profile("ideal"), Step.of((32, 1, 2000))
    (kernels,) = plan_step(model, step, Precision.of(), profile).stages
    attention = [launched for launched in kernels if launched.kernel.operator.kind == "attention"]
    busy_s = {}
    for level in get_args(Level):
        run = execute(build_system(load_hardware("duplex"), level), attention)
        busy_s[level] = {use.name: use.busy_s for use in run.units}
    assert busy_s["cycle"]["xpu"] == busy_s["analytic"]["xpu"] == 0
    assert busy_s["cycle"]["pim"] == pytest.approx(busy_s["analytic"]["pim"], rel=0.03)
    assert max(busy_s["roofline"].values()) < busy_s["analytic"]["pim"]


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace.json"
    command = ["simulate", "llama-3-8b", "duplex", "--batch", "4", "--out", "8", "--json", "--trace", str(trace)]
    assert main([*command, "--set", "placement.policy=fastest"]) == 0
    assert json.loads(capsys.readouterr().out)["units"][1]["device"] == "Duplex Logic-PIM"
    assert json.loads(trace.read_text())["traceEvents"]
    assert main(["simulate", "llama-3-8b", "duplex", "--set", "placement.policy=fastets"]) == 2
    assert "fastest" in capsys.readouterr().err
    assert main(["show", "hardware", "duplex"]) == 0
    assert "1 x NVIDIA H100 SXM + 1 x Duplex Logic-PIM" in capsys.readouterr().out
