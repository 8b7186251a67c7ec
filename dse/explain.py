"""One row of a sweep, simulated again with its full report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dse.evaluate import all_constraints, evaluate_shard
from dse.metrics import shown_metric
from dse.space.axes import text_of
from dse.space.file import load_space
from dse.space.identity import model_version
from dse.space.paths import arguments_of
from dse.space.space import Space
from dse.store import read_manifest
from simulator.api.report import Report
from simulator.api.simulate import simulate
from simulator.api.text import report_text
from simulator.core.errors import InputError

if TYPE_CHECKING:
    from simulator.serving.report import ServeReport

__all__ = ["Explained", "explain", "located"]


@dataclass(frozen=True, slots=True)
class Explained:
    """What a point is, how it keeps the limits of its sweep, and its report."""

    heading: str
    report: Report | ServeReport

    @property
    def text(self) -> str:
        """The report as one screen of text."""
        if isinstance(self.report, Report):
            return report_text(self.report)
        from simulator.serving.text import serve_text

        return serve_text(self.report)

    @property
    def feasible(self) -> bool:
        """Whether the model fits, or the servers hold their SLO."""
        return self.report.memory.fits if isinstance(self.report, Report) else self.report.meets_slo


def located(folder: Path, point: str) -> tuple[Space, int, str]:
    """Return the space of a sweep, the index of a point as typed, and the level it was swept at.

    Raises
    ------
    InputError
        If there is no such sweep or point.
    """
    manifest = read_manifest(folder)
    space = load_space(folder / "space.yaml", beside=Path(manifest["file"]).parent)
    if not (point.isascii() and point.isdecimal() and len(point) < 20 and int(point) < space.size):
        raise InputError(f"POINT is a whole number from 0 to {space.size - 1}, got {point[:40]!r}")
    return space, int(point), manifest["level"]


def explain(folder: Path, point: str, command: Sequence[str] = ()) -> Explained:
    """Simulate a point of a sweep again.

    Parameters
    ----------
    folder : Path
        Of the sweep.
    point : str
        Its index.

    Raises
    ------
    InputError
        If there is no such sweep or point, or the design was refused.
    """
    space, index, level = located(folder, point)
    settings = space.settings(index)
    arguments = arguments_of(space, settings)
    arguments["level"] = level
    shard = evaluate_shard(space, np.array([index], dtype=np.int64), level)
    if shard.tally.refused:
        raise InputError(f"point {point} is no design that can be simulated: {next(iter(shard.tally.refused))}")
    report: Report | ServeReport
    if space.serve is None:
        report = simulate(**arguments, command=command)
    else:
        from dse.serve_point import serve_point

        report = serve_point(arguments)
    lines = [f"point {point} of {space.name}: " + ", ".join(f"{k} {text_of(v)}" for k, v in settings.items())]
    for constraint in all_constraints(space):
        value, margin = (float(c[0]) for c in (shard.metrics[constraint.metric], shard.margins[constraint.name]))
        kept = "keeps" if margin >= 0 else "breaks"
        lines.append(f"  {kept} {constraint.name}: {shown_metric(constraint.metric, value)}, margin {margin:+.1%}")
    lines += [f"  {name} {shown_metric(name, float(shard.metrics[name][0]))}" for name in space.metrics]
    if read_manifest(folder)["model"] != model_version():
        lines.append("  the program has changed since the sweep ran: its numbers may differ from those stored")
    return Explained("\n".join(lines) + "\n", report)
