"""``ridgeline sweep FILE``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dse.space.space import Search, Space
    from dse.sweep import Progress

__all__ = ["add_arguments", "run"]

_EXPLORERS = ("exhaustive", "grid", "random", "sobol", "lhs", "nsga2", "tpe")
_INTERRUPTED = 130
_STORED_B = 70.0  # of a point in a shard


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "space", metavar="FILE", help="a sweep file, or the name of a ready-made space (--list)", nargs="?"
    )
    parser.add_argument("--list", action="store_true", help="list the ready-made spaces")
    parser.add_argument("--dry-run", action="store_true", help="say what is swept and how large it is, and stop")
    search = parser.add_argument_group("search (what is left out is as the file says)")
    search.add_argument("--explorer", choices=_EXPLORERS, help="how points are chosen")
    search.add_argument("--limit", type=_positive, metavar="N", help="look at no more than N points")
    search.add_argument("--population", type=_positive, metavar="N", help="points of a generation (nsga2, tpe)")
    search.add_argument("--seed", type=_seed, metavar="N", help="of everything drawn at random")
    search.add_argument("--level", choices=("roofline", "analytic", "cycle"), help="detail of the device model")
    search.add_argument(
        "--refine", type=_positive, metavar="N", help="simulate the N best again at level cycle and rank them anew"
    )
    running = parser.add_argument_group("running")
    running.add_argument("--engine", choices=("serial", "processes", "dask"), default="serial", help="where it runs")
    running.add_argument("--workers", type=_positive, metavar="N", help="processes (as many as cores)")
    running.add_argument("--scheduler", metavar="ADDRESS", help="of a running Dask cluster, tcp://host:8786")
    running.add_argument("--resume", action="store_true", help="go on with what the folder holds")
    output = parser.add_argument_group("output")
    output.add_argument("--out", type=Path, metavar="FOLDER", help="where the result goes (results/sweeps/NAME)")
    output.add_argument("--keep", choices=("all", "feasible", "front"), help="which points are stored")
    output.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Sweep and print what was found; 1 where nothing is feasible."""
    from dse.space.file import bundled_spaces, load_space
    from simulator.core.errors import InputError

    if arguments.list:
        questions = {name: load_space(str(path)).question for name, path in bundled_spaces().items()}
        if arguments.json:
            print(json.dumps(questions, indent=2))
        else:
            print("\n".join(f"{name:<24} {question}" for name, question in questions.items()))
        return 0
    if arguments.space is None:
        raise InputError("name a sweep file, or one of the ready-made spaces that --list shows")
    space = load_space(arguments.space)
    search = _search(space, arguments)
    from dse.findings import space_text

    shown = sys.stderr if arguments.json else sys.stdout
    print(space_text(space, _chosen(space, search)), file=shown, flush=True)
    if arguments.dry_run:
        if arguments.json:
            print(json.dumps({"space": space.name, "question": space.question, "points": space.size}, indent=2))
        return 0
    return _sweep(space, search, arguments)


def _search(space: Space, arguments: argparse.Namespace) -> Search:
    """Put what the command line says in place of what the file says."""
    from dataclasses import replace

    given = {
        "explorer": arguments.explorer,
        "points": arguments.limit,
        "population": arguments.population,
        "seed": arguments.seed,
        "keep": arguments.keep,
    }
    return replace(space.search, **{key: value for key, value in given.items() if value is not None})


def _chosen(space: Space, search: Search) -> str:
    if search.explorer == "exhaustive":
        points = min(search.points or space.size, space.size)
        chosen = "all looked at" if points == space.size else f"the first {points:,} looked at"
        stored_GB = points * _STORED_B / 1e9
        if search.keep == "front" or stored_GB < 1.0:
            return chosen
        return f"{chosen}; keeping them takes about {stored_GB:.0f} GB, --keep front only what is best"
    points = min(search.points or 1024, space.size)
    return f"up to {points:,} chosen by {search.explorer}, seed {search.seed}"


def _sweep(space: Space, search: Search, arguments: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from dse.findings import front_document, sweep_text
    from dse.space.file import space_source
    from dse.store import Store
    from dse.sweep import Plan, run_sweep
    from simulator.core.provenance import provenance

    folder = arguments.out or Path("results") / "sweeps" / space.name
    started = datetime.now(UTC).isoformat(timespec="seconds")
    plan = Plan(
        space=space,
        source=space_source(arguments.space),
        folder=folder,
        search=search,
        level=arguments.level,
        engine=arguments.engine,
        workers=arguments.workers,
        address=arguments.scheduler,
        resume=arguments.resume,
        run={
            **provenance({}, arguments.command_line, search.seed, started),
            "engine": arguments.engine,
        },
    )
    line = _Line()
    try:
        if plan.settled().tier == "compiled":
            from dse.batch import compile_once

            compile_once(lambda text: print(text, file=sys.stderr, flush=True))  # once, not in every worker
        outcome = run_sweep(plan, line.show)
        refined = None
        if arguments.refine is not None and len(outcome.front.indices):
            from dse.refine import refine

            refined = refine(plan, outcome, arguments.refine, "cycle", line.show)
        line.end()
    except KeyboardInterrupt:
        line.end()
        print(f"stopped; what is done is in {folder}. Go on with: {_resume_command(arguments)}", file=sys.stderr)
        return _INTERRUPTED
    store = Store(folder, space)
    store.write_json("findings.json", front_document(outcome))
    if arguments.json:
        print(json.dumps(front_document(outcome), indent=2, allow_nan=False))
    else:
        print(sweep_text(outcome))
        if refined is not None:
            from dse.refine import refined_text

            print(refined_text(refined))
        print(f"\nresult: {folder} (front.parquet, findings.json, shards)")
        if len(outcome.front.indices):
            print(f"next: ridgeline explain {folder} {outcome.front.indices[0]}")
    return 0 if len(outcome.front.indices) else 1


def _resume_command(arguments: argparse.Namespace) -> str:
    import shlex

    words = list(arguments.command_line)
    return shlex.join(words if "--resume" in words else [*words, "--resume"])


class _Line:
    """Progress on one line of a terminal, or now and then on a line of a log."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._every_s = 0.2 if self._terminal else 10.0
        self._last_s = time.monotonic()

    def show(self, progress: Progress) -> None:
        """Print where the sweep is, unless it was said a moment ago."""
        now = time.monotonic()
        if now - self._last_s < self._every_s:
            return
        self._last_s = now
        left = progress.left_s
        text = (
            f"{progress.done:,}/{progress.total:,} points  {progress.rate:,.0f}/s  "
            f"{'' if left is None else f'{left:.0f} s left  '}front {len(progress.front):,}  {progress.best}"
        )
        print(f"\r\033[K{text[:160]}" if self._terminal else text, end="" if self._terminal else "\n", file=sys.stderr)
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the line clean."""
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _seed(text: str) -> int:
    number = int(text) if text.isdecimal() and len(text) < 20 else -1
    if number < 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 on, got {text[:40]!r}")
    return number


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text[:40]!r}")
    return number
