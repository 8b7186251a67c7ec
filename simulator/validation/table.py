"""Measured tables: CSV files read strictly, every problem reported at its line and column."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from simulator.core.errors import SpecError, SpecProblem

__all__ = ["Kind", "Row", "Table", "parse_rows", "read_table"]

_LARGEST_FILE_B = 64 * 2**20  # far above any table of measurements; keeps a wrong path from filling the memory
_MOST_PROBLEMS = 20


class Kind(StrEnum):
    """What the cells of a column hold."""

    TEXT = "a name"
    FREE = "any text, possibly empty"
    COUNT = "a whole number of at least 1"
    WHOLE = "a whole number of at least 0"
    POSITIVE = "a number above 0"
    AMOUNT = "a number of at least 0"
    FLAG = "0 or 1"


@dataclass(frozen=True, slots=True)
class Table:
    """The cells of one file as text, with the place of each."""

    file: str
    header: tuple[str, ...]
    header_columns: tuple[int, ...]  # character column of each name, from 1
    cells: tuple[tuple[str, ...], ...]
    cell_columns: tuple[tuple[int, ...], ...]
    lines: tuple[int, ...]  # line of each row, from 1


@dataclass(frozen=True, slots=True)
class Row:
    """One row with its numbers read; ``values`` holds a str for text columns and a float for all others."""

    file: str
    line: int
    columns: Mapping[str, int]
    values: Mapping[str, str | float]

    def text(self, column: str) -> str:
        """Return a text cell."""
        return str(self.values[column])

    def number(self, column: str) -> float:
        """Return a cell as a float."""
        return float(self.values[column])

    def integer(self, column: str) -> int:
        """Return a cell of a counting column."""
        return int(float(self.values[column]))

    @property
    def place(self) -> str:
        """``file:line``, for reports."""
        return f"{Path(self.file).name}:{self.line}"

    def error(self, column: str, message: str) -> SpecError:
        """Build the error that points at one cell of this row."""
        return SpecError([SpecProblem(self.file, self.line, self.columns[column], column, message)])


def read_table(path: Path) -> Table:
    """Read the cells of a CSV file with a header line.

    Raises
    ------
    SpecError
        If the file cannot be read, is empty, binary, not UTF-8 or beyond 64 MiB, or a row has not as many cells as the
        header.
    """
    file = str(path)
    text = _read_text(path)
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise _problem(file, 1, 1, "empty: expected a header line with column names, then rows")
    number, first = lines[0]
    header, header_columns = _split(file, number, first)
    doubled = [name for name in header if header.count(name) > 1]
    if doubled:
        column = header_columns[len(header) - 1 - header[::-1].index(doubled[0])]
        raise _problem(file, number, column, f"column {doubled[0]!r} is named twice")
    if len(lines) == 1:
        raise _problem(file, number, 1, "no rows below the header")
    cells, places, numbers = [], [], []
    problems: list[SpecProblem] = []
    for number, line in lines[1:]:
        row, columns = _split(file, number, line)
        if len(row) != len(header):
            problems.append(SpecProblem(file, number, 1, "", f"{len(row)} cells, but the header names {len(header)}"))
        cells.append(row)
        places.append(columns)
        numbers.append(number)
    _raise(problems)
    return Table(file, header, header_columns, tuple(cells), tuple(places), tuple(numbers))


def parse_rows(table: Table, kinds: Mapping[str, Kind]) -> list[Row]:
    """Read every cell by its column's kind; ``kinds`` names exactly the table's columns.

    Raises
    ------
    SpecError
        With every cell that is not what its column holds.
    """
    problems: list[SpecProblem] = []
    rows = []
    for cells, places, line in zip(table.cells, table.cell_columns, table.lines, strict=True):
        columns = dict(zip(table.header, places, strict=True))
        values: dict[str, str | float] = {}
        for name, cell in zip(table.header, cells, strict=True):
            value = _value(cell.strip(), kinds[name])
            if value is None:
                shown = cell if len(cell) <= 40 else cell[:40] + "..."
                message = f"expected {kinds[name].value}, got {shown!r}"
                problems.append(SpecProblem(table.file, line, columns[name], name, message))
            else:
                values[name] = value
        rows.append(Row(table.file, line, columns, values))
    _raise(problems)
    return rows


def _read_text(path: Path) -> str:
    file = str(path)
    if path.is_dir():
        raise _problem(file, 1, 1, "is a directory: name the files in it")
    try:
        with path.open("rb") as stream:
            data = stream.read(_LARGEST_FILE_B + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _problem(file, 1, 1, f"cannot be read: {reason}") from None
    if len(data) > _LARGEST_FILE_B:
        raise _problem(file, 1, 1, f"larger than the {_LARGEST_FILE_B // 2**20} MiB that a table of measurements has")
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise _problem(file, line, 1, "binary: expected a CSV file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise _problem(file, line, column, "not UTF-8: expected a CSV file") from None


def _split(file: str, number: int, line: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Split one line into cells and the character column at which each starts."""
    try:
        (cells,) = csv.reader([line], strict=True)
    except (csv.Error, ValueError) as error:
        raise _problem(file, number, 1, f"not a CSV line: {error}") from None
    starts, quoted = [1], False
    for position, character in enumerate(line, 1):
        if character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            starts.append(position + 1)
    return tuple(cells), tuple(starts)


def _value(cell: str, kind: Kind) -> str | float | None:
    """Return the cell as its column's kind, or None if it is not that."""
    if kind is Kind.FREE:
        return cell
    if kind is Kind.TEXT:
        return cell or None
    try:
        value = float(cell)
    except ValueError:
        return None
    if not math.isfinite(value) or value < 0.0 or "_" in cell:
        return None
    whole = value == math.floor(value)
    good = {
        Kind.COUNT: whole and value >= 1.0,
        Kind.WHOLE: whole,
        Kind.POSITIVE: value > 0.0,
        Kind.AMOUNT: True,
        Kind.FLAG: value in (0.0, 1.0),
    }
    return value if good[kind] else None


def _problem(file: str, line: int, column: int, message: str) -> SpecError:
    return SpecError([SpecProblem(file, line, column, "", message)])


def _raise(problems: list[SpecProblem]) -> None:
    """Raise what was found, the first twenty of it."""
    if len(problems) > _MOST_PROBLEMS:
        rest = len(problems) - _MOST_PROBLEMS
        last = problems[_MOST_PROBLEMS]
        more = SpecProblem(last.file, last.line, last.column, "", f"and {rest} more like these")
        problems = [*problems[:_MOST_PROBLEMS], more]
    if problems:
        raise SpecError(problems)
