"""The highest rate that holds an SLO: bisection with the same random numbers at every rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from simulator.core.errors import InputError

__all__ = ["Capacity", "Seen", "find_capacity", "is_hopeless", "wilson_interval"]

_Z95 = 1.959964  # normal quantile of 97.5 %
_DOUBLINGS = 40
_HIGHEST_START = 1e9  # requests per second


class Seen(NamedTuple):
    """What was seen at a rate."""

    good_share: float
    requests: int
    whole: bool = True  # False: given up before the end, where the share would have been this at most


@dataclass(frozen=True, slots=True)
class Trial:
    """One rate tried."""

    rate: float
    good_share: float  # at most, where it was given up
    requests: int
    whole: bool


@dataclass(frozen=True, slots=True)
class Capacity:
    """The highest rate found, and how sure that is.

    Attributes
    ----------
    rate
        The highest rate tried that holds, requests per second; 0: not even the lowest did.
    low, high
        Between the highest rate whose 95 % interval of the share of good requests lies wholly above what is asked, and
        the lowest whose interval lies wholly below.
    trials
        Every rate tried, in order of rate.
    """

    rate: float
    low: float
    high: float
    trials: tuple[Trial, ...]


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a share seen in ``count`` requests.

    Source: Wilson, Journal of the American Statistical Association 22 (1927), p. 209. Requests of one run are not
    independent, so that the interval is somewhat too narrow where queues are long.

    Examples
    --------
    >>> low, high = wilson_interval(0.9, 1000)
    >>> round(low, 3), round(high, 3)
    (0.88, 0.917)
    """
    z2 = _Z95 * _Z95
    middle = (share + z2 / (2.0 * count)) / (1.0 + z2 / count)
    half = _Z95 / (1.0 + z2 / count) * math.sqrt(share * (1.0 - share) / count + z2 / (4.0 * count * count))
    return middle - half, middle + half


def is_hopeless(bad: int, requests: int, share: float) -> bool:
    """Whether so many bad requests show with 95 % confidence that ``share`` is not met, were all others good.

    Examples
    --------
    >>> is_hopeless(1000, 10_000, 0.9), is_hopeless(1100, 10_000, 0.9)
    (False, True)
    """
    return wilson_interval(1.0 - bad / requests, requests)[1] < share


def find_capacity(
    good_share: Callable[[float], Seen | tuple[float, int]],
    share: float,
    *,
    start: float = 1.0,
    precision: float = 0.02,
) -> Capacity:
    """Search the highest rate at which at least ``share`` of the requests are good.

    Parameters
    ----------
    good_share
        Runs at a rate and returns the share of good requests and their number; with common random numbers two rates
        differ by the load alone. It may give up a rate that :func:`is_hopeless`.
    share
        What is asked for.
    start
        Rate to begin with, requests per second.
    precision
        Relative width at which the bisection ends.
    """
    if not 0.0 < start <= _HIGHEST_START:
        raise InputError(f"the search must begin above 0 and at most at {_HIGHEST_START:g} requests/s, got {start:g}")
    trials: dict[float, Trial] = {}

    def holds(rate: float) -> bool:
        trials[rate] = trial = Trial(rate, *Seen(*good_share(rate)))
        return trial.good_share >= share

    low, high = start, start
    if holds(start):
        for _ in range(_DOUBLINGS):
            high = 2.0 * low
            if not holds(high):
                break
            low = high
    else:
        for _ in range(_DOUBLINGS):
            low = high / 2.0
            if holds(low):
                break
            high = low
    while high / low > 1.0 + precision and trials[low].good_share >= share:
        middle = math.sqrt(low * high)
        if holds(middle):
            low = middle
        else:
            high = middle
    ordered = tuple(sorted(trials.values(), key=lambda trial: trial.rate))
    sure = [t.rate for t in ordered if wilson_interval(t.good_share, t.requests)[0] >= share]
    over = [t.rate for t in ordered if wilson_interval(t.good_share, t.requests)[1] < share]
    rate = low if trials[low].good_share >= share else 0.0
    below_rate = [r for r in sure if r <= rate]
    above_rate = [r for r in over if r > rate]
    return Capacity(rate, max(below_rate, default=0.0), min(above_rate, default=math.inf), ordered)
