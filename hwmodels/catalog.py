"""Hardware by name or by file: bundled specifications, inheritance between them, systems made of devices.

A specification may start from another with ``base: h200`` (a bundled name, or a path beside the file) and say only what
differs; where one specification lies inside another (``link: nvlink4``) a name alone is enough. Any bundled device
with a count, ``h100x4``, is a system: the node its own file describes, or so many devices on their own link.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hwmodels.kinds import DEVICE_KINDS, references
from hwmodels.schema import hardware_schema
from hwmodels.spec import GpuSpec, SystemSpec, as_gpu
from simulator.core.document import Node, Place, as_node, read_tree
from simulator.core.errors import InputError, SpecError, SpecProblem, UnknownNameError
from simulator.core.names import match_name, normalise, suggest
from simulator.core.specfile import WHOLE, annotate, apply_overrides, merge, validate

__all__ = ["SPECS", "bundled", "hardware_names", "hardware_schema", "load_gpu", "load_hardware"]

#: Where the bundled specifications lie: one folder per kind of device, and one each for what joins and feeds them.
SPECS = Path(__file__).parent / "specs"

#: In each kind of specification, the keys that hold another and the kind of that.
_REFERENCES: Mapping[str, Mapping[str, str]] = {
    "device": references(),
    "system": {"network": "link", "storage": "storage", "host": "host"},
    "unit": {"device": "device"},
    "link": {},
    "energy": {},
    "storage": {},
    "host": {},
}
_COUNTED = re.compile(r"(?P<device>.+?)-?x(?P<count>[1-9]\d{0,17})", re.IGNORECASE)
_NODE = 8  # devices in a full node of every vendor's reference design

#: What may be left out in ``--set hbm.bandwidth=...``.
_PREFIXES: tuple[tuple[str, ...], ...] = ((), ("units", "*"), ("units", "*", "device"))


class _Source(NamedTuple):
    """A file and how messages name it."""

    path: Path
    shown: str


def bundled(kind: str) -> dict[str, Path]:
    """Return the bundled specifications of a folder (``gpu``, ``system``, ``link``...) by name.

    ``device`` stands for the folders of all kinds of device together.
    """
    folders = tuple(DEVICE_KINDS) if kind == "device" else (kind,)
    return {path.stem: path for folder in folders for path in sorted((SPECS / folder).glob("*.yaml"))}


def hardware_names() -> list[str]:
    """Return the names :func:`load_hardware` knows; any device may also be followed by a count (``h100x4``)."""
    return sorted({*bundled("device"), *bundled("system")})


def _is_path(name: str) -> bool:
    return "/" in name or "\\" in name or name.lower().endswith((".yaml", ".yml", ".json"))


def _find(kind: str, name: str, beside: Path) -> _Source:
    """Find what a reference means: a path, relative to the file that names it, or a bundled specification."""
    if _is_path(name):
        path = Path(name) if Path(name).is_absolute() else beside / name
        return _Source(path, str(path))
    known = bundled(kind)
    found = match_name(name, known, f"{kind} specification")
    return _Source(known[found], f"hwmodels/specs/{known[found].parent.name}/{found}.yaml")


class _Resolver:
    """Reads specifications and puts the ones they refer to in their place; collects every problem on the way."""

    def __init__(self) -> None:
        self.problems: list[SpecProblem] = []

    def read(self, source: _Source) -> Node:
        """Return the annotated tree of one file, its references not yet followed; empty if it cannot be read."""
        root, problems = read_tree(source.path, source.shown)
        self.problems += problems
        if root is None:
            return Node({}, Place(source.shown, 1, 1))
        tree, more = annotate(root)
        self.problems += more
        if not isinstance(tree.value, dict):
            self.problems.append(SpecProblem(*root.place, "", "expected a mapping of keys to values at the top"))
            return Node({}, Place(source.shown, 1, 1))
        return tree

    def resolve(self, node: Node, kind: str, beside: Path, trail: tuple[Path, ...] = ()) -> Node:
        """Return ``node`` with its base merged below it and the references inside it replaced by what they name."""
        if isinstance(node.value, str):
            node = Node({"base": node}, node.place)
        if not isinstance(node.value, dict):
            return node
        members = dict(node.value)
        base = members.pop("base", None)
        if kind == "system":
            members = self._units(members, beside, trail)
        for key, inner in _REFERENCES[kind].items():
            if key in members and members[key].value is not None:
                members[key] = self.resolve(members[key], inner, beside, trail)
        here = Node(members, node.place)
        if base is None:
            return here
        merged = merge(self._base(base, kind, beside, trail), here)
        return Node(merged.value, merged.place, WHOLE)

    def _units(self, members: dict[str, Node], beside: Path, trail: tuple[Path, ...]) -> dict[str, Node]:
        units = members.get("units")
        if units is not None and isinstance(units.value, list):
            resolved = [self.resolve(u, "unit", beside, trail) if isinstance(u.value, dict) else u for u in units.value]
            members["units"] = Node(resolved, units.place)
        return members

    def _base(self, base: Node, kind: str, beside: Path, trail: tuple[Path, ...]) -> Node:
        empty = Node({}, base.place)
        if not isinstance(base.value, str):
            self.problems.append(SpecProblem(*base.place, "base", "expected the name of a specification or a path"))
            return empty
        try:
            source = _find(kind, base.value, beside)
        except UnknownNameError as error:
            self.problems.append(SpecProblem(*base.place, "base", str(error)))
            return empty
        try:
            found, path = source.path.is_file(), source.path.resolve()
        except (OSError, ValueError):  # a name too long, a NUL character
            found, path = False, source.path
        if path in trail:
            chain = " -> ".join(p.stem for p in (*trail[trail.index(path) :], path))
            self.problems.append(SpecProblem(*base.place, "base", f"is circular: {chain}"))
            return empty
        if not found:
            self.problems.append(SpecProblem(*base.place, "base", f"no such file: {source.shown}"))
            return empty
        return self.resolve(self.read(source), kind, source.path.parent, (*trail, path))


def load_hardware(name_or_path: str | Path, overrides: Sequence[str] = ()) -> SystemSpec:
    """Load a system, or a device as a system of one.

    Parameters
    ----------
    name_or_path
        A bundled name (``h200``, ``h100x8``; case and punctuation do not matter) or the path of a YAML file.
    overrides
        Fields to replace, ``"hbm.bandwidth=6 TB/s"``; paths are those of the system or, when they do not exist there,
        of its device.

    Raises
    ------
    UnknownNameError
        If nothing of that name exists.
    SpecError
        If a file or an override is wrong, with every problem at its file, line and column.
    """
    resolver = _Resolver()
    tree = _system_tree(str(name_or_path), resolver)
    if overrides and not resolver.problems:
        tree = apply_overrides(tree, overrides, SystemSpec, _PREFIXES)
        tree = resolver.resolve(tree, "system", Path.cwd())
    if not tree.value and resolver.problems:
        raise SpecError(resolver.problems)
    return validate(tree, SystemSpec, resolver.problems)


def load_gpu(name_or_path: str | Path, overrides: Sequence[str] = ()) -> GpuSpec:
    """Load one GPU; see :func:`load_hardware`, which keeps the provenance of its numbers."""
    return as_gpu(load_hardware(name_or_path, overrides).device)


def _system_tree(name: str, resolver: _Resolver) -> Node:
    """Return the resolved tree of the system that ``name`` means."""
    if _is_path(name):
        source = _Source(Path(name), name)
        tree = resolver.read(source)
        if not tree.value:
            return tree
        trail = (source.path.resolve(),)
        kind = "system" if isinstance(tree.value, dict) and _describes_system(tree.value) else "device"
        tree = resolver.resolve(tree, kind, source.path.parent, trail)
        return tree if kind == "system" else _alone(tree)
    devices, systems = bundled("device"), bundled("system")
    by_key = {normalise(n): n for n in (*devices, *systems)}
    found = by_key.get(normalise(name))
    place = Place(f"hardware {name!r}", 1, 1)
    if found in systems:
        return resolver.resolve(as_node(found, place), "system", Path.cwd())
    if found is not None:
        return _alone(resolver.resolve(as_node(found, place), "device", Path.cwd()))
    counted = _COUNTED.fullmatch(name.strip())
    repeated = by_key.get(normalise(counted["device"])) if counted else None
    if counted is not None and repeated in devices:
        return _counted(repeated, int(counted["count"]), resolver, place)
    if counted is not None and repeated is not None:
        return _repeated(repeated, int(counted["count"]), resolver, place)
    known = hardware_names()
    raise UnknownNameError("hardware", name, suggest(name, known), known)


def _describes_system(members: Mapping[str, Node]) -> bool:
    """Tell a system from a device by its keys, or by what its base is."""
    if "units" in members or "nodes" in members:
        return True
    base = members.get("base")
    return base is not None and isinstance(base.value, str) and base.value in bundled("system")


def _alone(device: Node) -> Node:
    """Return the system of one device."""
    assert isinstance(device.value, dict)
    name = device.value.get("name", Node("device", device.place))
    return Node({"name": name, "units": Node([Node({"device": device}, device.place)], device.place)}, device.place)


def _counted(device: str, count: int, resolver: _Resolver, place: Place) -> Node:
    """Return the tree of ``<device>x<count>``: part of the device's full node, several of them, or devices alone."""
    full = {normalise(n): n for n in bundled("system")}.get(normalise(f"{device}x{_NODE}"))
    name = f"{device}x{count}"
    here = Path.cwd()
    if full is None:
        if count > 2 * _NODE:
            raise InputError(f"{name}: describe more than {2 * _NODE} devices in a file, with nodes and a network")
        units = [{"device": device, "count": count}]
        return resolver.resolve(as_node({"name": name, "units": units}, place), "system", here)
    if count > _NODE and count % _NODE:
        raise InputError(f"{name}: {count} devices do not fill nodes of {_NODE}: take a multiple of {_NODE}")
    per_node, nodes = min(count, _NODE), max(1, count // _NODE)
    tree = resolver.resolve(as_node({"name": name, "base": full, "nodes": nodes}, place), "system", here)
    return _replace(tree, ("units", 0, "count"), Node(per_node, place))


def _repeated(system: str, count: int, resolver: _Resolver, place: Place) -> Node:
    """Return the tree of ``<system>x<count>`` in one node: so many times each unit of a system of several kinds."""
    name = f"{system}-x{count}"
    tree = resolver.resolve(as_node({"name": name, "base": system}, place), "system", Path.cwd())
    members = tree.value if isinstance(tree.value, dict) else {}
    if "placement" not in members:
        raise InputError(f"{name}: {system} is a whole system; name its device with a count, or describe it in a file")
    units = members["units"].value
    assert isinstance(units, list)
    for number, unit in enumerate(units):
        own = unit.value["count"].value if isinstance(unit.value, dict) and "count" in unit.value else 1
        if not isinstance(own, int) or own * count > 2 * _NODE:
            raise InputError(f"{name}: describe more than {2 * _NODE} devices in a file, with nodes and a network")
        tree = _replace(tree, ("units", number, "count"), Node(own * count, place))
    return tree


def _replace(node: Node, path: tuple[str | int, ...], leaf: Node) -> Node:
    """Return a copy of the tree with another value at a path that exists."""
    if not path:
        return leaf
    step, rest = path[0], path[1:]
    if isinstance(node.value, list):
        return Node([_replace(c, rest, leaf) if i == step else c for i, c in enumerate(node.value)], node.place)
    assert isinstance(node.value, dict)
    members = dict(node.value)
    members[str(step)] = _replace(members[str(step)], rest, leaf) if rest else leaf
    return Node(members, node.place)
