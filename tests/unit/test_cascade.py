"""Cascades: every attention cascade computes softmax attention, and the passes derived are those the paper states."""

from __future__ import annotations

import contextlib
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.api.bindings import binding_detail, binding_row, binding_text
from simulator.api.cascades import cascade_detail, cascade_text
from simulator.core.errors import InputError, RidgelineError
from workloads.cascade import Access, Apply, Cascade, Expression, cascade_names, load_cascade, parse_line
from workloads.passes import analyse_fibre, fibres_of, operations

ATTENTION = ("attention-3-pass", "attention-2-pass-late-division", "attention-2-pass", "attention-1-pass")
BOUNDS = {"p": 3, "m": 6, "m1": 3, "m0": 2, "e": 4, "f": 5}
_APPLY = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "max": max,
    "exp": math.exp,
}


def evaluate(cascade: Cascade, inputs: dict[str, np.ndarray], name: str) -> dict[tuple[int, ...], float]:
    """Evaluate one tensor of a cascade point by point, each value computed from what its line reads."""
    known: dict[tuple[str, tuple[int, ...]], float] = {}

    def value(tensor: str, at: tuple[int, ...]) -> float:
        if tensor in inputs:
            return float(inputs[tensor][at])
        if (tensor, at) not in known:
            known[tensor, at] = compute(tensor, at)
        return known[tensor, at]

    def compute(tensor: str, at: tuple[int, ...]) -> float:
        einsum = cascade.einsum(tensor)
        here = {}
        for index, position in zip(einsum.output.indices, at, strict=True):
            if index.at == "next" and position == 0:
                return 0.0 if cascade.start[tensor] == "zero" else -math.inf
            here[index.rank] = position - (index.at == "next")
        reduced = sorted(einsum.ranks - set(here))
        terms = [
            walk(einsum.expression, {**here, **dict(zip(reduced, point, strict=True))})
            for point in itertools.product(*(range(BOUNDS[rank]) for rank in reduced))
        ]
        return max(terms) if einsum.reduction == "max" else math.fsum(terms)

    def walk(expression: Expression, here: dict[str, int]) -> float:
        if isinstance(expression, Apply):
            return float(_APPLY[expression.operation](*(walk(a, here) for a in expression.arguments)))
        assert isinstance(expression, Access)
        at = {"here": lambda r: here[r], "next": lambda r: here[r] + 1, "end": lambda r: BOUNDS[r]}
        return value(expression.tensor, tuple(at[index.at](index.rank) for index in expression.indices))

    ranks = cascade.einsum(name).output.ranks
    return {at: value(name, at) for at in itertools.product(*(range(BOUNDS[rank]) for rank in ranks))}


@pytest.mark.parametrize("name", ATTENTION)
def test_every_attention_cascade_is_softmax_attention(name: str) -> None:
    generator = np.random.default_rng(1)
    q, k, v = generator.normal(size=(4, 3)), 3 * generator.normal(size=(4, 6)), generator.normal(size=(5, 6))
    scores = np.exp(k.T @ q - (k.T @ q).max(axis=0))
    expected = v @ (scores / scores.sum(axis=0))
    cascade = load_cascade(name)
    split = cascade.inputs[1].ranks[1:] == ("m1", "m0")
    shape = {"K": (4, 3, 2), "V": (5, 3, 2)} if split else {"K": (4, 6), "V": (5, 6)}
    found = evaluate(cascade, {"Q": q, "K": k.reshape(shape["K"]), "V": v.reshape(shape["V"])}, "AV")
    for at, value in found.items():
        assert value == pytest.approx(expected[at], rel=1e-12)


@pytest.mark.parametrize(("name", "passes"), list(zip(ATTENTION, (3, 2, 2, 1), strict=True)))
def test_passes_over_the_keys(name: str, passes: int) -> None:
    cascade = load_cascade(name)
    analysis = analyse_fibre(cascade, fibres_of(cascade)["keys"])
    assert analysis.passes == passes
    # One value per key and query crosses each boundary between passes; one pass keeps nothing that grows with them.
    assert analysis.kept_words(BOUNDS) == (0 if passes == 1 else 6)


def test_one_pass_traverses_a_block_twice() -> None:
    cascade = load_cascade("attention-1-pass")
    analysis = analyse_fibre(cascade, ("m0",))
    assert analysis.passes == 2
    assert analysis.waits_for == {"SLN": "RM"}
    assert analysis.kept_words(BOUNDS) == BOUNDS["m0"]


