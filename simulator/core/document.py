"""YAML and JSON files read as a tree in which every value knows its file, line and column.

Files come from users, so nothing in them may hang, crash or be misread: size, depth and alias expansion are bounded;
tags, merge keys, duplicate keys and a second document are errors; scalars follow YAML 1.2 (``1e9`` is a number, ``no``
is text), where PyYAML's own rules of YAML 1.1 would read the one as a string and the other as False.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from simulator.core.errors import SpecError, SpecProblem

__all__ = ["MAX_BYTES", "Node", "Place", "Scalar", "Value", "as_node", "parse_scalar", "read_document", "read_tree"]

Scalar: TypeAlias = str | int | float | bool | None
Value: TypeAlias = "Scalar | dict[str, Node] | list[Node]"

#: Larger files are not specifications; a model's ``config.json`` may list every module it does not quantise.
MAX_BYTES = {".json": 4 << 20, ".yaml": 1 << 18}
MAX_DEPTH = 48
MAX_NODES = 50_000  # after aliases are expanded
_MAX_DIGITS = 400
_SHOWN_PROBLEMS = 40


class Place(NamedTuple):
    """Where something stands; line and column count from 1, and line 0 means the file as a whole."""

    file: str
    line: int
    column: int


@dataclass(slots=True)
class Node:
    """A value and where a person should look for it: at its key in a mapping, at itself in a list.

    ``origin`` is free for whoever loads the tree: specifications keep the provenance of a number in it.
    """

    value: Value
    place: Place
    origin: Any = None
    size: int = field(default=1, repr=False)  # nodes below and including this one, aliases expanded

    def plain(self) -> Any:
        """Return the value as ordinary dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def at(self, path: tuple[str | int, ...]) -> Node:
        """Return the node at ``path``, or the deepest one on the way to it that exists."""
        node = self
        for step in path:
            if isinstance(node.value, dict) and str(step) in node.value:
                node = node.value[str(step)]
            elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
            else:
                break
        return node

    def leaves(self, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Node]]:
        """Yield every scalar below this node with its path."""
        if isinstance(self.value, dict):
            for key, child in self.value.items():
                yield from child.leaves((*path, key))
        elif isinstance(self.value, list):
            for index, child in enumerate(self.value):
                yield from child.leaves((*path, index))
        else:
            yield path, self


def as_node(value: Any, place: Place) -> Node:
    """Wrap plain data, all of it at one place."""
    if isinstance(value, dict):
        return Node({str(k): as_node(v, place) for k, v in value.items()}, place)
    if isinstance(value, list | tuple):
        return Node([as_node(v, place) for v in value], place)
    return Node(value, place)


def read_document(path: Path | str, shown: str | None = None) -> Node:
    """Read a ``.json`` file as JSON and any other as YAML.

    Parameters
    ----------
    path
        The file.
    shown
        How to name it in messages; the path as given when None.

    Raises
    ------
    SpecError
        With every problem found, each at its line and column.
    """
    root, problems = read_tree(path, shown)
    if problems or root is None:
        raise SpecError(problems)
    return root


def read_tree(path: Path | str, shown: str | None = None) -> tuple[Node | None, list[SpecProblem]]:
    """Like :func:`read_document`, but return the problems, so that a caller can add its own before raising."""
    file = shown if shown is not None else str(path)
    kind = ".json" if str(path).lower().endswith(".json") else ".yaml"
    text, trouble = _read_text(Path(path), MAX_BYTES[kind])
    if trouble is not None:
        return None, [SpecProblem(file, *trouble[:2], "", trouble[2])]
    if kind == ".json":
        from simulator.core.document_json import parse_json

        return parse_json(text, file)
    return parse_yaml(text, file)


