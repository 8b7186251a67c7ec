"""What a reproduced paper consists of: figures it reports against figures simulated here, tables, notes, pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Comparison", "Confidence", "Progress", "Study", "StudyFigure", "Verdict", "study_document", "study_text"]

#: How sure the reported figure is: read in the paper or its artifact, told by others, or remembered.
Confidence = Literal["retrieved", "secondary", "recalled"]
Verdict = Literal["within", "missed", "shown"]
#: Called with a line of what is being computed now.
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One figure of a paper beside the one simulated.

    Only what was retrieved and has a tolerance is judged; everything else is shown.
    """

    what: str  # "Mixtral, throughput against GPU, most"
    reported: float | tuple[float, float] | None  # a value, a range, or nothing known
    simulated: float | tuple[float, float]
    unit: str = "x"
    confidence: Confidence = "retrieved"
    source: str  # "abstract", "Fig. 11", ...
    tolerance: float | None = None  # relative error that is still agreement; None: shown, not judged
    note: str = ""  # why they differ, or on what terms they compare

    @property
    def error(self) -> float | None:
        """Relative distance of simulated from reported: 0 inside a reported range, None where nothing was reported.

        For two ranges: the larger of the distances of their ends.
        """
        if self.reported is None:
            return None
        low, high = self.reported if isinstance(self.reported, tuple) else (self.reported, self.reported)
        if isinstance(self.simulated, tuple):
            return max((self.simulated[0] / low - 1.0, self.simulated[1] / high - 1.0), key=abs)
        if low <= self.simulated <= high:
            return 0.0
        nearest = low if self.simulated < low else high
        return self.simulated / nearest - 1.0

    @property
    def verdict(self) -> Verdict:
        """Whether simulated agrees within the tolerance, where that is judged."""
        if self.error is None or self.tolerance is None or self.confidence != "retrieved":
            return "shown"
        return "within" if abs(self.error) <= self.tolerance else "missed"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFigure:
    """A picture of a study: drawn when it is asked for, from rows that are written beside it."""

    name: str  # file name without ending
    rows: Sequence[Mapping[str, Any]]
    draw: Callable[[], Figure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A paper reproduced."""

    name: str
    paper: str  # authors, title, where
    comparisons: Sequence[Comparison]
    tables: Mapping[str, Sequence[Mapping[str, Any]]]  # what was simulated, in full, by caption
    notes: Sequence[str]  # assumptions, and every difference that could not be closed
    figures: Sequence[StudyFigure]

    @property
    def missed(self) -> list[Comparison]:
        """Judged figures outside their tolerance."""
        return [c for c in self.comparisons if c.verdict == "missed"]


def study_document(study: Study) -> dict[str, Any]:
    """Return a study as plain data for JSON."""
    return {
        "study": study.name,
        "paper": study.paper,
        "comparisons": [
            {
                "what": c.what,
                "unit": c.unit,
                "reported": list(c.reported) if isinstance(c.reported, tuple) else c.reported,
                "simulated": list(c.simulated) if isinstance(c.simulated, tuple) else c.simulated,
                "error": c.error,
                "tolerance": c.tolerance,
                "verdict": c.verdict,
                "confidence": c.confidence,
                "source": c.source,
                "note": c.note,
            }
            for c in study.comparisons
        ],
        "tables": {caption: [dict(row) for row in rows] for caption, rows in study.tables.items()},
        "notes": list(study.notes),
    }


def study_text(study: Study, most_rows: int | None = None) -> str:
    """Return a study as Markdown that also reads as plain text; of longer tables the first ``most_rows`` rows."""
    lines = [f"# {study.name}", "", study.paper, ""]
    if study.comparisons:
        rows = [
            {
                "figure": c.what,
                "reported": _value(c.reported, c.unit),
                "simulated": _value(c.simulated, c.unit),
                "difference": "" if c.error is None else f"{100.0 * c.error:+.1f} %",
                "verdict": c.verdict if c.tolerance is None else f"{c.verdict} ({100.0 * c.tolerance:g} %)",
                "known by": f"{c.source} ({c.confidence})",
            }
            for c in study.comparisons
        ]
        lines += [*_table(rows), ""]
        remarks = [f"- {c.what}: {c.note}" for c in study.comparisons if c.note]
        lines += [*remarks, ""] if remarks else []
    for caption, table in study.tables.items():
        lines += [f"## {caption}", "", *_table(table[:most_rows])]
        left = len(table) - len(table[:most_rows])
        lines += [f"... {left} more rows: --out DIR writes them, --json prints them", ""] if left else [""]
    if study.notes:
        lines += ["## Notes", "", *(f"- {note}" for note in study.notes), ""]
    return "\n".join(lines)


def _value(value: float | tuple[float, float] | None, unit: str) -> str:
    if value is None:
        return "-"
    text = " to ".join(f"{v:.4g}" for v in value) if isinstance(value, tuple) else f"{value:.4g}"
    return text + (unit if unit in ("x", "") else f" {unit}")


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return rows of the same keys as an aligned Markdown table; numbers to four digits."""
    if not rows:
        return ["(none)"]
    columns = list(rows[0])
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    widths = [max(len(column), *(len(line[i]) for line in cells)) for i, column in enumerate(columns)]
    numeric = [all(isinstance(row[column], (int, float)) for row in rows) for column in columns]

    def line(texts: Sequence[str]) -> str:
        padded = (t.rjust(w) if right else t.ljust(w) for t, w, right in zip(texts, widths, numeric, strict=True))
        return "| " + " | ".join(padded) + " |"

    rule = "| " + " | ".join("-" * (w - 1) + (":" if n else "-") for w, n in zip(widths, numeric, strict=True)) + " |"
    return [line(columns), rule, *(line(texts) for texts in cells)]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)
