"""Sweep files: what they mean, and every mistake at its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from dse.evaluate import all_constraints, evaluate_shard
from dse.space.file import bundled_spaces, load_space
from dse.space.paths import arguments_of
from dse.space.schema import space_schema
from simulator.core.document import read_document
from simulator.core.errors import RidgelineError, SpecError
from simulator.serving.arrivals import Stream
from simulator.serving.lengths import parse_lengths
from simulator.serving.serve import Deployment, Load, deploy, serve

FILE = """\
schema: ridgeline/space/v1
name: small
base:
  model: opt-1.3b
  hardware: h200
  run: {input_tokens: 64, output_tokens: 4, tp: 1}
axes:
  hbm.bandwidth: {from: 2 TB/s, to: 8 TB/s, steps: 3, scale: log}
  run.batch: {from: 1, to: 20, factor: 4}
  run.kv: [bf16, fp8]
  model.layers: {from: 8, to: 24, step: 8}
  var.stacks: [5, 6]
  memory:
    link:
      - {hbm.type: HBM3, hbm.capacity: 80 GB}
      - {hbm.type: HBM3e, hbm.capacity: 141 GB}
derived:
  power.limit: {formula: 300 + 50 * var.stacks + var.extra, unit: W}
  var.extra: 10 * run.tp
metrics:
  edp: energy_J * latency_s
objectives: {tpot_s: min, tokens_per_s: max, edp: min}
constraints:
  power: {metric: power_per_device_W, at_most: 700 W}
  speed: {metric: tokens_per_s, at_least: 10}
