"""What a sweep found, in words and numbers: front, knee, extremes, what was turned down and what came closest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.evaluate import Tally, all_constraints, to_minimise
from dse.metrics import shown_metric
from dse.pareto import hypervolume, knee, reference_point
from dse.space.axes import dimension_of, text_of
from dse.space.space import Constraint, Space
from dse.sweep import Outcome
from simulator.core.document import Scalar
from simulator.core.units import format_quantity, parse_quantity

__all__ = ["FrontPart", "Point", "front_document", "fronts_of", "rejections", "space_text", "sweep_text"]

_SHOWN_ROWS = 12
_SHOWN_FRONTS = 6
_LONG = 10  # characters of a derived quantity beyond which it is rounded
_MOST_EXACT = {2: 1_000_000, 3: 3000, 4: 400}  # points on the front up to which its volume takes no more than seconds


@dataclass(frozen=True, slots=True)
class Point:
    """A point of the front worth a sentence."""

    why: str
    row: int  # on the front
    sentence: str


@dataclass(frozen=True, slots=True)
class FrontPart:
    """The front of one condition: its rows, what stands out, and its volume up to a reference point."""

    condition: str
    rows: NDArray[np.int64]
    highlights: tuple[Point, ...]
    volume: float | None  # None where the front is too large to work it out in seconds
    reference: tuple[float, ...]


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
    each = f", compared for each {' and '.join(space.for_each)}" if space.for_each else ""
    lines.append(f"  objectives  {', '.join(map(str, space.objectives))}{each}")
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
    fronts = fronts_of(outcome)
    rows = max(_SHOWN_ROWS // max(len(fronts), 1), 1)
    for front in fronts[:_SHOWN_FRONTS]:
        lines += ["", *([f"for {front.condition}:"] if front.condition else []), *_table(outcome, front, rows)]
        if len(fronts) == 1:
            lines.append("")
        lines += [f"{point.why}: {point.sentence}" for point in front.highlights]
        if front.volume is not None and len(fronts) == 1:
            lines.append(f"hypervolume {front.volume:.6g} up to {_reference(space, front)}")
    if len(fronts) > _SHOWN_FRONTS:
        lines.append(f"... {_SHOWN_FRONTS} of {len(fronts)} fronts; all of them in front.parquet and findings.json")
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


def _table(outcome: Outcome, part: FrontPart, most: int) -> list[str]:
    """Return some rows of a front, sorted by the first objective and evenly spread."""
    space, front = outcome.space, outcome.front
    order = part.rows[np.argsort(to_minimise(space, front.metrics)[part.rows, 0], kind="stable")]
    if len(order) > most:
        order = order[np.unique(np.linspace(0, len(order) - 1, most).astype(int))]
    settings = [_choices(space, int(front.indices[row])) for row in order]
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
    if len(part.rows) > len(rows):
        table.append(f"  ... {len(rows)} of {len(part.rows):,}")
    return table


def _choices(space: Space, index: int) -> dict[str, Scalar]:
    """Return the settings of a point without what is no choice."""
    fixed = {path for axis in space.axes if axis.name in space.for_each for path in axis.paths}
    return {path: value for path, value in space.settings(index).items() if path not in fixed}


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    text = text_of(value)
    dimension = dimension_of(text) if len(text) > _LONG else None
    return text if dimension is None else format_quantity(parse_quantity(text, dimension), dimension, 4)


def fronts_of(outcome: Outcome) -> list[FrontPart]:
    """Return the front of each condition: where nothing is compared for each value of an axis, the one front."""
    space, front = outcome.space, outcome.front
    if not len(front.indices):
        return []
    codes = space.codes(front.indices)
    condition = space.condition(codes)
    parts = []
    for number in np.unique(condition):
        rows = np.flatnonzero(condition == number)
        settings = space.settings(int(front.indices[rows[0]]))
        paths = [path for axis in space.axes if axis.name in space.for_each for path in axis.paths]
        told = ", ".join(f"{path} {_short(settings[path])}" for path in paths)
        values = to_minimise(space, front.metrics)[rows]
        reference = reference_point(values)
        exact = values.shape[1] > 1 and len(values) <= _MOST_EXACT.get(values.shape[1], 100)
        volume = hypervolume(values, reference) if exact else None
        parts.append(
            FrontPart(told, rows, tuple(_highlights(outcome, rows, values)), volume, tuple(reference.tolist()))
        )
    return parts


def _highlights(outcome: Outcome, rows: NDArray[np.int64], values: NDArray[np.float64]) -> Iterator[Point]:
    """Yield the best point of a front by each objective, and its knee, each with a sentence."""
    best: dict[int, list[str]] = {}
    for number, objective in enumerate(outcome.space.objectives):
        best.setdefault(int(np.argmin(values[:, number])), []).append(objective.metric)
    for place, names in best.items():
        yield Point(f"best {' and '.join(names)}", int(rows[place]), _sentence(outcome, rows, int(rows[place])))
    if len(rows) > 2 and values.shape[1] > 1:
        place = int(rows[knee(values)])
        yield Point("knee", place, _sentence(outcome, rows, place))


def _sentence(outcome: Outcome, rows: NDArray[np.int64], row: int) -> str:
    space, front = outcome.space, outcome.front
    told = []
    for objective in space.objectives:
        column = front.metrics[objective.metric][rows]
        best = float(column.max() if objective.maximise else column.min())
        value = float(front.metrics[objective.metric][row])
        behind = abs(value / best - 1.0) if best else 0.0
        side = "below" if objective.maximise else "above"
        distance = f" ({behind:.0%} {side} the best)" if behind >= 0.005 else ""
        told.append(f"{objective.metric} {shown_metric(objective.metric, value)}{distance}")
    settings = _choices(space, int(front.indices[row]))
    with_values = ", ".join(f"{path} {_short(value)}" for path, value in settings.items())
    return f"point {front.indices[row]} has {', '.join(told)}, with {with_values}"


def _reference(space: Space, part: FrontPart) -> str:
    shown = zip(space.objectives, part.reference, strict=True)
    return ", ".join(f"{o.metric} {-value if o.maximise else value:.4g}" for o, value in shown)


def front_document(outcome: Outcome) -> dict[str, Any]:
    """Return the findings as plain data for JSON: counts, rejections, fronts with highlights and hypervolume."""
    tally, space = outcome.tally, outcome.space
    return {
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
        "fronts": [_front_part(outcome, part) for part in fronts_of(outcome)],
    }


def _front_part(outcome: Outcome, part: FrontPart) -> dict[str, Any]:
    names = [o.metric for o in outcome.space.objectives]
    signs = [-1.0 if o.maximise else 1.0 for o in outcome.space.objectives]
    return {
        "for": part.condition,
        "points": outcome.front.indices[part.rows].tolist(),
        "hypervolume": part.volume,
        "reference": {n: s * r for n, s, r in zip(names, signs, part.reference, strict=True)},
        "highlights": [_highlight(outcome, point) for point in part.highlights],
    }


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
