"""``ridgeline plot roofline|energy-roofline HARDWARE [--model MODEL]``."""

from __future__ import annotations

import argparse
from pathlib import Path

from simulator.cli.options import add_request, simulate_request
from simulator.cli.plot import add_output

__all__ = ["declare", "draw"]


def declare(parser: argparse.ArgumentParser, kind: str) -> None:
    """Declare the device and the request."""
    parser.add_argument("hardware", metavar="HARDWARE", help="bundled name, or path of a YAML file")
    parser.add_argument("--model", metavar="MODEL", help="draw the operators of this model, too")
    add_output(parser, kind)
    add_request(parser)


def draw(arguments: argparse.Namespace) -> list[Path]:
    """Draw the roofs, and operators where a model is given."""
    if arguments.kind == "energy-roofline":
        from dse.plots.energy_roofline import save_operators, save_roofline
    else:
        from dse.plots.roofline import save_operators, save_roofline
    if arguments.model is not None:
        return save_operators(simulate_request(arguments, arguments.hardware), arguments.output)
    from hwmodels.catalog import load_hardware

    system = load_hardware(arguments.hardware, arguments.overrides)
    return save_roofline(system, arguments.output, arguments.command_line)
