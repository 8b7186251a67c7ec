"""Where shards are computed: in this process, in others, or on a Dask cluster. The results are the same.

Every engine is an executor as ``concurrent.futures`` has them and the number of shards to keep it busy with.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

from simulator.core.errors import InputError

__all__ = ["ENGINES", "Engine", "open_engine"]

_MOST_PER_CORE = 8  # processes: more only take memory

ENGINES = ("serial", "processes", "dask")


class Engine(NamedTuple):
    """An executor, and how many shards to give it at once."""

    executor: Executor
    width: int


class _Serial(Executor):
    """Runs each task when it is handed over."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run it now."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def open_engine(name: str, workers: int | None = None, address: str | None = None) -> Iterator[Engine]:
    """Open an engine and close it at the end.

    Parameters
    ----------
    name : {"serial", "processes", "dask"}
    workers : int, optional
        Processes; as many as there are cores where it is left out.
    address : str, optional
        Of a Dask scheduler; a cluster on this machine is started where it is left out.

    Raises
    ------
    InputError
        If the engine is not known or not installed.
    """
    count = workers if workers is not None else _cores()
    if not 1 <= count <= _MOST_PER_CORE * _cores():
        raise InputError(f"{count} workers: 1 to {_MOST_PER_CORE * _cores()} are started on {_cores()} cores")
    if address is not None and name != "dask":
        raise InputError(f"the engine {name!r} has no scheduler: choose dask, or leave the address out")
    if workers is not None and name == "serial":
        raise InputError("the serial engine has no workers: choose processes or dask, or leave the number out")
    if name == "serial":
        yield Engine(_Serial(), 1)
    elif name == "processes":
        with _processes(count) as executor:
            yield Engine(executor, 2 * count)
    elif name == "dask":
        with _dask(count, address) as engine:
            yield engine
    else:
        raise InputError(f"no engine is called {name!r}: known are {', '.join(ENGINES)}")


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _processes(count: int) -> Iterator[ProcessPoolExecutor]:
    import multiprocessing

    # Fresh processes, not copies: the thread pools of compiled libraries do not survive a fork.
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_leave_interrupts)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _leave_interrupts() -> None:
    """Let the parent answer Ctrl-C; its end ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _dask(count: int, address: str | None) -> Iterator[Engine]:
    try:
        distributed: Any = import_module("distributed")
    except ImportError:
        raise InputError("the engine dask needs the extra: pip install 'ridgeline[cluster]'") from None
    if address is not None:
        try:
            found = distributed.Client(address, timeout="10s")
        except (OSError, ValueError) as error:  # ValueError: no address of the form tcp://host:port
            raise InputError(f"no Dask scheduler answers at {address}: {error}") from None
        with found as client:
            yield Engine(client.get_executor(), 2 * max(len(client.scheduler_info()["workers"]), 1))
        return
    with (
        distributed.LocalCluster(
            n_workers=count, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield Engine(client.get_executor(), 2 * count)
