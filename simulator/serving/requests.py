"""Requests: when each comes, how long it is, with whom it shares a prefix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from simulator.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LARGEST_TOKENS", "LATEST_S", "Requests", "Source", "as_requests", "check_rate", "check_seed"]

#: More tokens than any model's context: a slip of the pen.
LARGEST_TOKENS = 1 << 31

#: A time that no trace reaches, far before ``layout.NEVER``.
LATEST_S = 1e100

_LEAST_RATE = 1e-30  # a billion requests come long before ``LATEST_S``

# Columns of requests, in the order in which memory holds them behind the time of arrival.
INPUT, OUTPUT, PRIORITY, SESSION, GROUP, GROUP_TOKENS, FOLLOWS = range(7)


@dataclass(frozen=True, slots=True)
class Requests:
    """Some requests in order of arrival; ``columns`` as named above, one row each.

    A row that follows (``FOLLOWS`` is 1) is the next turn of the conversation of the row before it, in the same piece:
    it comes ``arrival_s`` seconds after that one's last token, whenever that is.
    """

    arrival_s: NDArray[np.float64]
    columns: NDArray[np.int64]

    def __len__(self) -> int:
        return self.arrival_s.size


class Source(Protocol):
    """Where requests come from, a few thousand at a time; every iteration yields the same ones again."""

    def chunks(self) -> Iterator[Requests]:
        """Yield requests in order of arrival."""

    @property
    def mean_tokens(self) -> float:
        """Mean length of a request at its end, for memory that depends on it."""

    @property
    def longest_tokens(self) -> int:
        """The longest request, input and output."""


def check_rate(rate: float) -> None:
    """Refuse a rate that is no number, or so low that nothing ever comes.

    Raises
    ------
    InputError
        If it is.
    """
    if not rate > 0.0:
        raise InputError(f"the rate must be above 0 requests per second, got {rate:g}")
    if rate < _LEAST_RATE:
        raise InputError(f"the rate must be at least {_LEAST_RATE:g} requests per second, got {rate:g}")


def check_seed(seed: int) -> None:
    """Refuse a seed that is no whole number of 63 bits.

    Raises
    ------
    InputError
        If it is negative or larger.
    """
    if not 0 <= seed < 1 << 63:
        raise InputError(f"a seed lies between 0 and 2^63 - 1, got {seed}")


def as_requests(
    arrival_s: NDArray[np.float64],
    inputs: NDArray[np.int64],
    outputs: NDArray[np.int64],
    *,
    priority: NDArray[np.int64] | int = 0,
    session: NDArray[np.int64] | int = -1,
    group: NDArray[np.int64] | int = -1,
    group_tokens: NDArray[np.int64] | int = 0,
    follows: NDArray[np.bool_] | bool = False,
) -> Requests:
    """Put columns together and check them.

    Raises
    ------
    InputError
        If an arrival is negative, not finite or before the one before it, a length out of range, or a turn follows
        none of its own session.
    """
    import numpy as np

    from simulator.serving import layout

    columns = np.empty((arrival_s.size, layout.ARRIVAL_SIZE - 1), dtype=np.int64)
    columns[:, INPUT], columns[:, OUTPUT] = inputs, outputs
    columns[:, PRIORITY] = priority
    # Keys of groups and of sessions share one table: even and odd.
    columns[:, SESSION] = np.where(np.asarray(session) < 0, -1, 2 * np.asarray(session) + 1)
    columns[:, GROUP] = np.where(np.asarray(group) < 0, -1, 2 * np.asarray(group))
    columns[:, GROUP_TOKENS] = np.minimum(group_tokens, inputs)
    columns[:, FOLLOWS] = follows
    arrivals = np.ascontiguousarray(arrival_s, dtype=np.float64)
    _check(arrivals, columns)
    return Requests(arrivals, columns)


def _check(arrival_s: NDArray[np.float64], columns: NDArray[np.int64]) -> None:
    import numpy as np

    from simulator.serving import layout

    follows = columns[:, FOLLOWS] != 0
    before = np.concatenate([[-1], columns[:-1, SESSION]])
    falls = np.zeros(arrival_s.size, dtype=bool)
    falls[~follows] = np.diff(arrival_s[~follows], prepend=0.0) < 0.0
    rules = (
        (~((arrival_s >= 0.0) & (arrival_s <= LATEST_S)), f"arrives at no time from 0 to {LATEST_S:g} s"),
        (falls, "arrives before the one before it"),
        (follows & ((before < 0) | (columns[:, SESSION] != before)), "follows none of its session"),
        (columns[:, INPUT] < 1, "has no input token"),
        (columns[:, OUTPUT] < 1, "has no output token"),
        (columns[:, :2].max(axis=1, initial=0) > LARGEST_TOKENS, f"has more than {LARGEST_TOKENS} tokens"),
        (
            (columns[:, PRIORITY] < 0) | (columns[:, PRIORITY] >= layout.PRIORITIES),
            f"has a priority outside 0 to {layout.PRIORITIES - 1}",
        ),
    )
    for broken, what in rules:
        if broken.any():
            raise InputError(f"request {int(np.argmax(broken))} (from 0) {what}")
