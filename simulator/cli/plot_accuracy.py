"""``ridgeline plot accuracy HARDWARE [FILE...]``."""

from __future__ import annotations

import argparse
from pathlib import Path

from simulator.cli.plot import add_output

__all__ = ["declare", "draw"]


def declare(parser: argparse.ArgumentParser, kind: str) -> None:
    """Declare the device and the tables."""
    parser.add_argument("hardware", metavar="HARDWARE", help="bundled name, or path of a YAML file")
    parser.add_argument(
        "files", type=Path, nargs="*", metavar="FILE", help="tables as `ridgeline validate` takes them (those bundled)"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of tables, looked in first")
    add_output(parser, kind, "--out")


def draw(arguments: argparse.Namespace) -> list[Path]:
    """Predict every row and draw it beside what was measured."""
    from dse.plots.accuracy import save_parity
    from hwmodels.catalog import load_hardware
    from simulator.core.provenance import provenance
    from simulator.validation import validate

    hardware = load_hardware(arguments.hardware)
    report = validate(hardware, arguments.files, data_dir=arguments.data)
    return save_parity(report, arguments.output, provenance({"hardware": hardware}, arguments.command_line))
