"""Run a cluster: set its arrays up, feed arrivals, collect what has finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from simulator.core.errors import InputError, RidgelineError
from simulator.serving.cluster import Cluster, Server
from simulator.serving.memory import (
    ARRIVALS,
    Memory,
    load_arrivals,
    new_memory,
    region,
    with_slots,
    with_turns,
)
from simulator.serving.requests import FOLLOWS, Requests, Source
from simulator.serving.surface import Limits, StepCost, StepSurface, build_surface, tabulate_uneven
from simulator.serving.tables import pack
from workloads.step import Step

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["ClusterRun", "InvariantError", "Prepared", "advance", "conclude", "prepare", "run_cluster"]

_MOST_STEP_TOKENS = 1 << 17  # of prompts that run whole, for the grid of step times


class InvariantError(RidgelineError):
    """A rule that must always hold was broken: a defect of the simulator, found in debug runs."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A cluster with its step-time tables, to be run at several rates."""

    cluster: Cluster
    kinds: tuple[Server, ...]
    surfaces: tuple[StepSurface, ...]
    tables: tuple[Memory, ...]


@dataclass(frozen=True, slots=True)
class ClusterRun:
    """What is known at the end of a run, beside what was handed out per request."""

    prepared: Prepared
    end_s: float  # of the last step
    counts: NDArray[np.int64]  # records of the servers, as whole numbers and as floats: columns as in ``layout``
    amounts: Floats
    series: Floats
    bin_s: float
    gaps: NDArray[np.int64]
    arrived: int
    completed: int
    rejected: int
    unasked: int  # turns that never came, because one before them was rejected
    returned: int
    aborted: int
    log: Floats  # rows of steps, where asked for
    steps_logged: int  # all of them; more than rows: there was no room


def prepare(cluster: Cluster, longest_tokens: int, tell: Callable[[str], None] = lambda line: None) -> Prepared:
    """Tabulate step times of every kind of server.

    Parameters
    ----------
    longest_tokens
        The longest request; the tables cover its context.
    tell
        Called with a line for each step that is costed.
    """
    kinds: list[Server] = []
    for server, _ in cluster.servers:
        if server not in kinds:
            kinds.append(server)
    room = max(kind.blocks * kind.page_tokens for kind in kinds)
    context = max(min(longest_tokens, room, cluster.max_context or room), 16)
    surfaces: list[StepSurface] = []
    tables: list[Memory] = []
    for kind in kinds:
        limits = Limits(
            sequences=kind.sequences,
            prompt_tokens=_prompt_tokens(kind, context),
            context=context,
            captured=kind.captured,
        )
        surfaces.append(build_surface(_told(kind, tell), limits, queries=kind.queries))
        accepted = None if kind.speculation is None else kind.speculation.shares
        uneven = None if kind.uneven is None else tabulate_uneven(kind.uneven, limits, kind.queries)
        tables.append(pack(surfaces[-1].grid, accepted, uneven))
    return Prepared(cluster, tuple(kinds), tuple(surfaces), tuple(tables))


def _told(kind: Server, tell: Callable[[str], None]) -> StepCost:
    """Return the cost of a step, said to be under way."""
    number = count(1)

    def cost(step: Step) -> tuple[float, float]:
        tell(f"{kind.name}: step times, {next(number)} so far")
        return kind.cost(step)

    return cost


def _prompt_tokens(server: Server, context: int) -> int:
    """Return the most prompt tokens of one step."""
    if server.policy.chunked:
        return server.step_budget
    return min(max(min(server.step_budget, context * server.sequences), context), _MOST_STEP_TOKENS)