"""


def load(text: str, tmp_path: Path) -> object:
    path = tmp_path / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return load_space(path)


def problems(text: str, tmp_path: Path) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(text, tmp_path)
    return [f"{p.line}: {p.path}: {p.message}" for p in caught.value.problems]


def test_what_a_file_says(tmp_path: Path) -> None:
    space = load(FILE, tmp_path)
    # Hardware numbers that compiled models take as columns come last, and among them what changes least work.
    assert [axis.name for axis in space.axes] == [
        "run.batch",
        "run.kv",
        "model.layers",
        "memory",
        "hbm.bandwidth",
        "var.stacks",
    ]
    assert space.lengths == (3, 2, 3, 2, 3, 2)
    assert space.size == 216
    assert space.axes[4].column("hbm.bandwidth") == ("2 TB/s", "4 TB/s", "8 TB/s")
    assert space.axes[0].column("run.batch") == (1, 4, 16)
    last = space.settings(215)
    assert last == {
        "run.batch": 16,
        "run.kv": "fp8",
        "model.layers": 24,
        "hbm.type": "HBM3e",
        "hbm.capacity": "141 GB",
        "hbm.bandwidth": "8 TB/s",
        "var.stacks": 6,
        "var.extra": 10,
        "power.limit": "610 W",
    }
    arguments = arguments_of(space, last)
    assert arguments["batch"] == 16
    assert arguments["overrides"] == [
        "model.layers=24",
        "hbm.type=HBM3e",
        "hbm.capacity=141 GB",
        "hbm.bandwidth=8 TB/s",
        "power.limit=610 W",
    ]


def test_indices_and_positions_are_inverse(tmp_path: Path) -> None:
    space = load(FILE, tmp_path)
    indices = np.arange(space.size)
    codes = space.codes(indices)
    assert (space.indices(codes) == indices).all()
    assert len(np.unique(codes, axis=0)) == space.size
    assert space.codes(np.array([1]))[0].tolist() == [0, 0, 0, 0, 0, 1]  # the last axis varies fastest


def test_columns_are_the_settings_of_each_point(tmp_path: Path) -> None:
    space = load(FILE, tmp_path)
    codes = space.codes(np.arange(space.size))
    numbers, labels = space.numbers(codes), space.labels(codes)
    for index in (0, 77, 215):
        settings_ = space.settings(index)
        assert numbers["run.batch"][index] == settings_["run.batch"]
        assert f"{numbers['power.limit'][index]:g} W" == settings_["power.limit"]
        assert labels["run.kv"][index] == settings_["run.kv"]


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("hbm.bandwidth: {", "hbm.bandwith: {", 8, "no such field (did you mean 'hbm.bandwidth'"),
        ("run.kv:", "run.kvv:", 10, "no such field (did you mean kv?)"),
        ("run.kv: [bf16, fp8]", "run.kv: []", 10, "is empty"),
        ("run.kv: [bf16, fp8]", "run.kv: [bf16, bf16]", 10, "holds the same value twice"),
        ("[bf16, fp8]", "bf16", 10, "expected a list, a range (from, to) or a link, got 'bf16'"),
        ("from: 2 TB/s", "from: 2 GB", 8, "numbers or quantities of one kind"),
        ("from: 2 TB/s", "from: 9 TB/s", 8, "from '9 TB/s' is not below to '8 TB/s'"),
        ("steps: 3", "stepps: 3", 8, "unknown key"),
        ("steps: 3", "steps: 1e30", 8, "steps must be a whole number"),
        ("step: 8", "step: 1e-9", 11, "at most 1000000"),
        ("factor: 4", "factor: 1", 9, "factor must be a number above 1"),
        ("2 TB/s, to", "2 XB/s, to", 8, "numbers or quantities of one kind"),
        ("model.layers:", "model.leyers:", 11, "no such field"),
        ("  model: opt-1.3b", "  model: opt-1.33b", 4, "unknown model 'opt-1.33b'"),
        ("hardware: h200", "hardware: h20000", 5, "unknown hardware"),
        ("tp: 1}", "tp: one}", 6, "expected a whole number"),
        ("  run: {", "  runn: {", 6, "unknown key (did you mean 'run'?)"),
        ("var.extra: 10 * run.tp", "var.extra: 10 * var.stacks + power.limit", 17, "depends on itself"),
        ("10 * run.tp", "open('/etc/passwd')", 19, "only these can be called"),
        ("10 * run.tp", "run.kv * 2", 19, "no value is called 'run.kv'"),
        ("10 * run.tp", "run.tp.__class__", 19, "no value is called 'run.tp.__class__'"),
        ("unit: W", "unit: horses", 18, "is no unit"),
        ("var.extra:", "run.batch:", 19, "is already varied by axis run.batch"),
        ("edp: min}", "epd: min}", 22, "no metric is called 'epd' (did you mean 'edp'"),
        ("tpot_s: min", "tpot_s: fast", 22, "expected 'min' or 'max', got 'fast'"),
        ("at_most: 700 W", "at_most: 700", 24, "write the unit, as in '700 W'"),
        ("at_most: 700 W", "at_most: 700 MHz", 24, "expected a quantity in W"),
        ("at_most: 700 W", "atmost: 700 W", 24, "expected {metric: ..., at_most: ...}"),
        ("energy_J * latency_s", "energy * latency_s", 21, "no value is called 'energy'"),
        ("hbm.capacity: 141 GB}", "hbm.capacty: 141 GB}", 16, "must name the same paths as the first position"),
        ("- {hbm.type: HBM3, hbm.capacity: 80 GB}", "- {hbm.type: HBM3, run.kv: fp8}", 16, "must name the same paths"),
        (
            "objectives:",
            "for_each: [run.bach]\nobjectives:",
            22,
            "no axis is called 'run.bach' (did you mean 'run.batch'?)",
        ),
        ("schema: ridgeline/space/v1", "schema: ridgeline/space/v9", 1, "ridgeline/space/v1"),
    ],
)
def test_mistakes(old: str, new: str, line: int, message: str, tmp_path: Path) -> None:
    assert FILE.count(old) == 1
    found = problems(FILE.replace(old, new), tmp_path)
    assert any(text.startswith(f"{line}:") and message in text for text in found), found


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    text = FILE.replace("hbm.bandwidth: {", "hbm.bandwith: {").replace("edp: min}", "epd: min}")
    assert len(problems(text.replace("run.kv: [bf16, fp8]", "run.kv: [bf16, bf17]"), tmp_path)) >= 3


def test_more_points_than_can_be_counted(tmp_path: Path) -> None:
    axes = "".join(f"  var.v{i}: {{from: 1, to: 1000, step: 1}}\n" for i in range(10))
    text = FILE.replace("  var.stacks: [5, 6]\n", "  var.stacks: [5, 6]\n" + axes)
    found = problems(text, tmp_path)
    assert any("2.2e+32 points in all, at most 1e+18: thin some axes out" in line for line in found), found


PIECES = [
    "{",
    "}",
    "[",
    "]",
    ":",
    "\n",
    "- ",
    "1e999",
    "~",
    "run.batch",
    "formula: ",
    "link:",
    "9",
    "**",
    "'",
    "&a ",
    "*a",
]


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_file_says_it_loads_or_is_refused(data: st.DataObject, tmp_path: Path) -> None:
    text = FILE
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 12))
        text = text[:at] + data.draw(st.sampled_from(["", *PIECES]) | st.text(max_size=3)) + text[at + cut :]
    try:
        space = load(text, tmp_path)
    except RidgelineError as error:
        assert str(error)
        return
    space.settings(space.size - 1)


def test_the_example_of_the_readme_is_a_space(tmp_path: Path) -> None:
    readme = (bundled_spaces()["quickstart"].parent / "README.md").read_text(encoding="utf-8")
    space = load(readme.split("```yaml\n")[1].split("```")[0], tmp_path)
    assert {axis.name for axis in space.axes} >= {"card", "sms", "profile.launch.mode"}
    for name, path in bundled_spaces().items():
        assert load_space(path).name == name


SERVED = """\
schema: ridgeline/space/v1
name: served
base:
  model: opt-125m
  hardware: h200
  run: {kv: fp8}
  serve: {rate: 5, requests: 20, lengths: "64:8"}
