"""The command line: ``ridgeline simulate | sweep | explain | show | validate | ...``, one module per command.

Parsing is here and light: what a command needs is imported when it runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import NoReturn

from simulator.core.errors import RidgelineError

__all__ = ["COMMANDS", "main"]

#: Commands in the order of ``--help``; each is a module with ``add_arguments(parser)`` and ``run(arguments)``, which
#: returns the exit code.
COMMANDS = {
    "simulate": "simulate a model on hardware: latency, throughput, energy, memory",
    "compare": "put several systems side by side for one model",
    "serve": "serve a stream of requests on a cluster: latencies, goodput, power, cost, capacity",
    "map": "find the best loop nest of an einsum on a tree of memories",
    "show": "list or show bundled models, hardware, formats and profiles",
    "schema": "print the JSON Schema of hardware, model, profile and sweep files, or of the report",
    "sweep": "explore a design space: fronts, limits, what comes closest",
    "explain": "simulate one point of a sweep again, with its full report",
    "validate": "compare predictions with measurements",
    "calibrate": "fit a device's coefficients to measurements",
    "replay": "compare engines with golden runs",
    "reproduce": "reproduce a paper: reported figures beside simulated ones",
    "plot": "draw figures",
    "report": "write one HTML page of a sweep or a simulation",
    "doctor": "check the installation",
    "bench": "measure how fast Ridgeline itself is",
}

_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 ok, 1 does not fit or infeasible, 2 bad input."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a character still gets its report
    try:
        code = _run(arguments)
        if sys.stdout is not None:  # None: the caller has closed it
            sys.stdout.flush()
    except SystemExit as leaving:  # argparse has already said why
        return leaving.code if isinstance(leaving.code, int) else 2
    except BrokenPipeError:  # the reader of a pipe has left: no error of ours
        _discard_output()
        return 0
    except KeyboardInterrupt:
        return _fail("interrupted", _INTERRUPTED)
    except OSError as error:
        if error.filename is not None:
            return _fail(f"error: {error.filename}: {error.strerror}")
        _discard_output()
        return _fail(f"error: cannot write the output: {error.strerror or error}")
    except ImportError as error:
        return _fail(f"error: {error}; `ridgeline doctor` looks what is wrong with the installation")
    except RidgelineError as error:
        return _fail("\n".join(f"error: {line}" for line in str(error).splitlines()), error.exit_code)
    return code


def _run(arguments: Sequence[str]) -> int:
    parser = _parser(arguments)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        known = [*_options(parser), *_options(options.parser)]
        options.parser.error(f"unknown argument {unknown[0]!r}{_near(unknown[0], known)}")
    options.command_line = ["ridgeline", *arguments]
    run: Callable[[argparse.Namespace], int] = options.run
    return run(options)


def _fail(message: str, code: int = 2) -> int:
    print(message, file=sys.stderr)
    return code


def _discard_output() -> None:
    """Point standard output at nothing, so that the interpreter's last flush cannot fail again."""
    with contextlib.suppress(OSError, ValueError):  # a stream of a test or a notebook has no file descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    """Options are written in full, so that a script means the same when an option is added; errors are one line."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings, allow_abbrev=False)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where to read more, and leave with exit code 2."""
        self.exit(2, f"error: {message}\nsee `{self.prog} --help`\n")


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Build the parser; only the command in use gets its options, and with them its imports."""
    parser = _Parser(
        prog="ridgeline",
        description="Predict time, energy and memory of large language models on hardware built or not yet built.",
        epilog="first try: ridgeline simulate llama-3-8b h200 --in 2048 --out 256 --batch 16",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    wanted = next((word for word in arguments if not word.startswith("-")), None)
    if wanted is not None and wanted not in COMMANDS:
        parser.error(f"unknown command {wanted!r}{_near(wanted, COMMANDS)}")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == wanted:
            module = import_module(f"simulator.cli.{name}")
            command.set_defaults(run=module.run, parser=command)
            module.add_arguments(command)
    return parser


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from action.option_strings


def _near(word: str, known: Sequence[str] | dict[str, str]) -> str:
    """Return the known word that looks like ``word`` as a question, or all of them."""
    from difflib import get_close_matches

    near = get_close_matches(word.partition("=")[0], list(known), n=1)
    return f": did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from simulator import __version__

        print(f"ridgeline {__version__}")
        parser.exit()
