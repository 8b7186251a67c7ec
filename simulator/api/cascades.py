"""Cascades of einsums explained: passes over each fibre, why they are needed and what they cost, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any

from workloads.cascade import Access, cascade_names, load_cascade
from workloads.passes import Crossing, FibrePasses, analyse_fibre, fibres_of

__all__ = ["cascade_detail", "cascade_row", "cascade_text"]

_WIDTH = 100


def cascade_row(name: str) -> dict[str, Any]:
    """Return a cascade as a row of a table."""
    cascade = load_cascade(name)
    fibre, ranks = next(iter(fibres_of(cascade).items()))
    analysis = analyse_fibre(cascade, ranks)
    return {
        "name": name,
        "einsums": len(cascade.einsums),
        "passes": f"{analysis.passes} over {fibre}",
        "kept": " + ".join(_size(c.tensor, ranks) for c in analysis.crossings) or "-",
        "description": cascade.description,
    }


def cascade_detail(name: str) -> dict[str, Any]:
    """Return a cascade with its analysis as plain data.

    Raises
    ------
    RidgelineError
        If there is no such cascade, or the file of that name is not one.
    """
    cascade = load_cascade(_known(name))
    return {
        "name": cascade.name,
        "description": cascade.description,
        "based_on": cascade.based_on,
        "ranks": dict(cascade.ranks),
        "inputs": [str(access) for access in cascade.inputs],
        "outputs": [str(access) for access in cascade.outputs],
        "einsums": [
            {"text": e.text, "makes": e.name, "operations_per_point": dict(e.operations)} for e in cascade.einsums
        ],
        "fibres": [_fibre(fibre, analyse_fibre(cascade, ranks)) for fibre, ranks in fibres_of(cascade).items()],
    }


def _known(name: str) -> str | Path:
    return Path(name) if name not in cascade_names() and Path(name).is_file() else name


def _fibre(name: str, analysis: FibrePasses) -> dict[str, Any]:
    return {
        "fibre": name,
        "ranks": list(analysis.ranks),
        "passes": analysis.passes,
        "pass_of": dict(analysis.pass_of),
        "alongside": dict(analysis.alongside),
        "after": dict(analysis.after),
        "waits_for": dict(analysis.waits_for),
        "kept": [
            {
                "tensor": str(c.tensor),
                "words": _size(c.tensor, analysis.ranks),
                "made_in": c.made_in,
                "read_in": list(c.read_in),
            }
            for c in analysis.crossings
        ],
        "explanation": list(_explain(name, analysis)),
    }


def _size(tensor: Access, fibre: tuple[str, ...]) -> str:
    """Return the words of a tensor, and per point of which other ranks."""
    held = " ".join(rank.upper() for rank in tensor.ranks if rank in fibre)
    others = " ".join(rank for rank in tensor.ranks if rank not in fibre)
    return f"{held} words" + (f" per {others}" if others else "")


def _explain(name: str, analysis: FibrePasses) -> Iterator[str]:
    cascade = analysis.cascade
    ranks = " ".join(analysis.ranks)
    times = "once" if analysis.passes == 1 else f"{analysis.passes} times"
    yield f"A fibre of {name} ({ranks}) is traversed {times}."
    for number in range(1, analysis.passes + 1):
        makes = [e.name for e in cascade.einsums if analysis.pass_of.get(e.name) == number]
        begins = [name for name in makes if name in analysis.waits_for]
        text = f"Pass {number}: {', '.join(makes)}."
        if begins:
            reasons = dict.fromkeys(analysis.waits_for[name] for name in begins)
            known = ", ".join(reasons)
            text += (
                f" {begins[0]} visits the fibre again and needs {known}, which is known only when pass {number - 1} "
                "has seen all of it."
            )
        yield text
    for crossing in analysis.crossings:
        yield _crossing(crossing, analysis)
    yield from _example(analysis)
    if not analysis.crossings:
        yield (
            "Nothing along the fibre is needed twice: a buffer of a size that does not grow with it is enough, and "
            "inputs and outputs cross the chip's edge once."
        )


def _example(analysis: FibrePasses) -> Iterator[str]:
    """Yield what the passes cost with the bounds of the file's example."""
    bounds = analysis.cascade.example
    if not bounds or not analysis.crossings:
        return
    kept, once = analysis.kept_words(bounds), analysis.least_words(bounds, math.inf)
    extra = analysis.extra_words(bounds)
    sizes = ", ".join(f"{rank} = {bound}" for rank, bound in bounds.items())
    yield (
        f"With {sizes}: with a buffer of {kept:,} words for each fibre {once:,} words cross the chip's edge, with less "
        f"at least {extra:,} more ({extra / once:.1%})."
    )


def _crossing(crossing: Crossing, analysis: FibrePasses) -> str:
    size = _size(crossing.tensor, analysis.ranks)
    later = [number for number in crossing.read_in if number > crossing.first]
    passes = "pass " + " and ".join(map(str, later))
    if not crossing.made_in:
        return (
            f"{crossing.tensor} is read in pass {crossing.first} and again in {passes}: keep {size}, or read it again."
        )
    inputs = " and ".join(map(str, crossing.from_inputs))
    again = f", or compute it again from {inputs}, read once more each time" if inputs else ""
    return (
        f"{crossing.tensor} is made in pass {crossing.made_in} and read in {passes}: keep {size}, or write it out and "
        f"read it back{again}."
    )


def cascade_text(cascade: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that show a cascade."""
    yield from wrap(f"{cascade['name']}: {cascade['description']}", _WIDTH)
    yield ""
    fibres = cascade["fibres"]
    names = [fibre["fibre"] for fibre in fibres]
    width = max(len(e["text"]) for e in cascade["einsums"])
    for einsum in cascade["einsums"]:
        marks = [_mark(fibre, einsum["makes"]) for fibre in fibres]
        yield f"  {einsum['text']:<{width}}  {', '.join(f'{m} of {n}' for m, n in zip(marks, names, strict=True))}"
    yield ""
    for fibre in fibres:
        for line in fibre["explanation"]:
            yield from wrap(line, _WIDTH, subsequent_indent="  ")
        yield ""
    for rank, meaning in cascade["ranks"].items():
        yield f"  {rank:<4}{meaning}"
    if cascade["based_on"]:
        yield from wrap(f"source: {cascade['based_on']}", _WIDTH, initial_indent="  ", subsequent_indent="  ")


def _mark(fibre: Mapping[str, Any], makes: str) -> str:
    if makes in fibre["pass_of"]:
        return f"pass {fibre['pass_of'][makes]}"
    if makes in fibre["alongside"]:
        return f"beside pass {fibre['alongside'][makes]}"
    after = fibre["after"][makes]
    return f"after pass {after}" if after else "before"
