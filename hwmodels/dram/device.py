"""One DRAM channel as resolved: its hierarchy, and which command must wait how long after which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

__all__ = ["ACTIVATES", "FIELDS", "SLOTS", "Constraint", "Dram"]

#: How commands share the command bus: one command per tick; a column and a row command per tick (HBM2); the same with
#: row commands on half clocks (HBM3); activation in two halves and a clock to wake up before data (LPDDR5).
SLOTS = ("single", "dual", "half-clock", "split-activate")

#: Names of the command that opens a row; of a split activation, the first half.
ACTIVATES = ("ACT", "ACT1")

#: Fields of an address and the level of the hierarchy each chooses a node of.
FIELDS: Mapping[str, str] = {"ra": "Rank", "pc": "PseudoChannel", "sid": "Sid", "bg": "BankGroup", "ba": "Bank"}


@dataclass(frozen=True, slots=True)
class Constraint:
    """After a command of ``prev``, at a node of level ``scope``, none of ``next`` for ``latency`` ticks.

    Attributes
    ----------
    window
        Counts from the last but ``window - 1`` such command: 4 for the four-activate window.
    sibling
        Holds at the other nodes under the same parent instead of at the node itself.
    """

    scope: str
    prev: tuple[str, ...]
    next: tuple[str, ...]
    latency: int
    window: int = 1
    sibling: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Dram:
    """One channel of a DRAM with every number resolved.

    Attributes
    ----------
    levels, counts
        The hierarchy from ``Channel`` to ``Bank``, and how many nodes of each level its parent has.
    refresh_level
        The level that an all-bank command (PREab, REFab) addresses.
    rows, bursts_per_row
        Rows of a bank, and accesses that one open row serves.
    burst_B
        Bytes of one access.
    tick_s
        Seconds of one tick of the engine: a clock, or half of one.
    slots
        One of :data:`SLOTS`.
    timings
        Named timings in ticks (``nCL``, ``nREFI``, ...).
    read_latency
        Ticks from a read command to its last data.
    constraints
        The table every command obeys.
    """

    standard: str
    organisation: str
    speed: str
    levels: tuple[str, ...]
    counts: tuple[int, ...]
    refresh_level: str
    rows: int
    bursts_per_row: int
    burst_B: int
    tick_s: float
    slots: str
    timings: Mapping[str, int]
    read_latency: int
    constraints: tuple[Constraint, ...]

    @property
    def name(self) -> str:
        """Standard, organisation, speed bin and ranks, as golden timing files name a device."""
        return f"{self.standard}|{self.organisation}|{self.speed}|rank={self.nodes_per_parent('Rank')}"

    def nodes_per_parent(self, level: str) -> int:
        """How many nodes of a level each parent has; 1 for a level this standard does not have."""
        return self.counts[self.levels.index(level)] if level in self.levels else 1

    def nodes(self, level: str) -> int:
        """How many nodes of a level the channel has."""
        return prod(self.counts[: self.levels.index(level) + 1])

    @property
    def banks(self) -> int:
        """Banks of the channel."""
        return self.nodes("Bank")

    @property
    def refresh_units(self) -> int:
        """Nodes that an all-bank refresh addresses one at a time."""
        return self.nodes(self.refresh_level)

    @property
    def peak_Bps(self) -> float:
        """Bytes per second of back-to-back bursts on every data bus of the channel."""
        buses = self.nodes("PseudoChannel") if "PseudoChannel" in self.levels else 1
        burst = self.timings["nBL"] if "nBL" in self.timings else self.timings["nBL_min"]
        return buses * self.burst_B / (burst * self.tick_s)

    def bank_index(self, address: Mapping[str, int]) -> int:
        """Return the number of a bank, counted through the hierarchy, from the fields of its address."""
        level_fields = {level: field for field, level in FIELDS.items()}
        index = 0
        for level, count in zip(self.levels, self.counts, strict=True):
            index = index * count + address.get(level_fields.get(level, ""), 0)
        return index
