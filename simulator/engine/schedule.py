"""Schedule: operators placed on units, run as soon as unit, operands and links are free; a timeline comes out.

Each unit runs its pieces in program order, as a stream does. A value that another memory holds is first sent over the
link between, which is a resource of its own; parts of a batch that take turns (``interleave``) fill each other's waits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import NamedTuple

from hwmodels.device import Cost
from hwmodels.system import Unit
from simulator.engine.lowering import LaunchedKernel
from simulator.engine.timeline import Span, Timeline
from workloads.operators import KV_CACHE, Attention, Operator, Role, Tensor, Transfer

#: A span of devices that reaches beyond any node.
_OTHER_NODE = 1 << 30

__all__ = ["PlacedKernel", "Timed", "schedule"]


@dataclass(frozen=True, slots=True)
class Timed:
    """A piece of an operator on a unit, with the time it takes there."""

    unit: int
    operator: Operator
    cost: Cost  # of one of the unit's devices
    time_s: float  # until all ranks that share the device, and all sections of its memory, are served
    reads: tuple[Tensor, ...]
    writes: tuple[Tensor, ...]

    @classmethod
    def of(cls, unit: int, operator: Operator, cost: Cost, time_s: float) -> Timed:
        """Return a piece with what it reads and writes looked up once."""
        reads = tuple(tensor for tensor in operator.tensors if not tensor.role.is_write)
        writes = tuple(tensor for tensor in operator.tensors if tensor.role.is_write)
        return cls(unit, operator, cost, time_s, reads, writes)


@dataclass(frozen=True, slots=True)
class PlacedKernel:
    """A launched kernel and the pieces it is run as."""

    launched: LaunchedKernel
    pieces: tuple[Timed, ...]


@dataclass(frozen=True, slots=True)
class _Written:
    """A value, or a part of it that one piece wrote."""

    memory: str
    ready_s: float
    size_B: float


class _Launch(NamedTuple):
    """One launch of a kernel, or of some of its heads."""

    placed: PlacedKernel
    block: str  # with the number of the layer
    share: float = 1.0
    group: str = ""  # of heads; what it writes has a name of its own
    last: bool = True  # of the groups


@dataclass(slots=True)
class _Stream:
    """One part of the batch on its way through the program."""

    part: int
    program: Iterator[_Launch]
    next: _Launch | None = None
    written: dict[str, list[_Written]] = field(default_factory=dict)
    arrived: dict[tuple[str, str], float] = field(default_factory=dict)  # value, memory: when a copy is there

    def advance(self) -> None:
        self.next = next(self.program, None)

    def name(self, value: str, launch: _Launch) -> str:
        """Return under what name a launch finds a value: that of its own heads, or of the whole."""
        own = value + launch.group
        return own if own in self.written else value


class _Scheduler:
    """Gives out time on units, links and memories whose units take turns."""

    def __init__(self, units: Sequence[Unit], sections: int) -> None:
        self.units = units
        self.done = Timeline()
        self.free_s: dict[str, float] = {}
        self.cache_home = next((unit.memory for unit in units if "kv" in unit.holds), units[0].memory)
        shared = [unit.memory for unit in units if unit.shares_memory]
        self.exclusive = frozenset(shared) if sections == 1 else frozenset()
        self._sent: dict[tuple[str, float], Cost] = {}

    def earliest_s(self, stream: _Stream) -> float:
        """When the next operator of a stream could begin, links left aside."""
        assert stream.next is not None
        return max(
            (
                max(self._free(piece), *(w.ready_s for t in piece.reads for w in self._made(stream, t)), 0.0)
                for piece in stream.next.placed.pieces
            ),
            default=0.0,
        )

    def run(self, stream: _Stream) -> None:
        """Give time to the next operator of a stream."""
        assert stream.next is not None
        launch = stream.next
        made: dict[str, list[_Written]] = {}
        for piece in launch.placed.pieces:
            unit, operator = self.units[piece.unit], piece.operator
            ready_s = max((self._arrival_s(stream, t, unit) for t in piece.reads), default=0.0)
            start_s = max(ready_s, self._free(piece))
            end_s = start_s + piece.time_s * launch.share
            self._occupy(piece, end_s)
            self._span(stream, unit.name, operator.name, operator.kind, start_s, end_s, piece.cost, launch.share)
            for tensor in piece.writes:
                written = _Written(unit.memory, end_s, tensor.size_B * launch.share)
                made.setdefault(tensor.base, []).append(written)
        for value, parts in made.items():
            names = {value + launch.group, value} if launch.last else {value + launch.group}
            stream.written.update(dict.fromkeys(names, parts))
            stream.arrived = {key: at for key, at in stream.arrived.items() if key[0] not in names}
        if any(t.role is Role.KV_WRITE for piece in launch.placed.pieces for t in piece.writes):
            self._store(stream, KV_CACHE + launch.group)
        stream.advance()

    def shift(self, stream: _Stream, since_s: float, by_s: float) -> None:
        """Move everything that ended after ``since_s`` into the future."""
        self.free_s = {key: at + by_s if at > since_s else at for key, at in self.free_s.items()}
        stream.arrived = {key: at + by_s if at > since_s else at for key, at in stream.arrived.items()}
        stream.written = {
            value: [replace(w, ready_s=w.ready_s + by_s) if w.ready_s > since_s else w for w in parts]
            for value, parts in stream.written.items()
        }

    def _made(self, stream: _Stream, tensor: Tensor) -> list[_Written]:
        assert stream.next is not None
        return stream.written.get(stream.name(tensor.base, stream.next), [])

    def _free(self, piece: Timed) -> float:
        unit = self.units[piece.unit]
        held_s = self.free_s.get(f"memory of {unit.memory}", 0.0) if unit.memory in self.exclusive else 0.0
        return max(self.free_s.get(unit.name, 0.0), held_s)

    def _occupy(self, piece: Timed, end_s: float) -> None:
        unit = self.units[piece.unit]
        self.free_s[unit.name] = end_s
        if unit.memory in self.exclusive:
            self.free_s[f"memory of {unit.memory}"] = end_s

    def _arrival_s(self, stream: _Stream, tensor: Tensor, unit: Unit) -> float:
        """When a value is in a unit's memory, sent there if it is in another."""
        parts = self._made(stream, tensor)
        local_s = max((part.ready_s for part in parts if part.memory == unit.memory), default=0.0)
        away = [part for part in parts if part.memory != unit.memory]
        if not away:
            return local_s
        assert stream.next is not None
        key = (stream.name(tensor.base, stream.next), unit.memory)
        if key not in stream.arrived:
            size_B = min(tensor.size_B * stream.next.share, sum(part.size_B for part in away))
            ready_s = max(part.ready_s for part in away)
            stream.arrived[key] = self._send(stream, tensor.base, size_B, away[0].memory, unit.memory, ready_s)
        return max(local_s, stream.arrived[key])

    def _store(self, stream: _Stream, name: str) -> None:
        """Send new keys and values to where the cache lies, whoever waits for them."""
        home = self.cache_home
        for part in stream.written[name]:
            if part.memory != home and (name, home) not in stream.arrived:
                sent_s = self._send(stream, KV_CACHE, part.size_B, part.memory, home, part.ready_s)
                stream.arrived[name, home] = sent_s

    def _send(self, stream: _Stream, value: str, size_B: float, source: str, target: str, ready_s: float) -> float:
        away = next(unit for unit in self.units if unit.memory in (source, target) and unit is not self.units[0])
        key = (away.name, size_B)
        if key not in self._sent:
            span = 1 if away.joined == "link" else _OTHER_NODE
            transfer = Transfer(name=value, size_B=size_B, value=value, span=span)
            self._sent[key] = self.units[0].device.cost(transfer)
        cost = self._sent[key]
        link = f"{source} to {target}"
        start_s = max(ready_s, self.free_s.get(link, 0.0))
        # Bytes occupy the link; the latency of one message runs beside the bytes of the next.
        self.free_s[link] = start_s + cost.resource_s.get("link", cost.time_s)
        self._span(stream, link, value, "transfer", start_s, start_s + cost.time_s, cost, 1.0)
        return start_s + cost.time_s

    def _span(
        self,
        stream: _Stream,
        resource: str,
        name: str,
        kind: str,
        start_s: float,
        end_s: float,
        cost: Cost,
        share: float,
    ) -> None:
        assert stream.next is not None
        span = Span(resource, name, kind, stream.next.block, stream.part, start_s, end_s, cost, share)
        self.done.add(span)


