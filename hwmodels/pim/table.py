"""The constraint tables of memory that computes: where they lie, and how long one command waits for another."""

from __future__ import annotations

from pathlib import Path

from hwmodels.dram.device import Dram
from hwmodels.dram.standard import DramStandard, load_dram, load_standard
from hwmodels.pim.spec import PimSpec
from simulator.core.names import match_name

__all__ = ["pim_dram", "pim_standard", "spacing", "tables"]

_TABLES = Path(__file__).parents[1] / "specs" / "pim_dram"


def tables() -> dict[str, Path]:
    """Return the bundled tables by name."""
    return {path.stem: path for path in sorted(_TABLES.glob("*.yaml"))}


def _path(name: str) -> str:
    if name.endswith((".yaml", ".yml", ".json")):
        return name
    known = tables()
    return str(known[match_name(name, known, "DRAM that computes")])


def pim_standard(name: str) -> DramStandard:
    """Return a table with its energies by name, or of a file.

    Raises
    ------
    UnknownNameError
        If there is none of that name.
    """
    return load_standard(_path(name))


def pim_dram(spec: PimSpec) -> Dram:
    """Return one channel of a unit, every number resolved."""
    return load_dram(_path(spec.dram.standard), spec.dram.organisation, spec.dram.speed)


def spacing(dram: Dram, before: str, after: str, within: str = "Bank") -> int:
    """Return the ticks from one command to another: the longest of the rows that join them.

    The commands share their nodes down to level ``within``; rows of deeper scopes do not join them.
    """
    rows = [row for row in dram.constraints if dram.levels.index(row.scope) <= dram.levels.index(within)]
    return max((r.latency for r in rows if before in r.prev and after in r.next and r.window == 1), default=0)
