"""Sweep files: YAML read into a checked :class:`~dse.space.space.Space`, every mistake at its line and all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dse.metrics import METRICS, SERVING, dimension_of_metric
from dse.space.axes import Axis, SpaceProblems, dimension_of, number_of, read_axis
from dse.space.expression import Expression, ExpressionError, in_order, parse_expression
from dse.space.order import in_compiled_order
from dse.space.paths import check_base, check_value
from dse.space.records import RUN_WHEN_SERVING, SweepSpec
from dse.space.space import MOST_POINTS, Constraint, Derived, Objective, Search, Space, is_name, located
from simulator.core.document import Node, Place, Scalar, read_tree
from simulator.core.errors import SpecError
from simulator.core.names import match_name, suggest
from simulator.core.specfile import shown, validate

__all__ = ["bundled_spaces", "load_space", "space_source"]

_FOLDER = Path(__file__).parents[1] / "spaces"


def bundled_spaces() -> dict[str, Path]:
    """Return the ready-made spaces by name."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.yaml"))}


def load_space(name_or_path: str | Path, beside: Path | None = None) -> Space:
    """Load a sweep file by path, or a ready-made one by name.

    Parameters
    ----------
    name_or_path
        ``next-gpu``, or a path: whatever holds a separator or ends in .yaml, .yml or .json.
    beside
        Folder that the paths in it are relative to, where that is not its own.

    Raises
    ------
    SpecError
        With every problem of the file at once: unknown keys and paths, values that the hardware or model refuses,
        expressions that are none, cycles, empty axes, more points than can be counted.
    UnknownNameError
        If no ready-made space is called that.
    """
    path, label = _locate(str(name_or_path))
    root, problems = _read(path, label)
    beside = path.parent if beside is None else beside
    folder = str(beside.resolve())
    axes = _axes(root, problems)
    spec = validate(root, SweepSpec, problems)
    model, hardware = located(spec.base.model, folder), located(spec.base.hardware, folder)
    run = {key: value for key, value in spec.base.run.model_dump(by_alias=False).items() if value is not None}
    overrides = dict(spec.base.set)
    check_base(model, hardware, overrides, run, root.at(("base",)), problems)
    if not problems:
        _check_paths(axes, model, hardware, overrides, folder, problems)
    known = _numbers(axes, run)
    derived = _derived(root, spec, axes, known, [(model, hardware)], problems)
    known |= {item.path for item in derived}
    serve = None if spec.base.serve is None else spec.base.serve.model_dump(by_alias=False)
    _check_serving(serve, axes, run, root, problems)
    given = METRICS if serve is None else SERVING
    metrics = _metrics(root, spec, known, given, problems)
    named = [*given, *metrics]
    space = Space(
        name=spec.name,
        question=spec.question,
        file=label,
        folder=folder,
        model=spec.base.model,
        hardware=spec.base.hardware,
        overrides=overrides,
        run=run,
        serve=serve,
        axes=tuple(axes),
        derived=tuple(derived),
        metrics=metrics,
        objectives=_objectives(root, spec, named, problems),
        constraints=_constraints(root, named, problems),
        for_each=_for_each(root, spec, axes, problems),
        search=Search(**spec.search.model_dump(by_alias=False)),
    )
    _check_size(space, root, problems)
    if problems:
        raise SpecError(sorted(problems, key=lambda p: (p.file, p.line, p.column)))
    return in_compiled_order(space)


def _read(path: Path, label: str) -> tuple[Node, SpaceProblems]:
    """Return the tree of a file and what is wrong with its YAML so far."""
    root, found = read_tree(path, label)
    problems = SpaceProblems(found)
    if root is None or not isinstance(root.value, dict):
        if not problems:
            problems.add(Place(label, 1, 1), "", "expected a mapping of keys to values at the top")
        raise SpecError(problems)
    return root, problems


def _check_size(space: Space, root: Node, problems: SpaceProblems) -> None:
    if space.size > MOST_POINTS:
        message = f"{float(space.size):.1e} points in all, at most {float(MOST_POINTS):.0e}: thin some axes out"
        problems.add(root.at(("axes",)).place, "axes", message)


def space_source(name_or_path: str | Path) -> str:
    """Return the text of a sweep file that :func:`load_space` has read."""
    return _locate(str(name_or_path))[0].read_text(encoding="utf-8")


