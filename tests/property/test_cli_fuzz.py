"""Whatever is typed: an answer or an explanation, exit code 0, 1 or 2, never a traceback."""

from __future__ import annotations

import contextlib
import io
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.cli import COMMANDS, main

NUMBERS = st.one_of(
    st.integers(-2, 64).map(str),
    st.sampled_from(["128", "2048", "100000", "2147483648", "1000000000000", "9" * 400, "nan", "1e3", "", "०", "0x10"]),
)
WORDS = st.one_of(
    st.text(max_size=12),
    st.sampled_from([".", "/", "/dev/null", "..", "\x00", "\udcff", "-", "--", "a/b", "x.yaml", "x.json", "~", "%s"]),
)
MODELS = st.sampled_from(
    ["llama-3-8b", "GPT2", "mixtral-8x7b", "bert-base", "deepseek-v3", "gemma-2-2b", "gpt-oss-20b"]
)
HARDWARE = st.sampled_from(["h200", "t4", "h100x8", "MI300X", "v100x2", "rtx4090", "h100x16", "b200", "a100x3"])
FORMATS = st.one_of(
    st.sampled_from(
        ["bf16", "fp32", "fp8", "int8", "int4-g128", "nvfp4", "mxfp4", "lut3", "int3-g7-s0-z2-o100%", "int1"]
    ),
    WORDS,
)
VALUES = st.sampled_from(
    [
        "0",
        "1",
        "1 B/s",
        "1 GB/s",
        "900 PB/s",
        "1 Hz",
        "3 GHz",
        "1 B",
        "1 TB",
        "1 W",
        "9 MW",
        "1 s",
        "4 FLOP/clk",
        "0.5",
        "16",
        "true",
        "eager",
        "h100",
        "nan",
        "inf",
        "-1 W",
        "",
        "[]",
        "{a: 1}",
        "1e400",
        "*x",
        "&a 1",
        "!!python/object:x",
    ]
)
FIELDS = st.sampled_from(
    [
        "hbm.bandwidth",
        "hbm.capacity",
        "clock.max",
        "power.limit",
        "power.idle",
        "sms",
        "l2.bandwidth",
        "l2.capacity",
        "tensor.bf16",
        "vector.fp32",
        "vector.sfu",
        "shared_memory",
        "link.bandwidth",
        "link.latency",
        "family",
        "nodes",
        "units.0.count",
        "link",
        "device",
        ".",
        "a..b",
        "model.",
        "profile.",
        "model.num_hidden_layers",
        "model.hidden_size",
        "model.num_attention_heads",
        "model.vocab_size",
        "model.num_local_experts",
        "profile.step_tokens",
        "profile.launch.mode",
        "profile.launch.host_interval",
        "profile.memory.utilization",
        "profile.host_step",
    ]
)
OVERRIDES = st.one_of(st.builds("{}={}".format, FIELDS, VALUES), WORDS)


#: Values that each field takes, as far out as its unit lets them be.
EXTREMES = {
    "hbm.bandwidth": ("1 B/s", "900 PB/s"),
    "hbm.capacity": ("1 B", "900 PB"),
    "clock.max": ("1.6 GHz", "900 GHz"),
    "power.limit": ("79 W", "9 GW"),
    "power.idle": ("1 uW", "69 W"),
    "sms": ("1", "1000000"),
    "l2.bandwidth": ("1 B/clk", "900 PB/s"),
    "l2.capacity": ("1 B", "1 PB"),
    "tensor.bf16": ("1 FLOP/s", "900 EFLOP/s", "1 FLOP/clk"),
    "vector.fp32": ("1 FLOP/s", "900 EFLOP/s"),
    "vector.sfu": ("1 OP/s", "900 EOP/s"),
    "shared_memory": ("1 B", "1 PB"),
    "link.bandwidth": ("1 B/s", "900 PB/s"),
    "link.latency": ("0 s", "1000 s"),
    "family": ("volta", "turing", "ampere", "ada", "hopper", "blackwell", "cdna"),
    "link": ("nvlink2", "pcie3", "infinity-fabric"),
    "model.num_hidden_layers": ("1", "300"),
    "model.hidden_size": ("1", "64", "8192", "1000000"),
    "model.vocab_size": ("1", "10000000"),
    "model.num_attention_heads": ("1", "2", "32", "65536"),
    "model.num_key_value_heads": ("1", "2"),
    "model.sliding_window": ("1", "100000000"),
    "profile.step_tokens": ("1000", "1000000000"),
    "profile.launch.mode": ("eager", "graph"),
    "profile.launch.host_interval": ("0 s", "1000 s"),
    "profile.memory.utilization": ("0.000001", "1"),
    "profile.memory.page_tokens": ("1", "1000000"),
    "profile.host_step": ("0 s", "1000 s"),
}
ACCEPTED = st.sampled_from([f"{field}={value}" for field, values in EXTREMES.items() for value in values])