axes:
  serve.rate: [5, 50]
  run.weights: [bf16, fp8]
  hbm.bandwidth: [2 TB/s, 4 TB/s]
objectives: {ttft_p99_s: min, cost_per_million_USD: min}
constraints: {late: {metric: tpot_p99_s, at_most: 50 ms}}
"""


def test_the_schema_for_editors_takes_what_loads(tmp_path: Path) -> None:
    schema = Draft202012Validator(space_schema())
    schema.check_schema(space_schema())
    for path in bundled_spaces().values():
        assert not list(schema.iter_errors(read_document(path).plain())), path.name
    for bad in ("run.kv: 3", "run.kv: {from: 1}", "run.kv: {link: []}", "run.kv: [[1]]"):
        file = tmp_path / "bad.yaml"
        file.write_text(FILE.replace("run.kv: [bf16, fp8]", bad), encoding="utf-8")
        assert list(schema.iter_errors(read_document(file).plain())), bad


def test_servers_are_asked_for_by_serve(tmp_path: Path) -> None:
    space = load(SERVED, tmp_path)
    assert arguments_of(space, space.settings(space.size - 1))["serve"]["rate"] == 50
    assert [c.name for c in all_constraints(space)] == ["late"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("run.weights: [bf16", "run.batch: [1, 2]\n  run.weights: [bf16", "requests decide it when serving"),
        ("{kv: fp8}", "{kv: fp8, batch: 3}", "requests decide it when serving"),
        ("serve.rate: [5", "serve.rait: [5", "no such field (did you mean rate?)"),
        ("ttft_p99_s: min", "ttft_s: min", "no metric is called 'ttft_s'"),
        ("rate: 5,", "rate: -5,", "greater than 0"),
        ("serve.rate: [5, 50]", "serve.policy: [inflight, fifo]", "unknown policy 'fifo'"),
        ("{rate: 5,", "{find_capacity: true, rate: 5,", "say serve.slo"),
        ("tpot_p99_s, at_most: 50 ms", "limit_W, at_most: 700", "write the unit, as in '700 W'"),
        ('  serve: {rate: 5, requests: 20, lengths: "64:8"}\n', "", "there are no servers: say base.serve"),
    ],
)
def test_mistakes_about_servers(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert SERVED.count(old) == 1
    assert any(message in line for line in problems(SERVED.replace(old, new), tmp_path))


def test_each_design_is_served_at_its_own_highest_rate(tmp_path: Path) -> None:
    asked = 'rate: 5, find_capacity: true, slo: "e2e=200ms", requests: 6000,'
    served = SERVED.replace("rate: 5, requests: 20,", asked)
    space = load(served.replace("  serve.rate: [5, 50]\n", "  serve.replicas: [1, 2]\n"), tmp_path)
    shard = evaluate_shard(space, np.array([0, 4]))
    assert shard.metrics["limit_W"].tolist() == [700.0, 1400.0]
    assert (shard.metrics["good_share"] >= 0.9).all()
    one, two = shard.metrics["request_rate"]
    assert 1.6 * one < two < 2.4 * one


def test_each_pool_has_degrees_of_its_own(tmp_path: Path) -> None:
    served = SERVED.replace("rate: 5,", "rate: 5, prefill: 1, decode: 1, decode_tp: 1,")
    served = served.replace("hardware: h200", "hardware: h200x4")
    space = load(served.replace("  serve.rate: [5, 50]\n", "  serve.prefill_tp: [1, 2]\n"), tmp_path)
    shard = evaluate_shard(space, np.array([0, 4]))
    assert shard.metrics["limit_W"].tolist() == [1400.0, 2100.0]


@pytest.mark.slow
def test_a_served_point_is_what_serving_says(tmp_path: Path) -> None:
    space = load(SERVED, tmp_path)
    shard = evaluate_shard(space, np.array([1, 5]))
    assert shard.feasible.all()
    asked = Stream(lengths=parse_lengths("64:8"), rate=50.0, count=20)
    overrides = ["hbm.bandwidth=4 TB/s"]
    deployed = deploy("opt-125m", "h200", Deployment(weights="bf16", kv="fp8", overrides=overrides), asked)
    report = serve(deployed, Load(source=asked)).report
    assert shard.metrics["ttft_p99_s"][1] == report.metrics["ttft"].p99
    assert shard.metrics["energy_J"][1] == report.energy_J
