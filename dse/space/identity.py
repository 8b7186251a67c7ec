"""What the results of a sweep depend on, as hashes: the space with all it names, and the program that computes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from dse.space.space import Space, is_name, located
from hwmodels.catalog import load_hardware
from simulator.core.jit import source_hash
from simulator.core.specfile import resolved_hash
from workloads.catalog import load_model

__all__ = ["model_version", "space_hash"]

_ROOT = Path(__file__).resolve().parents[2]
_IDLE = {"cli", "plots", "studies", "spaces", "page"}  # folders that no point depends on


def space_hash(space: Space) -> str:
    """Return the hash of a space: axes, base and every specification it names as resolved, not as spelled."""
    named: dict[str, list[Any]] = {"model": [space.model], "hardware": [space.hardware]}
    named["hardware"] += [value for key, value in (space.serve or {}).items() if value and is_name(f"serve.{key}")]
    for axis in space.axes:
        for path in axis.paths:
            if is_name(path):
                named["model" if path == "model" else "hardware"] += axis.column(path)
    return resolved_hash(
        {
            "models": [resolved_hash(load_model(located(name, space.folder))) for name in named["model"]],
            "hardware": [resolved_hash(load_hardware(located(name, space.folder))) for name in named["hardware"]],
            "overrides": dict(space.overrides),
            "run": dict(space.run),
            "serve": dict(space.serve or {}),
            "axes": [[list(axis.paths), [list(row) for row in axis.values]] for axis in space.axes],
            "derived": [[item.path, item.expression.text, item.unit] for item in space.derived],
            "metrics": {name: expression.text for name, expression in space.metrics.items()},
            "objectives": [[o.metric, o.maximise] for o in space.objectives],
            "for_each": list(space.for_each),
            "constraints": [[c.name, c.metric, c.limit, c.at_most] for c in space.constraints],
        }
    )


@cache
def model_version() -> str:
    """Return the hash of everything that computes a point: sources, coefficients, bundled specifications."""
    files = [
        path
        for package in ("simulator", "hwmodels", "workloads", "dse")
        for path in (_ROOT / package).rglob("*")
        if path.suffix in (".py", ".yaml") and not _IDLE.intersection(path.relative_to(_ROOT).parts)
    ]
    return source_hash(files)
