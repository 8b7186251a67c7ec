"""The report of a serving run as one screen of text."""

from __future__ import annotations

from collections.abc import Iterator

from simulator.core.units import format_quantity
from simulator.serving.capacity import Capacity
from simulator.serving.report import ServeReport

__all__ = ["capacity_text", "serve_text"]

_SHOWN = 16  # servers
_LABELS = {"ttft": "TTFT", "tpot": "TPOT", "itl": "token gap", "e2e": "end to end", "queue": "queue"}


def _time(value: float) -> str:
    return format_quantity(value, "s")


def serve_text(report: ServeReport) -> str:
    """Return the report as a user reads it in a terminal."""
    blocks = (_head(report), _latency(report), _rates(report), _servers(report), _foot(report))
    return "\n\n".join("\n".join(block) for block in blocks)


def _head(report: ServeReport) -> Iterator[str]:
    yield f"{report.cluster['model']}, profile {report.cluster['profile']}, router {report.cluster['router']}"
    for name, pool in report.cluster["pools"].items():
        yield (
            f"  {pool['servers']} x {name}: {pool['devices_each']} device(s) each, {pool['policy']}, "
            f"{pool['sequences']} sequences, {pool['step_tokens']} tokens a step, "
            f"cache of {pool['cache_tokens']:,} tokens"
        )
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in report.requests.items() if count)
    yield f"requests        {counts}"
    for reason, count in report.rejected.items():
        yield f"  rejected      {count:,}: {reason}"
    if report.requests["unfinished"]:
        yield f"  unfinished    {report.requests['unfinished']:,}: every server that could take them is down (--fault)"


def _latency(report: ServeReport) -> Iterator[str]:
    yield f"{'':<16}{'mean':>12}{'p50':>12}{'p90':>12}{'p99':>12}{'largest':>12}"
    for name, label in _LABELS.items():
        s = report.metrics[name]
        cells = "".join(f"{_time(value):>12}" for value in (s.mean, s.p50, s.p90, s.p99, s.largest))
        yield f"{label:<16}{cells}"


def _rates(report: ServeReport) -> Iterator[str]:
    yield (
        f"throughput      {report.request_rate:,.3g} requests/s, {report.input_rate:,.0f} input and "
        f"{report.output_rate:,.0f} output tokens/s over {_time(report.span_s)}"
    )
    if report.slo.stated:
        limits = ", ".join(f"{name.upper()} {_time(limit)}" for name, limit in report.slo.stated.items())
        verdict = "held" if report.meets_slo else "missed"
        yield (
            f"goodput         {report.goodput:,.3g} requests/s: {report.good_share:.1%} of requests within {limits}; "
            f"{report.slo.share:.0%} asked for: {verdict}"
        )
    yield (
        f"energy          {format_quantity(report.energy_per_token_J, 'J')} per output token; "
        f"{format_quantity(report.average_W, 'W')} on average, {format_quantity(report.peak_W, 'W')} at most "
        f"(mean of {_time(report.bin_s)})"
    )
    if report.cost_per_million_USD is not None and report.hourly_USD is not None:
        yield (
            f"cost            {report.cost_per_million_USD:,.3g} USD per million output tokens "
            f"({report.hourly_USD:,.3g} USD per hour for the devices, and electricity)"
        )


def _servers(report: ServeReport) -> Iterator[str]:
    columns = (("busy", 7), ("steps", 10), ("with prompt", 13), ("sequences", 11), ("cache", 7), ("hits", 7))
    yield "server".ljust(28) + "".join(name.rjust(width) for name, width in (*columns, ("preempted", 11)))
    for row, server in enumerate(report.servers[:_SHOWN]):
        yield (
            f"{row:>3} {server['name']!s:.17} {server['role']!s:<7}".ljust(28)
            + f"{server['busy_share']:>7.0%}{server['steps']:>10,}{server['steps_with_prompts']:>13,}"
            f"{server['sequences_per_step']:>11.1f}{server['peak_cache_share']:>7.0%}"
            f"{server['prefix_hit_share']:>7.0%}{server['preemptions']:>11,}"
        )
    if len(report.servers) > _SHOWN:
        yield f"    and {len(report.servers) - _SHOWN} more"


def _foot(report: ServeReport) -> Iterator[str]:
    for surface in report.surfaces:
        yield (
            f"step times      looked up between {surface['costed_steps']:.0f} costed steps: off by "
            f"{surface['mean_error']:.1%} on average, {surface['p90_error']:.1%} at the 90th percentile, "
            f"{surface['largest_error']:.1%} at most of {surface['probes']:.0f} random steps"
        )


def capacity_text(capacity: Capacity, share: float) -> str:
    """Return the capacity with its interval and what was tried."""
    lines = [f"{'requests/s':>12}{'good':>9}{'requests':>11}"]
    lines += [
        f"{t.rate:>12.4g}{t.good_share:>9.1%}{t.requests:>11,}{'' if t.whole else '  at most: given up before the end'}"
        for t in capacity.trials
    ]
    lines.append(
        f"capacity        {capacity.rate:.4g} requests/s hold the SLO for {share:.0%}; with 95 % confidence between "
        f"{capacity.low:.4g} and {capacity.high:.4g}"
    )
    return "\n".join(lines)
