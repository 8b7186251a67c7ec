"""Axes of a space: which paths take which values together, as listed or as a range."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.core.document import Node, Place, Scalar
from simulator.core.errors import InputError, SpecProblem
from simulator.core.specfile import shown
from simulator.core.units import DIMENSIONS, parse_quantity

__all__ = ["Axis", "SpaceProblems", "dimension_of", "number_of", "read_axis", "text_of"]

#: More values than anyone steps through; a slip of the pen in a range.
_MOST_VALUES = 1_000_000

_NUMBER = re.compile(r"^\s*\+?[\d.]+([eE][-+]?\d+)?\s*", re.ASCII)
_RANGE_KEYS = ("from", "to", "step", "steps", "factor", "scale")


class SpaceProblems(list[SpecProblem]):
    """Everything found wrong with a sweep file, each at its place."""

    def add(self, place: Place, path: str, message: str) -> None:
        """Note one problem."""
        self.append(SpecProblem(*place, path, message))


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: position ``i`` gives each of ``paths`` the value ``values[i][path number]``."""

    name: str
    paths: tuple[str, ...]
    values: tuple[tuple[Scalar, ...], ...]
    place: Place

    def __len__(self) -> int:
        return len(self.values)

    def column(self, path: str) -> tuple[Scalar, ...]:
        """Return the values of one path along the axis."""
        position = self.paths.index(path)
        return tuple(row[position] for row in self.values)

    def numbers(self, path: str) -> NDArray[np.float64] | None:
        """Return the values of one path in SI, or None if one of them is no number."""
        found = [number_of(value) for value in self.column(path)]
        if any(number is None for number in found):
            return None
        return np.array(found, dtype=np.float64)

    def summary(self) -> str:
        """Say in a few words what the axis takes."""
        labels = [" + ".join(text_of(value) for value in row) for row in self.values]
        if len(labels) > 4:
            return f"{labels[0]}, {labels[1]} ... {labels[-1]} ({len(labels)} values)"
        return ", ".join(labels)


def dimension_of(text: str) -> str | None:
    """Return the dimension that a quantity as written is in (``"B/s"`` of ``"3.35 TB/s"``), None if it is none."""
    for dimension in DIMENSIONS:
        try:
            parse_quantity(text, dimension)
        except InputError:
            continue
        return dimension
    return None


def number_of(value: Scalar) -> float | None:
    """Return a value in SI: of a number, a truth value or a quantity; None for other text and for nothing."""
    if isinstance(value, bool | int | float):
        return float(value)
    if isinstance(value, str):
        dimension = dimension_of(value)
        return None if dimension is None else parse_quantity(value, dimension)
    return None


