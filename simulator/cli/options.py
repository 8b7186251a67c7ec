"""The options of a request, the same wherever a model is simulated."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from simulator.cli.progress import ProgressLine

if TYPE_CHECKING:
    from simulator.api.report import Report

__all__ = [
    "add_formats",
    "add_modelling",
    "add_parallelism",
    "add_request",
    "check_request",
    "simulate_request",
    "whole_number",
]

_PARALLELISM = (
    ("tp", "each layer split over N devices (tensor parallelism)"),
    ("pp", "layers in N stages (pipeline)"),
    ("ep", "experts spread over N of the tp x dp devices"),
    ("dp", "N replicas that share the batch (data parallelism)"),
)


def add_request(parser: argparse.ArgumentParser) -> None:
    """Declare lengths, batch, formats, parallelism, profile, level and overrides."""
    request = parser.add_argument_group("request")
    request.add_argument("--in", dest="input_tokens", type=whole_number, metavar="N", help="prompt tokens (2048)")
    request.add_argument(
        "--out", dest="output_tokens", type=whole_number, metavar="N", help="output tokens (256; encoders 0)"
    )
    request.add_argument("--batch", type=whole_number, default=1, metavar="B", help="sequences that start together (1)")
    request.add_argument(
        "--context",
        type=whole_number,
        default=0,
        metavar="N",
        help="tokens cached before; without --in: decode from there",
    )
    add_formats(parser)
    parallel = add_parallelism(parser)
    parallel.add_argument(
        "--micro-batches", type=whole_number, metavar="N", help="parts of a step in the pipeline (as stages)"
    )
    parallel.add_argument(
        "--sequence-parallel", action="store_true", help="norms on shares of the tokens, all-gather and reduce-scatter"
    )
    add_modelling(parser, "ideal")


def add_formats(parser: argparse.ArgumentParser) -> None:
    """Declare number formats."""
    formats = parser.add_argument_group("number formats (`ridgeline show formats` lists them)")
    formats.add_argument("--weights", metavar="F", help="of the weights (as published)")
    formats.add_argument("--activations", metavar="F", help="of the inputs of products (bf16)")
    formats.add_argument("--kv", metavar="F", help="of the KV cache (as the activations, 16 bits at least)")


def add_parallelism(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Declare the degrees of parallelism; return their group."""
    parallel = parser.add_argument_group("parallelism (all devices of the hardware, unless any is given)")
    for name, meaning in _PARALLELISM:
        parallel.add_argument(f"--{name}", type=whole_number, metavar="N", help=meaning)
    return parallel


def add_modelling(parser: argparse.ArgumentParser, profile: str) -> None:
    """Declare routing, profile (by default the one named), level and overrides."""
    models = parser.add_argument_group("modelling")
    models.add_argument(
        "--routing",
        default="uniform",
        metavar="R",
        help="tokens to experts: uniform (default), zipf:1.0, uniform@1.25 (capacity) ...",
    )
    models.add_argument(
        "--profile", default=profile, metavar="P", help=f"software stack, a name or a YAML file ({profile})"
    )
    models.add_argument(
        "--level",
        choices=("roofline", "analytic", "cycle"),
        default="analytic",
        help="roofline: a bound from the datasheet; analytic (default): calibrated; cycle: simulated by tiles",
    )
    models.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="replace a field of the hardware (hbm.bandwidth='6 TB/s'), of the model (model.num_hidden_layers=16) or "
        "of the profile (profile.launch.mode=eager); repeatable",
    )


#: Options of a request that :func:`simulator.simulate` takes as they are.
_TAKEN = (
    *("model", "output_tokens", "batch", "context", "weights", "activations", "kv", "tp", "pp", "ep", "dp"),
    *("sequence_parallel", "micro_batches", "profile", "routing", "overrides"),
)


def _request(arguments: argparse.Namespace, hardware: str) -> dict[str, Any]:
    """Return what the options ask for, on one system."""
    input_tokens = arguments.input_tokens
    if input_tokens is None:
        input_tokens = 0 if arguments.context else 2048
    taken = {name: getattr(arguments, name) for name in _TAKEN}
    return {"hardware": hardware, "input_tokens": input_tokens, **taken}


def check_request(arguments: argparse.Namespace, hardware: str) -> None:
    """Raise what :func:`simulate_request` would, before it runs anything."""
    from hwmodels.system import build_system
    from simulator.api.simulate import prepare

    _, spec = prepare(**_request(arguments, hardware))
    build_system(spec, arguments.level)


def simulate_request(arguments: argparse.Namespace, hardware: str, *, elasticity: bool = True) -> Report:
    """Simulate what the options ask for, on one system; on a terminal say how far it is."""
    from simulator.api.simulate import simulate

    with ProgressLine() as tell:
        return simulate(
            **_request(arguments, hardware),
            level=arguments.level,
            command=arguments.command_line,
            elasticity=elasticity,
            tell=tell,
        )


def whole_number(text: str) -> int:
    """Read a whole number, for argparse."""
    try:
        return int(text)
    except ValueError:
        shown = text if len(text) <= 40 else text[:37] + "..."
        raise argparse.ArgumentTypeError(f"expected a whole number, got {shown!r}") from None
