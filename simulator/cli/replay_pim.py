"""``ridgeline replay pim FILE``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.validation.pim_golden import PimCase, PimReplay

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="golden runs of AttAcc's and AiM's simulators and others (CSV)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(arguments: argparse.Namespace) -> int:
    """Replay and print; 1 where a row that is judged is beyond its tolerance."""
    from simulator.validation.pim_golden import replay_pim

    replay = replay_pim(arguments.file)
    if arguments.json:
        print(json.dumps(replay.to_json(), indent=2, allow_nan=False))
    else:
        print("\n".join(_lines(replay)))
    return 0 if replay.ok else 1


def _lines(replay: PimReplay) -> list[str]:
    width = max((len(case.name) for case in replay.cases), default=4)
    head = f"{'case':<{width}}  {'expected':>9}  {'simulated':>9}  {'off':>7}  {'tolerance':>10}  {'with refresh':>12}"
    lines = [head, *(_line(case, width) for case in replay.cases)]
    judged = [case for case in replay.cases if case.tolerance is not None]
    exact = sum(case.relative == 0.0 and not case.differences for case in judged)
    lines.append(f"{exact} of {len(judged)} judged rows exact in cycles and commands; {len(replay.cases)} shown")
    if any(case.with_refresh is not None for case in replay.cases):
        lines.append("with refresh: cycles with the refresh that aim_simulator never issues")
    lines.append("agrees" if replay.ok else "does not agree")
    return lines


def _line(case: PimCase, width: int) -> str:
    off = f"{case.relative:+.2%}" if case.relative else "0"
    tolerance = "not judged" if case.tolerance is None else f"{case.tolerance:.0%}" if case.tolerance else "exact"
    refresh = f"{case.with_refresh:12d}" if case.with_refresh is not None else " " * 12
    others = "".join(f"  {name}: expected {e}, simulated {s}" for name, e, s in case.differences)
    return f"{case.name:<{width}}  {case.golden:9d}  {case.simulated:9d}  {off:>7}  {tolerance:>10}  {refresh}{others}"