def run_cluster(
    prepared: Prepared,
    source: Source,
    *,
    seed: int = 0,
    concurrency: int = 0,
    until_s: float = 1e300,
    debug: bool = False,
    log_steps: int = 0,
    on_finished: Callable[[Floats], None] | None = None,
) -> ClusterRun:
    """Serve a source of requests.

    Parameters
    ----------
    prepared, source
        The cluster and what it is asked.
    concurrency
        Closed loop: so many requests (or conversations) are in the system at any time, whatever their arrival times;
        0: they come when they come.
    until_s
        Stop at this time, whatever is left.
    debug
        Check after every event that nothing was lost and no limit passed.
    log_steps
        Keep the make-up of the first so many steps.
    on_finished
        Called with rows of finished requests (columns ``layout.R_NUMBER`` ...) as they are done; memory does not grow
        with the number of requests.

    Raises
    ------
    InvariantError
        If a check fails.
    """
    from simulator.serving import layout

    memory = new_memory(prepared.cluster, prepared.kinds, prepared.tables, log_steps)
    memory.n[layout.SEED], memory.n[layout.CONCURRENCY], memory.n[layout.DEBUG] = seed, concurrency, debug
    return conclude(prepared, advance(memory, source, until_s=until_s, on_finished=on_finished))


def advance(
    memory: Memory, source: Source, *, until_s: float = 1e300, on_finished: Callable[[Floats], None] | None = None
) -> Memory:
    """Run what lies in memory until everything is done; return it, which may have grown. See :func:`run_cluster`."""
    from simulator.serving import layout
    from simulator.serving.kernel_check import PROBLEMS
    from simulator.serving.kernel_run import run

    arrivals = _pieces(source)
    more = True
    while True:
        code = run(memory.n, memory.y, more, until_s)
        if code == layout.WANTS_ARRIVALS:
            piece = next(arrivals, None)
            more = piece is not None
            if piece is not None:
                load_arrivals(memory, piece)
        elif code == layout.WANTS_SLOTS:
            memory = with_slots(memory)
        elif code == layout.WANTS_TURNS:
            memory = with_turns(memory)
        else:
            written = int(memory.n[layout.WRITTEN])
            if on_finished is not None and written:
                on_finished(region(memory.y, int(memory.n[layout.RESULTS_AT]), written, layout.RESULT_SIZE))
            memory.n[layout.WRITTEN] = 0
            if code == layout.INCONSISTENT:
                broken = PROBLEMS[int(memory.n[layout.BROKEN])]
                raise InvariantError(f"at {memory.y[layout.NOW]:.6f} s: {broken}")
            if code == layout.ENDED:
                return memory


def _pieces(source: Source) -> Iterator[Requests]:
    """Yield requests in pieces that there is room for, each conversation in one."""
    import numpy as np

    for chunk in source.chunks():
        starts = np.append(np.flatnonzero(chunk.columns[:, FOLLOWS] == 0), len(chunk))
        first = 0
        while first < len(chunk):
            last = int(starts[np.searchsorted(starts, first + ARRIVALS, "right") - 1])
            if last == first:
                raise InputError(f"request {first} (from 0) begins a conversation of more than {ARRIVALS} turns")
            yield Requests(chunk.arrival_s[first:last], chunk.columns[first:last])
            first = last


def conclude(prepared: Prepared, memory: Memory) -> ClusterRun:
    """Let all servers wait until the end of the last step, and return what there is to know."""
    from simulator.serving import layout
    from simulator.serving.kernel_run import finish

    end_s = max(float(memory.y[layout.LAST_TOKEN]), 0.0)
    finish(memory.n, memory.y, end_s)
    n, y = memory
    count = int(n[layout.SERVER_COUNT])
    servers = int(n[layout.SERVERS_AT])
    logged = int(n[layout.LOGGED])
    gaps = int(n[layout.GAPS_AT])
    return ClusterRun(
        prepared=prepared,
        end_s=end_s,
        counts=region(n, servers, count, layout.SERVER_SIZE),
        amounts=region(y, servers, count, layout.SERVER_SIZE),
        series=region(y, int(n[layout.SERIES_AT]), layout.SERIES_BINS, layout.SERIES_SIZE),
        bin_s=float(y[layout.BIN_S]),
        gaps=n[gaps : gaps + layout.FINE_BINS],
        arrived=int(n[layout.NUMBERED]),
        completed=int(n[layout.COMPLETED]),
        rejected=int(n[layout.REJECTED]),
        unasked=int(n[layout.UNASKED]),
        returned=int(n[layout.RETURNED]),
        aborted=int(n[layout.ABORTED]),
        log=region(y, int(n[layout.LOG_AT]), min(logged, int(n[layout.LOG_ROOM])), layout.LOG_SIZE),
        steps_logged=logged,
    )
