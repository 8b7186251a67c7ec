"""The mapper against the best mappings that timeloop-mapper found, row by row.

Timeloop sampled at random, so its best is a bar to reach or pass, never the optimum. A tensor may pass any level by
but the outermost, there as here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwmodels.spatial.mapper.search import DEFAULT_BUDGET, MappingSearch, Progress, best_mapping
from hwmodels.spatial.mapping import NestMachine
from hwmodels.spatial.mapping_machines import load_machines, nest_machine
from simulator.core.errors import InputError, SpecError, SpecProblem
from simulator.validation.mapping_golden import einsum_text, machines_beside
from simulator.validation.table import Kind, Row, parse_rows, read_table
from workloads.einsum import batched_gemm, parse_einsum

__all__ = ["SearchReplay", "SearchRow", "replay_mapping_search"]

_RANKS = ("B", "M", "N", "K")
_COLUMNS = {
    **dict.fromkeys(("arch", "layer", "metric"), Kind.TEXT),
    **dict.fromkeys(_RANKS, Kind.COUNT),
    "best_cycles": Kind.COUNT,
    "best_pJ_per_mac": Kind.POSITIVE,
}

#: Timeloop's name of each objective.
_METRICS = {"edp": "edp", "energy": "energy", "delay": "cycles"}

_PRINTED_pJ = 0.0005  # half the last digit of the energy per multiply-add
_PICO = 1e-12


@dataclass(frozen=True, slots=True)
class SearchRow:
    """One row: what was found, against the bar."""

    place: str
    name: str
    bar: float  # the objective of Timeloop's best mapping, from its rounded energy
    found: MappingSearch
    reached_s: float | None  # processor time until the bar was reached; None: never
    search_s: float  # processor time of the whole search

    @property
    def ratio(self) -> float:
        """The objective found over the bar."""
        return self.found.value / self.bar


@dataclass(frozen=True, slots=True)
class SearchReplay:
    """What a file of searches says of the mapper."""

    file: str
    machines: str
    rows: tuple[SearchRow, ...]

    @property
    def worse(self) -> tuple[SearchRow, ...]:
        """Rows on which Timeloop found a better mapping."""
        return tuple(row for row in self.rows if row.reached_s is None)

    @property
    def ok(self) -> bool:
        """Whether no row is worse."""
        return not self.worse

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as plain data."""
        return {
            "replay": "mapping-search",
            "file": self.file,
            "machines": self.machines,
            "rows": [
                {
                    "place": row.place,
                    "name": row.name,
                    "ratio": row.ratio if row.found.cost else None,
                    "proven_optimal": row.found.proven,
                    "cycles": row.found.cost.cycles if row.found.cost else None,
                    "energy_J": row.found.cost.total_J if row.found.cost else None,
                    "reached_s": row.reached_s,
                    "search_s": row.search_s,
                    "evaluated": row.found.evaluated,
                    "excluded": row.found.excluded,
                    "explanation": row.found.explanation,
                }
                for row in self.rows
            ],
            "worse": [row.place for row in self.worse],
            "agrees": self.ok,
        }


def replay_mapping_search(
    path: Path, machines_path: Path | None = None, budget: int = DEFAULT_BUDGET, seed: int = 0
) -> SearchReplay:
    """Search every row of a file.

    Raises
    ------
    SpecError
        If the file is not such a table, or the machines cannot be read.
    """
    table = read_table(path)
    missing = [name for name in _COLUMNS if name not in table.header]
    if missing:
        message = f"column {missing[0]!r} is missing; needs {', '.join(_COLUMNS)}"
        raise SpecError([SpecProblem(table.file, 1, 1, "", message)])
    rows = parse_rows(table, {name: _COLUMNS.get(name, Kind.FREE) for name in table.header})
    where = machines_beside(path) if machines_path is None else machines_path
    machines = load_machines(where)
    text = einsum_text(machines, where)
    for row in rows:
        if row.text("arch") not in machines.machines:
            raise row.error("arch", f"no machine {row.text('arch')!r}; known: {', '.join(machines.machines)}")
        if row.text("metric") not in _METRICS:
            raise row.error("metric", f"expected one of {', '.join(_METRICS)}, got {row.text('metric')!r}")
    if budget < 1:
        raise InputError(f"budget: {budget} steps, must be at least 1")
    if rows:  # the first search ever compiles the kernels: not part of any row's time
        best_mapping(batched_gemm(1, 2, 2, 2), nest_machine(machines, rows[0].text("arch")), budget=1)
    found = tuple(_search_row(row, text, nest_machine(machines, row.text("arch")), budget, seed) for row in rows)
    return SearchReplay(str(path), str(where), found)


def _search_row(row: Row, text: str, machine: NestMachine, budget: int, seed: int) -> SearchRow:
    objective = _METRICS[row.text("metric")]
    try:
        einsum = parse_einsum(text, {rank: row.integer(rank) for rank in _RANKS})
    except InputError as error:
        raise row.error("B", str(error)) from None

    def bar(energy_pJ: float) -> float:
        energy_J, cycles = energy_pJ * _PICO * einsum.macs, row.number("best_cycles")
        return {"edp": energy_J * cycles, "energy": energy_J, "cycles": cycles}[objective]

    highest, begin = bar(row.number("best_pJ_per_mac") + _PRINTED_pJ), time.process_time()
    reached: list[float] = []

    def listen(progress: Progress) -> None:
        if not reached and progress.best <= highest:
            reached.append(time.process_time() - begin)

    found = best_mapping(einsum, machine, objective, seed=seed, budget=budget, progress=listen)
    spent = time.process_time() - begin
    if not reached and found.value <= highest:  # the answer was remembered
        reached.append(spent)
    name = f"{row.text('arch')} {row.text('layer')}"
    return SearchRow(row.place, name, bar(row.number("best_pJ_per_mac")), found, next(iter(reached), None), spent)
