"""What comparing a file of served requests gives: numbers side by side, and what could not be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from simulator.core.errors import SpecError, SpecProblem
from simulator.validation.table import Table, read_table

__all__ = ["Comparison", "ServedPoint", "ServingReplay", "cell_number", "records"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One figure of a run beside the one simulated; times in milliseconds."""

    run: str
    figure: str
    reference: float
    simulated: float
    limit: float | None = None  # of the relative error; None: shown, not judged

    @property
    def error(self) -> float:
        """Relative error."""
        return self.simulated / self.reference - 1.0

    @property
    def met(self) -> bool:
        """Whether the error keeps its limit."""
        return self.limit is None or abs(self.error) <= self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedPoint:
    """One row of published points: measured and simulated, in milliseconds."""

    line: int  # of the file
    model: str
    device: str
    engine: str
    devices: int
    concurrency: int
    inputs: int
    outputs: int
    ttft_ms: float
    tpot_ms: float
    simulated_ttft_ms: float
    simulated_tpot_ms: float

    @property
    def errors(self) -> dict[str, float]:
        """Relative error of each metric."""
        return {
            "TTFT": self.simulated_ttft_ms / self.ttft_ms - 1.0,
            "TPOT": self.simulated_tpot_ms / self.tpot_ms - 1.0,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingReplay:
    """A file compared.

    Attributes
    ----------
    families
        Mean absolute error, signed error and number of rows by family and metric, with a limit where one is judged.
    points
        Every row of published points that was served.
    unusable
        Rows that could not be compared, by reason.
    """

    file: str
    reference: str  # what the numbers are: measurements or another simulator's
    rows: int
    comparisons: Sequence[Comparison]
    families: Sequence[Mapping[str, Any]] = ()
    points: Sequence[ServedPoint] = ()
    unusable: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def ok(self) -> bool:
        """Whether everything that is judged keeps its limit."""
        judged = [family for family in self.families if family["limit"] is not None]
        return all(c.met for c in self.comparisons) and all(f["mape"] <= f["limit"] for f in judged)

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as plain data."""
        return {
            "schema": "ridgeline/replay-serving/v1",
            "file": self.file,
            "reference": self.reference,
            "rows": self.rows,
            "ok": self.ok,
            "comparisons": [
                {
                    "run": c.run,
                    "figure": c.figure,
                    "reference": c.reference,
                    "simulated": c.simulated,
                    "error": c.error,
                    "limit": c.limit,
                    "met": c.met,
                }
                for c in self.comparisons
            ],
            "families": [dict(family) for family in self.families],
            "points": [asdict(point) for point in self.points],
            "unusable": dict(self.unusable),
            "notes": list(self.notes),
        }


def records(path: Path, needed: Sequence[str]) -> tuple[Table, list[dict[str, str]]]:
    """Read a table as rows of text by column.

    Raises
    ------
    SpecError
        If it cannot be read or lacks a column.
    """
    table = read_table(path)
    missing = [name for name in needed if name not in table.header]
    if missing:
        raise SpecError([SpecProblem(table.file, 1, 1, "", f"no column {missing[0]!r}")])
    return table, [dict(zip(table.header, cells, strict=True)) for cells in table.cells]


def cell_number(table: Table, row: int, record: Mapping[str, str], name: str, empty: float | None = None) -> float:
    """Return a cell as a finite number of at least 0; ``empty`` where the cell is empty.

    Raises
    ------
    SpecError
        If it is none.
    """
    text = record[name].strip()
    if not text and empty is not None:
        return empty
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < 1e15:
        message = f"expected a number of at least 0, got {text[:40]!r}"
        raise SpecError([SpecProblem(table.file, table.lines[row], 1, name, message)])
    return value
