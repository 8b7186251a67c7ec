"""Memory controllers: which scheduler, page policy, refresh and queues; names here, numbers for the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hwmodels.dram import layout
from hwmodels.dram.device import Dram
from simulator.core.errors import InputError, UnsupportedError

__all__ = ["PAGE_POLICIES", "REFRESHES", "SCHEDULERS", "Controller"]

#: ``fr-fcfs``: the oldest request whose next command may issue. ``fr-fcfs-row-hit``: the same, but no row is closed
#: that a request at least as old still hits. ``in-order``: the oldest request alone.
SCHEDULERS: Mapping[str, int] = {
    "fr-fcfs": layout.FR_FCFS,
    "fr-fcfs-row-hit": layout.ROW_HIT,
    "in-order": layout.IN_ORDER,
}

#: ``open``: rows stay open until another is wanted. ``closed``: every access precharges. ``capped``: a row is closed
#: after ``cap`` accesses.
PAGE_POLICIES = ("open", "closed", "capped")

#: ``all-bank``: every refresh unit at once. ``per-bank``: one bank after another.
REFRESHES: Mapping[str, int] = {"off": 0, "all-bank": layout.ALL_BANK, "per-bank": layout.PER_BANK}

_MOST_QUEUED = 4096


@dataclass(frozen=True, slots=True)
class Controller:
    """The policy of a memory controller.

    Attributes
    ----------
    read_queue, write_queue
        Requests each holds.
    inject_per_cycle
        Requests taken in per tick at most.
    drain_above, drain_below
        Fractions of the write queue between which writes are served in bursts.
    """

    scheduler: str = "fr-fcfs"
    page: str = "open"
    cap: int = 4
    refresh: str = "all-bank"
    read_queue: int = 32
    write_queue: int = 32
    inject_per_cycle: int = 1
    drain_above: float = 0.8
    drain_below: float = 0.2

    def __post_init__(self) -> None:
        for what, value, known in (
            ("scheduler", self.scheduler, SCHEDULERS),
            ("page policy", self.page, PAGE_POLICIES),
            ("refresh", self.refresh, REFRESHES),
        ):
            if value not in known:
                raise InputError(f"unknown {what} {value!r}; known: {', '.join(known)}")
        for name in ("read_queue", "write_queue", "inject_per_cycle", "cap"):
            if not 1 <= getattr(self, name) <= _MOST_QUEUED:
                raise InputError(f"{name} must be from 1 to {_MOST_QUEUED}, got {getattr(self, name)}")
        if not 0 <= self.drain_below <= self.drain_above <= 1:
            raise InputError(f"write drain: 0 <= {self.drain_below} <= {self.drain_above} <= 1 does not hold")

    def page_cap(self) -> int:
        """Return the accesses after which a row is closed, as the engine wants it."""
        return {"open": layout.OPEN_PAGE, "closed": 0, "capped": self.cap}[self.page]

    def watermarks(self) -> tuple[int, int]:
        """Return how many writes must be exceeded to start writing, and not be reached to stop.

        The products are single precision, as in the reference runs, so that a queue of 10 drains above 8 and not 7.
        """
        import numpy as np

        high = float(np.float32(self.drain_above) * np.float32(self.write_queue))
        low = float(np.float32(self.drain_below) * np.float32(self.write_queue))
        return int(high // 1), int(-(-low // 1))

    def refresh_interval(self, dram: Dram) -> int:
        """Return ticks between refreshes.

        Raises
        ------
        UnsupportedError
            If the device has no such refresh.
        InputError
            If refreshes would leave no time for requests.
        """
        all_bank = self.refresh == "all-bank"
        taken = [c for c in dram.constraints if ("REFab" if all_bank else "REFpb") in c.prev]
        if not all_bank and not taken:
            raise UnsupportedError(f"{dram.standard} has no per-bank refresh: refresh all-bank, or off")
        interval = dram.timings["nREFI"]
        if not all_bank:
            taken = [c for c in taken if c.scope != "Bank"]
            interval = dram.timings.get("nREFIpb", interval // dram.banks)
        # A refresh waits for rows to close, and a request for its row to open again.
        least = max((c.latency for c in taken), default=0) + dram.timings.get("nRC", 0)
        if interval <= least:
            raise InputError(
                f"{dram.name}: {self.refresh} refresh every {interval} ticks leaves no time for requests: it takes "
                f"{least} with its rows closed and opened again (nREFI, nRFC, nRC)"
            )
        return interval

    def unused_commands(self) -> frozenset[str]:
        """Return the commands this policy never issues."""
        unused = {"REFpb"} if self.refresh != "per-bank" else set()
        unused |= {"REFab", "PREab"} if self.refresh != "all-bank" else set()
        return frozenset(unused | ({"RDA", "WRA"} if self.page == "open" else set()))
