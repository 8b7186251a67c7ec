"""``ridgeline replay dram FILE``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.validation.dram_golden import DramReplay

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="golden runs of Ramulator 2.1, one per row (CSV); pattern trace:NAME: requests from a file beside",
    )
    parser.add_argument(
        "--timings",
        type=Path,
        metavar="FILE",
        help="resolved timings of the devices (default: <stem>_timings.yaml beside FILE, then the bundled standards)",
    )
    parser.add_argument(
        "--tolerance", type=float, default=0.0, metavar="X", help="largest relative difference that agrees (0: exact)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(arguments: argparse.Namespace) -> int:
    """Replay and print; 1 where a case is beyond the tolerance."""
    from simulator.validation.dram_golden import replay_dram

    replay = replay_dram(arguments.file, arguments.timings, arguments.tolerance)
    if arguments.json:
        print(json.dumps(replay.to_json(), indent=2, allow_nan=False))
    else:
        print("\n".join(_lines(replay)))
    return 0 if replay.ok else 1


def _lines(replay: DramReplay) -> list[str]:
    width = max(len(case.name) for case in replay.cases)
    lines = [f"{'case':<{width}}  {'expected':>12}  {'simulated':>12}  {'difference':>10}"]
    for case in replay.cases:
        off = int(case.cycles.simulated - case.cycles.golden)
        lines.append(
            f"{case.name:<{width}}  {case.cycles.golden:12.0f}  {case.cycles.simulated:12.0f}  {off:10d}"
            + (f"  {case.cycles.relative:+.2%}" if off else "")
        )
        lines += [f"  {c.column}: expected {c.golden:g}, simulated {c.simulated:g}" for c in case.differences]
    exact = sum(not case.differences and case.cycles.relative == 0 for case in replay.cases)
    lines.append(f"{exact} of {len(replay.cases)} cases exact in every number, cycles in ticks")
    lines.append("agrees" if replay.ok else "does not agree")
    return lines
