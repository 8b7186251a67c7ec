"""What a long command is doing, on one line of a terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType

__all__ = ["ProgressLine"]

_EVERY_S = 0.2
_WIDTH = 100  # columns


class ProgressLine:
    """One line on standard error that is written over and cleared at the end; nothing where that is no terminal."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._last_s = time.monotonic()
        self._shown = False

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def __call__(self, text: str) -> None:
        """Show a line, unless another was shown a moment ago."""
        now = time.monotonic()
        if self._terminal and now - self._last_s >= _EVERY_S:
            self._last_s, self._shown = now, True
            print(f"\r\033[K{text[:_WIDTH]}", end="", file=sys.stderr, flush=True)
