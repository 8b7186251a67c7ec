"""Published serving points: mean TTFT and TPOT of a model on some GPUs at a concurrency (AIConfigurator's table).

Each point is served in a closed loop of its concurrency, ten requests for each place in it, lengths between 80 % and
all of what the point names, as the benchmark that most points come from draws them (InferenceMAX, range ratio 0.8).
Experts are as unevenly popular as AIConfigurator takes them to be (a power law of exponent 1.01).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from simulator.core.errors import InputError, RidgelineError, UnsupportedError
from simulator.serving.arrivals import Stream
from simulator.serving.lengths import Distribution, ShapedLengths
from simulator.serving.serve import Deployed, Deployment, Load, deploy, serve
from simulator.validation.metrics import error_stats
from simulator.validation.serving.comparison import ServedPoint, ServingReplay, records
from simulator.validation.serving.point_table import NUMBERS, Point, read_point
from workloads.catalog import load_model

__all__ = ["LIMITS", "compare_points", "serve_point"]

#: Mean absolute error over all aggregated points.
LIMITS = {"TTFT": 0.35, "TPOT": 0.15}

_ROUNDS = 10  # requests for each place of the closed loop
_SHORTEST = 0.8
_LONGEST = ShapedLengths(Distribution(8192, 16384), Distribution(1024, 8192))  # what step-time tables cover
_NODE = 8  # devices
_ROUTING = "power:1.01"
_FULL = 0.98  # share of memory to fill where a profile's leaves no room: the launch's is not recorded

#: Model, device, backend.
Family = tuple[str, str, str]


def compare_points(
    path: Path, most: int | None = None, progress: Callable[[str], None] = lambda line: None
) -> ServingReplay:
    """Serve the aggregated points of a file and compare; errors by model, device and backend, and over all.

    Parameters
    ----------
    path
        The file.
    most
        At most so many points of each model, device and backend, evenly spread over the file; None: all.
    progress
        Told what is being served.

    Raises
    ------
    SpecError
        If a cell is malformed.
    """
    table, rows = records(path, ("model_path", "device", "backend", "backend_version", "mode", "precision", *NUMBERS))
    unusable: dict[str, int] = {}
    points: dict[Family, list[Point]] = {}
    for index, row in enumerate(rows):
        try:
            point = read_point(table, index, row)
        except UnsupportedError as error:
            unusable[str(error)] = unusable.get(str(error), 0) + 1
        else:
            points.setdefault((point.model, point.device, point.backend), []).append(point)
    done: dict[Family, list[ServedPoint]] = {}
    for family, members in points.items():
        progress(" ".join(family))
        served: dict[tuple[object, ...], Deployed] = {}  # of this family only: tables take memory
        for point in _thinned(members, most):
            try:
                ttft_ms, tpot_ms = serve_point(point, served)
            except RidgelineError as error:
                reason = f"{point.model} on {point.pool.devices} x {point.device}: {error}"
                unusable[reason] = unusable.get(reason, 0) + 1
                continue
            done.setdefault(family, []).append(_served(point, ttft_ms, tpot_ms))
    return ServingReplay(
        file=str(path),
        reference="serving points, measured",
        rows=len(rows),
        comparisons=(),
        families=_families(done),
        points=[point for members in done.values() for point in members],
        unusable=unusable,
        notes=(
            "closed loop; where experts' sizes multiply to more devices than the attention's, the attention runs as "
            "replicas; where a row's expert tensor and expert parallel sizes are equal and it names an attention "
            "data-parallel size, both name the same devices",
            "engine settings are those of public launch scripts (InferenceMAX) where a backend and model has them, "
            "else the engine's defaults; drafted tokens are not recorded in the file and taken as none",
        ),
    )


def _thinned(points: Sequence[Point], most: int | None) -> list[Point]:
    if most is None or len(points) <= most:
        return list(points)
    return [points[int((i + 0.5) * len(points) / most)] for i in range(most)]


def serve_point(point: Point, served: dict[tuple[object, ...], Deployed]) -> tuple[float, float]:
    """Return mean TTFT and TPOT of a point, milliseconds; servers are kept in ``served`` and used again."""
    if point.server not in served:
        served[point.server] = _deploy(point)
    lengths = ShapedLengths(
        Distribution(max(int(point.inputs * _SHORTEST), 1), point.inputs),
        Distribution(max(int(point.outputs * _SHORTEST), 1), point.outputs),
    )
    source = Stream(lengths=lengths, rate=float("inf"), count=max(_ROUNDS * point.concurrency, 8))
    report = serve(served[point.server], Load(source=source, concurrency=point.concurrency)).report
    return 1e3 * report.metrics["ttft"].mean, 1e3 * report.metrics["tpot"].mean


def _served(point: Point, ttft_ms: float, tpot_ms: float) -> ServedPoint:
    return ServedPoint(
        line=point.line,
        model=point.model,
        device=point.device,
        engine=point.backend,
        devices=point.devices,
        concurrency=point.concurrency,
        inputs=point.inputs,
        outputs=point.outputs,
        ttft_ms=point.ttft_ms,
        tpot_ms=point.tpot_ms,
        simulated_ttft_ms=ttft_ms,
        simulated_tpot_ms=tpot_ms,
    )


def _deploy(point: Point) -> Deployed:
    model = load_model(point.model)
    weights = point.weights
    if weights is not None and point.experts is not None:
        model, weights = replace(model, weight_format=weights, expert_format=point.experts), None
    how = Deployment(
        weights=weights,
        activations=point.activations,
        kv=point.kv,
        profile=point.profile,
        overrides=point.overrides,
        routing=_ROUTING,
        budget=point.budget,
        sequences=point.sequences,
        tp=point.pool.tp,
        dp=point.pool.dp,
        ep=point.pool.ep,
        replicas=1,
    )
    if point.prefill is not None:
        how = replace(
            how,
            replicas=0,
            prefill=point.prefill.servers,
            prefill_parallel=point.prefill.degrees,
            decode=point.pool.servers,
        )
    widest = Stream(lengths=_LONGEST, rate=1.0, count=1)
    hardware = f"{point.device}x{_NODE}"
    try:
        return deploy(model, hardware, how, widest)
    except InputError:
        full = (*how.overrides, f"profile.memory.utilization={_FULL}")
        return deploy(model, hardware, replace(how, overrides=full), widest)


def _families(done: Mapping[Family, Sequence[ServedPoint]]) -> list[dict[str, Any]]:
    """Return error statistics of each family, and of all together, which are judged."""
    families = []
    for metric, limit in LIMITS.items():
        for family, points in done.items():
            families.append(_statistics(" ".join(family), metric, [point.errors[metric] for point in points], None))
        judged = [point.errors[metric] for family, points in done.items() if _is_judged(family) for point in points]
        if judged:
            families.append(_statistics("all", metric, judged, limit))
    return families


def _statistics(name: str, metric: str, errors: Sequence[float], limit: float | None) -> dict[str, Any]:
    stats = error_stats(errors)
    return {
        "family": name,
        "metric": metric,
        "n": stats.n,
        "mape": stats.mape,
        "median": stats.median,
        "bias": stats.bias,
        "limit": limit,
    }


def _is_judged(family: Family) -> bool:
    """Whether a family's rows count: those of servers that do everything."""
    return not family[2].endswith(" split")
