"""``ridgeline plot breakdown|speedups|tornado|timeline FILE...``."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from simulator.cli.plot import add_output, save

__all__ = ["declare", "draw"]

_SCHEMAS = {
    "breakdown": ("report", "comparison"),
    "speedups": ("comparison",),
    "tornado": ("report",),
    "timeline": ("trace",),
}


def declare(parser: argparse.ArgumentParser, kind: str) -> None:
    """Declare the documents and what is drawn of them."""
    many = kind in ("breakdown", "speedups")
    parser.add_argument(
        "files",
        type=Path,
        nargs="+" if many else 1,
        metavar="FILE",
        help=f"{' or '.join(_SCHEMAS[kind])} document{'s' if many else ''}",
    )
    if many:
        parser.add_argument("--of", choices=("time", "energy"), default="time", help="what is drawn (time)")
    if kind == "timeline":
        for flag, name, default in (("--from", "first_s", 0.0), ("--to", "last_s", math.inf)):
            parser.add_argument(flag, dest=name, type=float, default=default, metavar="S", help="seconds of the trace")
    add_output(parser, kind, "--out")


def draw(arguments: argparse.Namespace) -> list[Path]:
    """Draw what the documents hold."""
    from dse.plots import documents
    from dse.plots.figure import paper_style

    read = [documents.read_document(file, *_SCHEMAS[arguments.kind]) for file in arguments.files]
    with paper_style(), documents.whole(*arguments.files):
        if arguments.kind == "breakdown":
            drawn = documents.draw_breakdown(read, arguments.of)
        elif arguments.kind == "speedups":
            drawn = documents.draw_speedups(read, arguments.of)
        elif arguments.kind == "tornado":
            drawn = documents.draw_tornado(read[0])
        else:
            drawn = documents.draw_timeline(read[0], arguments.first_s, arguments.last_s)
    return save(drawn, arguments, {str(f): d.get("provenance", {}) for f, d in zip(arguments.files, read, strict=True)})
