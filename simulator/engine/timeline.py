"""A timeline: what happened when on the units of a system and the links between their memories, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from hwmodels.device import Cost

__all__ = ["Span", "Timeline"]


@dataclass(frozen=True, slots=True)
class Span:
    """Something that happened on a resource: a piece on a unit, a transfer on a link."""

    resource: str
    name: str
    kind: str
    block: str  # with the number of the layer
    part: int  # of the batch, where parts take turns
    start_s: float
    end_s: float
    cost: Cost  # of the whole operator
    share: float = 1.0  # of it that this is


@dataclass(frozen=True, slots=True)
class _Repeated:
    """Alike layers after the one whose spans are kept: the same again, each ``period_s`` later."""

    first: int  # of the spans that repeat,
    end: int
    times: int
    period_s: float
    block: str
    index: int  # of the layer whose spans are kept


@dataclass(slots=True)
class Timeline:
    """What happened when, in the order it was decided; iterating gives the spans of every layer."""

    time_s: float = 0.0  # when the last piece or transfer ended
    _spans: list[Span] = field(default_factory=list)
    _repeated: list[_Repeated] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._spans) + sum(r.times * (r.end - r.first) for r in self._repeated)

    def __iter__(self) -> Iterator[Span]:
        position = 0
        for again in self._repeated:
            yield from self._spans[position : again.end]
            position = again.end
            for count in range(1, again.times + 1):
                later_s, block = count * again.period_s, f"{again.block}[{again.index + count}]"
                for span in self._spans[again.first : again.end]:
                    start_s, end_s = span.start_s + later_s, span.end_s + later_s
                    yield replace(span, block=block, start_s=start_s, end_s=end_s)
        yield from self._spans[position:]

    def weighted(self) -> Iterator[tuple[Span, int]]:
        """Yield each span that is kept with how often it happened."""
        times = [1] * len(self._spans)
        for again in self._repeated:
            for position in range(again.first, again.end):
                times[position] += again.times
        return zip(self._spans, times, strict=True)

    def busy_s(self, resource: str) -> float:
        """How long a unit or link worked."""
        return sum((s.end_s - s.start_s) * times for s, times in self.weighted() if s.resource == resource)

    def add(self, span: Span) -> None:
        """Note what happened."""
        self._spans.append(span)
        self.time_s = max(self.time_s, span.end_s)

    def since(self, mark: int) -> list[Span]:
        """Return the spans kept after the first ``mark``."""
        return self._spans[mark:]

    @property
    def kept(self) -> int:
        """Spans kept so far."""
        return len(self._spans)

    def repeat(self, first: int, times: int, period_s: float, block: str, index: int) -> None:
        """Note that what was kept from ``first`` on happened ``times`` more."""
        self._repeated.append(_Repeated(first, self.kept, times, period_s, block, index))
        self.time_s = max(self.time_s, *(span.end_s + times * period_s for span in self._spans[first:]))
