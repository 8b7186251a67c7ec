"""``ridgeline replay KIND FILE``: compare an engine with golden runs, row by row."""

from __future__ import annotations

import argparse
from importlib import import_module

__all__ = ["KINDS", "add_arguments", "run"]

#: Kinds of golden files in the order of ``--help``; each is a module ``simulator.cli.replay_<kind>`` (``-`` written
#: ``_``) with ``add_arguments(parser)`` and ``run(arguments)``, which returns 0 where the engine agrees, 1 where not.
#: The modules are imported for ``--help``: what they need to run is imported when they run.
KINDS = {
    "dram": "request streams on DRAM channels: cycles, latencies, row hits, commands",
    "pim": "command programs on memory that computes: cycles, commands",
    "systolic": "layers on systolic arrays: cycles, utilisation, words of each scratchpad",
    "mapping": "mappings of loop nests: words at every level, cycles, energy",
    "mapping-search": "the mapper against the best mappings of timeloop-mapper",
    "serving": "requests and points of servers and of other serving simulators: TTFT, TPOT, E2E",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the kinds, each with its own options."""
    kinds = parser.add_subparsers(metavar="KIND", required=True)
    for kind, summary in KINDS.items():
        module = import_module(f"simulator.cli.replay_{kind.replace('-', '_')}")
        command = kinds.add_parser(kind, help=summary, description=summary[0].upper() + summary[1:] + ".")
        command.set_defaults(replay=module.run, parser=command)
        module.add_arguments(command)


def run(arguments: argparse.Namespace) -> int:
    """Replay and print."""
    code: int = arguments.replay(arguments)
    return code
