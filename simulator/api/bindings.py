"""Bindings of cascades to arrays explained: what runs where, for how many cycles, and what overlaps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any

from hwmodels.spatial.binding import BoundEinsum, Phase, load_binding

__all__ = ["binding_detail", "binding_row", "binding_text"]

_WIDTH = 100
_SCORES = {
    "memory": "go to memory and come back",
    "rows": "wait in the buffer by rows, and spill where they do not fit",
    "tiles": "wait in the buffer by tiles of the array",
    "nowhere": "stay beside the units",
}


def binding_row(name: str) -> dict[str, Any]:
    """Return a binding as a row of a table."""
    binding = load_binding(name)
    return {
        "name": name,
        "cascade": binding.cascade.name,
        "2D array": " ".join(e.name for e in binding.einsums if e.on_2d),
        "scores": binding.scores,
        "description": binding.description,
    }


def binding_detail(name: str) -> dict[str, Any]:
    """Return a binding as plain data.

    Raises
    ------
    RidgelineError
        If there is no such binding, or the file of that name is not one.
    """
    binding = load_binding(name)
    return {
        "name": binding.name,
        "description": binding.description,
        "cascade": binding.cascade.name,
        "fused": binding.fused,
        "scores": binding.scores,
        "einsums": [_einsum(e) for e in binding.einsums],
        "phases": [_phase(phase) for phase in binding.phases],
    }


def _einsum(einsum: BoundEinsum) -> dict[str, Any]:
    return {"text": einsum.text, "array": "2D" if einsum.on_2d else "1D", "cycles_per_point": einsum.cycles}


def _phase(phase: Phase) -> dict[str, list[str]]:
    return {"array_2d": list(phase.array_2d), "array_1d": list(phase.array_1d), "travel": list(phase.travel)}


def binding_text(binding: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that show a binding."""
    yield from wrap(f"{binding['name']}: {binding['description']}", _WIDTH)
    yield f"cascade: {binding['cascade']}; scores {_SCORES[binding['scores']]}"
    yield ""
    width = max(len(e["text"]) for e in binding["einsums"])
    for einsum in binding["einsums"]:
        yield f"  {einsum['text']:<{width}}  {einsum['array']} array, {einsum['cycles_per_point']:g} cycles a point"
    yield ""
    together = "takes as long as the slower array" if binding["fused"] else "also waits for its own traffic with memory"
    yield f"Phases follow each other; each {together}:"
    for number, phase in enumerate(binding["phases"], start=1):
        sides = [f"2D {' '.join(phase['array_2d'])}"] if phase["array_2d"] else []
        sides += [f"1D {' '.join(phase['array_1d'])}"] if phase["array_1d"] else []
        sides += [f"{' '.join(phase['travel'])} crosses the rows of the 2D array"] if phase["travel"] else []
        yield f"  {number}. {' beside '.join(sides)}"
