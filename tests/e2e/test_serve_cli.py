"""``ridgeline serve`` as a user meets it."""

from __future__ import annotations

import json

import pytest

from simulator.cli import main

SMALL = ["serve", "qwen3-0.6b", "h200", "--requests", "60"]


def test_a_stream_is_served_and_written_down(tmp_path, capsys) -> None:
    import pandas as pd

    table, steps, figure = tmp_path / "r.parquet", tmp_path / "s.json", tmp_path / "f.svg"
    outputs = ["--requests-out", str(table), "--steps-out", str(steps), "--plot", str(figure)]
    asked = ["--rate", "20", "--lengths", "100-300:20", "--slo", "ttft=1s,tpot=100ms", "--json", "--debug"]
    assert main([*SMALL, *asked, *outputs]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["requests"]["completed"] == 60
    assert document["slo"]["good_share"] == 1.0
    frame = pd.read_parquet(table)
    assert len(frame) == 60
    assert (frame["first_token_s"] - frame["arrived_s"]).mean() == pytest.approx(document["metrics_s"]["ttft"]["mean"])
    events = json.loads(steps.read_text())["traceEvents"]
    assert len([e for e in events if e["ph"] == "X"]) == document["servers"][0]["steps"]
    assert figure.is_file()


def test_text_says_what_matters(capsys) -> None:
    split = ["--rate", "20", "--prefill", "1", "--decode", "1", "--overlap-transfer", "--turns", "3"]
    assert main([*SMALL, *split]) == 0
    text = capsys.readouterr().out
    for word in ("TTFT", "TPOT", "throughput", "energy", "USD per million", "step times", "(prefill)", "(decode)"):
        assert word in text


def test_requests_that_no_server_is_left_for_are_told(capsys) -> None:
    assert main([*SMALL, "--rate", "40", "--fault", "0.5:0:0"]) == 1
    assert "every server that could take them is down" in capsys.readouterr().out


def test_conversations_wait_for_their_answers(tmp_path, capsys) -> None:
    import pandas as pd

    table = tmp_path / "r.parquet"
    asked = ["--concurrency", "4", "--turns", "3", "--think", "0.5", "--json", "--debug", "--requests-out", str(table)]
    assert main([*SMALL, *asked]) == 0
    assert json.loads(capsys.readouterr().out)["requests"]["never_asked"] == 0
    frame = pd.read_parquet(table).sort_values(["session", "request"])
    waited = frame["arrived_s"] - frame.groupby("session")["last_token_s"].shift()
    assert frame["session"].nunique() < 60
    assert (waited.dropna() > 0.0).all()


@pytest.mark.parametrize("engine", [["processes", "--workers", "2"], ["dask", "--workers", "2"]])
def test_servers_in_other_processes_come_to_the_same(engine: list[str], tmp_path, capsys) -> None:
    import pandas as pd

    asked = ["--rate", "40", "--replicas", "3", "--router", "round-robin", "--slo", "ttft=100ms", "--json"]
    documents, frames = [], []
    for where in (["serial"], engine):
        table = tmp_path / f"{where[0]}.parquet"
        assert main([*SMALL, *asked, "--requests-out", str(table), "--engine", *where]) == 0
        documents.append(json.loads(capsys.readouterr().out))
        frames.append(pd.read_parquet(table).sort_values("request", ignore_index=True))
    pd.testing.assert_frame_equal(*frames, check_exact=True)
    for part in ("requests", "servers", "slo"):
        assert documents[0][part] == documents[1][part]
    assert documents[0]["energy"] == pytest.approx(documents[1]["energy"], rel=1e-12)
    for metric, values in documents[0]["metrics_s"].items():
        assert values == pytest.approx(documents[1]["metrics_s"][metric], rel=1e-12)


def test_capacity_lies_between_what_holds_and_what_does_not(capsys) -> None:
    asked = ["--rate", "50", "--lengths", "500:50", "--sequences", "16", "--slo", "ttft=100ms", "--find-capacity"]
    assert main([*SMALL, *asked, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    below = [t["good_share"] for t in document["trials"] if t["rate"] <= document["rate"]]
    above = [t["good_share"] for t in document["trials"] if t["rate"] > document["rate"]]
    assert min(below) >= 0.9 > max(above)


@pytest.mark.parametrize(
    ("model", "hardware"),
    [
        ("gpt2", "pim-gpt"),
        ("qwen3-0.6b", "attacc"),
        ("llama-3-8b", "attacc-dgx"),
        ("qwen3-0.6b", "duplex"),
        ("qwen3-0.6b", "h100-h20-offload"),
        ("qwen3-0.6b", "fusemax-cloud"),
        ("qwen3-0.6b", "tpu-v5e"),
        ("qwen3-0.6b", "mi300x"),
    ],
)
def test_any_kind_of_device_serves_one_request_as_it_is_simulated(model: str, hardware: str, capsys) -> None:
    """Memory that computes, attention on other devices, both on one memory, spatial arrays: up to the tables' error."""
    same = ["--profile", "ideal", "--json"]
    assert main(["simulate", model, hardware, "--in", "300", "--out", "40", *same]) == 0
    alone = json.loads(capsys.readouterr().out)
    asked = ["--rate", "1", "--requests", "1", "--lengths", "300:40", "--sequences", "16", "--debug"]
    assert main(["serve", model, hardware, *asked, *same]) == 0
    served = json.loads(capsys.readouterr().out)
    assert served["step_times"][0]["mean_error"] < 0.1
    assert served["metrics_s"]["tpot"]["mean"] == pytest.approx(alone["tpot_s"], rel=0.03)
    assert served["metrics_s"]["ttft"]["mean"] == pytest.approx(alone["ttft_s"], rel=0.1)


def test_a_tree_of_drafts_is_quicker_than_none(capsys) -> None:
    gaps = []
    for drafts in ([], ["--speculate", "4:0.7"], ["--speculate", "24:0.1,0.2,0.3,0.4", "--draft", "qwen3-0.6b"]):
        asked = ["--rate", "4", "--requests", "20", "--lengths", "100:60", "--sequences", "8", "--json", "--debug"]
        assert main(["serve", "llama-3-8b", "h200", *asked, *drafts]) == 0
        gaps.append(json.loads(capsys.readouterr().out)["metrics_s"]["tpot"]["mean"])
    assert gaps[0] > 1.2 * max(gaps[1:])


def test_a_server_that_fails_loses_nothing(capsys) -> None:
    faults = ["--fault", "0.5:0:0", "--fault", "1.5:0:1"]
    assert main([*SMALL, "--rate", "40", "--replicas", "2", *faults, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["requests"]["completed"] == 60


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--rate", "0"],
        ["--rate", "nan"],
        ["--rate", "-3"],
        ["--rate", "1", "--concurrency", "4", "--trace", "none.csv"],
        ["--rate", "1", "--lengths", "x"],
        ["--rate", "1", "--lengths", "0:5"],
        ["--rate", "1", "--slo", "ttft=5"],
        ["--rate", "1", "--slo", "speed=1s"],
        ["--rate", "1", "--policy", "fifo"],
        ["--rate", "1", "--router", "random"],
        ["--rate", "1", "--prefill", "2"],
        ["--rate", "1", "--prefill", "x"],
        ["--rate", "1", "--lend"],
        ["--rate", "1", "--set", "decode.power.limit=350 W"],
        ["--rate", "1", "--prefill", "1", "--decode", "1", "--set", "decode.power.limits=350 W"],
        ["--rate", "1", "--fault", "1:9:0"],
        ["--rate", "1", "--fault", "soon"],
        ["--rate", "1e-300"],
        ["--rate", "1", "--lengths", "5-:3"],
        ["--rate", "1", "--prefill", "1,tp=1,tp=1", "--decode", "1"],
        ["--rate", "1", "--budget", "0"],
        ["--rate", "1", "--replicas", "4096"],
        ["--rate", "1", "--speculate", "0:0.5"],
        ["--rate", "1", "--speculate", "4:7"],
        ["--rate", "1", "--speculate", "4:0.5,0.6"],
        ["--rate", "1", "--speculate", "2:0.25,0.25,0.25,0.25"],
        ["--rate", "1", "--speculate", "4:nan,nan"],
        ["--rate", "1", "--speculate", "many"],
        ["--rate", "1", "--shared-prefix", "many"],
        ["--rate", "1", "--requests", "0"],
        ["--rate", "1", "--sequences", "-1"],
        ["--rate", "1", "--replicas", "-1"],
        ["--rate", "1", "--burstiness", "-1"],
        ["--rate", "1", "--priorities", "9"],
        ["--rate", "1", "--turns", "0"],
        ["--trace", "none.csv"],
        ["--rate", "1", "--find-capacity"],
        ["--rate", "1", "--requests-out", "x.csv"],
        ["--rate", "1", "--workers", "2"],
        ["--rate", "1", "--engine", "processes"],
        ["--rate", "1", "--engine", "processes", "--router", "round-robin", "--workers", "0"],
        ["--rate", "1", "--engine", "processes", "--router", "round-robin", "--steps-out", "x.json"],
        ["--rate", "1", "--engine", "dask", "--router", "round-robin", "--scheduler", "nowhere"],
    ],
)
def test_bad_input_is_one_message(arguments: list[str], capsys) -> None:
    assert main(["serve", "qwen3-0.6b", "h200", *arguments]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert "Traceback" not in message


def test_encoders_and_models_that_do_not_fit_are_refused(capsys) -> None:
    assert main(["serve", "bert-base", "h200", "--rate", "1"]) == 2
    assert "encoder" in capsys.readouterr().err
    assert main(["serve", "llama-3-70b", "h100", "--rate", "1"]) == 2
    assert "raise --tp" in capsys.readouterr().err


def test_one_pool_alone_is_changed(capsys) -> None:
    split = ["--prefill", "1", "--decode", "1", "--set", "decode.power.limit=350 W"]
    assert main(["serve", "qwen3-0.6b", "h200", "--rate", "5", "--requests", "20", *split, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["energy"]["limit_W"] == 700.0 + 350.0
