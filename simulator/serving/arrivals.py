"""Requests made up: when they come, how long they are, conversations and prefixes they share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from simulator.core.errors import InputError
from simulator.serving import layout
from simulator.serving.lengths import Lengths
from simulator.serving.requests import LARGEST_TOKENS, Requests, as_requests, check_seed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Number = TypeVar("Number", "np.int64", "np.float64")

__all__ = ["Conversations", "Stream"]

_CHUNK = 16384
_MOST_REQUESTS = 1_000_000_000  # days of simulation; keeps a slip of the finger from running for ever


def _gaps(random: np.random.Generator, count: int, burstiness: float) -> NDArray[np.float64]:
    """Return gaps of mean 1 whose coefficient of variation is ``burstiness``: gamma, exponential at 1 (Poisson)."""
    import numpy as np

    if burstiness == 0.0:
        return np.ones(count)
    if burstiness == 1.0:
        return random.exponential(1.0, count)
    shape = 1.0 / burstiness**2
    return random.gamma(shape, 1.0 / shape, count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Requests that know nothing of each other.

    Attributes
    ----------
    rate
        Requests per second; infinite: all at once (a closed loop admits them one by one).
    burstiness
        Coefficient of variation of the gaps between arrivals: 1 Poisson, 0 even, above 1 bursty.
    count
        How many requests.
    prefix_tokens, prefix_groups
        Each input begins with the same so many tokens as the others of its group.
    priorities
        Requests are spread evenly over so many classes.
    """

    lengths: Lengths
    rate: float
    count: int
    burstiness: float = 1.0
    prefix_tokens: int = 0
    prefix_groups: int = 1
    priorities: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.rate > 0.0:
            raise InputError(f"the rate must be above 0 requests per second, got {self.rate:g}")
        if not 0.0 <= self.burstiness <= 100.0:
            raise InputError(f"burstiness must be between 0 and 100, got {self.burstiness:g}")
        if not 1 <= self.count <= _MOST_REQUESTS:
            raise InputError(f"a stream has 1 to {_MOST_REQUESTS} requests, got {self.count}")
        if not 1 <= self.priorities <= layout.PRIORITIES:
            raise InputError(f"there are 1 to {layout.PRIORITIES} classes of priority, got {self.priorities}")
        if not 0 <= self.prefix_tokens <= LARGEST_TOKENS:
            raise InputError(f"a shared prefix has 0 to {LARGEST_TOKENS} tokens, got {self.prefix_tokens}")
        if not 1 <= self.prefix_groups <= LARGEST_TOKENS:
            raise InputError(f"prefixes are shared in 1 to {LARGEST_TOKENS} groups, got {self.prefix_groups}")
        check_seed(self.seed)

    @property
    def mean_tokens(self) -> float:
        """Mean input and output."""
        return self.lengths.mean_tokens

    @property
    def longest_tokens(self) -> int:
        """The longest that lengths allow."""
        return self.lengths.longest_tokens

    def chunks(self) -> Iterator[Requests]:
        """Yield requests; the same lengths and the same gaps, but for their scale, at every rate."""
        import numpy as np

        time_seed, length_seed, group_seed = np.random.SeedSequence(self.seed).spawn(3)
        times, lengths = np.random.default_rng(time_seed), np.random.default_rng(length_seed)
        groups = np.random.default_rng(group_seed)
        now = 0.0
        for first in range(0, self.count, _CHUNK):
            # Always whole chunks, so that a longer run begins with a shorter one.
            taken = min(_CHUNK, self.count - first)
            gaps = _gaps(times, _CHUNK, self.burstiness) / self.rate
            inputs, outputs = self.lengths.draw(lengths, _CHUNK)
            member = groups.integers(0, self.prefix_groups, _CHUNK)
            rank = groups.integers(0, self.priorities, _CHUNK)
            arrival = now + np.cumsum(gaps)
            now = float(arrival[-1])
            yield as_requests(
                arrival[:taken],
                inputs[:taken] + self.prefix_tokens,
                outputs[:taken],
                priority=rank[:taken],
                group=member[:taken] if self.prefix_tokens else -1,
                group_tokens=self.prefix_tokens,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversations:
    """Conversations of several turns; each turn's input is all that was said before, and something new.

    Attributes
    ----------
    rate
        Requests (turns) per second, all conversations together.
    turns
        Mean turns of a conversation, geometrically distributed.
    think_s
        Mean time from one turn's arrival to the next one's, exponentially distributed.
    prefix_tokens
        System prompt that all conversations share.
    """

    lengths: Lengths
    rate: float
    count: int
    turns: float = 4.0
    think_s: float = 30.0
    prefix_tokens: int = 0
    most_tokens: int = 1 << 17
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.rate > 0.0 and math.isfinite(self.rate)):
            raise InputError(f"the rate must be above 0 requests per second and finite, got {self.rate:g}")
        if not 1.0 <= self.turns <= 10_000.0:
            raise InputError(f"a conversation has 1 to 10000 turns on average, got {self.turns:g}")
        if not 0.0 <= self.think_s < 1e6:
            raise InputError(f"the time between turns must be between 0 and 1e6 s, got {self.think_s:g}")
        if not 1 <= self.count <= 5_000_000:
            raise InputError(f"conversations are made for 1 to 5 million requests, got {self.count}")
        check_seed(self.seed)

    @property
    def mean_tokens(self) -> float:
        """Mean input and output, history included."""
        return self.prefix_tokens + self.lengths.mean_tokens * self.turns

    @property
    def longest_tokens(self) -> int:
        """Where a conversation is broken off."""
        return self.most_tokens

    def chunks(self) -> Iterator[Requests]:
        """Yield all turns in order of arrival."""
        import numpy as np

        random = np.random.default_rng(self.seed)
        sessions = max(math.ceil(self.count / self.turns), 1)
        turns = random.geometric(1.0 / self.turns, 2 * sessions + 8)
        ends = np.cumsum(turns)
        sessions = min(int(np.searchsorted(ends, self.count)) + 1, ends.size)
        turns = turns[:sessions]
        starts = np.cumsum(random.exponential(self.turns / self.rate, sessions))
        session = np.repeat(np.arange(sessions), turns)
        index = np.arange(session.size) - np.repeat(np.cumsum(turns) - turns, turns)
        waits = np.where(index == 0, 0.0, random.exponential(max(self.think_s, 1e-9), session.size))
        arrival = np.repeat(starts, turns) + _within(waits, turns)
        fresh, outputs = self.lengths.draw(random, session.size)
        inputs = self.prefix_tokens + _within(fresh + outputs, turns) - outputs
        order = np.lexsort((index, arrival))
        order = order[(inputs + outputs)[order] <= self.most_tokens][: self.count]
        if not order.size:
            raise InputError(f"no turn is within the {self.most_tokens} tokens of a conversation: shorten --lengths")
        yield as_requests(
            arrival[order],
            inputs[order],
            outputs[order],
            session=session[order],
            group=0 if self.prefix_tokens else -1,
            group_tokens=self.prefix_tokens,
        )


def _within(values: NDArray[Number], turns: NDArray[np.int64]) -> NDArray[Number]:
    """Return running sums that start again with each conversation."""
    import numpy as np

    total = np.cumsum(values)
    firsts = np.cumsum(turns) - turns
    before = total[np.maximum(firsts - 1, 0)] * (firsts > 0)
    within: NDArray[Number] = (total - np.repeat(before, turns)).astype(values.dtype)
    return within
