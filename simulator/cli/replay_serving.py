"""``ridgeline replay serving FILE``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.cli.options import whole_number
from simulator.cli.progress import ProgressLine

if TYPE_CHECKING:
    from simulator.validation.serving.comparison import ServingReplay

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="requests or points of servers, or of other serving simulators (CSV)"
    )
    parser.add_argument(
        "--models", type=Path, metavar="DIR", help="folder of NAME.json configurations, for requests of servers"
    )
    parser.add_argument(
        "--most", type=whole_number, metavar="N", help="at most N points of each model, device and engine (all)"
    )
    parser.add_argument("--worst", type=whole_number, default=0, metavar="K", help="also list the K worst points")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw simulated over measured points (.pdf, .svg, .png)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(arguments: argparse.Namespace) -> int:
    """Serve again, compare and print; 1 where a limit is missed or nothing could be compared."""
    from simulator.core.errors import InputError
    from simulator.validation.serving.replay import replay_serving

    if arguments.worst < 0:
        raise InputError(f"--worst must be at least 0, got {arguments.worst}")
    if arguments.plot is not None:
        from dse.plots.figure import check_path

        check_path(arguments.plot)
    with ProgressLine() as tell:
        replay = replay_serving(arguments.file, arguments.models, arguments.most, tell)
    if arguments.plot is not None:
        from dse.plots.serving import save_points

        save_points(replay, arguments.plot)
    if arguments.json:
        print(json.dumps(replay.to_json(), indent=2, allow_nan=False))
    else:
        print("\n".join([*_lines(replay), *_worst(replay, arguments.worst)]))
    return 0 if replay.ok and (replay.comparisons or replay.families) else 1


def _lines(replay: ServingReplay) -> list[str]:
    lines = [f"{replay.file}: {replay.rows} rows, reference {replay.reference}"]
    if replay.comparisons:
        lines.append(f"{'run':<44}{'figure':<12}{'reference ms':>14}{'simulated ms':>14}{'error':>9}  limit")
    for c in replay.comparisons:
        limit = "" if c.limit is None else f"{c.limit:.0%}{'' if c.met else ' missed'}"
        lines.append(f"{c.run:<44}{c.figure:<12}{c.reference:>14,.2f}{c.simulated:>14,.2f}{c.error:>+9.1%}  {limit}")
    if replay.families:
        lines.append(f"{'metric':<8}{'family':<44}{'n':>5}{'MAPE':>9}{'median':>9}{'bias':>9}  limit")
    for f in replay.families:
        limit = "" if f["limit"] is None else f"{f['limit']:.0%}{'' if f['mape'] <= f['limit'] else ' missed'}"
        figures = f"{f['n']:>5}{f['mape']:>9.1%}{f['median']:>9.1%}{f['bias']:>+9.1%}"
        lines.append(f"{f['metric']:<8}{f['family']:<44}{figures}  {limit}")
    for reason, count in replay.unusable.items():
        lines.append(f"not compared: {count} rows: {reason}")
    lines += [f"note: {note}" for note in replay.notes]
    return lines


def _worst(replay: ServingReplay, count: int) -> list[str]:
    """List the points that are furthest off, by the metric that is."""
    points = sorted(replay.points, key=lambda point: -max(abs(error) for error in point.errors.values()))
    return [
        f"line {p.line}: {p.model} on {p.devices} x {p.device}, {p.engine}, {p.concurrency} at once, "
        f"{p.inputs}:{p.outputs}: TTFT {p.ttft_ms:,.1f} ms measured, {p.simulated_ttft_ms:,.1f} simulated; "
        f"TPOT {p.tpot_ms:,.2f} and {p.simulated_tpot_ms:,.2f} ms"
        for p in points[:count]
    ]
