"""Bindings: which array runs each einsum of a cascade, at how many cycles an operation, and what overlaps, as data.

A *phase* is what both arrays do at one time: it takes as long as the slower of them; phases follow each other. A
*travel* phase is a reduction that has to move down the columns of the 2D array before anything goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from simulator.core.errors import InputError
from simulator.core.names import match_name
from simulator.core.specfile import SpecRecord, load_spec
from workloads.cascade import Cascade, CascadeEinsum, load_cascade

__all__ = ["Binding", "BoundEinsum", "Phase", "ScorePlace", "binding_names", "load_binding"]

_BUNDLED = Path(__file__).parent / "bindings"
_Cycles = Mapping[str, Annotated[float, Field(ge=0.0, le=1e6)]]

#: Queries, keys (in blocks), widths of keys and values.
_RANKS = {"p", "m", "m1", "m0", "e", "f"}

#: Where scores wait between einsums: in memory, in the buffer by whole rows (spilling), in the buffer by tiles of one
#: array, or nowhere: they stay beside the units.
ScorePlace = Literal["memory", "rows", "tiles", "nowhere"]


class _PhaseRecord(SpecRecord):
    array_2d: list[str] = Field(default_factory=list)
    array_1d: list[str] = Field(default_factory=list)
    travel: list[str] = Field(default_factory=list)


class _BindingFile(SpecRecord):
    name: str
    description: str
    based_on: str = ""
    cascade: str
    fused: bool
    scores: ScorePlace
    cycles_2d: _Cycles
    cycles_1d: _Cycles
    phases: list[_PhaseRecord] = Field(min_length=1, max_length=64)
    tile_columns_in_buffer: Annotated[int, Field(ge=0, le=1024)] = 0


class BoundEinsum(NamedTuple):
    """An einsum on its array."""

    name: str  # the tensor that it makes
    text: str
    on_2d: bool
    ranks: tuple[str, ...]  # whose every point it visits
    cycles: float  # of one unit for one point
    operations: tuple[tuple[str, int], ...]  # by kind, for one point


@dataclass(frozen=True, slots=True)
class Phase:
    """Einsums that run at one time, by the tensors they make."""

    array_2d: tuple[str, ...]
    array_1d: tuple[str, ...]
    travel: tuple[str, ...]  # reductions on the 2D array whose results cross all its rows


@dataclass(frozen=True, slots=True)
class Binding:
    """A cascade on a 2D and a 1D array."""

    name: str
    description: str
    cascade: Cascade
    fused: bool  # False: each phase reads and writes memory by itself
    scores: ScorePlace
    cycles_2d: Mapping[str, float]  # per operation and unit
    cycles_1d: Mapping[str, float]
    phases: tuple[Phase, ...]
    einsums: tuple[BoundEinsum, ...]  # in the order of the cascade
    tile_columns_in_buffer: int  # columns of scores per query that the buffer holds beside its state


@lru_cache(maxsize=1)
def _bundled() -> dict[str, Path]:
    return {path.stem: path for path in sorted(_BUNDLED.glob("*.yaml"))}


def binding_names() -> list[str]:
    """Return the names of the bundled bindings."""
    return list(_bundled())


@lru_cache(maxsize=32)
def load_binding(name: str) -> Binding:
    """Load a bundled binding by name, or a YAML file by path.

    Raises
    ------
    UnknownNameError
        If nothing of that name exists.
    SpecError
        If the file is not a binding.
    InputError
        If it does not bind every einsum of its cascade once, or an array has no cycles for an operation.
    """
    if "/" in name or name.endswith((".yaml", ".yml")):
        path, shown = Path(name), name
    else:
        found = match_name(name, _bundled(), "binding")
        path, shown = _bundled()[found], f"hwmodels/spatial/bindings/{found}.yaml"
    file = load_spec(path, _BindingFile, shown)
    cascade = load_cascade(file.cascade)
    phases = tuple(Phase(tuple(p.array_2d), tuple(p.array_1d), tuple(p.travel)) for p in file.phases)
    _check(file, cascade, phases, shown)
    return Binding(
        name=file.name,
        description=file.description,
        cascade=cascade,
        fused=file.fused,
        scores=file.scores,
        cycles_2d=dict(file.cycles_2d),
        cycles_1d=dict(file.cycles_1d),
        phases=phases,
        einsums=tuple(_bound(einsum, file, phases) for einsum in cascade.einsums),
        tile_columns_in_buffer=file.tile_columns_in_buffer,
    )


def _bound(einsum: CascadeEinsum, file: _BindingFile, phases: tuple[Phase, ...]) -> BoundEinsum:
    on_2d = einsum.name in _on_2d(phases)
    table = file.cycles_2d if on_2d else file.cycles_1d
    return BoundEinsum(
        name=einsum.name,
        text=einsum.text,
        on_2d=on_2d,
        ranks=tuple(sorted(einsum.ranks)),
        cycles=sum(count * table[op] for op, count in einsum.operations.items()),
        operations=tuple(einsum.operations.items()),
    )


def _on_2d(phases: tuple[Phase, ...]) -> set[str]:
    return {name for phase in phases for name in phase.array_2d}


def _check(file: _BindingFile, cascade: Cascade, phases: tuple[Phase, ...], where: str) -> None:
    """Refuse what leaves an einsum out, runs it twice, or asks an array for what it cannot do."""
    made = [einsum.name for einsum in cascade.einsums]
    unknown = sorted(set(cascade.ranks) - _RANKS)
    if unknown:
        raise InputError(
            f"{where}: rank {unknown[0]}: only attention is bound, its ranks are {', '.join(sorted(_RANKS))}"
        )
    if not file.fused and len(phases) != 3:
        raise InputError(f"{where}: not fused: give three phases: scores, softmax, product with the values")
    if file.scores == "rows" and not {"QK", "AV"} <= _on_2d(phases):
        raise InputError(f"{where}: rows of scores wait between QK and AV: both must run on the 2D array")
    bound = [name for phase in phases for name in (*phase.array_2d, *phase.array_1d)]
    travels = [name for phase in phases for name in phase.travel]
    for name in (*bound, *travels):
        if name not in made:
            raise InputError(f"{where}: {cascade.name} makes no {name}; it makes {', '.join(made)}")
    for name in made:
        if bound.count(name) != 1:
            raise InputError(f"{where}: {name} is bound {bound.count(name)} times, must be once")
    for array, table in (("2d", file.cycles_2d), ("1d", file.cycles_1d)):
        for name in bound:
            if (name in _on_2d(phases)) != (array == "2d"):
                continue
            missing = sorted(set(cascade.einsum(name).operations) - set(table))
            if missing:
                raise InputError(f"{where}: cycles_{array} has no {missing[0]!r}, which {name} needs")