def _read_text(path: Path, limit_B: int) -> tuple[str, tuple[int, int, str] | None]:
    """Return the text of a file, or the place and reason why it is not one."""
    try:
        if path.is_dir():
            return "", (1, 1, "is a directory, expected a file")
        if not path.exists():
            return "", (1, 1, "no such file")
        if not path.is_file():
            return "", (1, 1, "is not a regular file")
        with path.open("rb") as stream:
            raw = stream.read(limit_B + 1)
    except (OSError, ValueError) as error:
        # ValueError: a path with a NUL character; the text of an OSError is the system's own.
        return "", (1, 1, f"cannot be read: {getattr(error, 'strerror', None) or error}")
    if len(raw) > limit_B:
        return "", (1, 1, f"is larger than {limit_B // 1024} KiB, the limit for a specification")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        return "", (line, column, f"is not UTF-8 text (byte 0x{raw[error.start]:02x})")
    strange = re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
    if strange:
        line = text.count("\n", 0, strange.start()) + 1
        column = strange.start() - (text.rfind("\n", 0, strange.start()) + 1) + 1
        return "", (line, column, f"contains the control character U+{ord(strange[0]):04X}: is it a text file?")
    return text, None


_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Scalar] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_WORDS |= {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def parse_scalar(text: str) -> Scalar:
    """Read a plain scalar by the core schema of YAML 1.2.

    Raises
    ------
    ValueError
        If it is a number that is not finite or has an absurd number of digits.

    Examples
    --------
    >>> [parse_scalar(t) for t in ("1e9", "no", "010", "true", "12:30", "~")]
    [1000000000.0, 'no', 10, True, '12:30', None]
    """
    if text in _WORDS:
        return _WORDS[text]
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"expected a finite number, got {text!r}")
    is_int = _INT.fullmatch(text) is not None
    if not is_int and not _FLOAT.fullmatch(text):
        return text
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits is beyond anything plausible")
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"expected a finite number, got {text!r}")
    return int(text) if is_int else number


class _TooDeep(Exception):
    """Stops the walk when going on could not end well."""


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end has not been read yet."""

    node: Node
    anchor: str | None
    key: str | None = None
    key_place: Place | None = None
    awaits_key: bool = True


class _Builder:
    """Builds the tree from parser events; iterative, so that depth is a number to check and not a stack to overflow."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[SpecProblem] = []
        self.root: Node | None = None
        self.stack: list[_Open] = []
        self.anchors: dict[str, Node | None] = {}  # None while the anchored node is still open
        self.nodes = 0

    def place(self, mark: Any) -> Place:
        return Place(self.file, mark.line + 1, mark.column + 1)

    def complain(self, place: Place, message: str) -> None:
        if len(self.problems) < _SHOWN_PROBLEMS:
            path = ".".join(s.key for s in self.stack if s.key is not None)
            self.problems.append(SpecProblem(*place, path, message))

    def stop(self, place: Place, message: str) -> None:
        self.complain(place, message)
        raise _TooDeep

    def add(self, node: Node, is_plain_key: bool = True) -> None:
        """Attach a finished scalar, alias or a just opened collection to the innermost open one."""
        self.nodes += node.size
        if self.nodes > MAX_NODES:
            self.stop(node.place, f"expands to more than {MAX_NODES} values (aliases of aliases?)")
        if not self.stack:
            self.root = node
            return
        top = self.stack[-1]
        if isinstance(top.node.value, list):
            top.node.value.append(node)
            return
        assert isinstance(top.node.value, dict)
        if not top.awaits_key:
            assert top.key is not None and top.key_place is not None
            if top.key not in top.node.value:
                top.node.value[top.key] = Node(node.value, top.key_place, size=node.size)
            top.awaits_key, top.key = True, None
            return
        top.awaits_key, top.key_place = False, node.place
        if isinstance(node.value, dict | list):
            top.key = "?"
            self.complain(node.place, "a key must be a single word, not a mapping or list")
            return
        top.key = str(node.value)
        if top.key == "<<" and is_plain_key:
            self.complain(node.place, "merge keys are not supported: repeat the keys, or inherit with 'base'")
        elif top.key in top.node.value:
            first = top.node.value[top.key].place.line
            self.complain(node.place, f"duplicate key (first given in line {first})")

    def scalar(self, event: Any) -> None:
        place = self.place(event.start_mark)
        if event.tag is not None:
            self.complain(place, f"tags are not supported, got {event.tag!r}: write plain values")
        value: Scalar = event.value
        is_key = bool(self.stack) and isinstance(self.stack[-1].node.value, dict) and self.stack[-1].awaits_key
        if not event.style and not is_key:  # the two parsers write a plain style as None and as ''
            try:
                value = parse_scalar(event.value)
            except ValueError as error:
                self.complain(place, str(error))
        node = Node(value, place)
        self.add(node, is_plain_key=not event.style)
        if event.anchor is not None:
            self.anchors[event.anchor] = node

    def open(self, event: Any, empty: dict[str, Node] | list[Node]) -> None:
        place = self.place(event.start_mark)
        if event.tag is not None:
            self.complain(place, f"tags are not supported, got {event.tag!r}: write plain values")
        if len(self.stack) >= MAX_DEPTH:
            self.stop(place, f"is nested more than {MAX_DEPTH} deep")
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        self.stack.append(_Open(Node(empty, place), event.anchor))

    def close(self) -> None:
        done = self.stack.pop()
        value = done.node.value
        children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        done.node.size = 1 + sum(child.size for child in children)
        self.nodes -= done.node.size - 1  # its parts were counted as they came; add() counts the whole
        self.add(done.node)
        if done.anchor is not None:
            self.anchors[done.anchor] = done.node

    def alias(self, event: Any) -> None:
        place = self.place(event.start_mark)
        target = self.anchors.get(event.anchor)
        if target is None:
            known = event.anchor in self.anchors
            why = "contains itself" if known else "is not defined above"
            self.complain(place, f"alias '*{event.anchor}' {why}")
            self.add(Node(None, place))
            return
        self.add(Node(target.value, place, size=target.size))


