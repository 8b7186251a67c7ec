"""Requests made up: when they come, how long they are, conversations and prefixes they share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.core.errors import InputError
from simulator.serving import layout
from simulator.serving.lengths import Lengths
from simulator.serving.requests import LARGEST_TOKENS, Requests, as_requests, check_rate, check_seed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Stream"]

_CHUNK = 16384
_LONGEST_TURNS = 8192
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
    """Conversations, of one turn each where nothing else is said: requests that know nothing of each other.

    Each further turn comes some time after the last token of the one before; its input is all that was said so far,
    and something new.

    Attributes
    ----------
    lengths
        What is new in a turn, and its answer.
    rate
        Requests per second: conversations begin at ``rate / turns``. Infinite: all at once (a closed loop admits them
        one by one).
    count
        How many requests; the last conversation is cut off there.
    burstiness
        Coefficient of variation of the gaps between beginnings: 1 Poisson, 0 even, above 1 bursty.
    turns
        Mean turns of a conversation, geometrically distributed.
    think_s
        Mean time from the last token of a turn to the next one, exponentially distributed.
    most_tokens
        A conversation ends before a further turn whose input and output would be longer.
    prefix_tokens, prefix_groups
        Each first input begins with the same so many tokens as the others of its group.
    priorities
        Conversations are spread evenly over so many classes.
    """

    lengths: Lengths
    rate: float
    count: int
    burstiness: float = 1.0
    turns: float = 1.0
    think_s: float = 30.0
    most_tokens: int = 1 << 17
    prefix_tokens: int = 0
    prefix_groups: int = 1
    priorities: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check_rate(self.rate)
        if not 0.0 <= self.burstiness <= 100.0:
            raise InputError(f"burstiness must be between 0 and 100, got {self.burstiness:g}")
        if not 1 <= self.count <= _MOST_REQUESTS:
            raise InputError(f"a stream has 1 to {_MOST_REQUESTS} requests, got {self.count}")
        if not 1.0 <= self.turns <= 1000.0:
            raise InputError(f"a conversation has 1 to 1000 turns on average, got {self.turns:g}")
        if not 0.0 <= self.think_s < 1e6:
            raise InputError(f"the time between turns must be between 0 and 1e6 s, got {self.think_s:g}")
        if not 1 <= self.priorities <= layout.PRIORITIES:
            raise InputError(f"there are 1 to {layout.PRIORITIES} classes of priority, got {self.priorities}")
        if not 0 <= self.prefix_tokens <= LARGEST_TOKENS:
            raise InputError(f"a shared prefix has 0 to {LARGEST_TOKENS} tokens, got {self.prefix_tokens}")
        if not 1 <= self.prefix_groups <= LARGEST_TOKENS:
            raise InputError(f"prefixes are shared in 1 to {LARGEST_TOKENS} groups, got {self.prefix_groups}")
        check_seed(self.seed)

    @property
    def mean_tokens(self) -> float:
        """Mean input and output, history included."""
        mean = self.prefix_tokens + self.lengths.mean_tokens * self.turns
        return mean if self.turns == 1.0 else min(mean, self.most_tokens)

    @property
    def longest_tokens(self) -> int:
        """The longest that lengths allow, or where a conversation ends."""
        longest = self.prefix_tokens + self.lengths.longest_tokens
        return longest if self.turns == 1.0 else max(longest, self.most_tokens)

    def chunks(self) -> Iterator[Requests]:
        """Yield requests; the same lengths and the same gaps, but for their scale, at every rate."""
        import numpy as np

        seeds = np.random.SeedSequence(self.seed).spawn(4)
        times, lengths, groups, talk = (np.random.default_rng(seed) for seed in seeds)
        at_once = max(int(_CHUNK / self.turns), 1)
        now, made, begun = 0.0, 0, 0
        while made < self.count:
            # Always whole chunks, so that a longer run begins with a shorter one.
            arrival = now + np.cumsum(_gaps(times, at_once, self.burstiness) / (self.rate / self.turns))
            now = float(arrival[-1])
            turns = np.minimum(talk.geometric(1.0 / self.turns, at_once), _LONGEST_TURNS)
            member = groups.integers(0, self.prefix_groups, at_once)
            rank = groups.integers(0, self.priorities, at_once)
            of = np.repeat(np.arange(at_once), turns)
            follows = np.append(False, of[1:] == of[:-1])
            think_s = talk.exponential(1.0, of.size) * self.think_s
            fresh, outputs = self.lengths.draw(lengths, of.size)
            inputs = self.prefix_tokens + _within(fresh + outputs, turns) - outputs
            kept = np.flatnonzero(~follows | (inputs + outputs <= self.most_tokens))[: self.count - made]
            yield as_requests(
                np.where(follows, think_s, arrival[of])[kept],
                inputs[kept],
                outputs[kept],
                priority=rank[of[kept]],
                session=begun + of[kept] if self.turns > 1.0 else -1,
                group=member[of[kept]] if self.prefix_tokens else -1,
                group_tokens=self.prefix_tokens,
                follows=follows[kept],
            )
            made += kept.size
            begun += at_once


def _within(values: NDArray[np.int64], turns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return running sums that start again with each conversation."""
    import numpy as np

    total = np.cumsum(values)
    firsts = np.cumsum(turns) - turns
    before = total[np.maximum(firsts - 1, 0)] * (firsts > 0)
    within: NDArray[np.int64] = total - np.repeat(before, turns)
    return within
