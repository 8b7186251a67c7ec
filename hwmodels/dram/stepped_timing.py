"""Which command may issue when, looked up level by level of the hierarchy: the constraint table read plainly."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import prod

from hwmodels.dram.device import Dram

__all__ = ["SteppedTiming"]


class SteppedTiming:
    """Which command may issue when: per node, the earliest tick of each command."""

    def __init__(self, dram: Dram) -> None:
        self.dram = dram
        self.ready: dict[tuple[int, int, str], int] = {}
        self.history: dict[tuple[int, int, str], deque[int]] = {}

    def _spread(self, level: int, below: int) -> int:
        """How many nodes of a lower level one of a higher has."""
        return prod(self.dram.counts[level + 1 : below + 1])

    def legal(self, command: str, level: int, node: int, tick: int) -> bool:
        """Whether a command to a node breaks nothing at any level above or at it."""
        return all(tick >= self.ready.get((at, node // self._spread(at, level), command), 0) for at in range(level + 1))

    def issue(self, command: str, level: int, node: int, tick: int) -> None:
        """Make others wait."""
        for constraint in self.dram.constraints:
            if command not in constraint.prev:
                continue
            scope = self.dram.levels.index(constraint.scope)
            for at in self._addressed(scope, level, node):
                since = tick
                if constraint.window > 1:
                    ticks = self.history.setdefault((scope, at, f"{command}{constraint.window}"), deque())
                    if not ticks or ticks[-1] != tick:
                        ticks.append(tick)
                    if len(ticks) < constraint.window:
                        continue
                    since = ticks[-constraint.window]
                for held in self._held(scope, at, constraint.sibling):
                    for name in constraint.next:
                        key = (scope, held, name)
                        self.ready[key] = max(self.ready.get(key, 0), since + constraint.latency)

    def _addressed(self, scope: int, level: int, node: int) -> Iterable[int]:
        if scope <= level:
            return (node // self._spread(scope, level),)
        below = self._spread(level, scope)
        return range(node * below, (node + 1) * below)

    def _held(self, scope: int, node: int, sibling: bool) -> Iterable[int]:
        if not sibling:
            return (node,)
        first = node - node % self.dram.counts[scope]
        return [other for other in range(first, first + self.dram.counts[scope]) if other != node]
