"""Spatial arrays from the command line: every kind of device in one table, mappings explained, mistakes named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simulator.cli import main


def _run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_three_kinds_of_device_in_one_command(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "compare",
        "llama-3-8b",
        "h200",
        "duplex-x1",
        "attacc",
        "tpu-v5e",
        "fusemax-cloud",
        "--batch",
        "16",
        "--context",
        "4096",
    ]
    code, out, _ = _run(capsys, *words)
    assert code == 1  # the TPU's 16 GiB do not hold the model
    for name in ("NVIDIA H200", "duplex-x1", "AttAcc", "TPU v5e", "FuseMax"):
        assert name in out


def test_simulate_explains_the_mapping(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _run(
        capsys, *["simulate", "bert-base", "fusemax-cloud", "--in", "65536", "--batch", "64", "--explain"]
    )
    assert code == 0
    assert "65536 queries x 65536 keys: FuseMax (1-pass" in out
    assert "results stay on 256 x 256" in out
    assert "by Accelergy 45 nm" in " ".join(out.split())


@pytest.mark.parametrize("what", ["cascades", "bindings"])
def test_cascades_and_bindings_are_shown(capsys: pytest.CaptureFixture[str], what: str) -> None:
    code, out, _ = _run(capsys, "show", what, "--json")
    assert code == 0
    for row in json.loads(out):
        code, one, _ = _run(capsys, "show", what, row["name"])
        assert code == 0
        assert "[" in one


def test_area_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = _run(capsys, "show", "hardware", "tpu-v4i")
    assert "area of what is modelled: 2D array 108.8 mm2" in out


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("base: tpu-v5e\nattention: flash\n", "unknown binding 'flash'"),
        ("base: tpu-v5e\nnode_nm: 10\n", "no scaling to 10 nm"),
        ("base: tpu-v5e\nenergy: horowitz\n", "energy specification 'horowitz'"),
        ("base: tpu-v5e\narray: {dataflow: rs}\n", "dataflow"),
        ("base: tpu-v5e\narray: {rates: {bf16: 0}}\n", "more than zero"),
        ("base: tpu-v5e\narray: {rows: 0}\n", "greater than or equal to 1"),
    ],
)
def test_mistakes_are_named(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    code, out, err = _run(capsys, "simulate", "llama-3.2-1b", str(path), "--in", "16", "--out", "2")
    assert code == 2
    assert out == ""
    assert says in err


def test_cascade_of_ones_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "centre.yaml"
    path.write_text(
        "name: centre\ndescription: rows less their sum\nranks: {p: rows, m: columns}\n"
        "einsums: ['S[p] += X[m,p]', 'C[m,p] = X[m,p] - S[p]']\n"
    )
    code, out, _ = _run(capsys, "show", "cascades", str(path))
    assert code == 0
    assert "traversed 2 times" in out
    path.write_text("name: x\ndescription: x\nranks: {p: rows}\neinsums: ['S[p] = X[q]']\n")
    code, _, err = _run(capsys, "show", "cascades", str(path))
    assert code == 2
    assert "no rank 'q'" in err
