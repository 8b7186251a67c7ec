"""The rules of a channel in plain Python, one tick after another: slow, and only there to compare the engine with.

It shares the constraint table with the engine and nothing else: readiness is kept per node of the hierarchy and looked
up level by level, queues are lists in order of arrival, and every tick looks at every request. What it does is the
reference simulator's loop (Ramulator 2.1, restated in the README of the golden runs) plus what that README leaves
open, as ``controller`` says it: in-order scheduling, pages closed after some accesses, refresh bank by bank.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hwmodels.dram.controller import Controller
from hwmodels.dram.device import Dram
from hwmodels.dram.requests import Mapping, Requests
from hwmodels.dram.run import Command, DramRun
from hwmodels.dram.stepped_timing import SteppedTiming

__all__ = ["simulate_stepped"]

_COUNTED = ("ACT", "PREpb", "RD", "WR", "RDA", "WRA", "REFpb", "PREab", "REFab", "CAS_RD", "CAS_WR")
_COLUMNS = ("RD", "WR", "RDA", "WRA")


@dataclass(slots=True)
class _Request:
    """A request on its way, or (number -1) a refresh or page closing in the priority queue."""

    number: int
    bank: int
    row: int
    write: bool
    block: int
    arrived: int
    counted: bool = False
    last: str = ""  # of the priority queue: the command that ends it


class _Channel:
    """A channel and its controller at one tick."""

    def __init__(self, dram: Dram, controller: Controller) -> None:
        self.dram, self.controller = dram, controller
        self.timing = SteppedTiming(dram)
        self.interval = controller.refresh_interval(dram) if controller.refresh != "off" else 0
        self.tick = 0
        self.rows: dict[int, int] = {}  # open row of each open bank
        self.accesses: Counter[int] = Counter()  # of the open row
        self.closing: set[int] = set()  # banks whose closing is queued
        self.reads: list[_Request] = []
        self.writes: list[_Request] = []
        self.active: list[_Request] = []  # in order of activation
        self.priority: deque[_Request] = deque()
        self.writing = False
        self.edge, self.paired = -1, ("", -1, -1)  # half clocks: tick, last row command, its pseudo-channel and bank
        self.half: tuple[_Request, int] | None = None  # a split activation under way, and its deadline
        self.wake: _Request | None = None  # the column command that a wake-up goes before
        self.awake_until = 0
        self.trace: list[Command] = []
        self.count: Counter[str] = Counter()
        self.latencies: list[int] = []
        self.end, self.done, self.refresh_node = 0, 0, 0
        self.units = dram.levels.index(dram.refresh_level)
        self.unit_banks = dram.banks // dram.refresh_units
        self.open_ticks = [0] * dram.refresh_units

    # Arrivals and refreshes

    def accept(self, request: _Request) -> bool:
        """Take a request in, or serve it from the write queue; False where its queue is full."""
        queue, room = (
            (self.writes, self.controller.write_queue) if request.write else (self.reads, self.controller.read_queue)
        )
        if any(other.block == request.block for other in self.writes):
            self.count["coalesced" if request.write else "forwarded"] += 1
            self.done += 1
            self.end = max(self.end, request.arrived + (0 if request.write else 1))
            if not request.write:
                self.latencies.append(1)
            return True
        if len(queue) >= room:
            return False
        queue.append(request)
        return True

    def refresh(self) -> None:
        """Queue refreshes that fall due, then banks to close."""
        if self.interval and self.tick % self.interval == 0:
            if self.controller.refresh == "all-bank":
                for unit in range(self.dram.refresh_units):
                    self.priority.append(_Request(-1, unit, -1, False, -1, self.tick, last="REFab"))
            else:
                self.priority.append(_Request(-1, self.refresh_node, -1, False, -1, self.tick, last="REFpb"))
                self.refresh_node = (self.refresh_node + 1) % self.dram.banks
        cap = self.controller.page_cap()
        for bank in range(self.dram.banks) if cap > 0 else ():
            if self.accesses[bank] >= cap and bank not in self.closing and self.legal("PREpb", bank):
                self.closing.add(bank)
                self.priority.append(_Request(-1, bank, -1, False, -1, self.tick, last="PREpb"))

    # Which command a request needs, and whether it may issue now

    def unit(self, bank: int) -> int:
        """Return the refresh unit of a bank."""
        return bank // self.unit_banks

    def pseudochannel(self, bank: int) -> int:
        """Return the pseudo-channel of a bank; 0 where there are none."""
        if "PseudoChannel" not in self.dram.levels:
            return 0
        return bank // (self.dram.banks // self.dram.nodes("PseudoChannel"))

    def needs(self, request: _Request) -> str:
        """Return the next command of a request."""
        if request.number < 0:
            if request.last == "PREpb":
                return "PREpb"
            if request.last == "REFpb":
                return "PREpb" if request.bank in self.rows else "REFpb"
            return "PREab" if any(self.unit(bank) == request.bank for bank in self.rows) else "REFab"
        if request.bank not in self.rows:
            return "ACT"
        if self.rows[request.bank] == request.row:
            return "WR" if request.write else "RD"
        return "PREpb"

    def legal(self, command: str, node: int) -> bool:
        """Whether timing allows a command to a bank, or to a refresh unit."""
        name = "ACT1" if command == "ACT" and self.dram.slots == "split-activate" else command
        level = self.units if command in ("PREab", "REFab") else len(self.dram.levels) - 1
        return self.timing.legal(name, level, node, self.tick)

    def blocked(self, command: str, node: int) -> bool:
        """Whether a command would close a row that an activated request still needs, or a row that only half opened."""
        half = self.half[0].bank if self.half else -1
        if command in ("PREab", "REFab"):
            activated = command == "PREab" and any(self.unit(r.bank) == node for r in self.active)
            return activated or (half >= 0 and self.unit(half) == node)
        return node == half or (command == "PREpb" and any(r.bank == node for r in self.active))

    def guarded(self, request: _Request, queue: list[_Request]) -> bool:
        """Whether a request of the list that is not younger still hits the row this one would close."""
        return self.controller.scheduler == "fr-fcfs-row-hit" and any(
            other.bank == request.bank and other.row == self.rows.get(request.bank) and other.arrived <= request.arrived
            for other in queue
        )

    def half_clock_allows(self, command: str, node: int) -> bool:
        """Whether the bus takes a row command on this tick, where whole clocks are odd ticks."""
        if self.tick % 2 == 1:
            return True
        if command not in ("PREpb", "PREab"):
            return False
        before, channel, bank = self.paired
        own = node if command == "PREab" else self.pseudochannel(node)
        if self.tick != self.edge or own != channel:
            return True
        return before not in ("PREab", "REFab") and command == "PREpb" and node != bank

    # Choosing

    def pick(self, queue: list[_Request], wanted: Callable[[str], bool]) -> _Request | None:
        """Return the oldest request of a list whose next command is wanted and may issue now."""
        for request in sorted(queue, key=lambda r: r.arrived):
            command = self.needs(request)
            may = wanted(command) and not self.blocked(command, request.bank)
            if may and self.legal(command, request.bank):
                if command not in _COLUMNS and self.dram.slots == "half-clock":
                    may = self.half_clock_allows(command, request.bank)
                if may and not (command == "PREpb" and self.guarded(request, queue)):
                    return request
            if self.controller.scheduler == "in-order" and queue is not self.active:
                return None
        return None

    def pick_priority(self, wanted: Callable[[str], bool]) -> _Request | None:
        """Return the head of the priority queue if it may issue now."""
        head = self.priority[0]
        command = self.needs(head)
        if not wanted(command) or not self.legal(command, head.bank):
            return None
        if (head.last != "PREpb" or command == "PREpb") and self.blocked(command, head.bank):
            return None
        if self.dram.slots == "half-clock" and not self.half_clock_allows(command, head.bank):
            return None
        return head

    def queue(self) -> list[_Request]:
        """Decide whether reads or writes are served now."""
        high, low = self.controller.watermarks()
        if not self.writing:
            self.writing = len(self.writes) > high or not self.reads
        elif len(self.writes) < low and self.reads:
            self.writing = False
        return self.writes if self.writing else self.reads

    def pick_queued(self, wanted: Callable[[str], bool]) -> _Request | None:
        """Return what the queue whose turn it is may issue now."""
        queue = self.queue()
        if self.controller.scheduler == "in-order" and (self.active or self.half):
            return None
        return self.pick(queue, wanted)

    # One tick of each way of sharing the bus

    def step(self) -> None:
        """Issue what the bus of this standard takes in one tick."""
        if self.dram.slots == "single":
            self.slot(lambda _: True)
        elif self.dram.slots == "split-activate":
            self.split_slot()
        else:
            if self.dram.slots == "dual" or self.tick % 2 == 1:
                self.slot(lambda command: command in _COLUMNS)
            self.slot(lambda command: command not in _COLUMNS)

    def slot(self, wanted: Callable[[str], bool]) -> bool:
        """Issue one command: of the active list, else the priority queue, else a queue."""
        request = self.pick(self.active, wanted)
        if request is None:
            request = self.pick_priority(wanted) if self.priority else self.pick_queued(wanted)
        if request is not None:
            self.issue(request)
        return request is not None

    def split_slot(self) -> None:
        """Issue one command, where activations take two and columns may need the data clock woken first."""
        if self.wake is not None:
            if self.legal(self.needs(self.wake), self.wake.bank):
                woken, self.wake = self.wake, None
                self.issue(woken)
            return
        if self.half is not None and self.half[1] <= self.tick:
            self.second_half()
            return
        request = self.pick(self.active, lambda _: True)
        if request is None and self.priority:
            request = self.pick_priority(lambda _: True)
        elif request is None:
            request = self.pick_queued(lambda command: self.half is None or command != "ACT")
        if request is None:
            if self.half is not None:
                self.second_half()
        elif self.needs(request) not in _COLUMNS or self.tick < self.awake_until:
            self.issue(request)
        elif self.half is not None and self.half[1] <= self.tick + 1:
            self.second_half()  # the wake-up and its column command would pass the deadline
        else:
            self.note("CAS_WR" if request.write else "CAS_RD", request.bank, request.number)
            self.wake = request

    def second_half(self) -> None:
        """Open the row for good."""
        assert self.half is not None
        request, self.half = self.half[0], None
        self.trace.append(Command(self.tick, "ACT2", request.bank, request.number))
        self.rows[request.bank] = request.row
        self.active.append(request)

    # Issuing

    def note(self, command: str, node: int, number: int) -> None:
        """Count and write down a command."""
        self.count[command] += 1
        name = "ACT1" if command == "ACT" and self.dram.slots == "split-activate" else command
        self.trace.append(Command(self.tick, name, node, number))

    def issue(self, request: _Request) -> None:
        """Issue the next command of a request and do what follows from it."""
        command, node = self.needs(request), request.bank
        if request.number >= 0 and not request.counted:
            request.counted = True
            self.count[{"ACT": "misses", "PREpb": "conflicts"}.get(command, "hits")] += 1
        if command in _COLUMNS:
            command = self.with_close(command, request)
        self.note(command, node, request.number)
        all_bank = command in ("PREab", "REFab")
        name = "ACT1" if command == "ACT" and self.dram.slots == "split-activate" else command
        self.timing.issue(name, self.units if all_bank else len(self.dram.levels) - 1, node, self.tick)
        if command not in _COLUMNS and self.tick % 2 == 1:
            self.edge = self.tick + (3 if command == "ACT" else 1)
            self.paired = (command, node if all_bank else self.pseudochannel(node), node)
        if command == request.last:
            self.priority.popleft()
        if command == "ACT":
            self.activate(request)
        elif command in ("PREpb", "RDA", "WRA"):
            self.close([node])
        elif command == "PREab":
            self.close(range(node * self.unit_banks, (node + 1) * self.unit_banks))
        if command in _COLUMNS:
            self.complete(request, command)

    def with_close(self, command: str, request: _Request) -> str:
        """Return the column command with auto-precharge where the page policy asks for it."""
        cap = self.controller.page_cap()
        others = any(r.bank == request.bank and r is not request for r in self.active)
        due = cap >= 0 and self.accesses[request.bank] >= cap and not others
        return command + "A" if due and self.legal(command + "A", request.bank) else command

    def activate(self, request: _Request) -> None:
        """Move a request from its queue to the active list, or halfway there."""
        (self.writes if request.write else self.reads).remove(request)
        if self.dram.slots == "split-activate":
            self.rows[request.bank] = -2  # no request's row
            self.half = (request, self.tick + self.dram.timings["nAAD"])
        else:
            self.rows[request.bank] = request.row
            self.active.append(request)

    def close(self, banks: Iterable[int]) -> None:
        """Close rows."""
        for bank in banks:
            self.rows.pop(bank, None)
            self.accesses[bank] = 0
            self.closing.discard(bank)

    def complete(self, request: _Request, command: str) -> None:
        """Finish a request whose column command issued."""
        for queue in (self.active, self.reads, self.writes):
            if request in queue:
                queue.remove(request)
        if not command.endswith("A"):
            self.accesses[request.bank] += 1
        self.done += 1
        end = self.tick if request.write else self.tick + self.dram.read_latency
        self.end = max(self.end, end)
        if not request.write:
            self.latencies.append(end - request.arrived)
        if self.dram.slots == "split-activate":
            t = self.dram.timings
            latency = t["nCWL"] if request.write else t["nCL"]
            self.awake_until = max(self.awake_until, self.tick + latency + t["nBL_min"] + t["nWCKPST"])


def simulate_stepped(dram: Dram, controller: Controller, requests: Requests, mapping: Mapping) -> DramRun:
    """Serve requests on a channel tick by tick; the same answer as :func:`hwmodels.dram.run.simulate`, with a trace."""
    banks, rows = mapping.banks_rows(dram, requests.block)
    columns = (banks, rows, requests.write, requests.block, requests.arrival)
    todo = deque(enumerate(zip(*(column.tolist() for column in columns), strict=True)))
    channel = _Channel(dram, controller)
    last_inject = 0
    while channel.done < len(requests) or channel.tick < channel.end:
        for _ in range(controller.inject_per_cycle):
            if not todo or todo[0][1][4] > channel.tick:
                break
            number, (bank, row, write, block, _) = todo[0]
            if not channel.accept(_Request(number, bank, row, bool(write), block, channel.tick)):
                break
            last_inject = channel.tick
            todo.popleft()
        if channel.done == len(requests) and channel.tick >= channel.end:
            break
        channel.tick += 1
        for unit in {channel.unit(bank) for bank in channel.rows}:
            channel.open_ticks[unit] += 1
        channel.refresh()
        channel.step()
    return _result(dram, requests, channel, last_inject)


def _result(dram: Dram, requests: Requests, channel: _Channel, last_inject: int) -> DramRun:
    count = channel.count
    return DramRun(
        dram=dram,
        requests=len(requests),
        writes=int(requests.write.sum()),
        cycles=channel.end,
        read_latency_sum=sum(channel.latencies),
        max_read_latency=max(channel.latencies, default=0),
        last_inject=last_inject,
        row_hits=count["hits"],
        row_misses=count["misses"],
        row_conflicts=count["conflicts"],
        commands={name: count[name] for name in _COUNTED},
        reads_forwarded=count["forwarded"],
        writes_coalesced=count["coalesced"],
        open_ticks=tuple(channel.open_ticks),
        steps=channel.tick,
        skipped_ticks=0,
        trace=tuple(channel.trace),
    )