def _locate(name: str) -> tuple[Path, str]:
    """Return the file to read and how messages call it."""
    if "/" in name or "\\" in name or name.lower().endswith((".yaml", ".yml", ".json")):
        return Path(name), name
    spaces = bundled_spaces()
    found = match_name(name, spaces, "space")
    return spaces[found], f"dse/spaces/{found}.yaml"


def _axes(root: Node, problems: SpaceProblems) -> list[Axis]:
    """Read the axes, each path in one place only."""
    node = root.at(("axes",))
    if node is root or not isinstance(node.value, dict):
        return []
    if not node.value:
        problems.add(node.place, "axes", "is empty: a sweep needs something to vary")
    found = [read_axis(name, child, problems) for name, child in node.value.items()]
    axes = [axis for axis in found if axis is not None]
    taken: dict[str, str] = {}
    for axis in axes:
        for path in axis.paths:
            if path in taken:
                problems.add(axis.place, f"axes.{axis.name}", f"{path} is already varied by {taken[path]}")
            taken[path] = axis.name
    return axes


def _check_paths(
    axes: list[Axis],
    base_model: str,
    base_hardware: str,
    overrides: Mapping[str, Scalar],
    folder: str,
    problems: SpaceProblems,
) -> None:
    """Try the values of every axis on the base, one at a time: each must be one that its field takes."""
    choices = {path: axis.column(path) for axis in axes for path in axis.paths if path in ("model", "hardware")}
    bases = [
        (located(model, folder), located(hardware, folder))
        for model in choices.get("model", (base_model,))
        for hardware in choices.get("hardware", (base_hardware,))
    ]
    for axis in axes:
        for path in axis.paths:
            values = axis.column(path)
            tried = values if isinstance(values[0], str) and number_of(values[0]) is None else (values[0], values[-1])
            for value in dict.fromkeys(tried):
                probe = located(value, folder) if is_name(path) else value
                message = check_value(path, probe, bases, overrides)
                if message is not None:
                    problems.add(axis.place, f"axes.{path}", message)
                    break


def _check_serving(
    serve: Mapping[str, Any] | None, axes: list[Axis], run: Mapping[str, Any], root: Node, problems: SpaceProblems
) -> None:
    """Refuse what has no meaning: a batch where requests come by themselves, requests where there is one batch."""
    varied = {path: axis for axis in axes for path in axis.paths}
    if serve is None:
        for path, axis in varied.items():
            if path.startswith("serve."):
                problems.add(axis.place, f"axes.{path}", "there are no servers: say base.serve, with a rate at least")
        return
    if serve["find_capacity"] and serve["slo"] is None and "serve.slo" not in varied:
        place = root.at(("base", "serve", "find_capacity")).place
        problems.add(
            place, "base.serve.find_capacity", "the highest rate that keeps what? say serve.slo: ttft=1s,tpot=50ms"
        )
    for key in run:
        if key not in RUN_WHEN_SERVING:
            problems.add(root.at(("base", "run", key)).place, f"base.run.{key}", "requests decide it when serving")
    for path, axis in varied.items():
        if path.startswith("run.") and path.removeprefix("run.") not in RUN_WHEN_SERVING:
            problems.add(axis.place, f"axes.{path}", "requests decide it when serving")


def _numbers(axes: list[Axis], run: Mapping[str, Any]) -> set[str]:
    """Return the paths an expression may name: those whose values are numbers."""
    fixed = {f"run.{key}" for key, value in run.items() if number_of(value) is not None}
    return fixed | {path for axis in axes for path in axis.paths if axis.numbers(path) is not None}


def _parse(text: object, known: set[str], node: Node, where: str, problems: SpaceProblems) -> Expression | None:
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        problems.add(node.place, where, f"expected an expression, got {shown(text)}")
        return None
    try:
        return parse_expression(str(text), known)
    except ExpressionError as error:
        problems.add(node.place, where, f"{text!r}: {error}")
        return None


