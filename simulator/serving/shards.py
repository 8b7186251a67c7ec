"""Servers that do not hear of each other, simulated apart: in other processes, or on other machines.

Where requests are dealt out in turn, which server a request goes to is known without looking at any of them. A shard
runs every n-th server: it sees all requests, as to number them and draw what is random by their number, and drops those
that go elsewhere. What its servers do is then what they do beside the others, bit for bit.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.core.errors import InputError
from simulator.serving import layout
from simulator.serving.memory import Memory, new_memory, region
from simulator.serving.output import RequestWriter, join_requests
from simulator.serving.requests import FOLLOWS, Requests, Source
from simulator.serving.run import ClusterRun, advance, conclude
from simulator.serving.serve import Deployed, Load, Served, report_of
from simulator.serving.tally import Slo, Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from simulator.serving.cluster import Cluster

__all__ = ["check_apart", "serve_apart"]


@dataclass(frozen=True, slots=True)
class _Shard:
    """What a worker is sent: memory at time 0, requests, and where to write them down."""

    words: NDArray[np.int64]
    source: Source
    slo: Slo
    part: Path | None


@dataclass(frozen=True, slots=True)
class _Lone:
    """Requests none of which waits for another."""

    source: Source

    @property
    def mean_tokens(self) -> float:
        """As of the source."""
        return self.source.mean_tokens

    @property
    def longest_tokens(self) -> int:
        """As of the source."""
        return self.source.longest_tokens

    def chunks(self) -> Iterator[Requests]:
        """Yield requests; refuse turns of a conversation."""
        for chunk in self.source.chunks():
            if chunk.columns[:, FOLLOWS].any():
                raise InputError(
                    "the turns of a conversation wait for each other, so that servers are not independent: "
                    "leave --turns out, or serve in one process (--engine serial)"
                )
            yield chunk


def check_apart(cluster: Cluster, concurrency: int = 0) -> None:
    """Refuse clusters whose servers hear of each other.

    Raises
    ------
    InputError
        If the router looks at the servers, they do not all do everything, have queues that may be full, fail, or there
        is a closed loop.
    """
    roles = {role for _, role in cluster.servers}
    rules = (
        (cluster.router != "round-robin", f"the router {cluster.router} looks at them: choose --router round-robin"),
        (roles != {"both"}, "prompts and generation are apart: leave --prefill and --decode out"),
        (concurrency > 0, "a closed loop waits for answers of any of them: give --rate or --trace"),
        (len(cluster.faults) > 0, "what a failed one leaves behind goes to others: leave --fault out"),
        (any(s.queue_limit is not None for s, _ in cluster.servers), "a request is turned away where queues are full"),
    )
    for broken, why in rules:
        if broken:
            raise InputError(f"servers are simulated apart only where they are independent: {why}; or --engine serial")


def serve_apart(
    deployed: Deployed,
    load: Load,
    executor: Executor,
    shards: int,
    *,
    debug: bool = False,
    requests_out: Path | None = None,
    command: Sequence[str] = (),
) -> Served:
    """Serve a load by servers that are simulated apart; requests, metrics and energy are those of :func:`serve`.

    Sums over all servers may differ in their last digits, since they are added up in another order.

    Parameters
    ----------
    deployed, load, debug, command
        As of :func:`simulator.serving.serve.serve`.
    executor, shards
        Where shards run, and into how many the servers are divided, at most.
    requests_out
        A Parquet file for the requests, shard by shard.

    Raises
    ------
    InputError
        If the servers are not independent, see :func:`check_apart`.
    """
    cluster = deployed.prepared.cluster
    check_apart(cluster, load.concurrency)
    shards = max(min(shards, len(cluster.servers)), 1)
    memory = new_memory(cluster, deployed.prepared.kinds, deployed.prepared.tables, 0)
    memory.n[layout.SEED], memory.n[layout.DEBUG], memory.n[layout.SHARDS] = load.seed, debug, shards
    folder = None if requests_out is None else requests_out.absolute().parent
    with tempfile.TemporaryDirectory(dir=folder, prefix=".shards-") as parts_in:
        parts = [None if folder is None else Path(parts_in) / f"{shard}.parquet" for shard in range(shards)]
        futures = []
        for shard, part in enumerate(parts):
            words = memory.n.copy()
            words[layout.SHARD] = shard
            futures.append(executor.submit(_serve, _Shard(words, _Lone(load.source), load.slo, part)))
        done = [future.result() for future in futures]
        if requests_out is not None:
            join_requests([part for part in parts if part is not None], requests_out)
    tally = Tally(load.slo)
    for _, other in done:
        tally.merge(other)
    run = _together(deployed, [Memory(words, words.view("float64")) for words, _ in done])
    return report_of(deployed, load, run, tally, command)


def _serve(shard: _Shard) -> tuple[NDArray[np.int64], Tally]:
    """Run one shard, in a worker; return its memory and what its requests came to."""
    tally = Tally(shard.slo)
    memory = Memory(shard.words, shard.words.view("float64"))
    if shard.part is None:
        return advance(memory, shard.source, on_finished=tally.add).n, tally
    with RequestWriter(shard.part) as writer:

        def finished(rows: NDArray[np.float64]) -> None:
            tally.add(rows)
            writer.add(rows)

        return advance(memory, shard.source, on_finished=finished).n, tally


def _together(deployed: Deployed, shards: Sequence[Memory]) -> ClusterRun:
    """Put the servers of all shards into the memory of the first, and end the run there."""
    n, y = whole = shards[0]
    servers = [
        region(m.n, int(m.n[layout.SERVERS_AT]), int(n[layout.SERVER_COUNT]), layout.SERVER_SIZE) for m in shards
    ]
    bin_s = max(float(m.y[layout.BIN_S]) for m in shards)
    _series(whole)[:] = sum(_binned(m, bin_s) for m in shards)
    y[layout.BIN_S], y[layout.LAST_TOKEN] = bin_s, max(m.y[layout.LAST_TOKEN] for m in shards)
    gaps = slice(int(n[layout.GAPS_AT]), int(n[layout.GAPS_AT]) + layout.FINE_BINS)
    for shard, other in enumerate(shards[1:], 1):
        servers[0][shard :: len(shards)] = servers[shard][shard :: len(shards)]
        n[gaps] += other.n[gaps]
        n[layout.COMPLETED] += other.n[layout.COMPLETED]
    return conclude(deployed.prepared, whole)


def _series(memory: Memory) -> NDArray[np.float64]:
    return region(memory.y, int(memory.n[layout.SERIES_AT]), layout.SERIES_BINS, layout.SERIES_SIZE)


def _binned(memory: Memory, bin_s: float) -> NDArray[np.float64]:
    """Return the series over time in bins of a width that is some doublings of its own."""
    import numpy as np

    series, width = _series(memory).copy(), float(memory.y[layout.BIN_S])
    while width < bin_s:
        series = np.concatenate([series[::2] + series[1::2], np.zeros_like(series[::2])])
        width *= 2.0
    return series
