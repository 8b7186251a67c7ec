"""Coefficients of kernel families: what datasheets do not say, read from ``specs/family`` into a formula's own record.

A file holds one section per module of physics: either the whole file is the section (``gemm.yaml``) or the section is
one of its top-level keys (``overlap:`` in ``collectives.yaml``). Within a section there is one mapping per architecture
family or kind of link, which may inherit from another, or the coefficients themselves where there is only one set.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from hwmodels.gpu.spec import GpuSpec
from simulator.core.document import Node, Scalar, read_tree
from simulator.core.errors import InputError, SpecError, SpecProblem
from simulator.core.names import suggest
from simulator.core.quantity import Quantity
from simulator.core.specfile import KINDS, Provenance, annotate, merge

__all__ = [
    "FAMILIES",
    "coefficient_dimensions",
    "coefficient_families",
    "coefficient_provenance",
    "gpu_coefficients",
    "load_coefficients",
]

#: Where the sections lie.
FAMILIES = Path(__file__).parent / "specs" / "family"

#: Suffix of a field of a coefficient record, and the dimension it is written in.
_DIMENSIONS = {"_Bps": "B/s", "_B": "B", "_s": "s", "_Hz": "Hz", "_J_per_B": "J/B", "_J_per_flop": "J/FLOP"}
_DIMENSIONS |= {"_J_per_op": "J/OP", "_J": "J", "_W": "W", "_V": "V"}

Coefficients = TypeVar("Coefficients", bound=tuple[float, ...])


def load_coefficients(
    section: str,
    family: str,
    record: type[Coefficients],
    overrides: Mapping[str, Scalar] | None = None,
) -> Coefficients:
    """Return the coefficients of one section for one family, as the record its formulas take.

    Parameters
    ----------
    section
        ``"gemm"``, ``"attention"``, ``"collectives"``, ...
    family
        An architecture (``"hopper"``) or a kind of link (``"nvlink4"``); not looked at where a section has one set.
    record
        A NamedTuple of floats. Files write a field without its unit suffix: ``fixed_s`` as ``fixed: 0.86 us``.
    overrides
        Values that a device's own specification puts in place of its family's, by bare name.

    Raises
    ------
    InputError
        If the section, the family or an overridden name does not exist.
    SpecError
        If the file is wrong: a value, a missing or an unknown coefficient.

    Examples
    --------
    >>> from hwmodels.host_link import HostLinkCoefficients
    >>> 0 < load_coefficients("host_link", "pcie5", HostLinkCoefficients).efficiency < 1
    True
    """
    tree = _family_tree(section, family)
    assert isinstance(tree.value, dict)
    given = dict(tree.value)
    dimensions = coefficient_dimensions(record)
    for name, value in (overrides or {}).items():
        if name not in dimensions:
            near = suggest(name, dimensions, most=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(dimensions)}"
            raise InputError(f"coefficients.{section}.{name}: no such coefficient ({hint})")
        given[name] = Node(value, tree.place._replace(file=f"coefficients.{section}"))
    make: Any = record
    made: Coefficients = make(*_values(given, dimensions, tree, section))
    return made


def gpu_coefficients(gpu: GpuSpec, section: str, record: type[Coefficients]) -> Coefficients:
    """Return the coefficients of a GPU: its family's, with what its own specification puts in their place."""
    return load_coefficients(section, gpu.family, record, getattr(gpu.coefficients, section, None))


