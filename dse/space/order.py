"""The order of axes: those whose values share a compiled model vary fastest with the index.

Then a range of indices falls into few runs of points, each evaluated at once; the file's order is kept otherwise.
"""

from __future__ import annotations

from dataclasses import replace

from dse.batch.columns import COLUMNS, FREE, column_name
from dse.space.axes import Axis, dimension_of
from dse.space.space import Space

__all__ = ["columns_of", "in_compiled_order", "needs_model"]


def columns_of(space: Space) -> dict[str, str]:
    """Return the column of every varied or derived path that is one; each value of the others needs its own model."""
    units: dict[str, str | None] = {}
    for axis in space.axes:
        for path in axis.paths:
            kinds = {dimension_of(v) if isinstance(v, str) else "1" for v in axis.column(path) if v is not None}
            units[path] = kinds.pop() if len(kinds) == 1 and axis.numbers(path) is not None else None
    for item in space.derived:
        units[item.path] = dimension_of(f"1 {item.unit}") if item.unit else "1"
    found = {path: column_name(path, dimension) for path, dimension in units.items() if dimension is not None}
    return {path: column for path, column in found.items() if column is not None}


def needs_model(space: Space, axis: Axis, columns: dict[str, str]) -> bool:
    """Tell whether each position of an axis needs a model of its own."""
    return _rank(space, axis, columns) == 0


def _rank(space: Space, axis: Axis, columns: dict[str, str]) -> int:
    """Return 0 for an axis that needs a model per value, else more the less of a model's work its values change."""
    touched = set(axis.paths)
    touched |= {item.path for item in space.derived if touched & _all_names(space, item.path)}
    ranks = [
        1 + COLUMNS[columns[path]].rank if path in columns else 0 for path in touched if not path.startswith("var.")
    ]
    return min(ranks, default=1 + FREE)


def _all_names(space: Space, path: str) -> set[str]:
    """Return the names that a derived value depends on, those of other derived values included."""
    by_path = {item.path: item.expression for item in space.derived}
    names: set[str] = set()
    todo = [path]
    while todo:
        for name in by_path[todo.pop()].names:
            if name not in names:
                names.add(name)
                todo += [name] if name in by_path else []
    return names


def in_compiled_order(space: Space) -> Space:
    """Return the space with its axes in that order."""
    columns = columns_of(space)
    return replace(space, axes=tuple(sorted(space.axes, key=lambda axis: _rank(space, axis, columns))))
