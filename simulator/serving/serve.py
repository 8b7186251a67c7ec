"""Serve a stream of requests: a model on servers of a system, from the command line's words to a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwmodels.spec import SystemSpec
from hwmodels.system import Level, build_system
from simulator.api.phases import Setup
from simulator.api.simulate import prepare as prepare_setup
from simulator.core.errors import InputError
from simulator.core.provenance import provenance
from simulator.serving.capacity import Seen, is_hopeless
from simulator.serving.cluster import Cluster, Fault, Pool, Role, Server, Speculation
from simulator.serving.engine_server import engine_cost, engine_server
from simulator.serving.report import ServeReport, build_report
from simulator.serving.requests import Source, check_seed
from simulator.serving.run import ClusterRun, Prepared, prepare, run_cluster
from simulator.serving.tally import Slo, Tally
from workloads.model import ModelSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["DEGREES", "Deployed", "Deployment", "Load", "Served", "deploy", "report_of", "serve", "try_rate"]

_MOST_INSIDE = 1_000_000  # conversations of a closed loop, as many as tables and queues are sure to hold

#: Degrees of parallelism that a pool of servers may have for itself.
DEGREES = ("tp", "pp", "ep", "dp")

Rows = Callable[["NDArray[np.float64]"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """How a model is put on servers. Settings left out are the profile's.

    Attributes
    ----------
    replicas
        Servers that do everything; None: as many as the system holds.
    prefill, decode, prefill_hardware, decode_hardware, prefill_parallel, decode_parallel
        Servers that only do prompts, and only generate: phase splitting; on other hardware, where that is given, and
        with degrees (``tp``, ``pp``, ``ep``, ``dp``) of their own, where any is.
    overrides
        Changes of fields, as :func:`simulator.simulate` takes them; ``prefill.`` or ``decode.`` before one keeps it to
        that pool.
    draw_routing
        Whether the load of the busiest rank of experts is drawn for each step; else it is what ``routing`` expects.
    """

    weights: str | None = None
    activations: str | None = None
    kv: str | None = None
    tp: int | None = None
    pp: int | None = None
    ep: int | None = None
    dp: int | None = None
    profile: str = "vllm-0.19"
    level: Level = "analytic"
    routing: str = "uniform"
    overrides: Sequence[str] = ()
    policy: str | None = None
    sequences: int | None = None
    budget: int | None = None
    prefix_cache: bool | None = None
    host_tier: bool = False
    speculation: Speculation | None = None
    draft: str | None = None
    draw_routing: bool = False
    replicas: int | None = None
    prefill: int = 0
    decode: int = 0
    prefill_hardware: str | Path | SystemSpec | None = None
    decode_hardware: str | Path | SystemSpec | None = None
    prefill_parallel: Mapping[str, int] = field(default_factory=dict)
    decode_parallel: Mapping[str, int] = field(default_factory=dict)
    overlap_transfer: bool = False
    router: str = "shortest-queue"
    spill_tokens: int = 8192
    lend: bool = False
    faults: Sequence[Fault] = ()

    def __post_init__(self) -> None:
        if self.draft is not None and self.speculation is None:
            raise InputError(f"nothing is drafted by {self.draft}: also say how many tokens (--speculate 4:0.7)")
        for name in (*self.prefill_parallel, *self.decode_parallel):
            if name not in DEGREES:
                raise InputError(f"servers of a phase have no {name!r} of their own, only {', '.join(DEGREES)}")
        if self.overlap_transfer and not self.prefill:
            raise InputError("the cache is only moved where prompts have servers of their own (--prefill, --decode)")
        if self.lend and not self.prefill:
            raise InputError("pools that help each other (--lend) are those of --prefill and --decode: give both")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is asked of a cluster; ``concurrency``: so many conversations at any time, 0: they come when they come."""

    source: Source
    slo: Slo = field(default_factory=Slo)
    concurrency: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if not 0 <= self.concurrency <= _MOST_INSIDE:
            raise InputError(f"a closed loop holds 1 to {_MOST_INSIDE} conversations, got {self.concurrency}")


@dataclass(frozen=True, slots=True)
class Served:
    """A report, and the run behind it."""

    report: ServeReport
    run: ClusterRun


