"""What a sweep found, in words and numbers: front, knee, extremes, what was turned down and what came closest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dse.evaluate import Tally, all_constraints, to_minimise
from dse.metrics import shown_metric
from dse.pareto import hypervolume, knee, reference_point
from dse.space.axes import text_of
from dse.space.space import Constraint, Space
from dse.sweep import Outcome

__all__ = ["Point", "front_document", "highlights", "rejections", "space_text", "sweep_text"]

_SHOWN_ROWS = 12
_MOST_EXACT = {2: 1_000_000, 3: 3000, 4: 400}  # points on the front up to which its volume takes no more than seconds


@dataclass(frozen=True, slots=True)
class Point:
    """A point of the front worth a sentence."""

    why: str
    row: int  # on the front
    sentence: str


def space_text(space: Space, chosen: str) -> str:
    """Return what is swept, what is fixed and how large the space is, before anything runs."""
    run = ", ".join(f"{key} {text_of(value)}" for key, value in space.run.items()) or "defaults"
    lines = [f"{space.name}: {space.question}" if space.question else space.name]
    lines.append(f"  fixed       {space.model} on {space.hardware}; {run}")
    lines += [f"              {path} = {text_of(value)}" for path, value in space.overrides.items()]
    width = max((len(" + ".join(axis.paths)) for axis in space.axes), default=0)
    for number, axis in enumerate(space.axes):
        head = "swept" if number == 0 else ""
        lines.append(f"  {head:<11} {' + '.join(axis.paths):<{width}}  {axis.summary()}")
    for number, item in enumerate(space.derived):
        head = "derived" if number == 0 else ""
        lines.append(f"  {head:<11} {item.path} = {item.expression.text} {item.unit}".rstrip())
    lines.append(f"  objectives  {', '.join(map(str, space.objectives))}")
    limits = ", ".join(f"{c.name} ({_limit(c)})" for c in all_constraints(space))
    lines.append(f"  limits      {limits}")
    lengths = " x ".join(map(str, space.lengths))
    lines.append(f"  size        {space.size:,} points = {lengths}; {chosen}")
    return "\n".join(lines)


def _limit(constraint: Constraint) -> str:
    side = "at most" if constraint.at_most else "at least"
    return f"{constraint.metric} {side} {shown_metric(constraint.metric, constraint.limit)}"


def sweep_text(outcome: Outcome) -> str:
    """Return the result as one screen of text."""
    tally, space = outcome.tally, outcome.space
    computed = tally.points - outcome.reused
    rate = computed / outcome.seconds if outcome.seconds else 0.0
    lines = [f"{tally.points:,} points, {tally.feasible:,} feasible, {len(outcome.front.indices):,} on the front"]
    stored = f", {outcome.reused:,} points were stored already" if outcome.reused else ""
    lines[0] += f" ({outcome.seconds:.1f} s, {rate:,.0f} points/s{stored})"
    lines += rejections(space, tally)
    if len(outcome.front.indices):
        lines += ["", *_table(outcome)]
        lines += ["", *(f"{point.why}: {point.sentence}" for point in highlights(outcome))]
        volume = _volume(outcome)
        if volume is not None:
            lines.append(volume)
    return "\n".join(lines)


def rejections(space: Space, tally: Tally) -> list[str]:
    """Say what was turned down and why; if everything was, what came closest and by how much."""
    lines = [f"  refused {count:,}: {why}" for why, count in sorted(tally.refused.items(), key=lambda i: -i[1])[:5]]
    for constraint in all_constraints(space):
        count = tally.rejected.get(constraint.name, 0)
        if count:
            lines.append(f"  over the limit {constraint.name} ({_limit(constraint)}): {count:,}")
    if tally.feasible == 0 and tally.closest is not None:
        index, margin, name = tally.closest
        constraint = next(c for c in all_constraints(space) if c.name == name)
        lines.append(f"  nothing is feasible; closest comes point {index}: {name} {_miss(constraint, margin)}")
        for other in all_constraints(space):
            nearest = tally.nearest.get(other.name)
            if nearest is not None and nearest < 0:
                lines.append(f"  no point at all keeps {other.name}: the best {_miss(other, nearest)}")
    elif tally.feasible == 0:
        lines.append("  nothing is feasible: every design was refused")
    return lines


def _miss(constraint: Constraint, margin: float) -> str:
    slack = margin * (abs(constraint.limit) or 1.0)
    value = constraint.limit - slack if constraint.at_most else constraint.limit + slack
    share = f" ({-margin:.1%} past it)" if constraint.limit else ""
    return f"is {shown_metric(constraint.metric, value)} against {_limit(constraint)}{share}"


def _table(outcome: Outcome) -> list[str]:
    """Return some rows of the front, sorted by the first objective and evenly spread."""
    space, front = outcome.space, outcome.front
    order = np.argsort(to_minimise(space, front.metrics)[:, 0], kind="stable")
    if len(order) > _SHOWN_ROWS:
        order = order[np.unique(np.linspace(0, len(order) - 1, _SHOWN_ROWS).astype(int))]
    settings = [space.settings(int(front.indices[row])) for row in order]
    heads = ["point", *(o.metric for o in space.objectives), *settings[0]]
    rows = [
        [
            str(front.indices[row]),
            *(shown_metric(o.metric, float(front.metrics[o.metric][row])) for o in space.objectives),
            *(_short(value) for value in setting.values()),
        ]
        for row, setting in zip(order, settings, strict=True)
    ]
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    table = [
        "  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in [heads, *rows]
    ]
    if len(front.indices) > len(rows):
        table.append(f"  ... {len(rows)} of {len(front.indices):,}; all of them in front.parquet")
    return table


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    return text_of(value)


def highlights(outcome: Outcome) -> list[Point]:
    """Return the knee of the front and its best point by each objective, each with a sentence."""
    space, front = outcome.space, outcome.front
    if not len(front.indices):
        return []
    values = to_minimise(space, front.metrics)
    chosen = {f"best {o.metric}": int(np.argmin(values[:, i])) for i, o in enumerate(space.objectives)}
    if len(front.indices) > 2 and len(space.objectives) > 1:
        chosen["knee"] = knee(values)
    return [Point(why, row, _sentence(outcome, row)) for why, row in chosen.items()]


def _sentence(outcome: Outcome, row: int) -> str:
    space, front = outcome.space, outcome.front
    told = []
    for objective in space.objectives:
        column = front.metrics[objective.metric]
        best = float(column.max() if objective.maximise else column.min())
        value = float(column[row])
        behind = abs(value / best - 1.0) if best else 0.0
        told.append(
            f"{objective.metric} {shown_metric(objective.metric, value)}"
            + (f" ({behind:.0%} {'below' if objective.maximise else 'above'} the best)" if behind >= 0.005 else "")
        )
    settings = space.settings(int(front.indices[row]))
    with_values = ", ".join(f"{path} {_short(value)}" for path, value in settings.items())
    return f"point {front.indices[row]} has {', '.join(told)}, with {with_values}"


def _volume(outcome: Outcome) -> str | None:
    """Say the hypervolume and its reference point."""
    space = outcome.space
    values = to_minimise(space, outcome.front.metrics)
    objectives = values.shape[1]
    if objectives < 2 or len(values) > _MOST_EXACT.get(objectives, 100):
        return None
    reference = reference_point(values)
    shown = ", ".join(
        f"{o.metric} {-r if o.maximise else r:.4g}" for o, r in zip(space.objectives, reference, strict=True)
    )
    return f"hypervolume {hypervolume(values, reference):.6g} up to {shown}"


def front_document(outcome: Outcome) -> dict[str, Any]:
    """Return the findings as plain data for JSON: counts, rejections, highlights, hypervolume."""
    tally, space = outcome.tally, outcome.space
    document: dict[str, Any] = {
        "schema": "ridgeline/findings/v1",
        "name": space.name,
        "question": space.question,
        "size": space.size,
        "points": tally.points,
        "feasible": tally.feasible,
        "front": len(outcome.front.indices),
        "refused": dict(tally.refused),
        "rejected": dict(tally.rejected),
        "nearest": dict(tally.nearest),
        "closest": None if tally.closest is None else list(tally.closest),
        "objectives": {o.metric: "max" if o.maximise else "min" for o in space.objectives},
        "highlights": [_highlight(outcome, point) for point in highlights(outcome)],
    }
    return document


def _highlight(outcome: Outcome, point: Point) -> Mapping[str, Any]:
    front = outcome.front
    index = int(front.indices[point.row])
    return {
        "why": point.why,
        "point": index,
        "sentence": point.sentence,
        "settings": dict(outcome.space.settings(index)),
        "metrics": {k: float(v[point.row]) for k, v in front.metrics.items() if np.isfinite(v[point.row])},
    }
