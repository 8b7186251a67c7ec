"""Specifications: files read into pydantic records, with every error at its line and every number with its source.

A number is a quantity with its unit, or ``{value, source, kind, note}``. A mapping may carry ``source``, ``kind`` and
``note`` too: they hold for every number below it that has none of its own. ``--set path=value`` replaces any field.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Annotated, Any, NamedTuple, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from simulator.core.document import Node, Place, parse_scalar, read_tree
from simulator.core.errors import InputError, SpecError, SpecProblem
from simulator.core.names import suggest
from simulator.core.one_of import ONE_OF, OneOf

__all__ = [
    "KINDS",
    "OVERRIDE_FILE",
    "WHOLE",
    "Provenance",
    "SpecRecord",
    "annotate",
    "apply_overrides",
    "field_paths",
    "load_spec",
    "merge",
    "resolved_hash",
    "shown",
    "validate",
]

#: How a number came to be. ``unstated``: its file does not say; ``override``: given on the command line.
KINDS = ("datasheet", "measured", "calibrated", "derived", "estimated")

#: What stands in place of a file name in errors about ``--set``.
OVERRIDE_FILE = "--set"

#: The ``origin`` of a mapping that came complete from a file of its own.
WHOLE = object()

_ABOUT = ("source", "kind", "note")
_SUFFIX = re.compile(r"_(B|Bps|s|Hz|W|J|mm2|USD|V)$")


class Provenance(NamedTuple):
    """Where a number comes from: document and page, and how it came to be."""

    source: str
    kind: str
    place: Place
    note: str = ""


def _bare_name(field: str) -> str:
    """Return the key of a field in files: without the unit, which the quantity itself carries there."""
    return _SUFFIX.sub("", field)


class SpecRecord(BaseModel):
    """The base of every record read from a specification file: frozen, strict, unknown keys refused.

    Fields carry their SI unit in the name (``bandwidth_Bps``); in files the key has none (``bandwidth: 3.35 TB/s``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=_bare_name, allow_inf_nan=False)
    _provenance: Mapping[str, Provenance] = PrivateAttr(default_factory=lambda: MappingProxyType({}))

    @property
    def provenance(self) -> Mapping[str, Provenance]:
        """Where each number comes from, by dotted path (``hbm.bandwidth``); known to the outermost record only."""
        return self._provenance


