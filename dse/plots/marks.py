"""Colours that the colour-blind tell apart, with hatches, markers and lines that also tell them apart in grey."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["MOST_SERIES", "Mark", "mark", "marks"]


class Mark(NamedTuple):
    """How one series is drawn, whatever the kind of figure."""

    color: str
    hatch: str
    marker: str
    line: str | tuple[int, tuple[float, ...]]


#: Petroff, "Accessible color sequences for data visualization", arXiv 2107.02270, ten colours; lighter and darker ones
#: alternate, and no two neighbours share a hatch, a marker or a line.
_COLORS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
_HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "", "----", "oo", "++", "||||")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
_LINES = ("-", "--", "-.", ":", (0, (5.0, 1.0)), (0, (3.0, 1.0, 1.0, 1.0)))

#: More series than this in one figure cannot be told apart: the rest belongs into one called "other".
MOST_SERIES = len(_COLORS)


def mark(index: int) -> Mark:
    """Return how the ``index``-th series is drawn; after :data:`MOST_SERIES` they repeat."""
    return Mark(
        _COLORS[index % len(_COLORS)],
        _HATCHES[index % len(_HATCHES)],
        _MARKERS[index % len(_MARKERS)],
        _LINES[index % len(_LINES)],
    )


def marks(count: int) -> list[Mark]:
    """Return the first ``count``."""
    return [mark(index) for index in range(count)]