def _values(given: Mapping[str, Node], dimensions: Mapping[str, str], tree: Node, section: str) -> list[float]:
    """Read every coefficient in the order of its record, complaining about all of them at once."""
    problems: list[SpecProblem] = []
    values: list[float] = []
    for name in given.keys() - dimensions.keys():
        near = suggest(name, dimensions, most=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        problems.append(SpecProblem(*given[name].place, f"{section}.{name}", f"unknown coefficient{hint}"))
    for name, dimension in dimensions.items():
        if name not in given:
            problems.append(SpecProblem(*tree.place, f"{section}.{name}", "required coefficient is missing"))
            continue
        try:
            values.append(Quantity(dimension, zero=True).read(given[name].value))
        except ValueError as error:
            problems.append(SpecProblem(*given[name].place, f"{section}.{name}", str(error)))
    if problems:
        raise SpecError(sorted(problems, key=lambda p: (p.file, p.line, p.column)))
    return values


def coefficient_provenance(section: str, family: str) -> Mapping[str, Provenance]:
    """Return where each coefficient of a section and family comes from, by bare name."""
    tree = _family_tree(section, family)
    return {".".join(map(str, path)): leaf.origin for path, leaf in tree.leaves() if leaf.origin}


def coefficient_dimensions(record: type[tuple[float, ...]]) -> dict[str, str]:
    """Return the fields of a record in order, by the name files write, each with the dimension of its value."""
    return dict(_bare(field) for field in getattr(record, "_fields", ()))


def coefficient_families(section: str) -> list[str]:
    """Return the families of a section, or nothing where it has one set for all."""
    return sorted(_families(_section(section)))


def _bare(field: str) -> tuple[str, str]:
    """Return the name of a field in files and the dimension of its value."""
    for suffix in sorted(_DIMENSIONS, key=len, reverse=True):
        if field.endswith(suffix):
            return field.removesuffix(suffix), _DIMENSIONS[suffix]
    return field, "1"


def _families(section: Node) -> dict[str, Node]:
    """Return the families of a section: its mappings that are not one sourced number."""
    members = section.value if isinstance(section.value, dict) else {}
    return {
        k: v for k, v in members.items() if isinstance(v.value, dict) and k != "provenance" and "value" not in v.value
    }


@cache
def _section(section: str) -> Node:
    """Read the section from its file."""
    for path in sorted(FAMILIES.glob("*.yaml")):
        shown = f"hwmodels/specs/family/{path.name}"
        root, problems = read_tree(path, shown)
        if root is None or problems:
            raise SpecError(problems)
        members = root.value if isinstance(root.value, dict) else {}
        if section in members:
            return members[section]
        if path.stem == section:
            return root
    raise InputError(f"no coefficients of section {section!r} in hwmodels/specs/family")


@cache
def _family_tree(section: str, family: str) -> Node:
    """Return the coefficients of a family, what it inherits merged in and every number annotated."""
    whole = _section(section)
    families = _families(whole)
    if not families:
        return _annotated(whole)
    if family not in families:
        raise InputError(f"no {section} coefficients of family {family!r}: known are {', '.join(sorted(families))}")
    chain: list[str] = []
    name: Any = family
    tree: Node | None = None
    while name is not None:
        node = families.get(str(name))
        if node is None or name in chain:
            why = "is circular" if name in chain else f"names no family: known are {', '.join(sorted(families))}"
            raise SpecError([SpecProblem(*families[chain[-1]].place, f"{chain[-1]}.inherits", why)])
        chain.append(name)
        members = dict(node.value) if isinstance(node.value, dict) else {}
        parent = members.pop("inherits", None)
        here = _annotated(Node(members, node.place))
        tree = here if tree is None else merge(here, tree)
        name = parent.value if parent is not None else None
    assert tree is not None
    return _inherited(tree, families[family])


def _annotated(node: Node) -> Node:
    """Give every number its provenance: that of its section unless it has its own."""
    members = dict(node.value) if isinstance(node.value, dict) else {}
    about = members.pop("provenance", None)
    if about is not None and isinstance(about.value, dict):
        members |= {key: value for key, value in about.value.items() if key in ("source", "kind", "note")}
    tree, problems = annotate(Node(members, node.place))
    if problems:
        raise SpecError(problems)
    return tree


def _inherited(tree: Node, family: Node) -> Node:
    """Mark what a family took over from another with the family's own provenance: an estimate, as a rule."""
    members = family.value if isinstance(family.value, dict) else {}
    about = members.get("provenance")
    if "inherits" not in members or about is None or not isinstance(about.value, dict):
        return tree
    source, kind = about.value.get("source"), about.value.get("kind")
    stated = Provenance(
        str(source.value) if source is not None else "",
        str(kind.value) if kind is not None and kind.value in KINDS else "estimated",
        about.place,
    )
    assert isinstance(tree.value, dict)
    own = {name: node if name in members else Node(node.value, node.place, stated) for name, node in tree.value.items()}
    return Node(own, tree.place)
