"""Traces of requests from CSV files: the Azure format, with optional columns for priorities and shared prefixes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.core.errors import SpecError, SpecProblem
from simulator.serving.requests import LARGEST_TOKENS, LATEST_S, Requests, as_requests, check_rate

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["Trace", "read_trace"]

#: Names that a column goes by, the first one ours.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "arrival_s": ("arrival_s", "arrival_timestamp", "TIMESTAMP"),
    "input_tokens": ("input_tokens", "context_tokens", "prefill_tokens", "ContextTokens"),
    "output_tokens": ("output_tokens", "generated_tokens", "decode_tokens", "GeneratedTokens"),
    "priority": ("priority",),
    "session": ("session",),
    "group": ("prefix_group",),
    "group_tokens": ("prefix_tokens",),
}
_NEEDED = ("arrival_s", "input_tokens", "output_tokens")
_LARGEST_FILE_B = 256 * 2**20  # some ten million requests; as text they take ten times as much memory
_MOST_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Trace:
    """The requests of a file, in order of arrival from 0 s on, at ``speed`` times the pace it was recorded at."""

    requests: Requests
    speed: float = 1.0
    count: int | None = None  # only the first so many

    @property
    def mean_tokens(self) -> float:
        """Mean input and output."""
        return float(self.requests.columns[: self.count, :2].sum(axis=1).mean())

    @property
    def longest_tokens(self) -> int:
        """The longest input and output together."""
        return int(self.requests.columns[: self.count, :2].sum(axis=1).max())

    def at_rate(self, rate: float) -> Trace:
        """Return the trace played so fast that ``rate`` requests come per second on average."""
        check_rate(rate)
        arrival_s = self.requests.arrival_s[: self.count]
        return Trace(self.requests, rate * max(float(arrival_s[-1]), 1e-9) / arrival_s.size, self.count)

    def chunks(self) -> Iterator[Requests]:
        """Yield the requests."""
        yield Requests(self.requests.arrival_s[: self.count] / self.speed, self.requests.columns[: self.count])


def read_trace(path: Path) -> Requests:
    """Read a trace.

    Parameters
    ----------
    path
        CSV with arrival (seconds, or time stamps), input and output tokens; optional: priority (0 the most urgent),
        session (requests of a conversation), prefix_group and prefix_tokens (inputs that begin alike).

    Raises
    ------
    SpecError
        If the file cannot be read or a cell is wrong; with line and column, twenty problems at most.
    """
    import numpy as np

    file = str(path)
    frame = _read(path)
    columns = {ours: next((name for name in names if name in frame.columns), None) for ours, names in _NAMES.items()}
    for ours in _NEEDED:
        if columns[ours] is None:
            known = ", ".join(str(name) for name in frame.columns[:12])
            raise _error(file, 1, ours, f"no column {' or '.join(_NAMES[ours])}; the header has: {known}")
    if frame.empty:
        raise _error(file, 1, "", "no rows below the header")
    problems: list[SpecProblem] = []
    values = {}
    for ours, name in columns.items():
        if name is not None:
            values[ours] = _numbers(file, name, frame[name], ours, problems)
    if problems:
        raise SpecError(problems[:_MOST_PROBLEMS])
    arrival = values.pop("arrival_s")
    falls = np.flatnonzero(np.diff(arrival) < 0.0)
    if falls.size:
        raise _error(
            file, int(falls[0]) + 3, str(columns["arrival_s"]), "arrives before the row above: sort by arrival"
        )
    whole: dict[str, NDArray[np.int64]] = {ours: cells.astype(np.int64) for ours, cells in values.items()}
    inputs, outputs = whole.pop("input_tokens"), whole.pop("output_tokens")
    return as_requests(arrival - arrival[0], inputs, outputs, follows=False, **whole)


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    file = str(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(_LARGEST_FILE_B + 1)
        if len(data) > _LARGEST_FILE_B:
            raise _error(file, 1, "", f"larger than the {_LARGEST_FILE_B // 2**20} MiB that are read: split the trace")
        frame = pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False, skipinitialspace=True)
    except pd.errors.EmptyDataError:
        raise _error(file, 1, "", "empty: expected a header line with column names, then rows") from None
    except (pd.errors.ParserError, UnicodeDecodeError, ValueError) as error:
        raise _error(file, 1, "", f"not a CSV file: {str(error).splitlines()[0]}") from None
    except OSError as error:
        raise _error(file, 1, "", f"cannot be read: {error.strerror}") from None
    if not isinstance(frame.index, pd.RangeIndex):  # what there is too much of is taken for names of rows
        raise _error(file, 2, "", f"the row has more cells than the header, which has {len(frame.columns)}")
    return frame


def _seconds(cells: pd.Series[str]) -> pd.Series[str]:
    """Return time stamps as seconds; numbers as they are."""
    import pandas as pd

    if not len(cells) or not cells.iloc[0][:4].isdigit() or "-" not in cells.iloc[0][:6]:
        return cells
    stamps = pd.to_datetime(cells, errors="coerce", utc=True, format="mixed")
    return ((stamps - stamps.min()).dt.total_seconds()).astype(str)


def _numbers(
    file: str, name: str, cells: pd.Series[str], ours: str, problems: list[SpecProblem]
) -> NDArray[np.float64]:
    """Return a column as numbers, and note the cells that are none or out of range."""
    import numpy as np
    import pandas as pd

    numbers = _seconds(cells) if ours == "arrival_s" else cells
    values = pd.to_numeric(numbers, errors="coerce").to_numpy(dtype=np.float64)
    finite = np.isfinite(values)
    if ours == "arrival_s":
        broken, due = (
            ~finite | (values < 0.0) | (values > LATEST_S),
            f"a time from 0 to {LATEST_S:g} s, or a time stamp",
        )
    else:
        least = 1 if ours in _NEEDED else -1 if ours in ("session", "group") else 0
        most = 7 if ours == "priority" else LARGEST_TOKENS
        whole = np.where(finite, values, 0.5)
        broken = ~finite | (whole != np.floor(whole)) | (whole < least) | (whole > most)
        due = f"a whole number from {least} to {most}"
    problems += [
        SpecProblem(file, int(row) + 2, 1, name, f"{cells.iloc[row][:40]!r}: expected {due}")
        for row in np.flatnonzero(broken)[:_MOST_PROBLEMS]
    ]
    return np.where(broken, 0.0, values)


def _error(file: str, line: int, key: str, message: str) -> SpecError:
    return SpecError([SpecProblem(file, line, 1, key, message)])
