"""``ridgeline plot pareto|projections|heat-map|contours|curves|scaling RESULT``."""

from __future__ import annotations

import argparse
from pathlib import Path

from simulator.cli.plot import add_output, save

__all__ = ["declare", "draw"]

_OPTIONS = {
    "pareto": ("x", "y"),
    "projections": (),
    "heat-map": ("x", "y", "z"),
    "contours": ("x", "y", "z"),
    "curves": ("x", "y", "series", "limit"),
    "scaling": ("y", "series"),
}
_HELP = {
    "x": "metric or axis along x",
    "y": "metric or axis along y",
    "z": "metric that is drawn (the first objective)",
    "series": "axis with a curve for each of its values",
}


def declare(parser: argparse.ArgumentParser, kind: str) -> None:
    """Declare the sweep, the columns and what is fixed."""
    parser.add_argument("result", type=Path, metavar="RESULT", help="folder of a sweep")
    for name in ("x", "y", "z", "series"):
        if name in _OPTIONS[kind]:
            parser.add_argument(f"--{name}", metavar="NAME", help=_HELP[name])
    if "limit" in _OPTIONS[kind]:
        parser.add_argument("--limit", type=float, metavar="SI", help="a line to stay below, in seconds, joules ...")
    parser.add_argument(
        "--where", action="append", default=[], metavar="AXIS=VALUE", help="only points with this value; repeatable"
    )
    add_output(parser, kind, "--out")


def draw(arguments: argparse.Namespace) -> list[Path]:
    """Draw points of the sweep."""
    from dse.plots import sweeps
    from dse.plots.figure import paper_style
    from dse.result import load_result

    result = load_result(arguments.result).where(arguments.where)
    with paper_style():
        if arguments.kind == "pareto":
            drawn = sweeps.draw_pareto(result, arguments.x, arguments.y)
        elif arguments.kind == "projections":
            drawn = sweeps.draw_projections(result)
        elif arguments.kind == "curves":
            drawn = sweeps.draw_curves(result, arguments.x, arguments.y, arguments.series, arguments.limit)
        elif arguments.kind == "scaling":
            drawn = sweeps.draw_scaling(result, arguments.y, arguments.series)
        else:
            contours = arguments.kind == "contours"
            drawn = sweeps.draw_map(result, arguments.x, arguments.y, arguments.z, contours)
    return save(drawn, arguments, {str(arguments.result): {"space": result.manifest["space"]}})
