"""The constraint table compiled: for every command at every node, what it makes wait and for how long.

Engines ask one number, "from which tick on may this command go to this node", and every command issued raises some of
these numbers. Which ones and by how much is a list of ranges per command and node, worked out here once; the levels of
the hierarchy, siblings and windows are all gone after that. Further commands (of a PIM device) are further rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwmodels.dram.device import ACTIVATES, Constraint, Dram

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

__all__ = ["BANK_COMMANDS", "UNIT_COMMANDS", "Program", "compile_program"]

#: Commands to one bank and commands to all banks of a refresh unit, in the order the engine numbers them.
BANK_COMMANDS = ("ACT", "PREpb", "RD", "WR", "RDA", "WRA", "REFpb")
UNIT_COMMANDS = ("PREab", "REFab")


@dataclass(frozen=True, slots=True)
class Program:
    """Arrays for the engine; a *key* is a command at a node.

    Attributes
    ----------
    first_key
        Key of each command at its first node; nodes follow one another. The last key of all stands for "never".
    starts, ranges
        Key ``k`` makes others wait by rows ``starts[k]`` to ``starts[k + 1] - 1``: the keys from column 0 up to before
        column 1, until its tick plus column 2. With a window in column 3, not its own tick counts but the last but
        ``window - 1`` of those kept at the place in column 4; rows of one place follow one another.
    history_size
        How many numbers these places take: each a cursor, then its ticks.
    """

    first_key: Mapping[str, int]
    never: int
    starts: Integers
    ranges: Integers
    history_size: int


def compile_program(dram: Dram, unused: Collection[str] = (), extra: Mapping[str, str] | None = None) -> Program:
    """Compile the constraint table of a channel.

    Parameters
    ----------
    dram
        The channel.
    unused
        Commands this controller never issues: nothing waits for them or makes them wait.
    extra
        Further commands and the level of the nodes each addresses.
    """
    import numpy as np

    targets = dict.fromkeys(BANK_COMMANDS, "Bank") | dict.fromkeys(UNIT_COMMANDS, dram.refresh_level)
    targets |= extra or {}
    first_key: dict[str, int] = {}
    keys = 0
    for command, level in targets.items():
        first_key[command] = keys
        keys += dram.nodes(level)
    starts: list[int] = [0]
    ranges: list[tuple[int, int, int, int, int]] = []
    places: dict[tuple[int, int, int, int], int] = {}
    history = 0
    for command, level in targets.items():
        rows = [] if command in unused else [c for c in dram.constraints if command in _engine_names(c.prev)]
        for node in range(dram.nodes(level)):
            plain: dict[tuple[int, int], int] = {}
            counted: list[tuple[int, int, int, int, int]] = []
            for constraint in rows:
                for start, stop, scope_node in _raised(dram, constraint, level, node, targets, first_key, unused):
                    if constraint.window == 1:
                        plain[start, stop] = max(plain.get((start, stop), 0), constraint.latency)
                        continue
                    place = (first_key[command], dram.levels.index(constraint.scope), scope_node, constraint.window)
                    if place not in places:
                        places[place] = history
                        history += 1 + constraint.window
                    counted.append((start, stop, constraint.latency, constraint.window, places[place]))
            counted.sort(key=lambda row: row[4])
            ranges += [(*span, latency, 1, 0) for span, latency in plain.items() if latency > 0] + counted
            starts.append(len(ranges))
    return Program(
        first_key,
        keys,
        np.array(starts, dtype=np.int64),
        np.array(ranges, dtype=np.int64).reshape(-1, 5),
        history,
    )


def _engine_names(commands: Collection[str]) -> set[str]:
    """Return the names the engine knows commands by: it opens a row with ACT, whatever the standard calls it."""
    return {"ACT" if name in ACTIVATES else name for name in commands}


def _raised(
    dram: Dram,
    constraint: Constraint,
    level: str,
    node: int,
    targets: Mapping[str, str],
    first_key: Mapping[str, int],
    unused: Collection[str],
) -> list[tuple[int, int, int]]:
    """Return ranges of keys that a command at ``node`` of ``level`` raises by one constraint, and the scope's node."""
    found = []
    for scope_node, low, high in _scope_spans(dram, constraint, level, node):
        for name in sorted(_engine_names(constraint.next)):
            if name in unused or name not in targets:
                continue
            depth = dram.levels.index(targets[name])
            if dram.levels.index(constraint.scope) > depth:
                continue  # the command addresses all such nodes at once and is not held by one of them
            per = dram.nodes(targets[name]) // dram.nodes(constraint.scope)
            found.append((first_key[name] + low * per, first_key[name] + high * per, scope_node))
    return found


def _scope_spans(dram: Dram, constraint: Constraint, level: str, node: int) -> list[tuple[int, int, int]]:
    """Return spans ``(counted at, first, last + 1)`` of nodes of the scope at which a constraint holds."""
    scope, own = dram.levels.index(constraint.scope), dram.levels.index(level)
    if scope > own:
        below = dram.nodes(constraint.scope) // dram.nodes(level)
        return [(n, n, n + 1) for n in range(node * below, (node + 1) * below)]
    at = node // (dram.nodes(level) // dram.nodes(constraint.scope))
    if not constraint.sibling:
        return [(at, at, at + 1)]
    first = at - at % dram.counts[scope]
    spans = [(at, first, at), (at, at + 1, first + dram.counts[scope])]
    return [span for span in spans if span[1] < span[2]]
