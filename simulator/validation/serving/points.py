"""Published serving points: mean TTFT and TPOT of a model on some GPUs at a concurrency (AIConfigurator's table).

Each point is served in a closed loop of its concurrency, five requests for each place in it, lengths between 80 % and
all of what the point names, as the benchmark that most points come from draws them (InferenceMAX, random range ratio
0.8). Nothing is fitted on any point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.core.errors import RidgelineError, UnsupportedError
from simulator.serving.arrivals import Stream
from simulator.serving.lengths import Distribution, ShapedLengths
from simulator.serving.serve import Deployed, Deployment, Load, deploy, serve
from simulator.validation.metrics import error_stats
from simulator.validation.public.devices import bundled_device
from simulator.validation.serving.comparison import ServingReplay, cell_number, records
from workloads.catalog import model_names

if TYPE_CHECKING:
    from simulator.validation.table import Table

__all__ = ["LIMITS", "compare_points", "is_point_file"]

#: Mean absolute error over all aggregated points.
LIMITS = {"TTFT": 0.35, "TPOT": 0.15}

_ROUNDS = 5  # requests for each place of the closed loop
_SHORTEST = 0.8
_LONGEST = ShapedLengths(Distribution(8192, 16384), Distribution(1024, 8192))  # what step-time tables cover
_SEQUENCES = 512
_NODE = 8

#: Checkpoints of the same dimensions as a bundled model.
_SAME = {
    "deepseek-r1": "deepseek-v3",
    "deepseek-v3.1": "deepseek-v3",
    "llama-3.1-8b-instruct": "llama-3.1-8b",
    "qwen3-235b-a22b": "qwen3-235b-a22b",
}
_TAILS = ("-nvfp4", "-fp8")
_WEIGHTS = {"fp8": "fp8", "fp8_block": "fp8", "nvfp4": "nvfp4", "fp4": "nvfp4", "bf16": "bf16", "bfloat16": "bf16"}
_NUMBERS = ("isl", "osl", "batch_size", "tp_size", "ttft_ms", "tpot_ms")
#: Why models that are not bundled cannot be added by their configuration alone.
_UNMODELLED = {
    "qwen3.5-397b-a17b": "gated linear attention (Qwen3.5) is not modelled",
    "glm-5": "learned sparse attention (GLM-5) is not modelled",
}


@dataclass(frozen=True, slots=True)
class _Point:
    """One row: what ran, and what was measured."""

    model: str
    device: str
    backend: str
    weights: str | None
    activations: str
    tp: int
    pp: int
    dp: int
    ep: int
    concurrency: int
    inputs: int
    outputs: int
    ttft_ms: float
    tpot_ms: float

    @property
    def server(self) -> tuple[Any, ...]:
        """What must be equal for two points to share a server."""
        return (self.model, self.device, self.weights, self.activations, self.tp, self.pp, self.dp, self.ep)


def is_point_file(header: Sequence[str]) -> bool:
    """Tell the columns of such a file."""
    return {"model_path", "isl", "osl", "attention_dp_size", "ttft_ms", "tpot_ms"} <= set(header)


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
    table, rows = records(path, ("model_path", "device", "backend", "mode", "precision", *_NUMBERS))
    unusable: dict[str, int] = {}
    points: dict[tuple[str, str, str], list[_Point]] = {}
    for index, row in enumerate(rows):
        try:
            point = _point(table, index, row)
        except UnsupportedError as error:
            unusable[str(error)] = unusable.get(str(error), 0) + 1
        else:
            points.setdefault((point.model, point.device, point.backend), []).append(point)
    served: dict[tuple[Any, ...], Deployed] = {}
    errors: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for family, members in points.items():
        progress(" ".join(family))
        for point in _thinned(members, most):
            try:
                ttft_ms, tpot_ms = _serve(point, served)
            except RidgelineError as error:
                reason = f"{point.model} on {point.tp * point.pp * point.dp} x {point.device}: {error}"
                unusable[reason] = unusable.get(reason, 0) + 1
                continue
            found = errors.setdefault(family, {"TTFT": [], "TPOT": []})
            found["TTFT"].append(ttft_ms / point.ttft_ms - 1.0)
            found["TPOT"].append(tpot_ms / point.tpot_ms - 1.0)
    return ServingReplay(
        file=str(path),
        reference="serving points, measured",
        rows=len(rows),
        comparisons=(),
        families=_families(errors),
        unusable=unusable,
        notes=(
            "closed loop; where a row's expert tensor and expert parallel sizes are equal and it names an attention "
            "data-parallel size, its sizes are taken as multiplied by the experts' (64 GPUs of an 8-GPU run)",
            "of an engine only its scheduler and limits are simulated: kernels are the profile's",
        ),
    )


def _point(table: Table, index: int, row: Mapping[str, str]) -> _Point:
    """Read a row.

    Raises
    ------
    UnsupportedError
        If it cannot be served, with the reason.
    """
    if row["mode"] != "agg":
        raise UnsupportedError("disaggregated: worker counts and rates are recorded, arrivals and transfers are not")
    device = bundled_device(row["device"])
    if device is None:
        raise UnsupportedError(f"no specification of {row['device']}")
    name = row["model_path"].rpartition("/")[2].lower()
    for tail in _TAILS:
        name = name.removesuffix(tail)
    name = _SAME.get(name, name)
    if name not in model_names():
        raise UnsupportedError(_UNMODELLED.get(name, f"model {row['model_path']} is not bundled"))

    def number(column: str) -> int:
        return max(int(cell_number(table, index, row, column, empty=1.0)), 1)

    tp, dp, ep = number("tp_size"), number("attention_dp_size"), number("moe_ep_size")
    batch, listed = number("batch_size"), dp
    if row["attention_dp_size"].strip() and ep > 1 and number("moe_tp_size") == ep:
        tp, dp = (tp, dp // ep) if dp > 1 else (tp // ep, dp)
    quantised = row.get("gemm_quant_mode", "").strip() or row["precision"]
    weights = None if name.startswith("gpt-oss") else _WEIGHTS.get(quantised, "bf16")
    native = device == "b200"
    activations = "nvfp4" if "fp4" in quantised and native else "fp8" if quantised.startswith("fp8") else "bf16"
    moe = any(word in name for word in ("deepseek", "gpt-oss", "a22b"))
    return _Point(
        model=name,
        device=device,
        backend=row["backend"],
        weights=weights,
        activations=activations,
        tp=tp,
        pp=number("pp_size"),
        dp=dp,
        ep=ep if moe else 1,
        concurrency=batch * listed,
        inputs=number("isl"),
        outputs=number("osl"),
        ttft_ms=max(cell_number(table, index, row, "ttft_ms"), 1e-9),
        tpot_ms=max(cell_number(table, index, row, "tpot_ms"), 1e-9),
    )


def _thinned(points: Sequence[_Point], most: int | None) -> list[_Point]:
    if most is None or len(points) <= most:
        return list(points)
    return [points[int((i + 0.5) * len(points) / most)] for i in range(most)]


def _serve(point: _Point, served: dict[tuple[Any, ...], Deployed]) -> tuple[float, float]:
    """Return mean TTFT and TPOT of a point, milliseconds."""
    if point.server not in served:
        how = Deployment(
            weights=point.weights,
            activations=point.activations,
            tp=point.tp,
            pp=point.pp,
            dp=point.dp,
            ep=point.ep,
            replicas=1,
            sequences=_SEQUENCES,
        )
        widest = Stream(lengths=_LONGEST, rate=1.0, count=1)
        served[point.server] = deploy(point.model, f"{point.device}x{_NODE}", how, widest)
    lengths = ShapedLengths(
        Distribution(max(int(point.inputs * _SHORTEST), 1), point.inputs),
        Distribution(max(int(point.outputs * _SHORTEST), 1), point.outputs),
    )
    source = Stream(lengths=lengths, rate=float("inf"), count=max(_ROUNDS * point.concurrency, 8))
    report = serve(served[point.server], Load(source=source, concurrency=point.concurrency)).report
    return 1e3 * report.metrics["ttft"].mean, 1e3 * report.metrics["tpot"].mean


def _families(errors: Mapping[tuple[str, str, str], Mapping[str, Sequence[float]]]) -> list[dict[str, Any]]:
    """Return error statistics of each family, and of all together, which are judged."""
    families = []
    for metric, limit in LIMITS.items():
        for family, found in errors.items():
            families.append(_statistics(" ".join(family), metric, found[metric], None))
        together = [error for found in errors.values() for error in found[metric]]
        if together:
            families.append(_statistics("all", metric, together, limit))
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
