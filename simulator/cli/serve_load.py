"""What ``ridgeline serve`` is asked: requests of a trace, or made up."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.cli.options import whole_number

if TYPE_CHECKING:
    from simulator.serving.lengths import Lengths
    from simulator.serving.requests import Source
    from simulator.serving.serve import Load

__all__ = ["add_load", "load_of"]

#: What a trace says itself.
_DRAWN = ("burstiness", "lengths", "turns", "think", "shared_prefix", "priorities")


def add_load(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    load = parser.add_argument_group("requests")
    load.add_argument("--trace", type=Path, metavar="FILE.csv", help="arrival_s, input_tokens, output_tokens, ...")
    load.add_argument("--speed", type=float, metavar="X", help="play the trace X times as fast (1)")
    load.add_argument("--rate", type=float, metavar="QPS", help="requests per second, Poisson unless --burstiness")
    load.add_argument("--burstiness", type=float, metavar="CV", help="of gaps: 0 even, 1 Poisson (default), 2 bursty")
    load.add_argument(
        "--concurrency", type=whole_number, default=0, metavar="N", help="closed loop: N conversations at any time"
    )
    load.add_argument(
        "--lengths",
        metavar="IN:OUT",
        help="tokens, each a number, a range 800-1024 or median~sigma (1024:128); or a trace to draw pairs from",
    )
    load.add_argument("--requests", type=whole_number, metavar="N", help="how many (1000; all of a trace)")
    load.add_argument("--turns", type=float, metavar="N", help="mean turns of a conversation (1)")
    load.add_argument(
        "--think", type=float, metavar="S", help="mean seconds from an answer's last token to the next turn (30)"
    )
    load.add_argument("--shared-prefix", metavar="TOKENS[:GROUPS]", help="inputs of a group begin alike")
    load.add_argument("--priorities", type=whole_number, metavar="N", help="classes of priority (1)")
    load.add_argument(
        "--slo", metavar="ttft=T,tpot=T,share=P", help="limits of a good request; 90%% of them by default"
    )
    load.add_argument("--seed", type=whole_number, default=0, metavar="N", help="of everything random (0)")


def load_of(arguments: argparse.Namespace, rate: float | None) -> Load:
    """Return the load asked for, at a rate (None: as they come)."""
    from simulator.serving.serve import Load
    from simulator.serving.tally import Slo, parse_slo

    return Load(
        source=_source(arguments, rate),
        slo=Slo() if arguments.slo is None else parse_slo(arguments.slo),
        concurrency=arguments.concurrency,
        seed=arguments.seed,
    )


def _source(arguments: argparse.Namespace, rate: float | None) -> Source:
    """Return the requests asked for."""
    from simulator.core.errors import InputError

    searched = arguments.trace is not None and arguments.find_capacity  # a trace played at each rate that is tried
    ways = [arguments.trace is not None and not searched, rate is not None, arguments.concurrency != 0]
    if sum(ways) > 1:
        raise InputError("give one of --trace, --rate and --concurrency")
    if not any(ways):
        raise InputError("say when requests come: --trace FILE, --rate QPS or --concurrency N")
    return _stream(arguments, rate) if arguments.trace is None else _trace(arguments, rate)


def _trace(arguments: argparse.Namespace, rate: float | None) -> Source:
    from simulator.core.errors import InputError
    from simulator.serving.trace_file import Trace, read_trace

    for name in _DRAWN:
        if getattr(arguments, name) is not None:
            option = name.replace("_", "-")
            raise InputError(f"--{option} is for requests that are made up; those of --trace are taken as they are")
    speed = 1.0 if arguments.speed is None else arguments.speed
    if not 0.0 < speed < 1e6:
        raise InputError(f"--speed must be above 0 and below 1e6, got {speed:g}")
    requests = read_trace(arguments.trace)
    if arguments.requests is not None and arguments.requests < 1:
        raise InputError("--requests must be at least 1")
    trace = Trace(requests, speed, arguments.requests)
    return trace.at_rate(rate) if rate is not None else trace


def _stream(arguments: argparse.Namespace, rate: float | None) -> Source:
    from simulator.core.errors import InputError
    from simulator.serving.arrivals import Stream

    if arguments.speed is not None:
        raise InputError("--speed plays a trace faster: give --trace")
    if arguments.think is not None and arguments.turns is None:
        raise InputError("--think is the time between turns: give --turns")
    if arguments.burstiness is not None and rate is None:
        raise InputError("--burstiness is of the gaps between arrivals: give --rate")
    prefix, groups = _prefix(arguments.shared_prefix)
    shape = {"burstiness": arguments.burstiness, "turns": arguments.turns, "think_s": arguments.think}
    return Stream(
        lengths=_lengths(arguments.lengths or "1024:128"),
        rate=float("inf") if rate is None else rate,
        count=1000 if arguments.requests is None else arguments.requests,
        prefix_tokens=prefix,
        prefix_groups=groups,
        priorities=1 if arguments.priorities is None else arguments.priorities,
        seed=arguments.seed,
        **{name: value for name, value in shape.items() if value is not None},
    )


def _lengths(text: str) -> Lengths:
    from simulator.serving.lengths import Pairs, parse_lengths
    from simulator.serving.requests import INPUT, OUTPUT
    from simulator.serving.trace_file import read_trace

    if not text.endswith(".csv"):
        return parse_lengths(text)
    columns = read_trace(Path(text)).columns
    return Pairs(columns[:, INPUT], columns[:, OUTPUT])


def _prefix(text: str | None) -> tuple[int, int]:
    from simulator.core.errors import InputError

    if text is None:
        return 0, 1
    tokens, _, groups = text.partition(":")
    if not tokens.isdecimal() or not (groups or "1").isdecimal() or int(groups or 1) < 1 or len(text) > 18:
        raise InputError(f"--shared-prefix {text!r}: expected TOKENS or TOKENS:GROUPS, whole numbers")
    return int(tokens), int(groups or 1)
