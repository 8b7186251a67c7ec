"""Elasticities at a point of a sweep: what a little more of every parameter would change, in per cent per per cent.

Swept numbers are moved to their neighbours on their axis; every other number of the hardware is raised by 1 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel

from dse.evaluate import all_constraints, evaluate_shard
from dse.metrics import METRICS, measure
from dse.space.axes import text_of
from dse.space.paths import arguments_of, split_overrides
from dse.space.space import Space
from hwmodels.catalog import load_hardware
from simulator.api.simulate import simulate
from simulator.core.errors import RidgelineError
from simulator.core.quantity import Rate

__all__ = ["STEP", "Elasticity", "elasticities", "elasticities_text"]

#: By how much a number of the hardware is raised; whole numbers by one at least.
STEP = 0.01

_SHOWN = 20
_LEAST = 5e-4  # below this nothing is said to change
_NO_PARAMETER = {"year", "price", "nodes", "count"}  # facts, or numbers that change what is asked


@dataclass(frozen=True, slots=True)
class Elasticity:
    """One parameter: its path and value, and d ln(metric) / d ln(parameter) by metric."""

    path: str
    value: str
    swept: bool
    change: Mapping[str, float]

    @property
    def largest(self) -> float:
        """The largest change of any metric, in either direction."""
        return max(map(abs, self.change.values()), default=0.0)


def elasticities(space: Space, index: int, level: str) -> list[Elasticity]:
    """Return the elasticities of every parameter at a point, the most telling first.

    Parameters
    ----------
    space : Space
    index : int
        Of the point.
    level : str
        Detail of the device models.

    Raises
    ------
    RidgelineError
        If the point itself is no design that can be simulated.
    """
    names = list(dict.fromkeys([o.metric for o in space.objectives] + [c.metric for c in all_constraints(space)]))
    settings = space.settings(index)
    if space.serve is not None:  # servers are many steps and queues: only what was swept is moved
        return sorted(_swept(space, index, level, names), key=lambda item: -item.largest)
    base = simulate(**{**arguments_of(space, settings), "level": level}, elasticity=False)
    found = [*_swept(space, index, level, names), *_of_hardware(space, index, level, names, measure(base))]
    return sorted(found, key=lambda item: -item.largest)


def _swept(space: Space, index: int, level: str, names: list[str]) -> Iterator[Elasticity]:
    """Compare the neighbours of a point on each axis of numbers."""
    (here,) = space.codes(np.array([index], dtype=np.int64))
    for position, axis in enumerate(space.axes):
        numeric = [path for path in axis.paths if axis.numbers(path) is not None]
        if len(axis) < 2 or len(numeric) != len(axis.paths):
            continue
        sides = [here.copy(), here.copy()]
        sides[0][position] = max(here[position] - 1, 0)
        sides[1][position] = min(here[position] + 1, len(axis) - 1)
        shard = evaluate_shard(space, space.indices(np.array(sides)), level)
        values = axis.numbers(axis.paths[0])
        assert values is not None
        low, high = (float(values[side[position]]) for side in sides)
        if low <= 0.0 or high <= 0.0 or low == high:
            continue
        width = math.log(high / low)
        change = {
            name: float(np.log(shard.metrics[name][1] / shard.metrics[name][0])) / width
            for name in names
            if (shard.metrics[name] > 0).all()  # also false where a neighbour was refused
        }
        yield Elasticity(axis.name, text_of(axis.values[here[position]][0]), True, change)


def _of_hardware(
    space: Space, index: int, level: str, names: list[str], before: Mapping[str, float]
) -> Iterator[Elasticity]:
    """Raise every number of the hardware in turn."""
    arguments = {**arguments_of(space, space.settings(index)), "level": level}
    changes = split_overrides(arguments.pop("overrides"))
    system = load_hardware(arguments.pop("hardware"), changes.hardware)
    others = [f"model.{text}" for text in changes.model] + [f"profile.{text}" for text in changes.profile]
    asked = [name for name in names if name in METRICS]
    swept = {path for axis in space.axes for path in axis.paths}
    for path, value, raised, factor in _numbers(system):
        short = ".".join(path).removeprefix("units.0.").removeprefix("device.")
        if short in swept or ".".join(path) in swept:
            continue
        try:
            after = measure(
                simulate(hardware=_with(system, path, raised), overrides=others, elasticity=False, **arguments)
            )
        except RidgelineError:
            continue  # fields that bound each other: nothing follows from one alone
        change = {name: math.log(after[name] / before[name]) / math.log(factor) for name in asked if before.get(name)}
        yield Elasticity(short, value, False, change)


def _numbers(record: BaseModel, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, Any, float]]:
    """Yield every number of a record that is not zero: path, value as text, raised value, by which factor."""
    for name, info in type(record).model_fields.items():
        here = (*path, info.alias or name)
        value = getattr(record, name)
        if here[-1] in _NO_PARAMETER:
            continue
        if isinstance(value, BaseModel):
            yield from _numbers(value, here)
        elif isinstance(value, Rate):
            per = "per clock" if value.per_clock else "per second"
            yield here, f"{value.value:.4g} {per}", value._replace(value=value.value * (1 + STEP)), 1 + STEP
        elif isinstance(value, tuple):
            for number, item in enumerate(value):
                if isinstance(item, BaseModel):
                    yield from _numbers(item, (*here, str(number)))
        elif isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            raised = value + max(1, round(value * STEP)) if isinstance(value, int) else value * (1 + STEP)
            yield here, f"{value:.4g}", raised, raised / value


def _with(record: Any, path: tuple[str, ...], value: Any) -> Any:
    """Return a copy of a record with another value at a path as files write it."""
    if not path:
        return value
    if isinstance(record, tuple):
        number = int(path[0])
        return (*record[:number], _with(record[number], path[1:], value), *record[number + 1 :])
    fields = type(record).model_fields
    name = next(name for name, info in fields.items() if (info.alias or name) == path[0])
    return record.model_copy(update={name: _with(getattr(record, name), path[1:], value)})


def elasticities_text(found: list[Elasticity]) -> str:
    """Return a table of the parameters that change something."""
    telling = [item for item in found if item.largest >= _LEAST]
    names = list(dict.fromkeys(name for item in telling for name in item.change))
    names = [name for name in names if any(abs(item.change.get(name, 0.0)) >= _LEAST for item in telling)]
    rows = [["% per % more of", "now", *names]]
    for item in telling[:_SHOWN]:
        cells = [f"{item.change[name]:+.2f}" if name in item.change else "-" for name in names]
        rows.append([item.path + (" (swept)" if item.swept else ""), item.value, *cells])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        f"{row[0]:<{widths[0]}}  " + "  ".join(f"{c:>{w}}" for c, w in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]
    silent = len(found) - len(telling)
    more = f"{len(telling) - _SHOWN} more, " if len(telling) > _SHOWN else ""
    return "\n".join([*lines, f"{more}{silent} others change nothing"])
