"""Files of a serving run: requests as Parquet, steps as a Chrome trace."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from simulator.core.errors import InputError
from simulator.serving import layout
from simulator.serving.run import ClusterRun

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["COLUMNS", "RequestWriter", "check_output", "join_requests", "step_events", "write_steps"]

#: Columns of a file of requests: name, field of a row, and whether it is a whole number.
COLUMNS = (
    ("request", layout.R_NUMBER, True),
    ("arrived_s", layout.R_ARRIVED, False),
    ("queued_s", layout.R_QUEUED, False),
    ("scheduled_s", layout.R_SCHEDULED, False),
    ("first_token_s", layout.R_FIRST, False),
    ("last_token_s", layout.R_LAST, False),
    ("input_tokens", layout.R_INPUT, True),
    ("output_tokens", layout.R_OUTPUT, True),
    ("gap_p50_s", layout.R_GAP_P50, False),
    ("gap_p90_s", layout.R_GAP_P90, False),
    ("gap_p99_s", layout.R_GAP_P99, False),
    ("gap_max_s", layout.R_GAP_MAX, False),
    ("prefix_hit_tokens", layout.R_HITS, True),
    ("preemptions", layout.R_PREEMPTED, True),
    ("prefill_server", layout.R_FIRST_SERVER, True),
    ("server", layout.R_SERVER, True),
    ("status", layout.R_STATUS, True),
    ("priority", layout.R_PRIORITY, True),
    ("session", layout.R_SESSION, True),
)


#: Rows of a row group: the file's table of contents, held until the end, grows with their number.
_GROUP = 1 << 16


def check_output(option: str, path: Path, endings: tuple[str, ...]) -> None:
    """Raise :class:`InputError` if no such file can be written there, before anything is computed."""
    if path.suffix not in endings:
        raise InputError(f"{option} {path}: the name must end in {' or '.join(endings)}")
    if path.is_dir():
        raise InputError(f"{option} {path} is a folder; name a file")
    if not path.parent.is_dir():
        raise InputError(f"{option} {path}: the folder {path.parent} does not exist")


class RequestWriter:
    """Writes finished requests to a Parquet file as they come; holds one row group of them."""

    def __init__(self, path: Path) -> None:
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._path = path
        self._schema = pa.schema([(name, pa.int64() if whole else pa.float64()) for name, _, whole in COLUMNS])
        try:
            self._writer = pq.ParquetWriter(str(path), self._schema)
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
        self._rows = np.empty((_GROUP, layout.RESULT_SIZE))
        self._held = 0

    def __enter__(self) -> RequestWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()
        if kind is not None:
            self._path.unlink(missing_ok=True)  # part of the requests would look like all of them

    def add(self, rows: NDArray[np.float64]) -> None:
        """Take rows of results in; written when there is a row group of them."""
        while len(rows):
            taken = rows[: _GROUP - self._held]
            self._rows[self._held : self._held + len(taken)] = taken
            self._held += len(taken)
            rows = rows[len(taken) :]
            if self._held == _GROUP:
                self._flush()

    def _flush(self) -> None:
        import numpy as np
        import pyarrow as pa

        rows, self._held = self._rows[: self._held], 0
        arrays = [
            pa.array(rows[:, field].astype(np.int64) if whole else np.ascontiguousarray(rows[:, field]))
            for _, field, whole in COLUMNS
        ]
        self._writer.write_table(pa.table(arrays, schema=self._schema))


def join_requests(parts: Sequence[Path], path: Path) -> None:
    """Put files of requests one behind the other into one.

    Raises
    ------
    InputError
        If a part is not there, or the file cannot be written.
    """
    import pyarrow.parquet as pq

    try:
        with pq.ParquetWriter(str(path), pq.read_schema(str(parts[0]))) as writer:
            for part in parts:
                for batch in pq.ParquetFile(str(part)).iter_batches(_GROUP):
                    writer.write_batch(batch)
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename or error} is not here: workers write beside {path}, which must be the same folder to all"
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error


def step_events(run: ClusterRun) -> Iterator[dict[str, Any]]:
    """Yield Chrome trace events: a thread per server, an event per step; times in microseconds."""
    for row, (server, role) in enumerate(run.prepared.cluster.servers):
        label = f"{server.name} {row} ({role})"
        yield {"ph": "M", "name": "thread_name", "pid": 1, "tid": row, "args": {"name": label}}
    for step in run.log.tolist():
        decoding, prompt = int(step[layout.L_DECODING]), int(step[layout.L_PROMPT])
        yield {
            "ph": "X",
            "name": f"{decoding} generating, {prompt} prompt tokens",
            "cat": "mixed" if decoding and prompt else "prompt" if prompt else "generation",
            "pid": 1,
            "tid": int(step[layout.L_SERVER]),
            "ts": step[layout.L_START] * 1e6,
            "dur": step[layout.L_TIME] * 1e6,
            "args": {"context_tokens": int(step[layout.L_CONTEXT]), "energy_J": step[layout.L_ENERGY]},
        }


def write_steps(run: ClusterRun, path: Path) -> None:
    """Write the steps that were kept as a Chrome trace.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    document = {"traceEvents": list(step_events(run)), "displayTimeUnit": "ms"}
    try:
        path.write_text(json.dumps(document, separators=(",", ":")) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
