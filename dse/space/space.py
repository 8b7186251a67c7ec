"""A space: axes and derived values over a base, and the point that belongs to each index."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.space.axes import Axis, text_of
from dse.space.expression import Expression
from simulator.core.document import Scalar

__all__ = [
    "MOST_POINTS",
    "Constraint",
    "Derived",
    "Objective",
    "Search",
    "Settings",
    "Space",
    "is_name",
    "located",
]

#: Index arithmetic is done in 64-bit integers, with room to spare.
MOST_POINTS = 10**18

Codes = NDArray[np.int64]

#: Path -> value of one point, as after ``--set``; ``None`` where a derived value came out not finite.
Settings = Mapping[str, Scalar]


def is_name(path: str) -> bool:
    """Tell whether the values of a path name specifications, bundled or in files."""
    return path in ("model", "hardware", "serve.prefill_hardware", "serve.decode_hardware")


def located(name: object, folder: str) -> str:
    """Return a bundled name as it is, and a relative path as one from its folder."""
    text = str(name)
    is_path = "/" in text or "\\" in text or text.lower().endswith((".yaml", ".yml", ".json"))
    return str(Path(folder) / text) if is_path else text


@dataclass(frozen=True, slots=True)
class Derived:
    """A value worked out from others; ``unit`` is written behind it where its field wants one."""

    path: str
    expression: Expression
    unit: str


@dataclass(frozen=True, slots=True)
class Objective:
    """A metric to make small, or large."""

    metric: str
    maximise: bool

    def __str__(self) -> str:
        return f"{'most' if self.maximise else 'least'} {self.metric}"


@dataclass(frozen=True, slots=True)
class Constraint:
    """A limit on a metric."""

    name: str
    metric: str
    limit: float  # SI
    at_most: bool

    def margin(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return by how much the limit is kept, as a fraction of it (in the metric's unit where the limit is 0).

        Negative where it is not kept.
        """
        slack = self.limit - value if self.at_most else value - self.limit
        return slack / abs(self.limit) if self.limit else slack


@dataclass(frozen=True, slots=True)
class Search:
    """How points are chosen and what is kept of them."""

    explorer: str = "exhaustive"
    points: int | None = None
    population: int = 64
    seed: int = 0
    keep: str = "all"
    shard: int | None = None
    tier: str | None = None  # points one by one or compiled; chosen by what is swept and how many there are


@dataclass(frozen=True)
class Space:
    """Everything a sweep file says, checked. The last axis varies fastest with the index (dse.space.order)."""

    name: str
    question: str
    file: str
    folder: str = field(compare=False, repr=False)  # that relative paths in the file are from
    model: str
    hardware: str
    overrides: Mapping[str, Scalar]
    run: Mapping[str, Any]
    serve: Mapping[str, Any] | None  # requests and servers; None: one batch is simulated
    axes: tuple[Axis, ...]
    derived: tuple[Derived, ...]
    metrics: Mapping[str, Expression]
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    for_each: tuple[str, ...] = ()  # axes that are no choice: each of their values has a front of its own
    search: Search = field(default_factory=Search)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Number of positions of each axis."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def size(self) -> int:
        """Number of points."""
        return math.prod(self.lengths)

    def codes(self, indices: NDArray[np.int64]) -> Codes:
        """Return the position on each axis of each index, shape (points, axes)."""
        columns = np.empty((len(self.axes), len(indices)), dtype=np.int64)  # each axis in one piece of memory
        rest = np.asarray(indices, dtype=np.int64)
        for position in range(len(self.axes) - 1, -1, -1):
            length = len(self.axes[position])
            above = rest // length  # several times quicker than divmod
            columns[position] = rest - above * length
            rest = above
        return columns.T

    def indices(self, codes: Codes) -> NDArray[np.int64]:
        """Return the index of each row of positions: the inverse of :meth:`codes`."""
        index = np.zeros(len(codes), dtype=np.int64)
        for position, axis in enumerate(self.axes):
            index = index * len(axis) + codes[:, position]
        return index

    @cached_property
    def _numbers(self) -> dict[str, tuple[int, NDArray[np.float64]]]:
        """Of each path whose values are numbers: its axis and its values along it, SI."""
        found = {}
        for position, axis in enumerate(self.axes):
            for path in axis.paths:
                numbers = axis.numbers(path)
                if numbers is not None:
                    found[path] = (position, numbers)
        return found

    def numbers(self, codes: Codes) -> dict[str, NDArray[np.float64]]:
        """Return a column per path that has numbers, of points by their positions; derived and fixed ones included."""
        columns = {path: values[codes[:, position]] for path, (position, values) in self._numbers.items()}
        for key, value in self.run.items():
            if f"run.{key}" not in columns and isinstance(value, int | float):
                columns[f"run.{key}"] = np.full(len(codes), float(value))
        for item in self.derived:
            columns[item.path] = np.broadcast_to(item.expression(columns), (len(codes),))
        return columns

    def labels(self, codes: Codes) -> dict[str, NDArray[np.object_]]:
        """Return a column per axis path that has text, of points by their positions."""
        found = {}
        for position, axis in enumerate(self.axes):
            for path in axis.paths:
                if path not in self._numbers:
                    texts = np.array([text_of(value) for value in axis.column(path)], dtype=object)
                    found[path] = texts[codes[:, position]]
        return found

    def condition(self, codes: Codes) -> NDArray[np.int64]:
        """Return a number for what is no choice at each point: points are compared where it is equal."""
        number = np.zeros(len(codes), dtype=np.int64)
        for position, axis in enumerate(self.axes):
            if axis.name in self.for_each:
                number = number * len(axis) + codes[:, position]
        return number

    def settings(self, index: int) -> dict[str, Scalar]:
        """Return what each varied or derived path is at one point, as it is written in files."""
        codes = self.codes(np.array([index], dtype=np.int64))
        found: dict[str, Scalar] = {}
        for axis, position in zip(self.axes, codes[0], strict=True):
            found |= dict(zip(axis.paths, axis.values[position], strict=True))
        if self.derived:
            numbers = self.numbers(codes)
            for item in self.derived:
                found[item.path] = _written(float(numbers[item.path][0]), item.unit)
        return found


def _written(value: float, unit: str) -> Scalar:
    """Return a derived number as files have it: whole where it is whole, with its unit; None if it has no value."""
    if not math.isfinite(value):
        return None
    number = int(value) if value.is_integer() and abs(value) < 2.0**53 else value
    return f"{number!r} {unit}" if unit else number
