"""Figures of documents that commands print with ``--json`` or write: reports, comparisons, traces."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.plots.bars import plot_breakdown, plot_speedups
from dse.plots.timeline import Bar, bars_of_trace, plot_timeline
from dse.plots.tornado import plot_tornado
from simulator.core.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Drawn", "draw_breakdown", "draw_speedups", "draw_timeline", "draw_tornado", "read_document", "whole"]

_MOST_B = 512 << 20  # of a file: more is no document of ours
_MOST_BARS = 4000  # of a timeline: more are thinner than a hair
_WIDE = (7.0, 2.2)  # across both columns of a page, inches

_RATIOS = {"time": "speedup", "energy": "energy_gain"}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure and the numbers in it."""

    figure: Figure
    rows: Sequence[Mapping[str, Any]]


def read_document(path: Path, *schemas: str) -> dict[str, Any]:
    """Read a JSON document of one of the schemas (``"report"``, ``"comparison"``; ``"trace"`` for Chrome traces).

    Raises
    ------
    InputError
        If it cannot be read or is something else.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_MOST_B + 1)
        if len(data) > _MOST_B:
            raise InputError(f"{path}: larger than {_MOST_B >> 20} MiB, no document of this program")
        found = json.loads(data)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON document: {error}") from error
    kind = "something else"
    if isinstance(found, dict):
        schema = str(found.get("schema", "trace" if "traceEvents" in found else kind))
        kind = schema.removeprefix("ridgeline/").partition("/")[0]
    if kind not in schemas:
        raise InputError(f"{path}: expected a {' or a '.join(schemas)} document, this is {kind}; see --help")
    return dict(found)


@contextmanager
def whole(*paths: Path) -> Iterator[None]:
    """Say that the documents were changed, where what is drawn or written of them does not find what it needs.

    Raises
    ------
    InputError
        In place of what reading a value that is missing, or of another kind, raises.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        names = ", ".join(str(path) for path in paths)
        raise InputError(
            f"{names}: not as --json or --trace writes it ({type(error).__name__}: {error}); write it anew"
        ) from error


def draw_breakdown(documents: Sequence[Mapping[str, Any]], of: str) -> Drawn:
    """Draw where time (by operator) or energy (by part) of reports goes, or energy of the systems of comparisons.

    Parameters
    ----------
    documents : sequence of documents
        Reports and comparisons.
    of : {"time", "energy"}
        What is broken down; comparisons hold energy only.

    Raises
    ------
    InputError
        If a comparison is asked for its time.
    """
    bars: dict[str, dict[str, float]] = {}
    for document in documents:
        for name, parts in _parts(document, of):
            bars[_unused(name, bars)] = parts
    figure = _figure()
    plot_breakdown(figure.add_subplot(), bars, "time (s)" if of == "time" else "energy (J)")
    rows = [{"bar": bar, "part": part, of: value} for bar, parts in bars.items() for part, value in parts.items()]
    return Drawn(figure, rows)


def draw_speedups(documents: Sequence[Mapping[str, Any]], of: str) -> Drawn:
    """Draw how many times faster (or more frugal) each system of one or more comparisons is than the first.

    Raises
    ------
    InputError
        If the comparisons are not of the same systems.
    """
    groups: dict[str, dict[str, float]] = {}
    for document in documents:
        request = document["request"]
        name = _unused(f"{document['model']}, batch {request['batch']}", groups)
        groups[name] = {system["hardware"]: system[_RATIOS[of]] for system in document["systems"]}
    first = next(iter(next(iter(groups.values()))))
    label = "speed-up" if of == "time" else "energy"
    figure = _figure(_WIDE if len(groups) > 2 else None)
    plot_speedups(figure.add_subplot(), groups, f"{label} over {first}" if of == "time" else f"{first} / {label}")
    rows = [
        {"group": group, "system": system, _RATIOS[of]: value}
        for group, values in groups.items()
        for system, value in values.items()
    ]
    return Drawn(figure, rows)


def draw_tornado(document: Mapping[str, Any]) -> Drawn:
    """Draw the elasticities of a report: the change of each metric for 10 % more of a resource."""
    changes = document["elasticities"]
    metrics = list(dict.fromkeys(metric for values in changes.values() for metric in values))
    full = {name: {metric: values.get(metric, 0.0) for metric in metrics} for name, values in changes.items()}
    figure = _figure()
    plot_tornado(figure.add_subplot(), full, "change for 10 % more")
    return Drawn(figure, [{"parameter": name, **values} for name, values in full.items()])


def draw_timeline(document: Mapping[str, Any], first_s: float = 0.0, last_s: float = float("inf")) -> Drawn:
    """Draw the executions of a Chrome trace between two times.

    Raises
    ------
    InputError
        If there are none, or too many to be seen.
    """
    if not first_s < last_s:
        raise InputError(f"--from {first_s:g} is not before --to {last_s:g}")
    try:
        bars: list[Bar] = bars_of_trace(document["traceEvents"], first_s, last_s)
    except (KeyError, TypeError) as error:
        raise InputError(f"the trace has an event without {error}") from error
    if not bars:
        raise InputError(f"nothing runs from {first_s:g} s to {last_s:g} s; choose --from and --to")
    if len(bars) > _MOST_BARS:
        end_s = max(bar.start_s + bar.duration_s for bar in bars)
        raise InputError(
            f"{len(bars)} executions from {first_s:g} s to {end_s:g} s: at most {_MOST_BARS} can be told apart; "
            "choose a part with --from and --to"
        )
    figure = _figure((_WIDE[0], 1.2 + 0.25 * len({bar.lane for bar in bars})))
    plot_timeline(figure.add_subplot(), bars)
    return Drawn(figure, [bar._asdict() for bar in bars])


def _parts(document: Mapping[str, Any], of: str) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the bars of a document: a phase of a report, a system of a comparison."""
    if "systems" in document:
        if of == "time":
            raise InputError("a comparison holds no time by operator: give the reports of `ridgeline simulate --json`")
        for system in document["systems"]:
            yield system["hardware"], dict(system["energy_parts_J"])
        return
    for phase, values in document["phases"].items():
        name = f"{document['hardware']} {phase}"
        if of == "energy":
            yield name, dict(values["energy_J"])
        else:
            rows = [row for row in document["operators"] if row["phase"] == phase]
            parts = {row["name"]: 0.0 for row in rows}
            for row in rows:
                parts[row["name"]] += row["time_s"]
            yield name, parts


def _unused(name: str, taken: Mapping[str, Any]) -> str:
    """Return the name, numbered if it is taken."""
    if name not in taken:
        return name
    return next(numbered for i in range(2, len(taken) + 3) if (numbered := f"{name} ({i})") not in taken)


def _figure(size: tuple[float, float] | None = None) -> Figure:
    from matplotlib.figure import Figure

    return Figure(layout="constrained") if size is None else Figure(layout="constrained", figsize=size)
