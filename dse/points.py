"""The slow tier: points simulated one by one, at any level, on any system."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from dse.metrics import METRICS, SERVING, measure, measure_served
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

    names = METRICS if space.serve is None else SERVING
    metrics = {name: np.full(len(indices), np.nan) for name in names}
    refused: Counter[str] = Counter()
    for row, index in enumerate(indices):
        try:
            arguments = arguments_of(space, space.settings(int(index)))
            arguments["level"] = level
            if space.serve is None:
                found = measure(simulate(**arguments, elasticity=False))
            else:
                from dse.serve_point import serve_point

                found = measure_served(serve_point(arguments))
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
