"""How fast serving is: an hour of a cluster of eight, memory, and what looking step times up costs in accuracy."""

from __future__ import annotations

import math
import resource
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from simulator.core.data import resolve_data
from simulator.core.errors import DataMissingError, InputError
from simulator.serving.arrivals import Stream
from simulator.serving.lengths import Distribution, ShapedLengths
from simulator.serving.requests import Source
from simulator.serving.serve import Deployed, Deployment, Load, deploy, serve
from simulator.serving.trace_file import Trace, read_trace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["serve_rates"]

_TRACE = "azure_llm_conv_2023.csv"
#: Stands for the trace where that is missing: its number, rate and medians (README of the data set), log-normal.
_LIKE_THE_TRACE = ShapedLengths(Distribution(1020, 14_000, 0.9), Distribution(129, 1_000, 0.9))
_COUNT, _RATE = 19_366, 5.53
_LONG = 400_000  # requests of the run that shows constant memory
_SETTLED = 0.2  # of these: then everything has its size


def _hour() -> tuple[str, Source]:
    try:
        return _TRACE, Trace(read_trace(Path(resolve_data(_TRACE))))
    except DataMissingError:
        return "made up like the Azure conversation trace", Stream(lengths=_LIKE_THE_TRACE, rate=_RATE, count=_COUNT)


def _peak_MB() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6  # Linux counts in KiB


class _LongRun(NamedTuple):
    requests: int
    settled_MB: float
    file_MB: float


def _long_run(deployed: Deployed, requests: int) -> _LongRun:
    """Serve a stream eight times as dense as the trace, and write every request down."""
    from simulator.serving.output import RequestWriter

    stream = Stream(lengths=_LIKE_THE_TRACE, rate=8 * _RATE, count=requests)
    finished, settled_MB = 0, math.inf
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requests.parquet"
        with RequestWriter(path) as writer:

            def written(rows: NDArray[np.float64]) -> None:
                nonlocal finished, settled_MB
                writer.add(rows)
                finished += len(rows)
                if finished >= _SETTLED * requests:
                    settled_MB = min(settled_MB, _peak_MB())

            served = serve(deployed, Load(source=stream), on_finished=written)
        return _LongRun(served.report.requests["completed"], settled_MB, path.stat().st_size / 1e6)


def serve_rates(requests: int = _LONG) -> dict[str, float | int | str]:
    """Serve the Azure conversation hour on eight GPUs, paged and with chunked prompts, and a long stream.

    Times are processor seconds of this process; the first figure leaves out compiling and tabulating step times, which
    stand beside it. The long stream is written to a Parquet file, which is thrown away; what memory it takes more after
    a fifth of it is what grows with the number of requests.

    Raises
    ------
    InputError
        If the long stream has no request.
    """
    if requests < 1:
        raise InputError(f"--requests {requests}: the long stream needs at least one")
    start = time.process_time()
    name, source = _hour()
    deployed = deploy("llama-3.1-8b", "h100x8", Deployment(tp=1), source)
    serve(deployed, Load(source=Stream(lengths=_LIKE_THE_TRACE, rate=1.0, count=8)))
    ready_s = time.process_time() - start
    start = time.process_time()
    served = serve(deployed, Load(source=source))
    hour_s = time.process_time() - start
    hour_MB = _peak_MB()
    start = time.process_time()
    long_run = _long_run(deployed, requests)
    long_s = time.process_time() - start
    steps = sum(int(server["steps"]) for server in served.report.servers)
    return {
        "requests_from": name,
        "requests": served.report.requests["completed"],
        "requests_per_cpu_s": served.report.requests["completed"] / hour_s,
        "steps_per_cpu_s": steps / hour_s,
        "simulated_over_cpu_s": served.report.span_s / hour_s,
        "ready_cpu_s": ready_s,
        "peak_MB": hour_MB,
        "long_run_requests": long_run.requests,
        "long_run_requests_per_cpu_s": long_run.requests / long_s,
        "long_run_peak_MB": _peak_MB(),
        "long_run_more_MB": _peak_MB() - long_run.settled_MB,
        "long_run_file_MB": long_run.file_MB,
        "step_time_mean_error": served.report.surfaces[0]["mean_error"],
    }
