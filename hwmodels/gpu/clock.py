"""The clock that a power limit leaves to a sequence of kernels.

A board under its limit runs at its highest clock. One that passes it goes back and forth between two neighbouring
clocks, a faster one that passes the limit and a slower one that keeps it, in the shares that make the mean power the
limit. Clocks move in steps of a fixed share of the highest one, so that a sweep over power limits costs each step of
the clock once, and what lies between two steps follows in closed form.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from hwmodels.gpu.power import PowerParams
from simulator.core.formula import formula

__all__ = ["CLOCK_STEPS", "ClockSearch", "last_step", "look_at", "settle_clock", "slow_share", "start_search"]

#: Steps from the highest clock to none: 62 MHz on an H200, where the driver takes 15 MHz. Time and power are all but
#: straight lines over one of them: the clock is at most a two-thousandth off what a thousand steps give.
CLOCK_STEPS = 32
POWER_EXPONENT = 1.7  # first guess of how power above idle follows the clock: time falls, voltage squared and rate rise
_GUESSES = 5  # steps looked at by guess; after that the range is halved


class ClockSearch(NamedTuple):
    """Where a search stands; steps count down from the highest clock."""

    step: int  # to look at next
    fast: int  # the slowest step known to pass the limit; -1: none
    slow: int  # the fastest step known to keep it; one after the last: none
    seen: int  # the step looked at before, for a straight line through both
    seen_W: float
    looks: int
    found: int  # 1: `fast` and `slow` are neighbours and the answer; they are equal where no two clocks are needed


@formula
def last_step(p: PowerParams) -> int:
    """Return the step of the lowest clock that the limit can force."""
    return max(0, math.ceil(CLOCK_STEPS * (1.0 - p.min_clock_Hz / p.max_clock_Hz)))


@formula
def step_clock(step: int, p: PowerParams) -> float:
    """Return the clock of a step in Hz."""
    if step == 0:
        return p.max_clock_Hz
    return max(p.min_clock_Hz, p.max_clock_Hz * (1.0 - step / CLOCK_STEPS))


@formula
def start_search() -> ClockSearch:
    """Return a search that has seen nothing yet: it looks at the highest clock first."""
    return ClockSearch(0, -1, CLOCK_STEPS + 1, -1, 0.0, 0, 0)


@formula
def look_at(s: ClockSearch, power_W: float, p: PowerParams) -> ClockSearch:
    """Take in the mean power at ``s.step`` and say where to look next.

    Parameters
    ----------
    s
        The search so far.
    power_W
        Mean power of the whole sequence of kernels at the clock of ``s.step``; falls with the clock.
    p
        The board.
    """
    last = last_step(p)
    fast = s.fast
    slow = min(s.slow, last + 1)
    if power_W > p.limit_W:
        fast = s.step
    else:
        slow = s.step
    if slow - fast <= 1:
        only = slow == 0 or fast == last  # the highest clock keeps the limit, or the lowest one passes it
        at = min(slow, last)
        return ClockSearch(s.step, at if only else fast, at, s.step, power_W, s.looks + 1, 1)
    if s.looks == 0:
        # Power above idle follows the clock to a known power; once two steps are known, a line through them.
        share = max(p.limit_W - p.idle_W, 0.0) / max(power_W - p.idle_W, 1e-300)
        aim = CLOCK_STEPS * (1.0 - math.pow(min(share, 1.0), 1.0 / POWER_EXPONENT))
    else:
        fall_W = (s.seen_W - power_W) / (s.step - s.seen)  # per step
        aim = s.step + (power_W - p.limit_W) / fall_W if fall_W > 0.0 else -1.0
        if s.looks >= _GUESSES or aim < 0.0:
            aim = 0.5 * (fast + slow)
    aim = min(aim, float(CLOCK_STEPS))
    step = math.ceil(aim) if power_W > p.limit_W else math.floor(aim)
    step = max(fast + 1, min(slow - 1, step))
    return ClockSearch(step, fast, slow, s.step, power_W, s.looks + 1, 0)


@formula
def slow_share(slow_J: float, slow_s: float, fast_J: float, fast_s: float, limit_W: float) -> float:
    """Return the share of runs at the slower of two clocks that makes the mean power the limit.

    Parameters
    ----------
    slow_J, slow_s, fast_J, fast_s
        Energy and time of one run at the slower clock, which keeps the limit, and at the faster one, which does not.
    limit_W
        The limit.
    """
    over_J = fast_J - limit_W * fast_s
    under_J = limit_W * slow_s - slow_J
    if over_J <= 0.0 or under_J <= 0.0:
        return 1.0
    return over_J / (over_J + under_J)


def settle_clock(power_at: Callable[[int], float], p: PowerParams) -> ClockSearch:
    """Find the neighbouring steps of the clock between which the mean power meets the limit.

    Parameters
    ----------
    power_at
        Mean power in W of the whole sequence of kernels at a step of the clock.
    p
        The board.

    Returns
    -------
    ClockSearch
        Its ``fast`` and ``slow``: both 0 if the highest clock keeps the limit, both the last step if none does.
    """
    search = start_search()
    while not search.found:
        search = look_at(search, power_at(search.step), p)
    return search
