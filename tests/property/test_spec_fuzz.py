"""Whatever a file holds, reading it either works or ends in a SpecError."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from dse.space.file import load_space
from hwmodels.catalog import SPECS, load_hardware
from hwmodels.spatial.binding import load_binding
from simulator.core.document import parse_scalar, parse_yaml, read_document
from simulator.core.document_json import parse_json
from simulator.core.errors import RidgelineError, SpecError
from simulator.core.units import DIMENSIONS, format_quantity, parse_quantity
from workloads.cascade import load_cascade

FILES = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
VALID = (SPECS / "gpu" / "a100.yaml").read_text(encoding="utf-8")
#: Pieces that mean something to YAML or to the schema, so that mutations reach further than the scanner.
PIECES = [
    "{",
    "}",
    "[",
    "]",
    ":",
    " ",
    "\n",
    "- ",
    "&a ",
    "*a",
    "!!",
    "'",
    '"',
    "|",
    "#",
    "\t",
    "base: a100\n",
    "nan",
    "-1",
]
PIECES += ["value: ", "source: ", "1e999", "~", "units:\n", "device: ", "count: 0\n", "null", "true", "<<: ", "? ", "%"]


@FILES
@given(content=st.binary(max_size=300))
@example(content=b"\xff\xfe")
@example(content=b"a: \x00")
def test_bytes(content: bytes, tmp_path: Path) -> None:
    for suffix in ("yaml", "json"):
        path = tmp_path / f"spec.{suffix}"
        path.write_bytes(content)
        with pytest.raises(SpecError):
            load_hardware(path)  # no such short file is a whole GPU


@FILES
@given(text=st.text(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_text(text: str) -> None:
    for parse in (parse_yaml, parse_json):
        root, problems = parse(text, "fuzz")
        assert root is not None or problems
        for problem in problems:
            assert problem.line >= 1
            assert problem.column >= 1


@FILES
@given(data=st.data())
def test_mutations_of_a_valid_file(data: st.DataObject, tmp_path: Path) -> None:
    text = VALID
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 12))
        text = text[:at] + data.draw(st.sampled_from(["", *PIECES]) | st.text(max_size=3)) + text[at + cut :]
    path = tmp_path / "gpu.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        system = load_hardware(path)
    except SpecError as error:
        assert error.problems
        assert all(p.file for p in error.problems)
    else:
        assert all(math.isfinite(x) and x > 0 for x in system.device.params())


def mutated(data: st.DataObject, text: str) -> str:
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 12))
        text = text[:at] + data.draw(st.sampled_from(["", "0", "1e30", *PIECES])) + text[at + cut :]
    return text


ROOT = SPECS.parents[1]
#: Files of every other kind, and what reads them.
OTHERS: dict[str, tuple[Path, Callable[[str], object]]] = {
    "pim": (SPECS / "pim" / "attacc.yaml", load_hardware),
    "spatial": (SPECS / "spatial" / "fusemax-cloud.yaml", load_hardware),
    "system": (SPECS / "system" / "duplex.yaml", load_hardware),
    "cascade": (ROOT / "workloads" / "cascades" / "attention-1-pass.yaml", load_cascade),
    "binding": (ROOT / "hwmodels" / "spatial" / "bindings" / "fusemax.yaml", load_binding),
    "space": (ROOT / "dse" / "spaces" / "quickstart.yaml", load_space),
}


@pytest.mark.parametrize("kind", OTHERS)
@settings(FILES, max_examples=40)
@given(data=st.data())
def test_mutations_of_other_files(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    source, load = OTHERS[kind]
    path = tmp_path / "changed.yaml"
    path.write_text(mutated(data, source.read_text(encoding="utf-8")), encoding="utf-8", errors="replace")
    try:
        load(str(path))
    except RidgelineError as error:
        assert str(error)


@FILES
@given(
    assignment=st.text(max_size=40) | st.lists(st.sampled_from([*PIECES, "hbm", ".", "=", "bandwidth"])).map("".join)
)
@example(assignment="units.9.count=1")
@example(assignment="coefficients.gemm.fixed.x=1")
@example(assignment="units=1")
@example(assignment="units.*.count=3")
@example(assignment="link.=")
def test_overrides(assignment: str) -> None:
    try:
        load_hardware("t4", [assignment])
    except RidgelineError as error:
        assert str(error)


@given(name=st.text(max_size=30))
@example(name="h100x00008")
@example(name="\x00.yaml")
@example(name="x/" * 3000 + ".yaml")
def test_names(name: str) -> None:
    try:
        load_hardware(name)
    except RidgelineError as error:
        assert str(error)


@given(value=st.floats(1e-15, 1e15), dimension=st.sampled_from(sorted(DIMENSIONS)))
def test_written_quantities_read_back(value: float, dimension: str) -> None:
    assume(value < DIMENSIONS[dimension].largest)
    assert math.isclose(parse_quantity(format_quantity(value, dimension, digits=6), dimension), value, rel_tol=1e-5)


@given(text=st.text(max_size=20))
def test_scalars(text: str) -> None:
    try:
        value = parse_scalar(text)
    except ValueError:
        return
    assert not isinstance(value, float) or math.isfinite(value)


def test_a_round_trip_through_json(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"a": [1, 2.5, "x", null, true, {"b": -3e2}]}')
    assert read_document(path).plain() == {"a": [1, 2.5, "x", None, True, {"b": -300.0}]}