def text_of(value: Scalar) -> str:
    """Return a value as it is written after ``--set path=``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


def read_axis(name: str, node: Node, problems: SpaceProblems) -> Axis | None:
    """Read one entry under ``axes``: a list, a range, or ``link`` with the values of several paths side by side."""
    where = f"axes.{name}"
    if isinstance(node.value, list):
        rows = [_scalar(item, where, problems) for item in node.value]
        return _axis(name, (name,), [(row,) for row in rows], node, problems)
    if isinstance(node.value, dict) and set(node.value) == {"link"}:
        return _linked(name, node.value["link"], problems)
    if isinstance(node.value, dict):
        values = _range(node, where, problems)
        return None if values is None else _axis(name, (name,), [(value,) for value in values], node, problems)
    problems.add(node.place, where, f"expected a list, a range (from, to) or a link, got {shown(node.plain())}")
    return None


def _axis(
    name: str, paths: tuple[str, ...], rows: Sequence[tuple[Scalar, ...]], node: Node, problems: SpaceProblems
) -> Axis | None:
    if not rows:
        problems.add(node.place, f"axes.{name}", "is empty: give it a value, or leave it out to keep that of the base")
        return None
    if len(set(map(repr, rows))) < len(rows):
        problems.add(node.place, f"axes.{name}", "holds the same value twice")
        return None
    return Axis(name, paths, tuple(rows), node.place)


def _scalar(node: Node, where: str, problems: SpaceProblems) -> Scalar:
    if isinstance(node.value, dict | list):
        problems.add(node.place, where, f"expected a single value, got {shown(node.plain())}")
        return None
    return node.value


def _linked(name: str, node: Node, problems: SpaceProblems) -> Axis | None:
    """Read a list of mappings with the same keys: one position of the axis each."""
    where = f"axes.{name}.link"
    rows = node.value if isinstance(node.value, list) else []
    if not rows or not all(isinstance(row.value, dict) and row.value for row in rows):
        problems.add(node.place, where, "expected a list of mappings, each from paths to their values at one position")
        return None
    members = [(row, row.value) for row in rows if isinstance(row.value, dict)]
    paths = tuple(members[0][1])
    for row, given in members[1:]:
        if set(given) != set(paths):
            odd = sorted(set(given) ^ set(paths))
            problems.add(row.place, where, f"must name the same paths as the first position: see {', '.join(odd)}")
            return None
    taken = [tuple(_scalar(given[path], where, problems) for path in paths) for _, given in members]
    return _axis(name, paths, taken, node, problems)


def _range(node: Node, where: str, problems: SpaceProblems) -> list[Scalar] | None:
    """Read ``{from, to}`` with one of ``step``, ``factor`` or ``steps`` (and ``scale: log``)."""
    assert isinstance(node.value, dict)
    given = {key: child.value for key, child in node.value.items()}
    for key, child in node.value.items():
        if key not in _RANGE_KEYS:
            problems.add(child.place, f"{where}.{key}", f"unknown key (known: {', '.join(_RANGE_KEYS)}, link)")
            return None
    steppers = [key for key in ("step", "factor", "steps") if key in given]
    if "from" not in given or "to" not in given or len(steppers) != 1:
        problems.add(node.place, where, "a range needs from, to and one of step, factor and steps")
        return None
    try:
        return _expand(given)
    except ValueError as error:
        problems.add(node.value.get(steppers[0], node).place, where, str(error))
        return None


def _expand(given: Mapping[str, object]) -> list[Scalar]:
    """Return the values of a range, whole numbers where its ends and steps are.

    Raises
    ------
    ValueError
        If it does not lead from one end to the other.
    """
    unit, first, last = _ends(given["from"], given["to"])
    log = given.get("scale", "linear") == "log"
    if given.get("scale", "linear") not in ("linear", "log"):
        raise ValueError(f"scale is linear or log, got {shown(given['scale'])}")
    if "steps" in given:
        count = given["steps"]
        if isinstance(count, bool) or not isinstance(count, int) or not 2 <= count <= _MOST_VALUES:
            raise ValueError(f"steps must be a whole number from 2 to {_MOST_VALUES}, got {shown(count)}")
        if log and first <= 0:
            raise ValueError("a log range must start above zero")
        values = (np.geomspace if log else np.linspace)(first, last, count).tolist()
        whole = False
    elif log:
        raise ValueError("scale: log goes with steps; with factor a range is logarithmic anyway")
    elif "factor" in given:
        values = _geometric(first, last, given["factor"])
        whole = all(float(value).is_integer() for value in values)
    else:
        values = _arithmetic(first, last, given["step"], unit)
        whole = all(float(value).is_integer() for value in values)
    return [_written(value, str(given["from"]) if unit != "1" else "", unit, whole) for value in values]


def _ends(first: object, last: object) -> tuple[str, float, float]:
    """Return the dimension of a range and its ends in SI."""
    units = {dimension_of(end) if isinstance(end, str) else "1" for end in (first, last)}
    numbers = [number_of(end) if isinstance(end, str | int | float) else None for end in (first, last)]
    unit = units.pop()
    if units or unit is None or numbers[0] is None or numbers[1] is None:
        raise ValueError(f"from and to must be numbers or quantities of one kind, got {shown(first)} and {shown(last)}")
    if numbers[0] >= numbers[1]:
        raise ValueError(f"from {shown(first)} is not below to {shown(last)}")
    return unit, numbers[0], numbers[1]


def _geometric(first: float, last: float, factor: object) -> list[float]:
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not factor > 1.0 or first <= 0:
        raise ValueError(f"factor must be a number above 1, with from above zero, got {shown(factor)}")
    count = math.floor(math.log(last / first) / math.log(factor) + 1e-9) + 1
    if count > _MOST_VALUES:
        raise ValueError(f"a range of {count} values: at most {_MOST_VALUES}")
    return [first * float(factor) ** i for i in range(count)]


def _arithmetic(first: float, last: float, step: object, unit: str) -> list[float]:
    width = number_of(step) if isinstance(step, str | int | float) else None
    same = unit == (dimension_of(step) if isinstance(step, str) else "1")
    if width is None or not width > 0.0 or not same:
        raise ValueError(f"step must be above zero and of the same kind as from and to, got {shown(step)}")
    count = math.floor((last - first) / width + 1e-9) + 1
    if count > _MOST_VALUES:
        raise ValueError(f"a range of {count} values: at most {_MOST_VALUES}")
    return [first + i * width for i in range(count)]


def _written(value: float, like: str, dimension: str, whole: bool) -> Scalar:
    """Return a value of a range as a file has it: six digits, in the unit of its first value."""
    if not like:
        return int(value) if whole else float(f"{value:.6g}")
    unit = _NUMBER.sub("", like)
    return f"{value / parse_quantity(f'1 {unit}', dimension):.6g} {unit}"
