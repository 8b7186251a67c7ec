"""``ridgeline bench NAME``."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from simulator.cli.options import whole_number
from simulator.core.errors import InputError

if TYPE_CHECKING:
    from simulator.api.bench import Bench

__all__ = ["add_arguments", "run"]


def _sweep() -> dict[str, float | int | str]:
    from dse.batch.bench import sweep_rates

    return sweep_rates()


def _serve() -> dict[str, float | int | str]:
    from simulator.serving.bench import serve_rates

    return serve_rates()


def _benches() -> dict[str, Bench]:
    """Return every bench by name; those of layers above the simulator's own are added here."""
    from simulator.api.bench import BENCHES, Bench

    return BENCHES | {
        "serve": Bench("an hour of requests on eight GPUs: requests per processor second, memory", _serve),
        "sweep": Bench("points of a design space per second and core, over a NumPy roofline", _sweep),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    benches = _benches()
    names = "; ".join(f"{name}: {bench.summary}" for name, bench in benches.items())
    parser.add_argument("name", choices=tuple(benches), metavar="NAME", help=names)
    parser.add_argument(
        "--requests", type=whole_number, metavar="N", help="of the long stream that `serve` writes to a file (400000)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _measure(arguments: argparse.Namespace) -> dict[str, float | int | str]:
    if arguments.requests is None:
        return _benches()[arguments.name].measure()
    if arguments.name != "serve":
        raise InputError(f"--requests is for `bench serve`; `bench {arguments.name}` serves none")
    from simulator.serving.bench import serve_rates

    return serve_rates(arguments.requests)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    figures = _measure(arguments)
    if arguments.json:
        print(json.dumps({"bench": arguments.name, **figures}, indent=2))
    else:
        width = max(len(key) for key in figures) + 2
        for key, value in figures.items():
            print(f"{key:<{width}}{value:.4g}" if isinstance(value, float) else f"{key:<{width}}{value}")
    return 0
