"""One point of a sweep as servers under load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulator.serving.arrivals import Stream
from simulator.serving.lengths import parse_lengths
from simulator.serving.report import ServeReport
from simulator.serving.serve import Deployment, Load, deploy, serve
from simulator.serving.tally import Slo, parse_slo

__all__ = ["serve_point"]

_LOAD = ("rate", "requests", "lengths", "burstiness", "slo", "seed")


def serve_point(arguments: Mapping[str, Any]) -> ServeReport:
    """Serve the requests of a point, the same of every point.

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
    source = Stream(
        lengths=parse_lengths(load["lengths"]),
        rate=float(load["rate"]),
        count=load["requests"],
        burstiness=float(load["burstiness"]),
        seed=load["seed"],
    )
    deployed = deploy(model, hardware, Deployment(**given, **asked), source)
    slo = Slo() if load["slo"] is None else parse_slo(load["slo"])
    return serve(deployed, Load(source=source, slo=slo, seed=load["seed"])).report