@dataclass(frozen=True, slots=True)
class _Block:
    """Alike layers: what each launches, in order."""

    name: str
    repeats: int
    launches: tuple[_Launch, ...]  # of one layer, its number left open

    def layer(self, index: int) -> Iterator[_Launch]:
        """Yield the launches of one layer."""
        name = f"{self.name}[{index}]"
        return (launch._replace(block=name) for launch in self.launches)


def _program(kernels: Sequence[PlacedKernel], head_groups: int) -> list[_Block]:
    """Return every launch in order, alike layers together."""
    blocks = []
    for name, members in groupby(kernels, key=lambda placed: placed.launched.block):
        layer = list(members)
        repeats = min(placed.launched.kernel.repeat for placed in layer)
        before, around, after, behind = _around_attention(layer) if head_groups > 1 else (layer, [], [], [])
        groups = min([head_groups, *(k.kv_heads for p in around if isinstance(k := _operator(p), Attention))])
        launches = list(_launches(before, repeats))
        for kernels_of_heads in (around, after):
            for group in range(groups) if kernels_of_heads else ():
                last = group == groups - 1
                launches += [_Launch(placed, "", 1.0 / groups, f"@{group}", last) for placed in kernels_of_heads]
        launches += _launches(behind, repeats)
        blocks.append(_Block(name, repeats, tuple(launches)))
    return blocks


