"""``ridgeline serve MODEL HARDWARE``."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.cli.options import add_formats, add_modelling, add_parallelism, whole_number
from simulator.cli.progress import ProgressLine
from simulator.cli.serve_load import add_load, load_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from simulator.serving.capacity import Seen
    from simulator.serving.cluster import Fault
    from simulator.serving.report import ServeReport
    from simulator.serving.serve import Deployed, Deployment, Load, Served

__all__ = ["add_arguments", "run"]

_LOGGED_STEPS = 200_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", metavar="MODEL", help="bundled name, or path of a Hugging Face config.json")
    parser.add_argument("hardware", metavar="HARDWARE", help="bundled name (h200, h100x8), or path of a YAML file")
    add_load(parser)
    _add_scheduler(parser)
    _add_cluster(parser)
    add_formats(parser)
    add_parallelism(parser)
    add_modelling(parser, "vllm-0.19")
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print one JSON document")
    output.add_argument("--requests-out", type=Path, metavar="FILE.parquet", help="write every request")
    output.add_argument("--steps-out", type=Path, metavar="FILE.json", help="write a Chrome trace of the steps")
    output.add_argument("--plot", type=Path, metavar="FILE", help="draw latencies, power and load (.pdf, .svg, .png)")
    output.add_argument(
        "--find-capacity", action="store_true", help="search the highest rate that holds --slo, from --rate on"
    )
    output.add_argument("--debug", action="store_true", help="check after every event that nothing was lost")
    running = parser.add_argument_group(
        "running (servers that requests are dealt out to in turn, --router round-robin)"
    )
    running.add_argument("--engine", choices=("serial", "processes", "dask"), default="serial", help="where it runs")
    running.add_argument("--workers", type=whole_number, metavar="N", help="processes (as many as cores)")
    running.add_argument("--scheduler", metavar="ADDRESS", help="of a running Dask cluster, tcp://host:8786")


def _add_scheduler(parser: argparse.ArgumentParser) -> None:
    scheduler = parser.add_argument_group("scheduler (as the profile has it)")
    scheduler.add_argument(
        "--policy", metavar="P", help="continuous, prefill-first, prompts-first, inflight, sarathi, orca or static"
    )
    scheduler.add_argument("--sequences", type=whole_number, metavar="N", help="most sequences of a step")
    scheduler.add_argument("--budget", type=whole_number, metavar="N", help="most tokens of a step")
    scheduler.add_argument("--prefix-cache", action=argparse.BooleanOptionalAction, help="keep prefixes")
    scheduler.add_argument("--host-tier", action="store_true", help="evicted prefixes and requests go to host memory")
    scheduler.add_argument(
        "--speculate",
        metavar="N:A",
        help="N tokens drafted per step, each accepted with chance A; or a tree of N tokens and the shares of steps "
        "that yield 1, 2, ... tokens (24:0.2,0.3,0.3,0.2)",
    )
    scheduler.add_argument("--draft", metavar="MODEL", help="what drafts them (heads of the model, for nothing)")
    scheduler.add_argument(
        "--draw-routing",
        action="store_true",
        help="draw the load of the busiest rank of experts for each step, around what --routing expects; without --ep "
        "no rank waits for another, and nothing changes",
    )


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    cluster = parser.add_argument_group("cluster")
    cluster.add_argument("--replicas", type=whole_number, metavar="N", help="servers (as many as the hardware holds)")
    cluster.add_argument(
        "--prefill", metavar="N[@HARDWARE][,tp=4,...]", help="servers that only do prompts (--set prefill.X=Y)"
    )
    cluster.add_argument(
        "--decode", metavar="N[@HARDWARE][,tp=4,...]", help="servers that only generate (--set decode.X=Y)"
    )
    cluster.add_argument("--lend", action="store_true", help="either pool helps the other where that is loaded")
    cluster.add_argument("--overlap-transfer", action="store_true", help="the cache moves while the prompt is computed")
    cluster.add_argument(
        "--router",
        default="shortest-queue",
        metavar="R",
        help="round-robin, shortest-queue, fewest-tokens, least-kv or prefix-aware",
    )
    cluster.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="TIME:SERVER:FACTOR",
        help="from TIME s on a server's steps take FACTOR times as long; 0: it is down, 1: well again; repeatable",
    )


def _serve(arguments: argparse.Namespace, deployed: Deployed, load: Load) -> Served:
    """Serve in this process, or where the command line says."""
    if arguments.engine != "serial" or arguments.workers is not None or arguments.scheduler is not None:
        from dse.engines import open_engine
        from simulator.serving.shards import check_apart, serve_apart

        check_apart(deployed.prepared.cluster, load.concurrency)
        with open_engine(arguments.engine, arguments.workers, arguments.scheduler) as engine:
            return serve_apart(
                deployed,
                load,
                engine.executor,
                engine.width,
                debug=arguments.debug,
                requests_out=arguments.requests_out,
                command=arguments.command_line,
            )
    from simulator.serving.output import RequestWriter
    from simulator.serving.serve import serve

    with ExitStack() as stack:
        tell = stack.enter_context(ProgressLine())
        writer = None
        if arguments.requests_out is not None:
            writer = stack.enter_context(RequestWriter(arguments.requests_out))
        done = 0

        def finished(rows: NDArray[np.float64]) -> None:
            nonlocal done
            done += len(rows)
            tell(f"{done:,} requests done")
            if writer is not None:
                writer.add(rows)

        return serve(
            deployed,
            load,
            debug=arguments.debug,
            log_steps=_LOGGED_STEPS if arguments.steps_out is not None else 0,
            on_finished=finished,
            command=arguments.command_line,
        )


def run(arguments: argparse.Namespace) -> int:
    """Serve and print; 1 where the SLO is missed, or a request was turned away or never finished."""
    from simulator.serving.output import check_output, write_steps
    from simulator.serving.serve import deploy

    _check_engine(arguments)
    if arguments.requests_out is not None:
        check_output("--requests-out", arguments.requests_out, (".parquet",))
    if arguments.steps_out is not None:
        check_output("--steps-out", arguments.steps_out, (".json",))
    if arguments.plot is not None:
        from dse.plots.figure import check_path

        check_path(arguments.plot)
    if arguments.find_capacity:
        _check_search(arguments)
    load = load_of(arguments, arguments.rate)
    with ProgressLine() as tell:
        deployed = deploy(arguments.model, arguments.hardware, _deployment(arguments), load.source, tell)
    if arguments.find_capacity:
        return _find_capacity(arguments, deployed, load)
    served = _serve(arguments, deployed, load)
    if arguments.steps_out is not None:
        write_steps(served.run, arguments.steps_out)
    if arguments.plot is not None:
        from dse.plots.serving import save_run

        save_run(served.report, arguments.plot)
    if arguments.json:
        print(json.dumps(served.report.to_json(), indent=2, allow_nan=False))
    else:
        from simulator.serving.text import serve_text

        print(serve_text(served.report))
    report = served.report
    ok = report.meets_slo or not report.slo.stated
    return 0 if ok and not report.requests["rejected"] and not report.requests["unfinished"] else 1


def _check_engine(arguments: argparse.Namespace) -> None:
    """Refuse what only one process can do, before anything is computed."""
    from simulator.core.errors import InputError

    alone = {"--steps-out": arguments.steps_out is not None, "--find-capacity": arguments.find_capacity}
    if arguments.engine != "serial":
        for option, given in alone.items():
            if given:
                raise InputError(f"{option} is for one process: leave it out, or --engine {arguments.engine}")


def _check_search(arguments: argparse.Namespace) -> None:
    from simulator.core.errors import InputError
    from simulator.serving.tally import parse_slo

    if arguments.slo is None or not parse_slo(arguments.slo).stated or arguments.rate is None:
        raise InputError("--find-capacity needs --slo, and --rate to begin with")
    if arguments.requests_out is not None or arguments.steps_out is not None:
        raise InputError("--find-capacity serves at many rates: write requests or steps of one, without it")


def _find_capacity(arguments: argparse.Namespace, deployed: Deployed, load: Load) -> int:
    """Search and print; 1 where no rate holds."""
    from dataclasses import asdict, replace

    from simulator.serving.capacity import find_capacity
    from simulator.serving.serve import try_rate
    from simulator.serving.text import capacity_text

    reports: list[tuple[float, ServeReport]] = []

    with ProgressLine() as tell:

        def good_share(rate: float) -> Seen:
            asked = replace(load, source=load_of(arguments, rate).source)
            most = reports[0][1].requests["arrived"] if reports and arguments.plot is None else None
            seen, report = try_rate(deployed, asked, most, lambda line: tell(f"{rate:.4g} requests/s: {line}"))
            if report is not None:
                reports.append((rate, report))
            return seen

        capacity = find_capacity(good_share, load.slo.share, start=arguments.rate)
    if arguments.plot is not None:
        from dse.plots.serving import save_rates

        save_rates(sorted(reports, key=lambda point: point[0]), arguments.plot)
    if arguments.json:
        document = {"schema": "ridgeline/capacity/v1", **asdict(capacity), "share": load.slo.share}
        if document["high"] == float("inf"):
            document["high"] = None
        print(json.dumps(document, indent=2, allow_nan=False))
    else:
        print(capacity_text(capacity, load.slo.share))
    return 0 if capacity.rate > 0.0 else 1


def _deployment(arguments: argparse.Namespace) -> Deployment:
    from simulator.serving.cluster import parse_speculation
    from simulator.serving.serve import Deployment

    prefill, prefill_hardware, prefill_parallel = _pool("--prefill", arguments.prefill)
    decode, decode_hardware, decode_parallel = _pool("--decode", arguments.decode)
    return Deployment(
        weights=arguments.weights,
        activations=arguments.activations,
        kv=arguments.kv,
        tp=arguments.tp,
        pp=arguments.pp,
        ep=arguments.ep,
        dp=arguments.dp,
        profile=arguments.profile,
        level=arguments.level,
        routing=arguments.routing,
        overrides=arguments.overrides,
        policy=arguments.policy,
        sequences=arguments.sequences,
        budget=arguments.budget,
        prefix_cache=arguments.prefix_cache,
        host_tier=arguments.host_tier,
        speculation=None if arguments.speculate is None else parse_speculation(arguments.speculate),
        draft=arguments.draft,
        draw_routing=arguments.draw_routing,
        replicas=arguments.replicas,
        prefill=prefill,
        decode=decode,
        prefill_hardware=prefill_hardware,
        decode_hardware=decode_hardware,
        prefill_parallel=prefill_parallel,
        decode_parallel=decode_parallel,
        overlap_transfer=arguments.overlap_transfer,
        lend=arguments.lend,
        router=arguments.router,
        faults=[_fault(text) for text in arguments.fault],
    )


def _pool(option: str, text: str | None) -> tuple[int, str | None, dict[str, int]]:
    from simulator.core.errors import InputError

    if text is None:
        return 0, None, {}
    place, *degrees = text.split(",")
    count, _, hardware = place.partition("@")
    parts = [degree.partition("=") for degree in degrees]
    numbers = [count, *(number for _, _, number in parts)]
    if not all(number.isdecimal() and len(number) <= 6 for number in numbers):
        raise InputError(f"{option} {text!r}: expected N, N@HARDWARE or degrees behind them, as in 2@h200x8,tp=4,dp=2")
    own = {name: int(number) for name, _, number in parts}
    if len(own) < len(parts):
        raise InputError(f"{option} {text!r}: give each degree once")
    return int(count), hardware or None, own


def _fault(text: str) -> Fault:
    from simulator.core.errors import InputError
    from simulator.serving.cluster import Fault

    parts = text.split(":")
    try:
        time_s, server, factor = float(parts[0]), int(parts[1]), float(parts[2])
    except (ValueError, IndexError):
        raise InputError(f"--fault {text!r}: expected TIME:SERVER:FACTOR, as in 60:0:0 and 90:0:1") from None
    return Fault(time_s, server, factor)
