"""``ridgeline schema hardware|model|profile|space|report``."""

from __future__ import annotations

import argparse
import json

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "what",
        choices=("hardware", "model", "profile", "space", "report"),
        help="hardware: YAML files of devices and systems; model: config.json files; profile: YAML files of "
        "software stacks; space: sweep files; report: what simulate --json prints",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print a JSON Schema, for editors and for programs that read the report."""
    if arguments.what == "hardware":
        from hwmodels.schema import hardware_schema

        schema = hardware_schema()
    elif arguments.what == "model":
        from workloads.schema import model_schema

        schema = model_schema()
    elif arguments.what == "profile":
        from simulator.engine.profile import profile_schema

        schema = profile_schema()
    elif arguments.what == "space":
        from dse.space.schema import space_schema

        schema = space_schema()
    else:
        from simulator.api.document import SCHEMA

        schema = SCHEMA
    print(json.dumps(schema, indent=2))
    return 0