@dataclass(frozen=True, slots=True)
class Deployed:
    """A model on servers, ready to be asked."""

    prepared: Prepared
    setup: Setup
    hardware: tuple[SystemSpec, ...]  # of each pool

    def in_words(self) -> dict[str, Any]:
        """Return what the report says of it."""
        pools: dict[str, Any] = {}
        for server, role in self.prepared.cluster.servers:
            entry = pools.setdefault(
                f"{server.name} ({role})",
                {
                    "servers": 0,
                    "devices_each": server.devices,
                    "policy": server.policy.name,
                    "sequences": server.sequences,
                    "step_tokens": server.step_budget,
                    "cache_tokens": server.blocks * server.page_tokens,
                },
            )
            entry["servers"] += 1
        return {
            "model": self.setup.model.name,
            "profile": self.setup.profile.name,
            "router": self.prepared.cluster.router,
            "pools": pools,
        }


def deploy(
    model: str | Path | ModelSpec,
    hardware: str | Path | SystemSpec,
    how: Deployment,
    source: Source,
    tell: Callable[[str], None] = lambda line: None,
) -> Deployed:
    """Put a model on servers and tabulate their step times.

    Parameters
    ----------
    model, hardware
        As :func:`simulator.simulate` takes them.
    how
        Parallelism, formats, scheduler, pools.
    source
        The requests: their lengths say what the tables must cover.
    tell
        Called with a line for each step that is costed.

    Raises
    ------
    RidgelineError
        If a name, file or setting is wrong, or the model leaves no room for a cache.
    """
    if bool(how.prefill) != bool(how.decode) and not how.replicas:
        raise InputError("phase splitting needs servers for prompts and for generation: give --prefill and --decode")
    setup, spec = _setup(model, hardware, _of_pool(how, "both"))
    replicas = how.replicas
    if replicas is None:
        replicas = 0 if how.prefill or how.decode else max(spec.ranks // setup.parallel.devices, 1)
    pools, specs = [], []
    server: Server | None = None
    wanted: tuple[tuple[int, str | Path | SystemSpec | None, Mapping[str, int], Role], ...] = (
        (how.prefill, how.prefill_hardware, how.prefill_parallel, "prefill"),
        (how.decode, how.decode_hardware, how.decode_parallel, "decode"),
        (replicas, None, {}, "both"),
    )
    for count, other, degrees, role in wanted:
        if count < 0:
            raise InputError(f"{count} servers for {role}: at least 0")
        changed = any(text.startswith(f"{role}.") for text in how.overrides)
        if changed and not count:
            raise InputError(f"--set {role}. changes servers that there are none of: give --{role}")
        if count and (other is not None or degrees or changed):
            own = _of_pool(how if not degrees else _with_degrees(how, degrees), role)
            own_setup, own_spec = _setup(model, other or hardware, own)
            pools.append(Pool(_server(own_setup, own_spec, own, source), count, role))
            specs.append(own_spec)
        elif count:
            server = server or _server(setup, spec, how, source)
            pools.append(Pool(server, count, role))
            specs.append(spec)
    cluster = Cluster(
        pools=pools,
        router=how.router,
        spill_tokens=how.spill_tokens,
        lend=how.lend,
        max_context=setup.model.max_context,
        faults=how.faults,
    )
    return Deployed(prepare(cluster, source.longest_tokens, tell), setup, tuple(specs))


def _of_pool(how: Deployment, role: Role) -> Deployment:
    """Return a deployment with what is changed for one pool alone (``prefill.power.limit=350 W``) as changes of all."""
    others = tuple({"prefill.", "decode."} - {f"{role}."})
    mine = [text for text in how.overrides if not text.startswith(others)]
    return replace(how, overrides=[text.removeprefix(f"{role}.") for text in mine])


def _with_degrees(how: Deployment, degrees: Mapping[str, int]) -> Deployment:
    return replace(how, tp=degrees.get("tp"), pp=degrees.get("pp"), ep=degrees.get("ep"), dp=degrees.get("dp"))


def _setup(
    model: str | Path | ModelSpec, hardware: str | Path | SystemSpec, how: Deployment
) -> tuple[Setup, SystemSpec]:
    """Return what runs on what; copies of the model are servers of their own here, not ranks of one step."""
    overrides = list(how.overrides)
    if how.budget is not None:
        if how.budget < 1:
            raise InputError(f"--budget must be at least 1 token a step, got {how.budget}")
        overrides.append(f"profile.step_tokens={how.budget}")
    setup, spec = prepare_setup(
        model,
        hardware,
        weights=how.weights,
        activations=how.activations,
        kv=how.kv,
        tp=how.tp,
        pp=how.pp,
        ep=how.ep,
        dp=how.dp,
        profile=how.profile,
        routing=how.routing,
        overrides=overrides,
    )
    if not setup.model.is_decoder:
        raise InputError(f"{setup.model.name} is an encoder: it generates nothing that could be served")
    if all(degree is None for degree in (how.tp, how.pp, how.ep, how.dp)):
        setup = replace(setup, parallel=replace(setup.parallel, dp=1))
    return setup, spec


def _server(setup: Setup, spec: SystemSpec, how: Deployment, source: Source) -> Server:
    system = build_system(spec, how.level)
    draft = None
    if how.speculation is not None and how.draft is not None:
        small, _ = prepare_setup(how.draft, spec, tp=1, profile=how.profile)
        if not small.model.is_decoder:
            raise InputError(f"{small.model.name} is an encoder: it can draft nothing")
        draft = engine_cost(small, system)
    return engine_server(
        setup,
        system,
        mean_tokens=source.mean_tokens,
        policy=how.policy,
        sequences=how.sequences,
        host_tier=how.host_tier,
        prefix_cache=how.prefix_cache,
        speculation=how.speculation,
        draft=draft,
        overlap_transfer=how.overlap_transfer,
        draw_routing=how.draw_routing,
    )


def serve(
    deployed: Deployed,
    load: Load,
    *,
    debug: bool = False,
    log_steps: int = 0,
    on_finished: Rows | None = None,
    command: Sequence[str] = (),
) -> Served:
    """Serve a load and report.

    Parameters
    ----------
    deployed
        The cluster, from :func:`deploy`.
    load
        Requests, objectives, seed.
    debug
        Check after every event that nothing was lost.
    log_steps
        Keep so many steps for a timeline.
    on_finished
        Also called with the rows of finished requests.
    command
        The command line, for provenance.
    """
    tally = Tally(load.slo)

    def finished(rows: NDArray[np.float64]) -> None:
        tally.add(rows)
        if on_finished is not None:
            on_finished(rows)

    run = run_cluster(
        deployed.prepared,
        load.source,
        seed=load.seed,
        concurrency=load.concurrency,
        debug=debug,
        log_steps=log_steps,
        on_finished=finished,
    )
    return report_of(deployed, load, run, tally, command)


class _Hopeless(Exception):
    """So many requests were bad that a run need not go on."""


def try_rate(
    deployed: Deployed, load: Load, requests: int | None, tell: Callable[[str], None] = lambda line: None
) -> tuple[Seen, ServeReport | None]:
    """Serve a load for the share of good requests; give up where it cannot be what the objectives ask for.

    Parameters
    ----------
    deployed, load
        As of :func:`serve`.
    requests
        How many there will be; None: never give up.
    tell
        Called with a line now and then.

    Returns
    -------
    Seen, ServeReport
        The share of good requests; the report, None of a run that was given up.
    """
    so_far, done = Tally(load.slo), 0

    def finished(rows: NDArray[np.float64]) -> None:
        nonlocal done
        so_far.add(rows)
        done += len(rows)
        tell(f"{done:,} requests done, {so_far.good / done:.1%} good")
        if requests is not None and is_hopeless(done - so_far.good, requests, load.slo.share):
            raise _Hopeless

    try:
        report = serve(deployed, load, on_finished=finished).report
    except _Hopeless:
        assert requests is not None
        return Seen(1.0 - (done - so_far.good) / requests, requests, whole=False), None
    return Seen(report.good_share, report.requests["arrived"]), report


def report_of(deployed: Deployed, load: Load, run: ClusterRun, tally: Tally, command: Sequence[str]) -> Served:
    """Put what a run and its requests came to into a report."""
    specs: dict[str, object] = {"model": deployed.setup.model, "profile": deployed.setup.profile}
    specs |= {f"hardware_{index}": spec for index, spec in enumerate(deployed.hardware)}
    return Served(build_report(run, tally, deployed.in_words(), provenance(specs, command, load.seed)), run)
