"""``ridgeline plot KIND ...``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dse.plots.documents import Drawn

__all__ = ["KINDS", "add_arguments", "add_output", "run", "save"]

#: Kinds of figure in the order of ``--help``, and the module ``simulator.cli.<module>`` that draws each: it has
#: ``declare(parser, kind)`` and ``draw(arguments)``, which returns the files written.
KINDS: Mapping[str, tuple[str, str]] = {
    "roofline": ("plot_roofline", "roofs of a device, with --model the operators of a run sized by their time"),
    "energy-roofline": ("plot_roofline", "energy per FLOP against intensity, with --model the operators of a run"),
    "accuracy": ("plot_accuracy", "predicted against measured, of a device's bundled rows or of your tables"),
    "pareto": ("plot_sweep", "points of a sweep in two metrics, their front and its knee"),
    "projections": ("plot_sweep", "the front of a sweep with three or more objectives, pair by pair"),
    "heat-map": ("plot_sweep", "a metric over two axes of a sweep, a cell per pair of values"),
    "contours": ("plot_sweep", "a metric over two axes of a sweep, as contours"),
    "curves": ("plot_sweep", "one metric of a sweep against another, as latency against throughput"),
    "scaling": ("plot_sweep", "throughput of a sweep over the number of devices"),
    "breakdown": ("plot_documents", "time or energy by part: of `simulate --json` reports or `compare --json`"),
    "speedups": ("plot_documents", "ratios to the first system with their geometric mean: of `compare --json`"),
    "tornado": ("plot_documents", "what a tenth more of each resource changes: of a `simulate --json` report"),
    "timeline": ("plot_documents", "what runs when on which unit: of a trace of `simulate --trace`"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the kinds of figure and their options."""
    kinds = parser.add_subparsers(metavar="KIND", required=True)
    for kind, (name, summary) in KINDS.items():
        module = import_module(f"simulator.cli.{name}")
        command = kinds.add_parser(
            kind,
            help=summary,
            description=f"Draw {summary}. The numbers are written beside the figure as CSV, with a manifest that says "
            "how to make it again.",
        )
        command.set_defaults(draw=module.draw, kind=kind, parser=command)
        module.declare(command, kind)


def add_output(parser: argparse.ArgumentParser, kind: str, *more: str) -> None:
    """Declare where the figure goes: ``-o``, ``--output`` and whatever else it may be called."""
    parser.add_argument(
        "-o",
        "--output",
        *more,
        dest="output",
        type=Path,
        default=Path(f"{kind}.pdf"),
        metavar="FILE",
        help=f"where to ({kind}.pdf); .pdf, .svg or .png",
    )


def run(arguments: argparse.Namespace) -> int:
    """Draw, and say what was written."""
    from dse.plots.figure import check_path

    check_path(arguments.output)
    files: Sequence[Path] = arguments.draw(arguments)
    print("\n".join(f"wrote {file}" for file in files))
    return 0


def save(drawn: Drawn, arguments: argparse.Namespace, made_from: Mapping[str, Any]) -> list[Path]:
    """Write a figure with its numbers and what regenerates it."""
    from dse.plots.figure import paper_style, save_figure
    from simulator.core.provenance import provenance

    with paper_style():
        manifest = {**provenance({}, arguments.command_line), "of": dict(made_from)}
        return save_figure(drawn.figure, arguments.output, drawn.rows, manifest)
