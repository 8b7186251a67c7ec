"""Request traces in files: one request per line, ``R`` or ``W``, its block number, and its arrival in ticks."""

from __future__ import annotations

from pathlib import Path

from hwmodels.dram.requests import LAST_ARRIVAL, Requests
from simulator.core.errors import SpecError, SpecProblem

__all__ = ["read_requests"]

_WRITES = {"R": 0, "W": 1}
_LARGEST_BLOCK = 1 << 62
_MOST_PROBLEMS = 20


def read_requests(path: Path) -> Requests:
    """Read a trace; empty lines and what follows ``#`` are left out, and an arrival left out is that of the line above.

    Raises
    ------
    SpecError
        With the line of everything that is not a request.
    """
    import numpy as np

    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise SpecError([SpecProblem(str(path), 1, 1, "", f"cannot be read: {reason}")]) from None
    rows: list[tuple[int, int, int]] = []
    problems: list[SpecProblem] = []
    arrival = 0
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        numbers = [int(word) if word.isdecimal() and len(word) < 19 else -1 for word in words[1:]]
        right = words[0] in _WRITES and len(numbers) in (1, 2) and all(0 <= n < _LARGEST_BLOCK for n in numbers)
        if not right or (len(numbers) == 2 and not arrival <= numbers[1] <= LAST_ARRIVAL):
            message = (
                f"expected 'R|W block [arrival]' with arrivals in order up to {LAST_ARRIVAL}, got {line.strip()[:40]!r}"
            )
            problems.append(SpecProblem(str(path), number, 1, "", message))
            continue
        arrival = numbers[1] if len(numbers) == 2 else arrival
        rows.append((numbers[0], _WRITES[words[0]], arrival))
    if not rows and not problems:
        problems.append(SpecProblem(str(path), 1, 1, "", "holds no request"))
    if problems:
        raise SpecError(problems[:_MOST_PROBLEMS])
    table = np.array(rows, dtype=np.int64).T
    return Requests(*(np.ascontiguousarray(column) for column in table))
