"""The page of a sweep: what was asked, what was found, its front to zoom into, maps and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.evaluate import all_constraints
from dse.findings import space_text
from dse.page.page import Chart, Drawing, Listing, Page, Section, Series, Table, Text
from dse.plots.marks import mark
from dse.plots.scales import wants_log
from dse.plots.sweeps import draw_map, draw_projections, scale_of
from dse.result import SweepResult
from dse.space.space import Objective

__all__ = ["sweep_page"]

_CLOUD = 3000  # points of a chart: more make a browser slow and nothing clearer
_MOST_CHARTS = 3


def sweep_page(result: SweepResult) -> Page:
    """Return the page of a sweep."""
    space = result.space
    goals = list(space.objectives)
    pairs = list(combinations(goals, 2))[:_MOST_CHARTS]
    charts: list[Section] = [_chart(result, x, y) for x, y in pairs]
    if not charts:
        charts = [Text([f"One objective: {goals[0]}."])]
    figures: list[Section] = []
    if len(goals) > 2:
        figures.append(Drawing(lambda: draw_projections(result).figure))
    if sum(len(axis) > 1 for axis in space.axes) > 1:
        figures += [_map(result, goal) for goal in goals]
    sections: list[tuple[str, Sequence[Section]]] = [
        ("What was asked", [Listing(space_text(space, f"{result.stored:,} of them stored"))]),
        ("What was found", [Text(_found(result)), Table(_limits(result))]),
        ("Trade-offs", charts),
        ("Front", [Table(_front_rows(result))]),
    ]
    if figures:
        sections.append(("Figures", figures))
    sections.append(("How it was made", [Table(_provenance(result))]))
    return Page(space.name, sections)


def _map(result: SweepResult, goal: Objective) -> Drawing:
    return Drawing(lambda: draw_map(result, None, None, goal.metric, False).figure)


def _found(result: SweepResult) -> list[str]:
    findings = result.findings
    lines = [f"{findings['points']:,} points, {findings['feasible']:,} feasible, {findings['front']:,} on the front."]
    for part in findings["fronts"]:
        condition = f"With {part['for']}: " if part["for"] else ""
        lines += [f"{condition}{item['why']}: {item['sentence']}." for item in part["highlights"]]
    if findings["closest"] and not findings["feasible"]:
        name, margin = findings["closest"]
        lines.append(f"Nothing keeps every limit. Closest: {name}, by a margin of {margin:.1%}.")
    return lines


def _limits(result: SweepResult) -> list[dict[str, Any]]:
    """Return each limit with how many stored points keep it and the margins they have."""
    rows = []
    for constraint in all_constraints(result.space):
        margins = result.points[f"margin:{constraint.name}"]
        known = margins[np.isfinite(margins.astype(float))].astype(float)
        rows.append(
            {
                "limit": constraint.name,
                "metric": constraint.metric,
                "at": f"{'most' if constraint.at_most else 'least'} {constraint.limit:g}",
                "kept by": int((known >= 0).sum()),
                "broken by": int((known < 0).sum()),
                "least margin": float(known.min()) if len(known) else None,
                "most margin": float(known.max()) if len(known) else None,
            }
        )
    return rows


def _front_rows(result: SweepResult) -> list[dict[str, Any]]:
    goals = [goal.metric for goal in result.space.objectives]
    scales = {name: scale_of(result, name) for name in goals}
    rows = []
    for position in range(len(result.front["index"])):
        index = int(result.front["index"][position])
        row: dict[str, Any] = {"point": index}
        row |= {scales[name].label: float(result.front[name][position] * scales[name].factor) for name in goals}
        row |= {path: _plain(value) for path, value in result.space.settings(index).items()}
        rows.append(row)
    return rows


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str) and not isinstance(value, bool) else str(value)


def _chart(result: SweepResult, x: Objective, y: Objective) -> Chart:
    """Return the feasible points in two objectives; a large cloud is thinned, the front never."""
    front = result.front_of((x, y))
    scales = [scale_of(result, goal.metric) for goal in (x, y)]
    xs, ys = (result.points[g.metric] * s.factor for g, s in zip((x, y), scales, strict=True))
    cloud = np.flatnonzero(result.feasible & ~front & np.isfinite(xs) & np.isfinite(ys))
    cloud = cloud[:: max(1, -(-len(cloud) // _CLOUD))]
    knee = result.knee_of((x, y), front)
    series = [Series("designs", "#b9bec4", _points(result, cloud, xs, ys), radius=2.5)]
    for number, (condition, mask) in enumerate(result.conditions(front).items()):
        chosen = np.flatnonzero(mask)
        chosen = chosen[np.lexsort((ys[chosen], xs[chosen]))]
        points = _points(result, chosen, xs, ys)
        series.append(Series(condition or "front", mark(number).color, points, line=True, radius=4.0))
    if knee is not None:
        series.append(Series("knee", mark(1).color, _points(result, np.array([knee]), xs, ys), radius=6.0))
    drawn = np.concatenate([cloud, np.flatnonzero(front)])
    labels = [f"{s.label}, {'more' if g.maximise else 'less'} is better" for g, s in zip((x, y), scales, strict=True)]
    return Chart(labels[0], labels[1], series, wants_log(xs[drawn]), wants_log(ys[drawn]))


def _points(
    result: SweepResult, chosen: NDArray[np.int64], xs: NDArray[Any], ys: NDArray[Any]
) -> list[tuple[float, float, str]]:
    return [(float(xs[i]), float(ys[i]), result.describe(int(i))) for i in chosen]


def _provenance(result: SweepResult) -> list[dict[str, Any]]:
    run: Mapping[str, Any] = result.manifest["runs"][-1]
    git = run.get("git") or {}
    rows = {
        "command": " ".join(run["command"]),
        "version": run["version"],
        "commit": git.get("commit", "-"),
        "level": result.manifest["level"],
        "space": result.manifest["space"],
        "model": result.manifest["model"],
        **run["libraries"],
    }
    return [{"what": name, "value": str(value)} for name, value in rows.items()]
