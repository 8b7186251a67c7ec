"""The slow tier: points simulated one by one, at any level, on any system."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from dse.metrics import METRICS, measure
from dse.space.paths import arguments_of
from dse.space.space import Space
from simulator.core.errors import RidgelineError

__all__ = ["reason_of", "simulate_points"]


def simulate_points(
    space: Space, indices: NDArray[np.int64], level: str
) -> tuple[dict[str, NDArray[np.float64]], Counter[str]]:
    """Simulate each point.

    Returns
    -------
    dict, Counter
        A column per metric, NaN where a design was refused or has none; and why designs were refused, how often.
    """
    from simulator.api.simulate import simulate

    metrics = {name: np.full(len(indices), np.nan) for name in METRICS}
    refused: Counter[str] = Counter()
    for row, index in enumerate(indices):
        try:
            arguments = arguments_of(space, space.settings(int(index)))
            found = measure(simulate(**{**arguments, "level": level}, elasticity=False))
        except RidgelineError as error:
            refused[reason_of(error)] += 1
            continue
        for name, value in found.items():
            metrics[name][row] = value
    return metrics, refused


def reason_of(error: RidgelineError) -> str:
    """Return a message with its numbers taken out, so that alike reasons count as one."""
    first = str(error).splitlines()[0]
    return re.sub(r"(?<![\w.])\d+(\.\d+)?(e[+-]?\d+)?(?![\w])", "#", first)[:160]