def parse_yaml(text: str, file: str) -> tuple[Node | None, list[SpecProblem]]:
    """Parse YAML text into a tree and the list of what is wrong with it."""
    import yaml

    try:
        builder = _built(text, file, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except _DeeperThanTheScannerGoesError:
        builder = _built(text, file, yaml.SafeLoader)  # slower, but it says where
    if builder.root is None and not builder.problems:
        builder.problems.append(SpecProblem(file, 1, 1, "", "is empty"))
    return builder.root, builder.problems


def _built(text: str, file: str, loader: Any) -> _Builder:
    """Feed the events of a text to a builder until there are no more or it stops."""
    import yaml

    builder = _Builder(file)
    documents = 0
    try:
        for event in yaml.parse(text, Loader=loader):
            if isinstance(event, yaml.ScalarEvent):
                builder.scalar(event)
            elif isinstance(event, yaml.MappingStartEvent):
                builder.open(event, {})
            elif isinstance(event, yaml.SequenceStartEvent):
                builder.open(event, [])
            elif isinstance(event, yaml.CollectionEndEvent):
                builder.close()
            elif isinstance(event, yaml.AliasEvent):
                builder.alias(event)
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    builder.stop(builder.place(event.start_mark), "holds a second document: one per file")
    except _TooDeep:
        pass
    except yaml.YAMLError as error:
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        if "nesting depth" in reason and loader is not yaml.SafeLoader:
            # libyaml from 0.2.6 on looks ahead for a key and gives up before the first of these levels is an event
            raise _DeeperThanTheScannerGoesError from error
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        place = builder.place(mark) if mark is not None else Place(file, 1, 1)
        context = getattr(error, "context", None)
        if mark is not None and text[mark.index : mark.index + 1] == "\t":
            reason, context = "indent with spaces, not tabs", None
        builder.complain(place, f"is not valid YAML: {reason}" + (f" ({context})" if context else ""))
    return builder


class _DeeperThanTheScannerGoesError(Exception):
    pass