def option(name: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return values.map(lambda value: [name, value])


def numbers(*values: int) -> st.SearchStrategy[str]:
    return st.sampled_from(values).map(str)


#: Options as a sensible user types them.
SENSIBLE = st.one_of(
    option("--in", numbers(1, 2, 100, 2048, 100_000)),
    option("--out", numbers(0, 1, 2, 100, 5000)),
    option("--batch", numbers(1, 2, 3, 64, 1000)),
    option("--context", numbers(0, 1, 5000)),
    option("--tp", numbers(1, 2, 4, 8)),
    option("--pp", numbers(1, 2, 3)),
    option("--dp", numbers(1, 2)),
    option("--ep", numbers(1, 2, 8)),
    *[
        option(name, st.sampled_from(["bf16", "fp32", "fp8", "int8", "int4-g128", "nvfp4", "lut3", "int1-g7-o50%"]))
        for name in ("--weights", "--activations", "--kv")
    ],
    option("--profile", st.sampled_from(["ideal", "vllm", "pytorch-sdpa"])),
    option("--routing", st.sampled_from(["uniform", "zipf:1.0", "zipf:50"])),
    option("--level", st.sampled_from(["roofline", "analytic"])),
    option("--set", ACCEPTED),
)
#: Options as nobody should.
HOSTILE = st.one_of(
    *[option(name, NUMBERS) for name in ("--in", "--out", "--batch", "--context", "--tp", "--pp", "--ep", "--dp")],
    *[option(name, FORMATS) for name in ("--weights", "--activations", "--kv")],
    option("--profile", WORDS),
    option("--routing", st.one_of(st.sampled_from(["zipf:-1", "power:2", "zipf:", "counts:1"]), WORDS)),
    option("--level", WORDS),
    option("--set", OVERRIDES),
)


def outcome(arguments: list[str]) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return code, out.getvalue(), err.getvalue()


def refuse(name: str) -> float:
    raise AssertionError(f"{name} in the document")


def check(arguments: list[str]) -> None:
    """Demand a document of finite numbers, or one line of explanation and nothing else."""
    code, out, err = outcome(arguments)
    assert code in (0, 1, 2)
    if code == 2:
        assert out == ""
        assert err.startswith("error: ")
    else:
        assert err == ""
        document = json.loads(out, parse_constant=refuse)
        assert document["latency_s"] > 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(model=MODELS, hardware=HARDWARE, options=st.lists(SENSIBLE, max_size=6))
def test_sensible_options_answer_or_explain(model: str, hardware: str, options: list[list[str]]) -> None:
    check(["simulate", model, hardware, "--json", *[word for pair in options for word in pair]])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    model=st.one_of(MODELS, MODELS, MODELS, WORDS),
    hardware=st.one_of(HARDWARE, HARDWARE, HARDWARE, WORDS),
    options=st.lists(SENSIBLE, max_size=2),
    hostile=HOSTILE,
)
def test_hostile_options_answer_or_explain(
    model: str, hardware: str, options: list[list[str]], hostile: list[str]
) -> None:
    check(["simulate", model, hardware, "--json", *[word for pair in [*options, hostile] for word in pair]])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(one=ACCEPTED, other=ACCEPTED, model=MODELS, hardware=st.sampled_from(["h200", "h100x8", "t4"]))
def test_extreme_designs_answer_or_explain(one: str, other: str, model: str, hardware: str) -> None:
    check(["simulate", model, hardware, "--json", "--set", one, "--set", other])


#: Systems of every other kind: memory that computes, spatial arrays, several units.
OTHERS = st.sampled_from(["aim", "attacc", "pim-gpt", "duplex", "attacc-dgx", "tpu-v5e", "fusemax-cloud", "eyeriss"])
UNIT_FIELDS = st.builds(
    "{}={}".format,
    st.sampled_from(
        ["units.0.device.", "units.1.device.", "units.0.", "placement.", "array.", "", "power.", "array.buffer."]
    ).flatmap(
        lambda head: st.sampled_from([f"{head}{t}" for t in ("count", "hbm.bandwidth", "rows", "capacity", "x")])
    ),
    VALUES,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    model=MODELS,
    hardware=OTHERS,
    options=st.lists(SENSIBLE, max_size=2),
    hostile=st.one_of(HOSTILE, option("--set", UNIT_FIELDS), option("--set", ACCEPTED)),
)
def test_other_hardware_answers_or_explains(
    model: str, hardware: str, options: list[list[str]], hostile: list[str]
) -> None:
    check(["simulate", model, hardware, "--json", *[word for pair in [*options, hostile] for word in pair]])


#: Commands that do nothing long, whatever words follow.
WORDY = ["show", "schema", "plot", "simulate", "compare", "serve", "sweep", "explain", "report", "replay", "reproduce"]


@settings(max_examples=150, deadline=None)
@given(command=st.sampled_from([*WORDY, ""]), words=st.lists(WORDS, max_size=4))
def test_random_words_are_explained(command: str, words: list[str]) -> None:
    code, _, err = outcome([command, *words])
    assert code in (0, 2)
    assert (code == 0) == (err == "")
    assert command == "" or command in COMMANDS
