"""The report of a serving run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulator.serving import layout
from simulator.serving.economics import COSTS
from simulator.serving.tally import METRICS, REASONS, Slo, Tally

if TYPE_CHECKING:
    from simulator.serving.quantiles import Quantiles
    from simulator.serving.run import ClusterRun

__all__ = ["ServeReport", "Spread", "build_report"]

SCHEMA = "ridgeline/serve/v1"


@dataclass(frozen=True, slots=True)
class Spread:
    """A metric over requests (or gaps): seconds."""

    mean: float
    p50: float
    p90: float
    p99: float
    largest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeReport:
    """What a run of a cluster came to. Times in seconds from the first arrival on."""

    cluster: Mapping[str, Any]  # in words
    requests: Mapping[str, int]  # arrived, completed, rejected, never asked, ...
    rejected: Mapping[str, int]  # by reason
    span_s: float  # from the first arrival to the last token
    metrics: Mapping[str, Spread]  # ttft, tpot, e2e, queue, itl
    percentiles: Mapping[str, tuple[float, ...]]  # 0 to 100, of ttft, tpot and e2e
    request_rate: float  # completed per second
    input_rate: float  # tokens per second
    output_rate: float
    slo: Slo
    good_share: float  # of the requests that arrived
    goodput: float  # requests per second within the SLO
    energy_J: float
    average_W: float
    peak_W: float  # the highest mean of a bin of the series
    cost_USD: float | None  # None where a device has no price
    hourly_USD: float | None  # devices written off, without electricity
    limit_W: float | None  # power limits of all devices; None where one has none
    servers: tuple[Mapping[str, float], ...]
    series: Mapping[str, tuple[float, ...]]  # over time, by bin
    bin_s: float
    surfaces: tuple[Mapping[str, float], ...]  # step-time tables by kind of server
    provenance: Mapping[str, Any]

    @property
    def energy_per_token_J(self) -> float:
        """Energy of everything over output tokens."""
        tokens = self.output_rate * self.span_s
        return self.energy_J / tokens if tokens else 0.0

    @property
    def cost_per_million_USD(self) -> float | None:
        """Price of a million output tokens at this load."""
        tokens = self.output_rate * self.span_s
        return None if self.cost_USD is None or not tokens else self.cost_USD / tokens * 1e6

    @property
    def meets_slo(self) -> bool:
        """Whether the share of good requests is what is asked for."""
        return self.good_share >= self.slo.share

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "schema": SCHEMA,
            "cluster": dict(self.cluster),
            "requests": dict(self.requests),
            "rejected": dict(self.rejected),
            "span_s": self.span_s,
            "metrics_s": {
                name: {"mean": s.mean, "p50": s.p50, "p90": s.p90, "p99": s.p99, "max": s.largest}
                for name, s in self.metrics.items()
            },
            "percentiles_s": {name: list(values) for name, values in self.percentiles.items()},
            "throughput": {
                "requests_per_s": self.request_rate,
                "input_tokens_per_s": self.input_rate,
                "output_tokens_per_s": self.output_rate,
            },
            "slo": {"limits_s": self.slo.stated, "share": self.slo.share, "good_share": self.good_share},
            "goodput_requests_per_s": self.goodput,
            "energy": {
                "total_J": self.energy_J,
                "per_output_token_J": self.energy_per_token_J,
                "average_W": self.average_W,
                "limit_W": self.limit_W,
                "peak_W": self.peak_W,
            },
            "cost": {
                "hourly_USD": self.hourly_USD,
                "total_USD": self.cost_USD,
                "per_million_output_tokens_USD": self.cost_per_million_USD,
            },
            "servers": [dict(server) for server in self.servers],
            "series": {"bin_s": self.bin_s, **{name: list(values) for name, values in self.series.items()}},
            "step_times": [dict(surface) for surface in self.surfaces],
            "provenance": dict(self.provenance),
        }


def _spread(quantiles: Quantiles) -> Spread:
    p50, p90, p99 = quantiles.at(0.5, 0.9, 0.99)
    return Spread(quantiles.mean, p50, p90, p99, quantiles.largest)


def build_report(
    run: ClusterRun, tally: Tally, cluster: Mapping[str, Any], provenance: Mapping[str, Any]
) -> ServeReport:
    """Put a run and its tally together."""
    start_s = min(tally.first_arrival_s, run.end_s)
    span_s = max(run.end_s - start_s, 1e-12)
    energy_J = float(run.amounts[:, layout.ENERGY].sum())
    prices = [server.price_USD for server, _ in run.prepared.cluster.servers]
    limits_W = [server.limit_W for server, _ in run.prepared.cluster.servers]
    hourly = None
    if all(price is not None for price in prices):
        hourly = COSTS.hourly_USD(sum(price for price in prices if price is not None))
    series = _series(run)
    return ServeReport(
        cluster=cluster,
        requests={
            "arrived": run.arrived,
            "completed": run.completed,
            "rejected": run.rejected,
            "unfinished": run.arrived - run.completed - run.rejected,
            "never_asked": run.unasked,
            "preempted": tally.preempted,
            "returned_after_failure": run.returned,
        },
        rejected={REASONS[status]: count for status, count in tally.rejected.items() if count},
        span_s=span_s,
        metrics={**{name: _spread(tally.metrics[name]) for name in METRICS}, "itl": _gaps(run)},
        percentiles={
            name: tuple(tally.metrics[name].at(*(i / 100.0 for i in range(101)))) for name in ("ttft", "tpot", "e2e")
        },
        request_rate=run.completed / span_s,
        input_rate=tally.input_tokens / span_s,
        output_rate=tally.output_tokens / span_s,
        slo=tally.slo,
        good_share=tally.good / max(run.arrived, 1),
        goodput=tally.good / span_s,
        energy_J=energy_J,
        average_W=energy_J / max(run.end_s, 1e-12),
        peak_W=max(series["power_W"], default=0.0),
        cost_USD=None if hourly is None else hourly * run.end_s / 3600.0 + COSTS.energy_USD(energy_J),
        hourly_USD=hourly,
        limit_W=None if any(limit is None for limit in limits_W) else sum(limit or 0.0 for limit in limits_W),
        servers=tuple(_server(run, row) for row in range(run.counts.shape[0])),
        series=series,
        bin_s=run.bin_s,
        surfaces=tuple(
            {
                "costed_steps": float(surface.costed),
                "probes": float(surface.error.probes),
                "mean_error": surface.error.mean,
                "p90_error": surface.error.p90,
                "largest_error": surface.error.largest,
            }
            for surface in run.prepared.surfaces
        ),
        provenance=provenance,
    )


def _gaps(run: ClusterRun) -> Spread:
    """Return the gaps between tokens of all requests: bins 1.7 % wide."""
    import numpy as np

    count = int(run.gaps.sum())
    if count == 0:
        return Spread(0.0, 0.0, 0.0, 0.0, 0.0)
    middles = layout.GAP_LEAST_S * 2.0 ** ((np.arange(run.gaps.size) + 0.5) / layout.FINE_PER_OCTAVE)
    middles[0] = 0.0  # tokens of one speculative step come together
    below = np.cumsum(run.gaps)

    def at(share: float) -> float:
        return float(middles[np.searchsorted(below, share * count)])

    mean = float((run.gaps * middles).sum() / count)
    return Spread(mean, at(0.5), at(0.9), at(0.99), float(middles[np.flatnonzero(run.gaps)[-1]]))


def _series(run: ClusterRun) -> dict[str, tuple[float, ...]]:
    """Return what happened over time: sums turned into means of each bin."""
    import numpy as np

    bins = max(min(int(np.ceil(run.end_s / run.bin_s)), layout.SERIES_BINS), 1)
    rows = run.series[:bins]
    width = np.full(bins, run.bin_s)
    width[-1] = max(run.end_s - run.bin_s * (bins - 1), 1e-9)
    named = {
        "power_W": layout.S_ENERGY,
        "output_tokens_per_s": layout.S_MADE,
        "prompt_tokens_per_s": layout.S_PROMPT,
        "running": layout.S_RUNNING,
        "waiting": layout.S_WAITING,
        "cache_blocks": layout.S_BLOCKS,
        "busy_servers": layout.S_BUSY,
        "arrivals_per_s": layout.S_ARRIVED,
    }
    means = rows / width[:, None]
    if bins > 1 and width[-1] < 0.5 * run.bin_s:  # a sliver at the end says nothing about power
        means[-2] = (rows[-2] + rows[-1]) / (width[-2] + width[-1])
        means = means[:-1]
    return {name: tuple(float(v) for v in means[:, column]) for name, column in named.items()}


def _server(run: ClusterRun, row: int) -> dict[str, Any]:
    """Return what one server did."""
    counts, amounts = run.counts[row], run.amounts[row]
    server, role = run.prepared.cluster.servers[row]
    steps = max(int(counts[layout.STEPS]), 1)
    return {
        "name": server.name,
        "role": role,
        "busy_share": float(amounts[layout.BUSY_S]) / max(run.end_s, 1e-12),
        "steps": int(counts[layout.STEPS]),
        "steps_with_prompts": int(counts[layout.MIXED_STEPS]),
        "sequences_per_step": float(counts[layout.SEQUENCE_STEPS]) / steps,
        "prompt_tokens": int(counts[layout.PROMPT_TOKENS]),
        "output_tokens": int(counts[layout.MADE_TOKENS]),
        "preemptions": int(counts[layout.PREEMPTIONS]),
        "cache_blocks": server.blocks,
        "peak_cache_share": float(counts[layout.PEAK_BLOCKS]) / server.blocks,
        "prefix_hit_share": float(counts[layout.FOUND]) / max(int(counts[layout.LOOKED_UP]), 1),
        "prefix_from_host_tokens": int(counts[layout.FOUND_AWAY]),
        "energy_J": float(amounts[layout.ENERGY]),
    }