def shown(value: object) -> str:
    """Show a wrong value in a message, shortened."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def annotate(root: Node, file_source: str = "") -> tuple[Node, list[SpecProblem]]:
    """Fold ``{value, source, kind, note}`` into their value and hand sources down to every leaf.

    Returns a new tree without those keys, in which each leaf's ``origin`` is its :class:`Provenance`, and the problems.
    """
    problems: list[SpecProblem] = []
    top = Provenance(file_source, "unstated", root.place)
    return _annotate(root, top, (), problems), problems


def _annotate(node: Node, above: Provenance, path: tuple[str, ...], problems: list[SpecProblem]) -> Node:
    if isinstance(node.value, list):
        items = [_annotate(child, above, (*path, str(i)), problems) for i, child in enumerate(node.value)]
        return Node(items, node.place)
    if not isinstance(node.value, dict):
        return Node(node.value, node.place, above._replace(place=node.place))
    about: dict[str, str] = {}
    for key in _ABOUT:
        child = node.value.get(key)
        if child is None:
            continue
        if not isinstance(child.value, str):
            message = f"expected text, got {shown(child.plain())}"
            problems.append(SpecProblem(*child.place, ".".join((*path, key)), message))
        elif key == "kind" and child.value not in KINDS:
            message = f"expected one of {', '.join(KINDS)}, got {shown(child.value)}"
            problems.append(SpecProblem(*child.place, ".".join((*path, key)), message))
        else:
            about[key] = child.value
    if "source" in about and "kind" not in about and above.kind != "unstated":
        about["kind"] = above.kind
    here = above._replace(place=node.place, **about)
    value = node.value.get("value")
    if value is not None and not set(node.value) - {"value", *_ABOUT}:
        return _annotate(Node(value.value, node.place), here, path, problems)
    rest = {k: _annotate(v, here, (*path, k), problems) for k, v in node.value.items() if k not in _ABOUT}
    return Node(rest, node.place)


def merge(base: Node, over: Node) -> Node:
    """Return ``base`` with everything ``over`` says put in its place, mapping by mapping.

    Lists are replaced whole, and so is what :data:`WHOLE` marks: another link must not keep the peers of the first.
    """
    if not isinstance(base.value, dict) or not isinstance(over.value, dict) or over.origin is WHOLE:
        return over
    members = dict(base.value)
    for key, child in over.value.items():
        members[key] = merge(members[key], child) if key in members else child
    return Node(members, over.place)


Record = TypeVar("Record", bound=SpecRecord)


def load_spec(path: Path | str, record: type[Record], named: str | None = None) -> Record:
    """Read one self-contained file into a record.

    Parameters
    ----------
    path
        A YAML or JSON file.
    record
        The type of record.
    named
        How to name the file in messages; the path as given when None.

    Raises
    ------
    SpecError
        With every problem of the file at once.
    """
    root, problems = read_tree(path, named)
    if root is None:
        raise SpecError(problems)
    tree, more = annotate(root)
    return validate(tree, record, [*problems, *more])


def validate(tree: Node, record: type[Record], problems: Sequence[SpecProblem] = ()) -> Record:
    """Turn an annotated tree into a record that knows the provenance of its numbers.

    Raises
    ------
    SpecError
        With ``problems`` and every problem the record has with the tree.
    """
    found = list(problems)
    try:
        spec = record.model_validate(tree.plain())
    except ValidationError as error:
        # A place already complained about (a NaN, a second value) would only be named again.
        known = {(p.line, p.column) for p in found}
        found += [p for p in _problems(error, tree, record) if (p.line, p.column) not in known]
        raise SpecError(sorted(found, key=lambda p: (p.file, p.line, p.column))) from None
    if found:
        raise SpecError(found)
    numbers = {".".join(map(str, path)): leaf.origin for path, leaf in tree.leaves() if leaf.origin and _numeric(leaf)}
    spec._provenance = MappingProxyType(numbers)
    return spec


def _numeric(leaf: Node) -> bool:
    value = leaf.value
    if isinstance(value, str):
        return re.match(r"\s*[-+.]?\d+(\.\d+)?([eE][-+]?\d+)? ?\S*\s*(/ ?\S+)?$", value) is not None
    return isinstance(value, int | float) and not isinstance(value, bool)


_SHOWN_PROBLEMS = 40  # nobody reads more, and looking for the nearest key takes its time

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def _problems(error: ValidationError, tree: Node, record: type[BaseModel]) -> Iterator[SpecProblem]:
    """Put each complaint of pydantic into our words, at the place a person must look."""
    details = error.errors(include_url=False)
    if len(details) > _SHOWN_PROBLEMS:
        yield SpecProblem(*tree.place, "", f"{len(details)} problems, of which the first {_SHOWN_PROBLEMS} are shown")
    for detail in details[:_SHOWN_PROBLEMS]:
        path = tuple(step for step in detail["loc"] if step != "[key]")
        kind, value = detail["type"], detail["input"]
        if kind == "too_short" and any(d["loc"][: len(path)] == path and d is not detail for d in details):
            continue  # a list counts as empty when its only item is wrong, which is said elsewhere
        if kind == "missing":
            message = "required field is missing"
        elif kind == "extra_forbidden":
            depth = len(path) - 1
            siblings = list(dict.fromkeys(p[depth] for p in field_paths(record) if _matches(p[:depth], path[:-1])))
            near = suggest(str(path[-1]), siblings, most=1)
            if str(path[-1]) in siblings:
                message = "unknown key: other types have it, this one does not"
            elif near:
                message = f"unknown key (did you mean {near[0]!r}?)"
            else:
                message = f"unknown key (known: {', '.join(siblings)})"
        elif kind == ONE_OF:
            path = (*path, detail["ctx"]["key"])
            message = f"{detail['msg']}, got {shown(value.get(path[-1]))}"
        elif kind in _EXPECTED:
            message = f"expected {_EXPECTED[kind]}, got {shown(value)}"
        elif kind in ("value_error", "assertion_error"):
            message = str(detail["ctx"]["error"]) if "ctx" in detail else detail["msg"]
        elif kind == "literal_error":
            message = f"expected {detail['ctx']['expected']}, got {shown(value)}"
        else:
            message = f"{detail['msg'][0].lower()}{detail['msg'][1:]}, got {shown(value)}"
        yield SpecProblem(*tree.at(path).place, ".".join(map(str, path)), message)


def field_paths(record: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    """Yield the path of every value as files write it; ``*`` stands for an index or a free key."""
    for name, info in record.model_fields.items():
        inner, stars = _inside(info.annotation)
        path = (info.alias or name, *["*"] * stars)
        choices = next((mark.records() for mark in info.metadata if isinstance(mark, OneOf)), None)
        if inner is None:
            yield path
        else:
            below = (deeper for choice in choices or (inner,) for deeper in field_paths(choice))
            yield from ((*path, *deeper) for deeper in dict.fromkeys(below))


def _inside(annotation: Any) -> tuple[type[BaseModel] | None, int]:
    """Return the record within an annotation, if any, and how many lists or mappings lie around it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _inside(arguments[0])
    if origin in (Union, UnionType):
        return max((_inside(a) for a in arguments), key=lambda found: (found[0] is not None, found[1]))
    if origin in (tuple, list):
        inner, stars = _inside(arguments[0])
        return inner, stars + 1
    if origin in (dict, Mapping):
        inner, stars = _inside(arguments[1])
        return inner, stars + 1
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, 0
    return None, 0


