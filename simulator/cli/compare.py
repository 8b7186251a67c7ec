"""``ridgeline compare MODEL HARDWARE HARDWARE...``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from simulator.cli.options import add_request, check_request, simulate_request

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", metavar="MODEL", help="bundled name, or path of a Hugging Face config.json")
    parser.add_argument(
        "hardware", metavar="HARDWARE", nargs="+", help="bundled names or YAML files; ratios are to the first"
    )
    add_request(parser)
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print one JSON document")
    output.add_argument("--plot", type=Path, metavar="FILE", help="draw time and energy as bars (.pdf, .svg, .png)")


def run(arguments: argparse.Namespace) -> int:
    """Simulate the request on each system and print them side by side; 1 where it does not fit one of them."""
    if arguments.plot is not None:
        from dse.plots.figure import check_path

        check_path(arguments.plot)
    for hardware in arguments.hardware:
        check_request(arguments, hardware)
    reports = [simulate_request(arguments, hardware, elasticity=False) for hardware in arguments.hardware]
    if arguments.plot is not None:
        from dse.plots.comparison import save_comparison

        save_comparison(reports, arguments.plot, arguments.command_line)
    if arguments.json:
        from simulator.api.compare import comparison_document

        print(json.dumps(comparison_document(reports), indent=2, allow_nan=False))
    else:
        from simulator.api.compare import comparison_text

        print(comparison_text(reports))
    return 0 if all(report.memory.fits for report in reports) else 1
