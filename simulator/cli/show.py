"""``ridgeline show models|hardware|formats|profiles|cascades|bindings [NAME]``."""

from __future__ import annotations

import argparse
import json

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("what", choices=("models", "hardware", "formats", "profiles", "cascades", "bindings"))
    parser.add_argument("name", nargs="?", metavar="NAME", help="one of them in detail, by name or path")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(arguments: argparse.Namespace) -> int:
    """Print a table of all, or everything about one."""
    if arguments.json:
        from simulator.api.catalogue import detail, overview

        one = arguments.name
        print(json.dumps(overview(arguments.what) if one is None else detail(arguments.what, one), indent=2))
        return 0
    from simulator.api.catalogue_text import detail_text, overview_text

    print(overview_text(arguments.what) if arguments.name is None else detail_text(arguments.what, arguments.name))
    return 0
