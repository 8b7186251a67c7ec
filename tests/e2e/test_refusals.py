"""What makes no sense is refused at once: exit code 2, one line that says what, and nothing on standard output."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from simulator.cli import main

SERVE = ["serve", "llama-3-8b", "h200"]
REFUSED = {
    "--requests 1000000000000 --rate 1": "1 to 1000000000 requests",
    "--concurrency 99999999999999999999999": "a closed loop holds",
    "--concurrency -1": "a closed loop holds",
    "--concurrency 4 --rate 5": "give one of",
    "--concurrency 3 --burstiness 2": "give --rate",
    "--rate 1 --think 3": "give --turns",
    "--rate 1 --speed 2": "give --trace",
    "--rate 1 --turns 2000": "1 to 1000 turns",
    "--trace x.csv --turns 3": "--turns is for requests that are made up",
    "--trace x.csv --lengths 8:8": "--lengths is for requests that are made up",
    "--trace x.csv --shared-prefix 8": "--shared-prefix is for requests that are made up",
    "--trace x.csv --burstiness 1": "--burstiness is for requests that are made up",
    "--trace x.csv --think 1": "--think is for requests that are made up",
    "--trace x.csv --priorities 1": "--priorities is for requests that are made up",
    "--rate 1 --shared-prefix 9999999999:3": "a shared prefix",
    "--rate 1 --priorities -1": "classes of priority",
    "--rate 1 --seed -1": "a seed lies",
    "--rate 1 --sequences 0": "sequences must be at least 1",
    "--rate 1 --sequences 99999999999999999999": "at most 65536 sequences",
    "--rate 1 --draft gpt2": "--speculate",
    "--rate 1 --speculate 4:0.7 --draft bert-base": "can draft nothing",
    "--rate 1 --draw-routing": "has no experts",
    "--rate 1 --slo ttft=-1s": "--slo 'ttft=-1s': ttft: must not be negative",
    "--rate 1 --overlap-transfer": "--prefill, --decode",
    "--rate 1 --fault 1:5:0": "a server from 0 to 0",
    "--rate 1 --find-capacity": "needs --slo",
    "--rate 1 --find-capacity --slo share=0.9": "needs --slo",
    "--rate 1 --find-capacity --slo ttft=1s --steps-out x.json": "without it",
    "--rate 1 --prefill 1": "--decode",
}


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return what is said, after demanding that it is a refusal."""
    code = main(arguments)
    out, err = capsys.readouterr()
    assert (code, out) == (2, ""), err
    assert err.startswith("error: ")
    return err


@pytest.mark.parametrize("options", REFUSED)
def test_serve(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert REFUSED[options] in refusal([*SERVE, *options.split()], capsys)


SPACE = """schema: ridgeline/space/v1
name: NAME
base: {model: gpt2, hardware: t4, run: {input_tokens: 8, output_tokens: 2, batch: 1}}
axes: {run.batch: [1, 2]}
objectives: {latency_s: min}
"""
SWEEPS = {
    "--seed -1": "from 0 on",
    "--explorer sobol --seed 99999999999999999999999": "from 0 on",
    "--limit 0": "above 0",
    "--engine processes --workers 1000000": "1000000 workers",
    "--workers 2": "has no workers",
    "--scheduler tcp://localhost:8786": "choose dask",
    "--engine dask --scheduler nowhere": "no Dask scheduler answers",
}


@pytest.mark.parametrize("options", SWEEPS)
def test_sweep(options: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(SPACE)
    code = main(["sweep", str(space), "--out", str(tmp_path / "out"), "--json", *options.split()])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert "error: " in err and SWEEPS[options] in err


@pytest.mark.parametrize("name", ["../evil", "/evil", ".", "", "a/b"])
def test_a_space_is_called_as_a_folder_can_be(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(SPACE.replace("NAME", f"'{name}'"))
    assert ":2:" in refusal(["sweep", str(space), "--dry-run"], capsys)


def test_what_a_sweep_would_do_is_json_where_json_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(SPACE)
    assert main(["sweep", str(space), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["points"] == 2
    assert main(["sweep", "--list", "--json"]) == 0
    assert "quickstart" in json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a report, a comparison and a trace."""
    folder = tmp_path_factory.mktemp("documents")
    trace = str(folder / "trace.json")
    request = ["--in", "8", "--out", "2", "--json"]
    for name, command in (
        ("report", ["simulate", "gpt2", "t4", *request, "--trace", trace]),
        ("comparison", ["compare", "gpt2", "t4", "h200", *request]),
    ):
        with (folder / f"{name}.json").open("w") as stream, contextlib.redirect_stdout(stream):
            assert main(command) == 0
    return folder


@pytest.mark.parametrize(
    ("command", "key", "value"),
    [
        ("report report", "bands", None),
        ("report report", "memory", "x"),
        ("plot tornado report", "elasticities", None),
        ("plot tornado report", "elasticities", {"x": "y"}),
        ("plot breakdown report", "hardware", None),
        ("plot breakdown report", "phases", 5),
        ("plot speedups comparison", "systems", None),
        ("plot speedups comparison", "systems", [{"hardware": 3}]),
        ("plot timeline trace", "traceEvents", [1, {"ph": "X", "ts": "a", "dur": -1}]),
    ],
)
def test_a_document_that_was_changed(
    command: str, key: str, value: object, documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    *words, name = command.split()
    document = json.loads((documents / f"{name}.json").read_text())
    assert key in document
    broken = tmp_path / "broken.json"
    changed = {k: v for k, v in document.items() if k != key} | ({} if value is None else {key: value})
    broken.write_text(json.dumps(changed))
    said = refusal([*words, str(broken), "-o", str(tmp_path / ("x.html" if name == words[0] else "x.svg"))], capsys)
    assert "broken.json: not as --json or --trace writes it" in said


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no endless file")
@pytest.mark.parametrize("command", [[*SERVE, "--trace"], ["replay", "dram"], ["plot", "tornado"]])
def test_a_file_without_an_end(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "larger than" in refusal([*command, "/dev/zero"], capsys)
