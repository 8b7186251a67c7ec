"""``ridgeline simulate MODEL HARDWARE``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from simulator.cli.options import add_request, simulate_request

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", metavar="MODEL", help="bundled name, or path of a Hugging Face config.json")
    parser.add_argument("hardware", metavar="HARDWARE", help="bundled name (h200, h100x8), or path of a YAML file")
    add_request(parser)
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print one JSON document (`ridgeline schema report`)")
    output.add_argument("--explain", action="store_true", help="say how each operator ran: the mapping chosen for it")
    output.add_argument(
        "--trace", type=Path, metavar="FILE", help="write a Chrome trace of the steps (opens in Perfetto)"
    )
    output.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the operators on the roofline (.pdf, .svg, .png)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Simulate and print; 1 where it does not fit."""
    if arguments.trace is not None:
        from simulator.api.trace import check_trace_path

        check_trace_path(arguments.trace)
    if arguments.plot is not None:
        from dse.plots.figure import check_path

        check_path(arguments.plot)
    report = simulate_request(arguments, arguments.hardware)
    if arguments.trace is not None:
        from simulator.api.trace import write_trace

        write_trace(report, arguments.trace)
    if arguments.plot is not None:
        from dse.plots.roofline import save_operators

        save_operators(report, arguments.plot)
    if arguments.json:
        print(json.dumps(report.to_json(), indent=2, allow_nan=False))
    else:
        from simulator.api.text import report_text

        print(report_text(report))
        if arguments.explain:
            from simulator.api.explain import explanation

            print("\n" + explanation(report))
    return 0 if report.memory.fits else 1
