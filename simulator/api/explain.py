"""How each operator ran: time and bound, and, where the device had a choice, the mapping it took, in words."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from simulator.api.report import OperatorShare, Report
from simulator.core.units import format_quantity

__all__ = ["explanation"]

_WIDTH = 100


def explanation(report: Report) -> str:
    """Return the operators of the request in order of time, each with how its unit ran it.

    Decode steps differ in their context: the longest is the one described.
    """
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    several = len(report.system.units) > 1
    yield "how each operator ran, longest first (of decode, the step with the longest context)"
    for row in report.operators():
        where = f" on {row.unit}" if several else ""
        head = f"{row.phase} {row.name}{where}: {row.launches:.0f} x {_each(row)}, bound by {row.bound}"
        yield from wrap(f"{head}; {row.how}" if row.how else head, _WIDTH, subsequent_indent="  ")


def _each(row: OperatorShare) -> str:
    return format_quantity(row.time_s / row.launches, "s") if row.launches else "0 s"
