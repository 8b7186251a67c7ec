"""Loop nests against golden runs of Timeloop, every column of every row.

One row is one mapping of a batched product onto a machine of a file of machines. Two columns are printed roundly by
Timeloop: its own total energy (0.01 uJ) and the utilisation (two digits).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwmodels.spatial.mapping import LevelMapping, MappingCost, evaluate_mapping
from hwmodels.spatial.mapping_machines import BUNDLED_MACHINES, MachineFile, load_machines, nest_machine
from simulator.core.errors import InputError, SpecError, SpecProblem
from simulator.core.names import suggest
from simulator.validation.table import Kind, Row, Table, parse_rows, read_table
from workloads.einsum import Einsum, parse_einsum

__all__ = ["MappingMismatch", "MappingReplay", "einsum_text", "machines_beside", "replay_mapping"]

_RANKS = ("B", "M", "N", "K")
_LEVELS = ("RF", "GB", "DRAM")
_TENSORS = ("A", "W", "Z")
_WORDS = ("reads", "fills", "updates")

_EXACT, _PRINTED_pJ, _ROUND_pJ, _ROUND_SHARE = 0.0, 0.006, 5000.0, 0.005
_PICO = 1e-12

#: Columns that a mapping is read from, and those compared with how far off each may be.
_GIVEN = {
    **dict.fromkeys(("arch", "spatial_x", "spatial_y"), Kind.TEXT),
    **dict.fromkeys(_RANKS, Kind.COUNT),
    **{f"{level}_factors": Kind.TEXT for level in ("rf", "gb", "dram")},
    **{f"{level}_perm_inner_to_outer": Kind.TEXT for level in ("rf", "gb", "dram")},
}
_COMPARED = {
    "cycles": _EXACT,
    "utilization": _ROUND_SHARE,
    "macs": _EXACT,
    "energy_total_pJ_timeloop": _ROUND_pJ,
    **{f"{level}_{tensor}_{words}": _EXACT for level in _LEVELS for tensor in _TENSORS for words in _WORDS},
    "RF_instances_used": _EXACT,
    **{f"e_{part}_pJ": _PRINTED_pJ for part in ("mac", "rf", "gb", "dram")},
}


@dataclass(frozen=True, slots=True)
class MappingMismatch:
    """A cell that the model does not give."""

    place: str
    column: str
    golden: float
    model: float


@dataclass(frozen=True, slots=True)
class MappingReplay:
    """What a file of golden runs says of the model."""

    file: str
    machines: str  # the file they were read from
    rows: int
    cells: int
    mismatches: tuple[MappingMismatch, ...]
    unfit: tuple[str, ...]  # places of mappings that exceed a capacity; for information

    @property
    def ok(self) -> bool:
        """Whether every cell agrees."""
        return not self.mismatches

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as plain data."""
        return {
            "replay": "mapping",
            "file": self.file,
            "machines": self.machines,
            "rows": self.rows,
            "exact_cells": self.cells,
            "mismatches": [
                {"place": m.place, "column": m.column, "golden": m.golden, "model": m.model} for m in self.mismatches
            ],
            "over_capacity": list(self.unfit),
            "agrees": self.ok,
        }


def machines_beside(path: Path) -> Path:
    """Return ``mapping_arch.yaml`` beside a file where there is one, else the bundled machines."""
    beside = path.parent / BUNDLED_MACHINES.name
    return beside if beside.is_file() else BUNDLED_MACHINES


def replay_mapping(path: Path, machines_path: Path | None = None) -> MappingReplay:
    """Compare every row of a file with the model.

    Raises
    ------
    SpecError
        If the file is not such a table, a row is not a mapping, or the machines cannot be read.
    """
    table = read_table(path)
    rows = parse_rows(table, _kinds(table))
    where = machines_beside(path) if machines_path is None else machines_path
    machines = load_machines(where)
    text = einsum_text(machines, where)
    mismatches, unfit = [], []
    for row in rows:
        cost = _cost(row, text, machines)
        for column, model in _values(cost).items():
            golden = row.number(column)
            if abs(golden - model) > _COMPARED[column] * (1.0 + 1e-9) + 1e-12 * abs(golden):
                mismatches.append(MappingMismatch(row.place, column, golden, model))
        if not cost.fits:
            unfit.append(row.place)
    cells = len(rows) * len(_COMPARED)
    return MappingReplay(str(path), str(where), len(rows), cells, tuple(mismatches), tuple(unfit))