def _matches(pattern: Sequence[str], path: Sequence[str | int]) -> bool:
    return len(pattern) == len(path) and all(p in ("*", str(step)) for p, step in zip(pattern, path, strict=True))


def apply_overrides(
    tree: Node, assignments: Sequence[str], record: type[BaseModel], prefixes: Sequence[tuple[str, ...]] = ((),)
) -> Node:
    """Return ``tree`` with each ``path=value`` of the command line put in place.

    Parameters
    ----------
    tree
        An annotated tree.
    assignments
        As typed after ``--set``, e.g. ``"hbm.bandwidth=6 TB/s"``.
    record
        The type of record the tree is of; it says which paths exist.
    prefixes
        What may be left out before a path, tried in order; ``*`` stands for the only member of a list.

    Raises
    ------
    InputError
        If an assignment has no ``=``.
    SpecError
        If a path does not exist; the message carries the nearest one.
    """
    known = list(field_paths(record))
    problems: list[SpecProblem] = []
    for number, assignment in enumerate(assignments, start=1):
        text, equals, value = assignment.partition("=")
        place = Place(OVERRIDE_FILE, number, 1)
        if not equals or not text.strip():
            raise InputError(f"--set {assignment!r}: write it as path=value, e.g. --set 'hbm.bandwidth=6 TB/s'")
        try:
            path = _resolve_path(tree, tuple(text.strip().split(".")), known, prefixes)
            leaf = Node(parse_scalar(value.strip()), place, Provenance("command line", "override", place))
        except ValueError as error:
            problems.append(SpecProblem(*place, text.strip(), str(error)))
            continue
        tree = _put(tree, path, leaf)
    if problems:
        raise SpecError(problems)
    return tree


def _resolve_path(
    tree: Node, path: tuple[str, ...], known: Sequence[tuple[str, ...]], prefixes: Sequence[tuple[str, ...]]
) -> tuple[str, ...]:
    """Return the full path that ``path`` abbreviates, with real indices; ValueError if there is none."""
    for prefix in prefixes:
        full = (*prefix, *path)
        # Also a mapping as a whole: where a file may name another specification, so may an override.
        if not any(_matches(p[: len(full)], full) for p in known):
            continue
        for position, step in enumerate(full):
            if step == "*":
                members = tree.at(tuple(int(s) if s.isdigit() else s for s in full[:position])).value
                if isinstance(members, list) and len(members) > 1:
                    choices = " or ".join(".".join((*full[:position], str(i), *full[position + 1 :])) for i in (0, 1))
                    raise ValueError(f"is ambiguous here: say {choices}")
                full = (*full[:position], "0", *full[position + 1 :])
        return full
    ends = (prefixes[0], prefixes[-1])  # what lies between only writes the same fields in a longer way
    short = {".".join(p[len(prefix) :]) for prefix in ends for p in known if p[: len(prefix)] == prefix}
    near = suggest(".".join(path), short, most=2)
    last = [s for s in sorted(short) if s.rsplit(".", 1)[-1] == path[-1] and s not in near]
    hints = (near + last)[:3]
    raise ValueError("no such field" + (f" (did you mean {' or '.join(map(repr, hints))}?)" if hints else ""))


def _put(node: Node, path: tuple[str, ...], leaf: Node) -> Node:
    """Return a copy of the tree with ``leaf`` at ``path``, mappings on the way made where they are missing."""
    if not path:
        return leaf
    step, rest = path[0], path[1:]
    if isinstance(node.value, list) and step.isdigit() and int(step) < len(node.value):
        items = list(node.value)
        items[int(step)] = _put(items[int(step)], rest, leaf)
        return Node(items, node.place)
    members = dict(node.value) if isinstance(node.value, dict) else {}
    members[step] = _put(members.get(step, Node({}, leaf.place)), rest, leaf)
    return Node(members, node.place)


def resolved_hash(spec: object) -> str:
    """Return the SHA-256 of a specification as resolved: canonical JSON, keys sorted, floats by ``repr``.

    Parameters
    ----------
    spec
        A pydantic record, a dataclass or plain data. Provenance does not enter: it cannot change a result.
    """
    if isinstance(spec, BaseModel):
        data: Any = spec.model_dump(mode="json")
    elif is_dataclass(spec) and not isinstance(spec, type):
        data = asdict(spec)
    else:
        data = spec
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
