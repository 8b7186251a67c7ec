"""A page out of sections: text, tables, drawn figures, interactive charts."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.core.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Chart", "Drawing", "Listing", "Page", "Section", "Series", "Table", "Text", "page_html", "write_page"]

#: What a browser may do with the page: run what lies inside it, load nothing.
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
_MOST_ROWS = 2000  # of a table: a browser draws no more in a second


@dataclass(frozen=True, slots=True)
class Text:
    """Paragraphs, one each."""

    paragraphs: Sequence[str]


@dataclass(frozen=True, slots=True)
class Listing:
    """Lines as a terminal shows them."""

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of the same keys; a click on a heading sorts."""

    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure as vector graphics inside the page."""

    draw: Callable[[], Figure]


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one kind: each with x, y and what is shown where the pointer rests."""

    name: str
    color: str
    points: Sequence[tuple[float, float, str]]
    line: bool = False
    radius: float = 3.0


@dataclass(frozen=True, slots=True)
class Chart:
    """Points that can be zoomed (wheel, drag; double click: back) and asked (hover)."""

    x: str
    y: str
    series: Sequence[Series]
    log_x: bool = False
    log_y: bool = False


Section = Text | Listing | Table | Drawing | Chart


@dataclass(frozen=True, slots=True)
class Page:
    """A title and sections under headings, in order."""

    title: str
    sections: Sequence[tuple[str, Sequence[Section]]]


def write_page(page: Page, path: Path) -> Path:
    """Write a page as one HTML file; the same page gives the same bytes.

    Raises
    ------
    InputError
        If the path does not end in .html or cannot be written.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{path}: a report is written as .html")
    try:
        path.write_text(page_html(page), encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
    return path


def page_html(page: Page) -> str:
    """Return the page as text."""
    style, script = (resources.files("dse.page").joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    contents = "".join(f'<a href="#s{i}">{html.escape(heading)}</a>' for i, (heading, _) in enumerate(page.sections))
    body = "".join(
        f'<section id="s{i}"><h2>{html.escape(heading)}</h2>{"".join(_section(part) for part in parts)}</section>'
        for i, (heading, parts) in enumerate(page.sections)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(page.title)}</title><style>{style}</style></head>\n"
        f"<body><header><h1>{html.escape(page.title)}</h1><nav>{contents}</nav></header>\n"
        f"<main>{body}</main><script>{script}</script></body></html>\n"
    )


def _section(part: Section) -> str:
    if isinstance(part, Text):
        return "".join(f"<p>{html.escape(paragraph)}</p>" for paragraph in part.paragraphs)
    if isinstance(part, Listing):
        return f"<pre>{html.escape(part.text)}</pre>"
    if isinstance(part, Table):
        return _table(part.rows)
    if isinstance(part, Drawing):
        return f'<figure class="drawing">{_svg(part.draw)}</figure>'
    return _chart(part)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "<p>(none)</p>"
    columns = list(rows[0])
    head = "".join(f'<th scope="col" tabindex="0">{html.escape(column)}</th>' for column in columns)
    lines = "".join(f"<tr>{''.join(_cell(row[column]) for column in columns)}</tr>" for row in rows[:_MOST_ROWS])
    more = f"<p>{len(rows) - _MOST_ROWS} more rows are in the result itself.</p>" if len(rows) > _MOST_ROWS else ""
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>{more}'


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None or not isinstance(value, (int, float)):
        return f"<td>{html.escape('' if value is None else str(value))}</td>"
    text = str(value) if isinstance(value, int) else f"{value:.4g}"
    return f'<td class="number" data-value="{value!r}">{text}</td>'


def _svg(draw: Callable[[], Figure]) -> str:
    import io

    from dse.plots.figure import FORMATS, paper_style

    stream = io.StringIO()
    with paper_style():
        draw().savefig(stream, format="svg", metadata=dict(FORMATS[".svg"]))
    text = stream.getvalue()
    return text[text.index("<svg") :]


def _chart(chart: Chart) -> str:
    document = {
        "x": chart.x,
        "y": chart.y,
        "log": [chart.log_x, chart.log_y],
        "series": [
            {
                "name": series.name,
                "color": series.color,
                "line": series.line,
                "r": series.radius,
                "points": [[x, y, text] for x, y, text in series.points],
            }
            for series in chart.series
        ],
    }
    # "<" as an escape: no text of a user can end the script element
    data = json.dumps(document, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<figure class="chart"><script type="application/json">{data}</script></figure>'