def test_lower_bound_pays_for_a_fibre_that_does_not_fit() -> None:
    bounds = {"p": 1000, "m": 500, "e": 4, "f": 4}
    cascade = load_cascade("attention-3-pass")
    analysis = analyse_fibre(cascade, ("m",))
    once = 2 * 4 * 1000 + 2 * 4 * 500
    assert analysis.least_words(bounds, 500) == once
    # K again in passes 2 and 3 is less than scores and exponentials out and back.
    assert analysis.least_words(bounds, 499) == once + 2 * 4 * 500
    few_queries = {**bounds, "p": 1, "e": 64}
    assert analysis.extra_words(few_queries) == 2 * 2 * 500


def test_layernorm_reads_its_input_again() -> None:
    analysis = analyse_fibre(load_cascade("layernorm"), ("m",))
    assert analysis.passes == 3
    assert [(str(c.tensor), c.made_in, c.read_in) for c in analysis.crossings] == [
        ("X[m,p]", 0, (1, 2)),
        ("C[m,p]", 2, (2, 3)),
    ]


def test_operations_of_one_pass_attention() -> None:
    found = operations(load_cascade("attention-1-pass"), BOUNDS)
    scores, blocks = 3 * 6, 3 * 3
    assert found["mac"] == scores * (4 + 5)
    assert found["exp"] == scores + blocks
    assert found["div"] == 3 * 5


def test_explanation_names_the_reason() -> None:
    text = "\n".join(cascade_text(cascade_detail("attention-3-pass")))
    assert "traversed 3 times" in text
    assert "needs SD, which is known only when pass 2" in text


def test_explanation_has_numbers() -> None:
    text = " ".join(cascade_detail("attention-3-pass")["fibres"][0]["explanation"])
    # Queries, keys, values and results once; keys again in passes 2 and 3.
    assert "buffer of 65,536 words for each fibre 16,777,216 words cross" in text
    assert "at least 8,388,608 more (50.0%)" in text


def test_own_cascade_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mean.yaml"
    path.write_text(
        "name: centre\ndescription: x\nranks: {p: rows, m: columns}\n"
        "einsums:\n  - S[p] += X[m,p]\n  - C[m,p] = X[m,p] - S[p]\n"
    )
    detail = cascade_detail(str(path))
    assert detail["fibres"][0]["passes"] == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Z[m]", "write an einsum"),
        ("Z[m] = A[m,k]", "say \\+= or max="),
        ("Z[m] += A[m]", "nothing is reduced"),
        ("Z[m] = log(A[m])", "no function 'log'"),
        ("Z[m] = max(A[m])", "max takes 2"),
        ("Z[m] = A[q]", "no rank 'q'"),
        ("Z[m] = A[m] +", "expected a tensor"),
        ("Z[m] = (A[m]", "expected"),
        ("Z[m] = A[k]", "lacks k|no tensor on the right"),
        ("Z[m] = A[m] $ B[m]", "cannot read"),
    ],
)
def test_wrong_lines_are_refused(line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_line(line, frozenset("mk"))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("[A[m] = X[m], A[m] = X[m]]", "made twice"),
        ("[B[m] = A[m], A[m] = X[m]]", "before it is made"),
        ("['R[m+1] = R[m] + X[m]']", "begins with"),
        ("[A[m] = X[m], B[m,p] = A[p] * X[m]]", "has ranks"),
    ],
)
def test_lines_must_agree(tmp_path: Path, lines: str, message: str) -> None:
    path = tmp_path / "wrong.yaml"
    quoted = lines if "'" in lines else "\n" + "\n".join(f"  - {line}" for line in lines[1:-1].split(", "))
    path.write_text(f"name: x\ndescription: x\nranks: {{p: rows, m: columns}}\neinsums: {quoted}\n")
    with pytest.raises(RidgelineError, match=message):
        load_cascade(path)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.text(alphabet="ABm0kpK[],+=*/-()max exp1", max_size=40))
def test_any_line_is_read_or_refused(line: str) -> None:
    with contextlib.suppress(InputError):
        einsum = parse_line(line, frozenset({"m", "k", "p"}))
        assert einsum.points({"m": 2, "k": 3, "p": 5}) >= 1


def test_bindings_are_shown() -> None:
    text = "\n".join(binding_text(binding_detail("fusemax")))
    assert "1. 2D QK LM beside 1D RD RNV AV" in text
    assert binding_row("flat")["scores"] == "rows"


def test_bundled_cascades_are_analysed() -> None:
    for name in cascade_names():
        cascade = load_cascade(name)
        assert all(analyse_fibre(cascade, ranks).passes >= 1 for ranks in fibres_of(cascade).values())
