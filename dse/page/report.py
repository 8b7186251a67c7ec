"""The page of one simulation: totals, operators, where time and energy go, memory, what matters most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dse.page.page import Chart, Drawing, Page, Section, Series, Table, Text
from dse.plots.documents import draw_breakdown, draw_tornado
from dse.plots.marks import mark

__all__ = ["report_page"]

_TOTALS = ("ttft_s", "tpot_s", "latency_s", "tokens_per_s", "energy_J", "energy_per_token_J", "power_W")
_COLUMNS = ("phase", "name", "unit", "launches", "time_s", "share", "intensity_flop_per_B", "bound", "energy_J")


def report_page(document: Mapping[str, Any]) -> Page:
    """Return the page of a ``simulate --json`` document."""
    request = document["request"]
    title = f"{document['model']} on {document['hardware']}"
    asked = (
        f"batch {request['batch']}, {request['input_tokens']} tokens in, {request['output_tokens']} out; "
        f"profile {document['profile']}, level {document['level']}"
    )
    sections: list[tuple[str, Sequence[Section]]] = [
        ("Answer", [Text([asked, *document["warnings"]]), Table(_totals(document))]),
        ("Operators", [_chart(document), Table([{c: row[c] for c in _COLUMNS} for row in document["operators"]])]),
        (
            "Where it goes",
            [
                Drawing(lambda: draw_breakdown([document], "time").figure),
                Drawing(lambda: draw_breakdown([document], "energy").figure),
                Drawing(lambda: draw_tornado(document).figure),
            ],
        ),
        ("Memory", [Table(_memory(document["memory"]))]),
        ("Inputs that are estimates", [Table(document["estimates"])]),
    ]
    return Page(title, sections)


def _totals(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    bands = {band["metric"]: band for band in document["bands"]}
    return [
        {
            "metric": name,
            "value": document[name],
            "error on average": bands[name]["mape"] if name in bands else None,
            "checked on": bands[name]["source"] if name in bands else "",
        }
        for name in _TOTALS
        if document[name] is not None
    ]


def _memory(memory: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = [{"what": name, "GB": size_B / 1e9} for name, size_B in memory["parts_B"].items()]
    return [*rows, {"what": "free", "GB": memory["margin_B"] / 1e9}, {"what": "in all", "GB": memory["usable_B"] / 1e9}]


def _chart(document: Mapping[str, Any]) -> Chart:
    """Return the operators by arithmetic intensity and FLOP/s reached."""
    series = []
    for index, phase in enumerate(document["phases"]):
        rows = [r for r in document["operators"] if r["phase"] == phase and r["flops"] > 0 and r["hbm_B"] > 0]
        points = [
            (
                r["intensity_flop_per_B"],
                r["flops"] / r["time_s"] / 1e12,
                f"{r['name']} ({phase})\n{r['share']:.1%} of the time\nbound by {r['bound']}",
            )
            for r in rows
        ]
        series.append(Series(phase, mark(index).color, points, radius=5.0))
    return Chart("arithmetic intensity (FLOP/B)", "performance (TFLOP/s)", series, log_x=True, log_y=True)
