"""A finished sweep read back: its space, its front, and as many of the stored points as a figure can show."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.evaluate import metric_names
from dse.metrics import dimension_of_metric
from dse.pareto import knee, non_dominated
from dse.space.axes import dimension_of, text_of
from dse.space.file import load_space
from dse.space.space import Objective, Space
from dse.store import read_manifest
from simulator.core.errors import InputError
from simulator.core.names import suggest

__all__ = ["SweepResult", "load_result"]

Columns = Mapping[str, NDArray[Any]]

#: Points that are read for figures; of more, every k-th.
_MOST_POINTS = 200_000


@dataclass(frozen=True)
class SweepResult:
    """Points of a sweep as columns: index, a column per axis path, per metric and per margin, feasible."""

    folder: Path
    space: Space
    manifest: Mapping[str, Any]
    findings: Mapping[str, Any]
    points: Columns
    stored: int  # points that are stored; ``points`` holds some of them where there are many
    front: Columns

    @property
    def axes(self) -> tuple[str, ...]:
        """Paths that are swept."""
        return tuple(path for axis in self.space.axes for path in axis.paths)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that are stored of every point: where points are many, only those that the sweep asks for."""
        return tuple(name for name in metric_names(self.space) if name in self.points)

    @cached_property
    def feasible(self) -> NDArray[np.bool_]:
        """Which of the points keep every limit."""
        return np.asarray(self.points["feasible"], dtype=bool)

    def objective(self, metric: str) -> Objective:
        """Return how a metric is judged: as the sweep says, else less is better, but for throughput.

        Raises
        ------
        InputError
            If no point has such a metric.
        """
        self.check(metric, self.metrics)
        for objective in self.space.objectives:
            if objective.metric == metric:
                return objective
        return Objective(metric, maximise="per_s" in metric)

    def dimension(self, column: str) -> str:
        """Return the dimension that a column is in, a key of ``simulator.core.units.DIMENSIONS``; "1" for a number."""
        if column in self.metrics:
            return dimension_of_metric(column)
        for axis in self.space.axes:
            if column in axis.paths:
                first = axis.column(column)[0]
                return (dimension_of(first) or "1") if isinstance(first, str) else "1"
        return "1"

    def check(self, name: str, known: Sequence[str]) -> str:
        """Return the name if it is known.

        Raises
        ------
        InputError
            If it is not; with the nearest one.
        """
        if name not in known:
            near = suggest(name, known, most=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise InputError(f"{self.space.name}: no {name!r} in this sweep; {hint}")
        return name

    def where(self, fixed: Sequence[str]) -> SweepResult:
        """Return the points at which axes have the values given as ``AXIS=VALUE``, written as in the sweep file.

        Raises
        ------
        InputError
            If an axis or a value is not one of the sweep, or no point is left.
        """
        mask = np.ones(len(self.points["index"]), dtype=bool)
        for text in fixed:
            path, _, wanted = text.partition("=")
            self.check(path, self.axes)
            axis = next(axis for axis in self.space.axes if path in axis.paths)
            written = [text_of(value) for value in axis.column(path)]
            if wanted not in written:
                raise InputError(f"--where {text}: {path} takes {', '.join(written[:20])}")
            numbers = axis.numbers(path)
            value = wanted if numbers is None else numbers[written.index(wanted)]
            mask &= np.asarray(self.points[path] == value, dtype=bool)
        if not mask.any():
            raise InputError(f"no stored point has {' and '.join(fixed)}")
        return replace(self, points={name: column[mask] for name, column in self.points.items()})

    def front_of(self, objectives: Sequence[Objective]) -> NDArray[np.bool_]:
        """Return which points no other feasible one beats in these objectives, for each condition of the sweep."""
        values = np.column_stack([_minimised(self.points, objective) for objective in objectives])
        usable = self.feasible & np.isfinite(values).all(axis=1)
        front = np.zeros_like(usable)
        for condition in np.unique(self._conditions):
            chosen = np.flatnonzero(usable & (self._conditions == condition))
            if len(chosen):
                front[chosen[non_dominated(values[chosen])]] = True
        return front

    @cached_property
    def _conditions(self) -> NDArray[np.int64]:
        """Return a number for each point that is the same where the axes that the sweep compares apart are."""
        codes = self.space.codes(np.asarray(self.points["index"], dtype=np.int64))
        condition = np.zeros(len(codes), dtype=np.int64)
        for position, axis in enumerate(self.space.axes):
            if axis.name in self.space.for_each:
                condition = condition * len(axis) + codes[:, position]
        return condition

    def conditions(self, mask: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
        """Return the points of a mask apart by condition, under what the condition is ("" for a sweep without).

        An axis that links several paths is told by the first of them.
        """
        paths = [axis.paths[0] for axis in self.space.axes if axis.name in self.space.for_each]
        parts = {}
        for condition in np.unique(self._conditions[mask]):
            members = mask & (self._conditions == condition)
            settings = self.space.settings(int(self.points["index"][np.argmax(members)]))
            parts[
                ", ".join(f"{path.removeprefix('run.').replace('_', ' ')} {text_of(settings[path])}" for path in paths)
            ] = members
        return parts

    def knee_of(self, objectives: Sequence[Objective], front: NDArray[np.bool_]) -> int | None:
        """Return the position of the front's knee; None where it is fronts of several conditions, or few points."""
        chosen = np.flatnonzero(front)
        if len(chosen) < 3 or len(np.unique(self._conditions[chosen])) > 1:
            return None
        values = np.column_stack([_minimised(self.points, objective)[chosen] for objective in objectives])
        return int(chosen[knee(values)])

    def describe(self, position: int, columns: Columns | None = None) -> str:
        """Return what a point is, a line each: index, axes, objectives."""
        columns = self.points if columns is None else columns
        index = int(columns["index"][position])
        settings = self.space.settings(index)
        lines = [f"point {index}", *(f"{path} {text_of(value)}" for path, value in settings.items())]
        lines += [f"{o.metric} {columns[o.metric][position]:.4g}" for o in self.space.objectives]
        return "\n".join(lines)


def load_result(folder: Path) -> SweepResult:
    """Read a sweep's folder.

    Raises
    ------
    InputError
        If it holds no finished sweep, or is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    manifest = read_manifest(folder)
    space = load_space(folder / "space.yaml", beside=Path(manifest["file"]).parent)
    try:
        findings = json.loads((folder / "findings.json").read_text(encoding="utf-8"))
        front = _columns(pq.read_table(folder / "front.parquet"))
        files = sorted((folder / "shards").glob("*.parquet"))
        stored = sum(pq.ParquetFile(file).metadata.num_rows for file in files)
        step = -(-stored // _MOST_POINTS) or 1
        parts = [_columns(pq.read_table(file, use_threads=False), step) for file in files]
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(
            f"{folder}: the sweep is unfinished or damaged ({error}); run it again with --resume"
        ) from None
    parts.append(front)  # whatever is left out of a large sweep, its front is there
    joined = {name: np.concatenate([part[name] for part in parts]) for name in front}
    _, first = np.unique(joined["index"], return_index=True)
    points = {name: column[first] for name, column in joined.items()}
    return SweepResult(folder, space, manifest, findings, points, stored, front)


def _columns(table: Any, step: int = 1) -> dict[str, NDArray[Any]]:
    return {name: table[name].to_numpy()[::step] for name in table.column_names if name != "front"}


def _minimised(columns: Columns, objective: Objective) -> NDArray[np.float64]:
    values = np.asarray(columns[objective.metric], dtype=np.float64)
    return -values if objective.maximise else values
