"""How fast serving is: an hour of a cluster of eight, memory, and what looking step times up costs in accuracy."""

from __future__ import annotations

import resource
import time
from pathlib import Path

from simulator.core.data import resolve_data
from simulator.core.errors import DataMissingError
from simulator.serving.arrivals import Stream
from simulator.serving.lengths import Distribution, ShapedLengths
from simulator.serving.requests import Source
from simulator.serving.serve import Deployment, Load, deploy, serve
from simulator.serving.trace_file import Trace, read_trace

__all__ = ["serve_rates"]

_TRACE = "azure_llm_conv_2023.csv"
#: Stands for the trace where that is missing: its number, rate and medians (README of the data set), log-normal.
_LIKE_THE_TRACE = ShapedLengths(Distribution(1020, 14_000, 0.9), Distribution(129, 1_000, 0.9))
_COUNT, _RATE = 19_366, 5.53
_LONG = 100_000  # requests of the run that shows constant memory


def _hour() -> tuple[str, Source]:
    try:
        return _TRACE, Trace(read_trace(Path(resolve_data(_TRACE))))
    except DataMissingError:
        return "made up like the Azure conversation trace", Stream(lengths=_LIKE_THE_TRACE, rate=_RATE, count=_COUNT)


def _peak_MB() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6  # Linux counts in KiB


def serve_rates(requests: int = _LONG) -> dict[str, float | int | str]:
    """Serve the Azure conversation hour on eight GPUs, paged and with chunked prompts, and a long stream.

    Times are processor seconds of this process; the first figure leaves out compiling and tabulating step times, which
    stand beside it.
    """
    start = time.process_time()
    name, source = _hour()
    deployed = deploy("llama-3.1-8b", "h100x8", Deployment(tp=1), source)
    serve(deployed, Load(source=Stream(lengths=_LIKE_THE_TRACE, rate=1.0, count=8)))
    ready_s = time.process_time() - start
    start = time.process_time()
    served = serve(deployed, Load(source=source))
    hour_s = time.process_time() - start
    before_MB = _peak_MB()
    start = time.process_time()
    stream = Stream(lengths=_LIKE_THE_TRACE, rate=8 * _RATE, count=requests)
    long_run = serve(deployed, Load(source=stream))
    long_s = time.process_time() - start
    steps = sum(int(server["steps"]) for server in served.report.servers)
    return {
        "requests_from": name,
        "requests": served.report.requests["completed"],
        "requests_per_cpu_s": served.report.requests["completed"] / hour_s,
        "steps_per_cpu_s": steps / hour_s,
        "simulated_over_cpu_s": served.report.span_s / hour_s,
        "ready_cpu_s": ready_s,
        "peak_MB": before_MB,
        "long_run_requests": long_run.report.requests["completed"],
        "long_run_requests_per_cpu_s": long_run.report.requests["completed"] / long_s,
        "long_run_more_MB": _peak_MB() - before_MB,
        "step_time_mean_error": served.report.surfaces[0]["mean_error"],
    }
