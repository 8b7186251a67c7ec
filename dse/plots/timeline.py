"""A timeline (Gantt chart): what runs when on which unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dse.plots.figure import plain_text
from dse.plots.marks import MOST_SERIES, mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Bar", "bars_of_trace", "plot_timeline"]

_HEIGHT = 0.7
_UNITS = ((1.0, "s"), (1e3, "ms"), (1e6, "us"), (1e9, "ns"))


class Bar(NamedTuple):
    """One execution."""

    lane: str
    name: str
    start_s: float
    duration_s: float


def bars_of_trace(events: Sequence[dict[str, Any]], first: float = 0.0, last: float = float("inf")) -> list[Bar]:
    """Return the executions of a Chrome trace between two times (s), cut off there, lanes named as its threads are."""
    names: dict[tuple[int, int], str] = {}
    processes: dict[int, str] = {}
    for event in events:
        if event.get("ph") == "M" and event["name"] == "thread_name":
            names[event["pid"], event["tid"]] = event["args"]["name"]
        if event.get("ph") == "M" and event["name"] == "process_name":
            processes[event["pid"]] = event["args"]["name"]
    bars = []
    for event in events:
        if event.get("ph") != "X":
            continue
        start_s, end_s = max(event["ts"] * 1e-6, first), min((event["ts"] + event["dur"]) * 1e-6, last)
        if start_s < end_s:
            lane = names.get((event["pid"], event["tid"]), str(event["tid"]))
            if len(processes) > 1:
                lane = f"{processes.get(event['pid'], event['pid'])}: {lane}"
            bars.append(Bar(lane, event["name"], start_s, end_s - start_s))
    return bars


def plot_timeline(axes: Axes, bars: Sequence[Bar]) -> Axes:
    """Draw one lane per unit, first on top, and a colour per operator, the longest ones told apart.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    bars : sequence of Bar
        Executions in any order.

    Returns
    -------
    Axes
        The same, time in the unit that fits.
    """
    lanes = list(dict.fromkeys(bar.lane for bar in bars))
    busy: dict[str, float] = {}
    for bar in bars:
        busy[bar.name] = busy.get(bar.name, 0.0) + bar.duration_s
    ranked = sorted(busy, key=lambda name: -busy[name])
    styles = {name: mark(index) for index, name in enumerate(ranked[: MOST_SERIES - 1])}
    end_s = max((bar.start_s + bar.duration_s for bar in bars), default=1.0)
    begin_s = min((bar.start_s for bar in bars), default=0.0)
    span_s = end_s - begin_s
    factor, unit = next(((f, u) for f, u in _UNITS if span_s * f >= 1.0), _UNITS[-1])
    labelled: set[str] = set()
    for bar in bars:
        style = styles.get(bar.name)
        group = bar.name if style else "other"
        axes.barh(
            len(lanes) - 1 - lanes.index(bar.lane),
            bar.duration_s * factor,
            _HEIGHT,
            left=(bar.start_s - begin_s) * factor,
            color=style.color if style else "0.8",
            hatch=style.hatch if style else "",
            edgecolor="black",
            linewidth=0.2,
            label=None if group in labelled else plain_text(group),
        )
        labelled.add(group)
    axes.set_yticks(range(len(lanes)), [plain_text(lane) for lane in lanes[::-1]], parse_math=False)
    axes.set_xlim(0.0, span_s * factor)
    axes.set_xlabel(f"time ({unit})")
    axes.grid(visible=False, axis="y")
    handles, labels = axes.get_legend_handles_labels()
    figure: Any = axes.figure  # the legend has no room among bars: it goes below everything
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return axes
