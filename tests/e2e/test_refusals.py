"""What makes no sense is refused at once: exit code 2, one line that says what, and nothing on standard output."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.cli import main

SERVE = ["serve", "llama-3-8b", "h200"]
REFUSED = {
    "--requests 1000000000000 --rate 1": "1 to 1000000000 requests",
    "--concurrency 99999999999999999999999": "a closed loop holds",
    "--concurrency -1": "a closed loop holds",
    "--concurrency 4 --rate 5": "give one of",
    "--concurrency 3 --turns 3": "give --rate",
    "--rate 1 --shared-prefix 9999999999:3": "a shared prefix",
    "--rate 1 --priorities -1": "classes of priority",
    "--rate 1 --seed -1": "a seed lies",
    "--rate 1 --sequences 0": "sequences must be at least 1",
    "--rate 1 --sequences 99999999999999999999": "at most 65536 sequences",
    "--rate 1 --draft gpt2": "--speculate",
    "--rate 1 --speculate 4:0.7 --draft bert-base": "can draft nothing",
    "--rate 1 --skew nan": "skew lies",
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


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no endless file")
@pytest.mark.parametrize("command", [[*SERVE, "--trace"], ["replay", "dram"], ["plot", "tornado"]])
def test_a_file_without_an_end(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "larger than" in refusal([*command, "/dev/zero"], capsys)
