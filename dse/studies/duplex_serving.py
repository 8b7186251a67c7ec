"""The Duplex study's requests one by one: its steps under the serving loop, on the paper's terms and on ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from dse.studies.duplex_setup import Case, run_step_of, setup_of, system_of
from dse.studies.steady_state import steady_state
from simulator.serving.arrivals import Stream
from simulator.serving.cluster import Cluster, Pool
from simulator.serving.engine_server import engine_server
from simulator.serving.lengths import parse_lengths
from simulator.serving.report import ServeReport
from simulator.serving.run import prepare
from simulator.serving.serve import Deployed, Load, serve
from workloads.step import Step

__all__ = ["closed_loop", "latencies", "saturated_rate", "steady_rate"]

#: Figure 13: tokens of Mixtral's requests, how many run at once, rates; how many we follow, and a rate that no system
#: keeps up with.
_IN, _OUT, _AT_ONCE = 4096, 512, 128
_RATES = (4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0)
_REQUESTS, _TOO_MANY = 2000, 100.0

#: Figure 12 in the loop: lengths spread by this around their mean, as of requests that do not march in step.
_SPREAD = 0.5
_FOLLOWED = 1200


@cache
def _deployed(case: Case, longest: int) -> Deployed:
    """Return a system with its step times, for as many sequences as the case's batch."""
    setup, system = setup_of(case), system_of(case)
    mean = 1.5 * longest / 2.0

    def cost(step: Step) -> tuple[float, float]:
        result = run_step_of(case, step)
        return result.interval_s, result.total_energy_J

    server = replace(engine_server(setup, system, mean_tokens=mean, sequences=case.batch), cost=cost)
    return Deployed(prepare(Cluster(pools=[Pool(server)]), longest), setup, (system.spec,))


def _mixtral(system: str, published: bool) -> Deployed:
    return _deployed(Case("Mixtral", system, _AT_ONCE, _IN, published), _IN + _OUT)


def _stream(rate: float) -> Stream:
    return Stream(lengths=parse_lengths(f"{_IN}:{_OUT}"), rate=rate, count=_REQUESTS)


@cache
def saturated_rate(system: str, published: bool) -> float:
    """Return the requests per second that Mixtral on a system finishes when more arrive than it can serve."""
    return serve(_mixtral(system, published), Load(source=_stream(_TOO_MANY))).report.request_rate


def steady_rate(system: str, published: bool) -> float:
    """Return the same from the steady state: a full batch, a new request for each that ends."""
    case = Case("Mixtral", system, _AT_ONCE, _IN, published)
    return steady_state(lambda step: run_step_of(case, step), _AT_ONCE, _IN, _OUT).tokens_per_s / _OUT


def latencies(systems: tuple[str, ...], published: bool) -> Iterator[dict[str, float | str]]:
    """Yield what requests wait for at every rate of figure 13."""
    for system in systems:
        for rate in _RATES:
            report = serve(_mixtral(system, published), Load(source=_stream(rate))).report
            yield {
                "system": system,
                "terms": "paper" if published else "ours",
                "requests/s": rate,
                "first token s": report.metrics["ttft"].p50,
                "between tokens ms": 1e3 * report.metrics["itl"].p50,
                "request s": report.metrics["e2e"].p50,
                "finished/s": report.request_rate,
            }


@cache
def closed_loop(case: Case) -> ServeReport:
    """Return the report of a batch that is kept full: a request comes as soon as one ends."""
    low, high = round(case.length * (1.0 - _SPREAD)), round(case.length * (1.0 + _SPREAD))
    source = Stream(lengths=parse_lengths(f"{low}-{high}:{low}-{high}"), rate=1.0, count=_FOLLOWED)
    deployed = _deployed(case, source.longest_tokens)
    return serve(deployed, Load(source=source, concurrency=case.batch)).report