def _kinds(table: Table) -> dict[str, Kind]:
    """Return the kind of each column; columns that are not used may hold anything."""
    needed = {**_GIVEN, **dict.fromkeys(_COMPARED, Kind.AMOUNT)}
    missing = [name for name in needed if name not in table.header]
    if missing:
        near = suggest(missing[0], table.header, most=1)
        hint = f" (there is {near[0]!r})" if near else ""
        message = f"column {missing[0]!r} is missing{hint}; needs {', '.join(needed)}"
        raise SpecError([SpecProblem(table.file, 1, 1, "", message)])
    return {name: needed.get(name, Kind.FREE) for name in table.header}


def einsum_text(machines: MachineFile, path: Path) -> str:
    """Return the einsum of the file's tensors, the columns' own or an error."""
    tensors = machines.tensors
    known = set(tensors) == set(_TENSORS) and all(set(ranks) <= set(_RANKS) and ranks for ranks in tensors.values())
    if not known:
        message = f"expected tensors {', '.join(_TENSORS)} indexed by {', '.join(_RANKS)}"
        raise SpecError([SpecProblem(str(path), 1, 1, "tensors", message)])
    a, w, z = (f"{name}[{','.join(tensors[name])}]" for name in _TENSORS)
    return f"{z} += {a} * {w}"


def _cost(row: Row, text: str, machines: MachineFile) -> MappingCost:
    if row.text("arch") not in machines.machines:
        known = ", ".join(machines.machines)
        raise row.error("arch", f"no machine {row.text('arch')!r}; known: {known}")
    try:
        einsum = parse_einsum(text, {rank: row.integer(rank) for rank in _RANKS})
        return evaluate_mapping(einsum, nest_machine(machines, row.text("arch")), _mapping(row, einsum, machines))
    except InputError as error:
        raise row.error("dram_factors", str(error)) from None


def _mapping(row: Row, einsum: Einsum, machines: MachineFile) -> tuple[LevelMapping, ...]:
    shared = machines.machines[row.text("arch")].RF.shared_by
    passing = frozenset(tensor.name for tensor in einsum.tensors if tensor.name not in shared)
    spread = ((_spatial(row, "spatial_x"),), (_spatial(row, "spatial_y"),))
    return (
        LevelMapping(_temporal(row, "dram")),
        LevelMapping(_temporal(row, "gb"), spread),
        LevelMapping(_temporal(row, "rf"), bypass=passing),
    )


def _temporal(row: Row, level: str) -> tuple[tuple[str, int], ...]:
    """Return the loops of a level from the outermost to the innermost."""
    column = f"{level}_factors"
    bounds: dict[str, int] = {}
    for word in row.text(column).split():
        found = re.fullmatch(r"([BMNK])=(\d{1,10})", word)
        if found is None or found[1] in bounds:
            raise row.error(column, f"expected factors like 'B=1 M=2 N=1 K=8', got {row.text(column)!r}")
        bounds[found[1]] = int(found[2])
    order = row.text(f"{level}_perm_inner_to_outer")
    if sorted(order) != sorted(bounds):
        raise row.error(f"{level}_perm_inner_to_outer", f"expected each of {', '.join(bounds)} once, got {order!r}")
    return tuple((rank, bounds[rank]) for rank in reversed(order))


def _spatial(row: Row, column: str) -> tuple[str, int]:
    found = re.fullmatch(r"([BMNK])(\d{1,10})", row.text(column))
    if found is None:
        raise row.error(column, f"expected a rank and a factor like N16, got {row.text(column)!r}")
    return found[1], int(found[2])


def _values(cost: MappingCost) -> Mapping[str, float]:
    """Return what Timeloop prints of a mapping, by column."""
    energy_pJ = {part: energy / _PICO for part, energy in cost.energy_J.items()}
    words = {
        f"{level}_{tensor}_{name}": getattr(cost.words[level, tensor], name)
        for level in _LEVELS
        for tensor in _TENSORS
        for name in _WORDS
    }
    return {
        "cycles": cost.cycles,
        "utilization": cost.utilisation,
        "macs": cost.macs,
        "energy_total_pJ_timeloop": sum(energy_pJ.values()),
        **words,
        "RF_instances_used": cost.instances["RF"],
        "e_mac_pJ": energy_pJ["mac"],
        **{f"e_{level.lower()}_pJ": energy_pJ[level] for level in _LEVELS},
    }
