"""An independent reader of traces of channels that compute: commands too early, rows not open, buses shared.

It shares nothing with the controller but the constraint table: it keeps the ticks of past commands and looks back,
where the controller keeps the earliest tick of future ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hwmodels.dram.device import Constraint, Dram
from hwmodels.pim.channel import Entry, Issued, PimController, PimTable

__all__ = ["PimViolation", "check_pim_trace"]


class PimViolation(NamedTuple):
    """A command that was not legal."""

    command: Issued
    reason: str


def check_pim_trace(
    table: PimTable, entries: Sequence[Entry], trace: Sequence[Issued], controller: PimController
) -> list[PimViolation]:
    """Return every violation of a trace.

    Parameters
    ----------
    table
        The constraints, and the level each command addresses.
    entries
        The stream that was run, by the numbers in the trace.
    trace
        Its commands in order of issue.
    controller
        How many commands may share a tick.
    """
    found: list[PimViolation] = []
    last: dict[tuple[int, int, str, int], int] = {}
    rows: dict[tuple[int, int], int] = {}
    for command in trace:
        level = _level(table, command)
        for number, constraint in enumerate(table.dram.constraints):
            reason = _too_early(table.dram, command, level, number, constraint, last)
            if reason:
                found.append(PimViolation(command, reason))
        reason = _wrong_rows(command, entries, rows, controller)
        if reason:
            found.append(PimViolation(command, reason))
        for number, constraint in enumerate(table.dram.constraints):
            if command.name in constraint.prev:
                for node in _nodes(table.dram, level, command.node, constraint.scope):
                    last[number, command.channel, command.name, node] = command.tick
    return [*found, *_shared_ticks(entries, trace, controller)]


def _level(table: PimTable, command: Issued) -> str:
    if command.name in table.levels:
        return table.levels[command.name]
    return table.dram.refresh_level if command.name in ("REFab", "PREab") else "Bank"


def _nodes(dram: Dram, level: str, node: int, scope: str) -> range:
    """Return the nodes of a scope that a command at a node of ``level`` belongs to, or that lie below it."""
    own, wanted = dram.nodes(level), dram.nodes(scope)
    if dram.levels.index(scope) <= dram.levels.index(level):
        at = node * wanted // own
        return range(at, at + 1)
    below = wanted // own
    return range(node * below, (node + 1) * below)


def _too_early(
    dram: Dram,
    command: Issued,
    level: str,
    number: int,
    constraint: Constraint,
    last: dict[tuple[int, int, str, int], int],
) -> str:
    if command.name not in constraint.next or dram.levels.index(constraint.scope) > dram.levels.index(level):
        return ""
    (node,) = _nodes(dram, level, command.node, constraint.scope)
    for name in constraint.prev:
        gap = command.tick - last.get((number, command.channel, name, node), command.tick - constraint.latency)
        if gap < constraint.latency:
            return f"{gap} ticks after {name}, {constraint.latency} due ({constraint.scope})"
    return ""


def _wrong_rows(
    command: Issued, entries: Sequence[Entry], rows: dict[tuple[int, int], int], controller: PimController
) -> str:
    """Return why a command does not fit the rows that are open, or nothing; then change them."""
    if command.entry < 0:
        opened = [unit for unit in rows if unit[0] == command.channel]
        if command.name == controller.close_all:
            for unit in opened:
                del rows[unit]
            return ""
        return f"refreshes with {len(opened)} rows open" if opened else ""
    entry = entries[command.entry]
    units = [(command.channel, bank) for bank in range(*entry.banks)]
    if command.name == entry.opens:
        already = [unit for unit in units if unit in rows]
        rows.update(dict.fromkeys(units, entry.row))
        return f"opens a row of {len(already)} open banks" if already else ""
    if command.name == entry.closes:
        for unit in units:
            rows.pop(unit, None)
        return ""
    if command.name == entry.command and any(rows.get(unit) != entry.row for unit in units):
        return f"row {entry.row} is not open"
    return ""


def _shared_ticks(entries: Sequence[Entry], trace: Sequence[Issued], controller: PimController) -> list[PimViolation]:
    seen: set[tuple[int, int, bool]] = set()
    found = []
    for command in trace:
        column = command.entry >= 0 and command.name == entries[command.entry].command
        slot = (command.channel, command.tick, controller.dual and column)
        if slot in seen:
            found.append(PimViolation(command, "shares its tick with another command of the same bus"))
        seen.add(slot)
    return found
