"""One point of a sweep as servers under load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulator.serving.arrivals import Stream
from simulator.serving.capacity import find_capacity
from simulator.serving.lengths import parse_lengths
from simulator.serving.report import ServeReport
from simulator.serving.serve import DEGREES, Deployment, Load, deploy, serve
from simulator.serving.tally import Slo, parse_slo

__all__ = ["serve_point"]

_LOAD = ("rate", "requests", "lengths", "burstiness", "slo", "seed", "find_capacity")
_PRECISION = 0.02  # of the highest rate


def serve_point(arguments: Mapping[str, Any]) -> ServeReport:
    """Serve the requests of a point, the same of every point; at its own highest rate, where that is asked for.

    Parameters
    ----------
    arguments : mapping
        What :func:`dse.space.paths.arguments_of` returns where servers are asked for, and the level.

    Raises
    ------
    RidgelineError
        If a setting is wrong, or the model leaves no room for a cache.
    """
    given = dict(arguments)
    model, hardware, asked = given.pop("model"), given.pop("hardware"), dict(given.pop("serve"))
    load = {name: asked.pop(name) for name in _LOAD}
    for pool in ("prefill", "decode"):
        degrees = {degree: asked.pop(f"{pool}_{degree}") for degree in DEGREES}
        asked[f"{pool}_parallel"] = {degree: number for degree, number in degrees.items() if number is not None}
    slo = Slo() if load["slo"] is None else parse_slo(load["slo"])

    def source(rate: float) -> Stream:
        return Stream(
            lengths=parse_lengths(load["lengths"]),
            rate=rate,
            count=load["requests"],
            burstiness=float(load["burstiness"]),
            seed=load["seed"],
        )

    start = float(load["rate"])
    deployed = deploy(model, hardware, Deployment(**given, **asked), source(start))
    reports: dict[float, ServeReport] = {}

    def good_share(rate: float) -> tuple[float, int]:
        reports[rate] = serve(deployed, Load(source=source(rate), slo=slo, seed=load["seed"])).report
        return reports[rate].good_share, reports[rate].requests["arrived"]

    if not load["find_capacity"]:
        good_share(start)
        return reports[start]
    found = find_capacity(good_share, slo.share, start=start, precision=_PRECISION).rate
    return reports[found or min(reports)]
