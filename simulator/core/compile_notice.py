"""Saying on stderr that machine code is being made, which the first run after an installation waits for."""

from __future__ import annotations

import sys
import time
from functools import cache
from typing import Any

from numba.core import event

__all__ = ["announce"]


class _Notice(event.Listener):
    """Follows numba's compilations: one of a named kernel, and within it those of the functions it calls."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.depth, self.parts, self.since = 0, 0, 0.0
        self.shown = ""

    def on_start(self, event: Any) -> None:
        name = self.names.get(id(event.data["dispatcher"]))
        if self.depth == 0 and name:
            self.parts, self.since, self.shown = 0, time.perf_counter(), name
            self.say(f"compiling {name}, once: the machine code is kept")
        self.depth += 1

    def on_end(self, event: Any) -> None:
        self.depth -= 1
        self.parts += 1
        if not self.shown:
            return
        if self.depth == 0:
            self.say(f"compiled {self.shown} in {time.perf_counter() - self.since:.0f} s", end="\n")
            self.shown = ""
        elif sys.stderr.isatty():
            self.say(f"compiling {self.shown}, once: {self.parts} functions so far")

    def say(self, text: str, end: str = "") -> None:
        """Overwrite the last line on a terminal; elsewhere write one more."""
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{text}{end}")
        else:
            sys.stderr.write(text + "\n")
        sys.stderr.flush()


@cache
def _notice() -> _Notice:
    notice = _Notice()
    event.register("numba:compile", notice)  # type: ignore[no-untyped-call]
    return notice


def announce(kernel: object, name: str) -> None:
    """Have the compilation of a kernel announced under a name; nothing is said when its code is found in the cache."""
    _notice().names[id(kernel)] = name