def _derived(
    root: Node,
    spec: SweepSpec,
    axes: list[Axis],
    known: set[str],
    bases: list[tuple[str, str]],
    problems: SpaceProblems,
) -> list[Derived]:
    """Read the derived values in the order in which they can be worked out."""
    varied = {path: axis.name for axis in axes for path in axis.paths}
    found: dict[str, tuple[Expression, str]] = {}
    for path in spec.derived:
        node, where = root.at(("derived", path)), f"derived.{path}"
        given, unit = node.value, Node("", node.place)
        if isinstance(given, dict):
            odd = set(given) - {"formula", "unit"}
            if odd or "formula" not in given:
                problems.add(node.place, where, "expected an expression, or a mapping with formula and unit")
                continue
            unit = given.get("unit", unit)
            given = given["formula"].value
        if path in varied:
            problems.add(node.place, where, f"is already varied by axis {varied[path]}")
        if not isinstance(unit.value, str) or (unit.value and dimension_of(f"1 {unit.value}") is None):
            problems.add(unit.place, f"{where}.unit", f"is no unit: {shown(unit.plain())}")
            continue
        expression = _parse(given, known | set(spec.derived), node, where, problems)
        if expression is not None:
            found[path] = (expression, unit.value)
            message = check_value(path, None, bases, {})
            if message is not None:
                problems.add(node.place, where, message)
    try:
        order = in_order({path: expression for path, (expression, _) in found.items()})
    except ExpressionError as error:
        problems.add(root.at(("derived",)).place, "derived", str(error))
        return []
    return [Derived(path, *found[path]) for path in order]


def _metrics(
    root: Node, spec: SweepSpec, known: set[str], given: Mapping[str, Any], problems: SpaceProblems
) -> dict[str, Expression]:
    """Read the metrics that the file adds to those every simulation has."""
    found: dict[str, Expression] = {}
    for name, text in spec.metrics.items():
        node, where = root.at(("metrics", name)), f"metrics.{name}"
        if name in given or not name.isidentifier():
            reason = "is a metric already" if name in given else "a name is of letters, digits and _"
            problems.add(node.place, where, reason)
            continue
        expression = _parse(text, {*given, *known, *found}, node, where, problems)
        if expression is not None:
            found[name] = expression
    return found


def _is_metric(name: object, known: Sequence[str], node: Node, where: str, problems: SpaceProblems) -> bool:
    if isinstance(name, str) and name in known:
        return True
    near = suggest(str(name), known, most=2)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(known)}"
    problems.add(node.place, where, f"no metric is called {shown(name)} ({hint})")
    return False


def _objectives(root: Node, spec: SweepSpec, metrics: Sequence[str], problems: SpaceProblems) -> tuple[Objective, ...]:
    for name in spec.objectives:
        _is_metric(name, metrics, root.at(("objectives", name)), f"objectives.{name}", problems)
    return tuple(Objective(name, sense == "max") for name, sense in spec.objectives.items())


def _for_each(root: Node, spec: SweepSpec, axes: list[Axis], problems: SpaceProblems) -> tuple[str, ...]:
    known = [axis.name for axis in axes]
    for number, name in enumerate(spec.for_each):
        if name not in known:
            near = suggest(name, known, most=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            problems.add(root.at(("for_each", number)).place, "for_each", f"no axis is called {name!r} ({hint})")
    return spec.for_each


def _constraints(root: Node, metrics: Sequence[str], problems: SpaceProblems) -> tuple[Constraint, ...]:
    """Read ``name: {metric, at_most | at_least}``."""
    node = root.at(("constraints",))
    if node is root or not isinstance(node.value, dict):
        return ()
    found = []
    for name, child in node.value.items():
        where = f"constraints.{name}"
        given = {key: inner.value for key, inner in child.value.items()} if isinstance(child.value, dict) else {}
        sides = [side for side in ("at_most", "at_least") if side in given]
        if set(given) - {"metric", "at_most", "at_least"} or "metric" not in given or len(sides) != 1:
            problems.add(child.place, where, "expected {metric: ..., at_most: ...} or {metric: ..., at_least: ...}")
            continue
        assert isinstance(child.value, dict)
        if not _is_metric(given["metric"], metrics, child.value["metric"], f"{where}.metric", problems):
            continue
        metric, limit = str(given["metric"]), given[sides[0]]
        number = number_of(limit) if isinstance(limit, str | int | float) and not isinstance(limit, bool) else None
        wanted = dimension_of_metric(metric)
        if number is None or (isinstance(limit, str) and dimension_of(limit) != wanted):
            unit = f"a quantity in {wanted}" if wanted != "1" else "a number"
            problems.add(child.value[sides[0]].place, f"{where}.{sides[0]}", f"expected {unit}, got {shown(limit)}")
            continue
        if not isinstance(limit, str) and wanted != "1" and number != 0.0:
            message = f"write the unit, as in '{limit} {wanted}'"
            problems.add(child.value[sides[0]].place, f"{where}.{sides[0]}", message)
            continue
        found.append(Constraint(name, metric, number, sides[0] == "at_most"))
    return tuple(found)
