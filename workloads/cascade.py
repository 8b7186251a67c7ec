"""Cascades of einsums: operations on tensors that feed each other, written as data.

A line is an output, ``=``, and an expression of tensors with ``+ - * /``, ``exp(x)`` and ``max(x, y)``; ``+=`` and
``max=`` also reduce over the ranks that the output lacks. A *running* tensor is written at the next point of a rank,
``RM[m1+1,p]``, and read at this one, ``RM[m1,p]``, or after the last, ``RM[M1,p]`` (the rank's name in capitals).

Source: the notation follows extended einsums (Odemuyiwa et al., arXiv 2404.11591) as FuseMax uses them (Nayak et al.,
MICRO 2024, arXiv 2406.10491).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from simulator.core.errors import InputError
from simulator.core.names import match_name
from simulator.core.specfile import SpecRecord, load_spec

__all__ = ["Access", "Apply", "Cascade", "CascadeEinsum", "Expression", "Index", "cascade_names", "load_cascade"]

_BUNDLED = Path(__file__).parent / "cascades"
_TOKEN = re.compile(r"\s*(?:([A-Za-z]\w*)|([-+*/(),\[\]])|(\d+))")
_LINE = re.compile(r"(.*?[^+\s])\s*(\+=|\bmax=|=)(.*)", re.DOTALL)
_INDEX = re.compile(r"\s*([A-Za-z]\w*)\s*(\+\s*1)?\s*")
_OPERATORS = {"+": "add", "-": "sub", "*": "mul", "/": "div"}
_FUNCTIONS = {"exp": 1, "max": 2}
_LONGEST = 400  # characters of a line, so that parentheses cannot nest deeply


@dataclass(frozen=True, slots=True)
class Index:
    """A point of a rank: this one, the next, or the one after the last."""

    rank: str
    at: Literal["here", "next", "end"] = "here"

    def __str__(self) -> str:
        return {"here": self.rank, "next": f"{self.rank}+1", "end": self.rank.upper()}[self.at]


@dataclass(frozen=True, slots=True)
class Access:
    """A tensor at a point."""

    tensor: str
    indices: tuple[Index, ...]

    def __str__(self) -> str:
        return f"{self.tensor}[{','.join(map(str, self.indices))}]"

    @property
    def ranks(self) -> tuple[str, ...]:
        """Ranks of the tensor."""
        return tuple(index.rank for index in self.indices)

    @property
    def iterated(self) -> frozenset[str]:
        """Ranks that it moves along."""
        return frozenset(index.rank for index in self.indices if index.at != "end")


@dataclass(frozen=True, slots=True)
class Apply:
    """An operation on expressions: ``add``, ``sub``, ``mul``, ``div``, ``max`` or ``exp``."""

    operation: str
    arguments: tuple[Expression, ...]


Expression = Access | Apply


@dataclass(frozen=True, slots=True)
class CascadeEinsum:
    """One line of a cascade."""

    text: str
    output: Access
    expression: Expression
    reduction: Literal["add", "max"] | None

    @property
    def name(self) -> str:
        """The tensor that it makes."""
        return self.output.tensor

    @property
    def reads(self) -> tuple[Access, ...]:
        """Every tensor it reads, in order."""
        return tuple(_reads(self.expression))

    @property
    def ranks(self) -> frozenset[str]:
        """Ranks whose every point it visits."""
        return self.output.iterated.union(*(access.iterated for access in self.reads))

    @property
    def operations(self) -> Mapping[str, int]:
        """Operations per point; a product that is summed is one ``mac``."""
        found = Counter(_applied(self.expression))
        if self.reduction == "add" and isinstance(self.expression, Apply) and self.expression.operation == "mul":
            found["mul"] -= 1
            found["mac"] += 1
        elif self.reduction is not None:
            found[self.reduction] += 1
        return {name: count for name, count in found.items() if count}

    def points(self, bounds: Mapping[str, float]) -> float:
        """Return how many points it visits (bounds may be means)."""
        total = 1.0
        for rank in self.ranks:
            total *= bounds[rank]
        return total


def _reads(expression: Expression) -> Iterator[Access]:
    if isinstance(expression, Access):
        yield expression
    else:
        for argument in expression.arguments:
            yield from _reads(argument)


def _applied(expression: Expression) -> Iterator[str]:
    if isinstance(expression, Apply):
        yield expression.operation
        for argument in expression.arguments:
            yield from _applied(argument)


class _CascadeFile(SpecRecord):
    name: str
    description: str
    based_on: str = ""
    ranks: Mapping[str, str]
    fibres: Mapping[str, list[str]] = Field(default_factory=dict)
    start: Mapping[str, Literal["zero", "lowest"]] = Field(default_factory=dict)
    einsums: list[str] = Field(min_length=1, max_length=64)
    example: Mapping[str, Annotated[int, Field(ge=1, le=2**40)]] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cascade:
    """Einsums in order, each tensor made once."""

    name: str
    description: str
    based_on: str
    ranks: Mapping[str, str]  # what each runs over
    fibres: Mapping[str, tuple[str, ...]]  # ranks that one rank was cut into, outermost first
    start: Mapping[str, str]  # what running tensors begin with: "zero" or "lowest"
    einsums: tuple[CascadeEinsum, ...]
    example: Mapping[str, int]  # bounds of all ranks to explain it with; empty: none given

    @property
    def inputs(self) -> tuple[Access, ...]:
        """Tensors that no einsum makes, as they are first read."""
        made = {einsum.name for einsum in self.einsums}
        first: dict[str, Access] = {}
        for access in (access for einsum in self.einsums for access in einsum.reads):
            if access.tensor not in made:
                first.setdefault(access.tensor, access)
        return tuple(first.values())

    @property
    def outputs(self) -> tuple[Access, ...]:
        """Tensors that no einsum reads."""
        read = {access.tensor for einsum in self.einsums for access in einsum.reads}
        return tuple(einsum.output for einsum in self.einsums if einsum.name not in read)

    @property
    def running(self) -> frozenset[str]:
        """Tensors that are carried along a rank."""
        return frozenset(e.name for e in self.einsums if any(index.at == "next" for index in e.output.indices))

    def einsum(self, name: str) -> CascadeEinsum:
        """Return the einsum that makes tensor ``name``, which must exist."""
        return next(einsum for einsum in self.einsums if einsum.name == name)


@lru_cache(maxsize=1)
def _bundled() -> dict[str, Path]:
    return {path.stem: path for path in sorted(_BUNDLED.glob("*.yaml"))}


def cascade_names() -> list[str]:
    """Return the names of the bundled cascades."""
    return list(_bundled())


@lru_cache(maxsize=32)
def _load_bundled(name: str) -> Cascade:
    return _checked(load_spec(_bundled()[name], _CascadeFile, f"workloads/cascades/{name}.yaml"), name)


def load_cascade(name: str | Path) -> Cascade:
    """Load a bundled cascade by name, or a YAML file by path.

    Raises
    ------
    UnknownNameError
        If nothing of that name exists.
    SpecError
        If the file is not a cascade.
    InputError
        If a line is not an einsum or does not fit the others.
    """
    text = str(name)
    if isinstance(name, Path) or "/" in text or text.endswith((".yaml", ".yml")):
        return _checked(load_spec(Path(text), _CascadeFile), text)
    return _load_bundled(match_name(text, _bundled(), "cascade"))


def _checked(file: _CascadeFile, where: str) -> Cascade:
    """Return the cascade of a file whose lines agree with each other."""
    try:
        einsums = tuple(parse_line(text, frozenset(file.ranks)) for text in file.einsums)
        cascade = Cascade(
            file.name,
            file.description,
            file.based_on,
            dict(file.ranks),
            {name: tuple(ranks) for name, ranks in file.fibres.items()},
            dict(file.start),
            einsums,
            dict(file.example),
        )
        _check(cascade)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return cascade


def _check(cascade: Cascade) -> None:
    made = [einsum.name for einsum in cascade.einsums]
    twice = next((name for name in made if made.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"tensor {twice} is made twice")
    if cascade.running != set(cascade.start):
        odd = sorted(cascade.running ^ set(cascade.start))
        raise InputError(f"start: give what every running tensor begins with, and no other; look at {', '.join(odd)}")
    ranks_of = {e.name: e.output.ranks for e in cascade.einsums} | {a.tensor: a.ranks for a in cascade.inputs}
    for position, einsum in enumerate(cascade.einsums):
        for access in einsum.reads:
            if access.ranks != ranks_of[access.tensor]:
                raise InputError(f"{einsum.text!r}: {access.tensor} has ranks {', '.join(ranks_of[access.tensor])}")
            late = access.tensor in made[position:]
            if late and access.tensor not in cascade.running:
                raise InputError(f"{einsum.text!r}: reads {access.tensor} before it is made")
            if access.tensor not in cascade.running and any(index.at != "here" for index in access.indices):
                raise InputError(
                    f"{einsum.text!r}: {access.tensor} is not a running tensor: read it at the point itself"
                )
    if cascade.example and set(cascade.example) != set(cascade.ranks):
        odd = sorted(set(cascade.example) ^ set(cascade.ranks))
        raise InputError(f"example: give the bound of every rank, and no other; look at {', '.join(odd)}")
    for fibre, ranks in cascade.fibres.items():
        unknown = [rank for rank in ranks if rank not in cascade.ranks]
        if unknown or not ranks:
            raise InputError(f"fibre {fibre}: no rank {unknown[0] if unknown else 'given'}")


def parse_line(text: str, ranks: frozenset[str]) -> CascadeEinsum:
    """Read one line.

    Raises
    ------
    InputError
        If it is not an einsum of these ranks.

    Examples
    --------
    >>> line = parse_line("SN[m,p] = exp(QK[m,p] - GM[p])", frozenset("mp"))
    >>> dict(line.operations), sorted(line.ranks)
    ({'exp': 1, 'sub': 1}, ['m', 'p'])
    """
    found = _LINE.fullmatch(text.strip())
    if found is None or len(text) > _LONGEST:
        raise InputError(f"{text[:_LONGEST]!r}: write an einsum as Z[m,n] += A[m,k] * W[k,n]")
    left = _Reader(found[1], text, ranks).whole()
    if not isinstance(left, Access) or any(index.at == "end" for index in left.indices):
        raise InputError(f"{text!r}: the left side must be one tensor")
    right = _Reader(found[3], text, ranks).whole()
    reduction: dict[str, Literal["add", "max"] | None] = {"+=": "add", "max=": "max", "=": None}
    einsum = CascadeEinsum(text, left, right, reduction[found[2]])
    reduced = einsum.ranks - left.iterated
    if reduced and einsum.reduction is None:
        raise InputError(f"{text!r}: {left} lacks {', '.join(sorted(reduced))}: say += or max= to reduce")
    if not reduced and einsum.reduction is not None:
        raise InputError(f"{text!r}: nothing is reduced: write =")
    missing = left.iterated.difference(*(access.iterated for access in einsum.reads))
    if missing:
        raise InputError(f"{text!r}: no tensor on the right has rank {', '.join(sorted(missing))}")
    return einsum


class _Reader:
    """Recursive descent over the tokens of one side of a line."""

    def __init__(self, part: str, line: str, ranks: frozenset[str]) -> None:
        self.line, self.ranks = line, ranks
        self.tokens: list[str] = []
        position = 0
        while part[position:].strip():
            found = _TOKEN.match(part, position)
            if found is None:
                raise InputError(f"{line!r}: cannot read {part[position:].strip()!r}")
            self.tokens.append(found[0].strip())
            position = found.end()
        self.tokens.append("")

    def whole(self) -> Expression:
        """Read everything as one expression."""
        result = self.sum()
        self.expect("")
        return result

    def expect(self, token: str) -> None:
        """Take ``token``."""
        got = self.tokens.pop(0)
        if got != token:
            raise InputError(f"{self.line!r}: expected {token or 'the end'!r}, got {got or 'the end'!r}")

    def sum(self) -> Expression:
        """Read terms joined by ``+`` and ``-``."""
        result = self.product()
        while self.tokens[0] in ("+", "-"):
            result = Apply(_OPERATORS[self.tokens.pop(0)], (result, self.product()))
        return result

    def product(self) -> Expression:
        """Read factors joined by ``*`` and ``/``."""
        result = self.factor()
        while self.tokens[0] in ("*", "/"):
            result = Apply(_OPERATORS[self.tokens.pop(0)], (result, self.factor()))
        return result

    def factor(self) -> Expression:
        """Read a tensor, a function or a parenthesis."""
        token = self.tokens.pop(0)
        if token == "(":
            inner = self.sum()
            self.expect(")")
            return inner
        if not token[:1].isalpha():
            raise InputError(f"{self.line!r}: expected a tensor, got {token or 'the end'!r}")
        if self.tokens[0] == "[":
            return self.access(token)
        if token not in _FUNCTIONS:
            raise InputError(f"{self.line!r}: no function {token!r}: known are {', '.join(_FUNCTIONS)}")
        self.expect("(")
        arguments = [self.sum()]
        while self.tokens[0] == ",":
            self.expect(",")
            arguments.append(self.sum())
        self.expect(")")
        if len(arguments) != _FUNCTIONS[token]:
            raise InputError(f"{self.line!r}: {token} takes {_FUNCTIONS[token]}, got {len(arguments)}")
        return Apply(token, tuple(arguments))

    def access(self, tensor: str) -> Access:
        """Read the indices of a tensor."""
        self.expect("[")
        text = ""
        while self.tokens[0] not in ("]", ""):
            text += self.tokens.pop(0)
        self.expect("]")
        indices = []
        for part in text.split(","):
            found = _INDEX.fullmatch(part)
            name = found[1] if found else part
            at: Literal["here", "next", "end"] = "next" if found and found[2] else "here"
            if name not in self.ranks and name.lower() in self.ranks and at == "here":
                name, at = name.lower(), "end"
            if found is None or name not in self.ranks:
                raise InputError(f"{self.line!r}: no rank {part!r}; ranks are {', '.join(sorted(self.ranks))}")
            indices.append(Index(name, at))
        return Access(tensor, tuple(indices))