def _launches(kernels: Sequence[PlacedKernel], repeats: int) -> Iterator[_Launch]:
    for placed in kernels:
        for _ in range(placed.launched.kernel.repeat // repeats):
            yield _Launch(placed, "")


def _operator(placed: PlacedKernel) -> Operator:
    return placed.launched.kernel.operator


def _around_attention(layer: list[PlacedKernel]) -> tuple[list[PlacedKernel], ...]:
    """Cut a layer where heads can be taken apart: from the product before attention up to it, to the product after it.

    Nothing is taken apart where attention runs on the first unit, which does all the rest: there is nothing to overlap.
    """
    kinds = [_operator(placed).kind for placed in layer]
    if "attention" not in kinds:
        return layer, [], [], []
    attention = kinds.index("attention")
    products = [index for index, kind in enumerate(kinds) if kind == "gemm"]
    first = max((index for index in products if index < attention), default=None)
    last = min((index for index in products if index > attention), default=None)
    alone = all(piece.unit == 0 for piece in layer[attention].pieces)
    if first is None or last is None or alone:
        return layer, [], [], []
    return layer[:first], layer[first : attention + 1], layer[attention + 1 : last + 1], layer[last + 1 :]


def schedule(
    kernels: Sequence[PlacedKernel], units: Sequence[Unit], sections: int = 1, parts: int = 1, head_groups: int = 1
) -> Timeline:
    """Run ``parts`` alike parts of a batch through the kernels.

    Parameters
    ----------
    kernels
        What one part launches, in program order, placed and timed.
    units
        The units pieces refer to.
    sections
        Of memories that several units share; with one section these units take turns.
    parts
        Parts of the batch; whichever can begin its next operator first is served first, of several the one served
        last: a part leaves a unit only to wait, so that parts are staggered and do not wait for each other's links.
    head_groups
        Groups of heads that follow each other through attention and the products beside it, so that one group is
        projected while another attends.
    """
    scheduler = _Scheduler(units, sections)
    program = _program(kernels, head_groups)
    if parts == 1:
        _run_layers(scheduler, program)
        return scheduler.done
    whole = [launch for block in program for index in range(block.repeats) for launch in block.layer(index)]
    streams = [_Stream(part, iter(whole)) for part in range(parts)]
    for stream in streams:
        stream.advance()
    last = streams[0]
    while waiting := [stream for stream in streams if stream.next is not None]:
        last = min(waiting, key=lambda stream: (scheduler.earliest_s(stream), stream is not last, stream.part))
        scheduler.run(last)
    return scheduler.done


#: Relative to a layer's time: two layers that differ by less take the same course.
_ALIKE = 1e-9


def _run_layers(scheduler: _Scheduler, program: Sequence[_Block]) -> None:
    """Run one part of a batch; layers that repeat exactly are run until they do, and then counted.

    When a layer follows the course of the one before, so will all alike layers after it: what they wait for ended in
    the layer before, at the same distance.
    """
    stream = _Stream(0, iter(()))
    for block in program:
        before: list[Span] = []
        index = 0
        while index < block.repeats:
            mark = scheduler.done.kept
            for launch in block.layer(index):
                stream.next = launch
                scheduler.run(stream)
            spans = scheduler.done.since(mark)
            left = block.repeats - 1 - index
            if left and _alike(before, spans):
                period_s = spans[0].start_s - before[0].start_s
                scheduler.done.repeat(mark, left, period_s, block.name, index)
                scheduler.shift(stream, spans[0].start_s, left * period_s)
                index += left
            before = spans
            index += 1


def _alike(before: Sequence[Span], after: Sequence[Span]) -> bool:
    """Whether two layers take the same course, each from its first start."""
    if not before or len(before) != len(after):
        return False
    first_s, second_s = before[0].start_s, after[0].start_s
    limit_s = _ALIKE * (after[-1].end_s - second_s)
    return all(
        abs((a.start_s - first_s) - (b.start_s - second_s)) <= limit_s
        and abs((a.end_s - first_s) - (b.end_s - second_s)) <= limit_s
        for a, b in zip(before, after, strict=True)
    )
