"""``ridgeline replay mapping-search FILE``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", type=Path, metavar="FILE", help="best mappings that timeloop-mapper found (CSV)")
    parser.add_argument(
        "--arch",
        type=Path,
        metavar="YAML",
        help="the machines (default: mapping_arch.yaml beside FILE, else the bundled copy)",
    )
    parser.add_argument("--budget", type=int, metavar="N", help="most steps of each search")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random part (default: 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(arguments: argparse.Namespace) -> int:
    """Search and print; 1 where Timeloop found something better."""
    from hwmodels.spatial.mapper.search import DEFAULT_BUDGET
    from simulator.validation.mapping_search import replay_mapping_search

    budget = DEFAULT_BUDGET if arguments.budget is None else arguments.budget
    replay = replay_mapping_search(arguments.file, arguments.arch, budget, arguments.seed)
    if arguments.json:
        print(json.dumps(replay.to_json(), indent=2, allow_nan=False))
        return 0 if replay.ok else 1
    print(f"{replay.file}: {len(replay.rows)} rows, machines of {replay.machines}")
    print(f"{'':28}{'over Timeloop':>14}{'reached':>10}{'searched':>10}")
    for row in replay.rows:
        reached = "never" if row.reached_s is None else f"{row.reached_s:.2f} s"
        kind = "optimal" if row.found.proven else "best found" if row.found.mapping else "nothing valid"
        print(f"{row.name:28}{row.ratio:14.4f}{reached:>10}{row.search_s:8.2f} s  {kind}")
    proven = sum(row.found.proven for row in replay.rows)
    print(f"proven optimal: {proven} of {len(replay.rows)}; worse than Timeloop: {len(replay.worse)}")
    print("agrees" if replay.ok else "does not agree")
    return 0 if replay.ok else 1
