"""``ridgeline explain RESULT POINT``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("result", type=Path, metavar="RESULT", help="the folder of a sweep")
    parser.add_argument("point", metavar="POINT", help="index of a point, as the sweep prints it")
    parser.add_argument(
        "--elasticities", action="store_true", help="instead: what a little more of every parameter would change there"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document (`ridgeline schema report`)")


def run(arguments: argparse.Namespace) -> int:
    """Simulate the point again and print its report; 1 where it does not fit."""
    from dse.explain import explain

    if arguments.elasticities:
        return _elasticities(arguments)
    found = explain(arguments.result, arguments.point, arguments.command_line)
    if arguments.json:
        print(json.dumps(found.report.to_json(), indent=2, allow_nan=False))
    else:
        print(found.heading)
        print(found.text)
    return 0 if found.feasible else 1


def _elasticities(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from dse.explain import located
    from dse.sensitivity import elasticities, elasticities_text

    space, index, level = located(arguments.result, arguments.point)
    found = elasticities(space, index, level)
    if arguments.json:
        document = {"schema": "ridgeline/elasticities/v1", "point": index, "parameters": [asdict(e) for e in found]}
        print(json.dumps(document, indent=2, allow_nan=False))
    else:
        print(elasticities_text(found))
    return 0
