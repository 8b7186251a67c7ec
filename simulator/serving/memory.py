"""The memory of a run: lays everything out in one array, and finds it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from simulator.core.errors import InputError
from simulator.serving import layout
from simulator.serving.cluster import ROUTERS, Cluster, Server
from simulator.serving.tables import Memory, blank

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from simulator.serving.requests import Requests

    Integers = NDArray[np.int64]
    Floats = NDArray[np.float64]

Word = TypeVar("Word", bound="np.generic")

__all__ = ["ARRIVALS", "Memory", "load_arrivals", "new_memory", "region", "with_slots", "with_turns"]

#: Arrivals handed over at a time.
ARRIVALS = 16384

_SLOTS = 1024  # and as many words of turns, room for the longest conversation
_RESULTS = 8192
_NODES = 16384  # most prefixes that one server remembers
_ROLES = {"prefill": 1, "decode": 2, "both": 3}
_UNBOUNDED = 1 << 40
_FIRST_BIN_S = 1.0 / 16.0
_MOST_WORDS = 1 << 28  # some hundreds of servers that remember as many prefixes as they may


def region(array: NDArray[Word], at: int, rows: int, columns: int) -> NDArray[Word]:
    """Return a table that lies at ``at``; writing to it writes to memory."""
    return array[at : at + rows * columns].reshape(rows, columns)


def new_memory(cluster: Cluster, kinds: tuple[Server, ...], tables: tuple[Memory, ...], log_steps: int) -> Memory:
    """Return the memory of a cluster at time 0, without settings of the run."""
    servers = cluster.servers
    remembered = [min(s.blocks + s.host_blocks, _NODES) if s.prefix_cache else 0 for s, _ in servers]
    hashed = [1 << (2 * most).bit_length() if most else 1 for most in remembered]
    sizes = {
        "header": layout.HEADER,
        "tables": sum(table.n.size for table in tables),
        "servers": len(servers) * layout.SERVER_SIZE,
        "lists": sum(s.sequences + 1 for s, _ in servers),
        "nodes": sum(remembered) * layout.NODE_SIZE,
        "hash": sum(hashed),
        "rings": len(servers) * 2 * _transfers(cluster),
        "faults": (len(cluster.faults) + 1) * layout.FAULT_SIZE,
        "arrivals": ARRIVALS * layout.ARRIVAL_SIZE,
        "results": (_RESULTS + max(s.sequences for s, _ in servers) + 2) * layout.RESULT_SIZE,
        "log": log_steps * layout.LOG_SIZE,
        "series": layout.SERIES_BINS * layout.SERIES_SIZE,
        "gaps": layout.FINE_BINS,
    }
    places, at = {}, 0
    for name, size in sizes.items():
        places[name], at = at, at + size
    if at > _MOST_WORDS:
        raise InputError(
            f"{len(servers)} servers of {max(s.sequences for s, _ in servers)} sequences take {8 * at / 1e9:.3g} GB "
            f"for queues, transfers and prefixes, above {8 * _MOST_WORDS / 1e9:.3g} GB: fewer servers (--replicas, "
            "--prefill, --decode), fewer --sequences, or --no-prefix-cache"
        )
    memory = blank(at)
    n = memory.n
    n[layout.SLOTS_AT] = at
    for field, name in (
        (layout.SERVERS_AT, "servers"),
        (layout.FAULTS_AT, "faults"),
        (layout.ARRIVALS_AT, "arrivals"),
        (layout.RESULTS_AT, "results"),
        (layout.LOG_AT, "log"),
        (layout.SERIES_AT, "series"),
        (layout.GAPS_AT, "gaps"),
    ):
        n[field] = places[name]
    n[layout.SERVER_COUNT], n[layout.LOG_ROOM] = len(servers), log_steps
    n[layout.RESULT_ROOM] = sizes["results"] // layout.RESULT_SIZE
    n[layout.ROUTER], n[layout.SPILL] = ROUTERS.index(cluster.router), cluster.spill_tokens
    n[layout.SHARDS] = 1
    n[layout.MOST_CONTEXT] = cluster.max_context or _UNBOUNDED
    n[layout.FREE_SLOT] = n[layout.FREE_TURN] = n[layout.THINKING] = -1
    memory.y[layout.BIN_S] = _FIRST_BIN_S
    table_at = {}
    for kind, table in zip(kinds, tables, strict=True):
        table_at[kinds.index(kind)] = places["tables"]
        n[places["tables"] : places["tables"] + table.n.size] = table.n
        places["tables"] += table.n.size
    for row, (server, role) in enumerate(servers):
        at = places["servers"] + row * layout.SERVER_SIZE
        _fill_server(memory, at, server)
        n[at + layout.ROLE] = _ROLES[role] | (layout.LENDS if cluster.lend and role != "both" else 0)
        n[at + layout.TABLES] = table_at[kinds.index(server)]
        n[at + layout.LIST] = places["lists"]
        places["lists"] += server.sequences + 1
        n[at + layout.TABLE], n[at + layout.TABLE_MASK] = places["hash"], hashed[row] - 1
        n[places["hash"] : places["hash"] + hashed[row]] = -1
        places["hash"] += hashed[row]
        n[at + layout.SENT_RING], n[at + layout.SENT_SIZE] = places["rings"], _transfers(cluster)
        places["rings"] += 2 * _transfers(cluster)
        n[at + layout.FREE_NODE] = _chain(n, places["nodes"], remembered[row], layout.NODE_SIZE, layout.YOUNGER, -1)
        places["nodes"] += remembered[row] * layout.NODE_SIZE
    faults = sorted(cluster.faults, key=lambda fault: fault.time_s)
    n[layout.FAULT_COUNT] = len(faults)
    for row, fault in enumerate(faults):
        at = places["faults"] + row * layout.FAULT_SIZE
        memory.y[at : at + layout.FAULT_SIZE] = fault.time_s, fault.server, fault.factor
    return with_slots(memory)


def _transfers(cluster: Cluster) -> int:
    """Return the room for transfers on one link: more than all servers together can run."""
    if all(role == "both" for _, role in cluster.servers):
        return 1
    return 2 * sum(server.sequences for server, _ in cluster.servers) + 16


def _chain(n: Integers, at: int, count: int, size: int, field: int, last: int) -> int:
    """Link free records to a list that ends with ``last``; return its first, or ``last`` where there are none."""
    import numpy as np

    if count == 0:
        return last
    handles = at + size * np.arange(count)
    n[handles + field] = np.append(handles[1:], last)
    return at


def with_slots(memory: Memory) -> Memory:
    """Return the memory with more slots, on the list of free ones."""
    larger, _ = _grown(memory, layout.SLOT_SIZE, layout.BEHIND, layout.FREE_SLOT)
    return larger


def with_turns(memory: Memory) -> Memory:
    """Return the memory with more room for turns to come, on the list of what is free."""
    larger, more = _grown(memory, layout.TURN_SIZE, layout.T_NEXT, layout.FREE_TURN)
    larger.n[layout.FREE_TURNS] += more
    larger.n[layout.TURNS] += more
    return larger


def _grown(memory: Memory, size: int, link: int, free: int) -> tuple[Memory, int]:
    """Return the memory with its end twice as long, and how many free records of ``size`` words there are more."""
    old = memory.n.size
    more = max(old - int(memory.n[layout.SLOTS_AT]), _SLOTS * layout.SLOT_SIZE) // size
    larger = blank(old + more * size)
    larger.n[:old] = memory.n
    larger.n[free] = _chain(larger.n, old, more, size, link, int(larger.n[free]))
    return larger, more


def load_arrivals(memory: Memory, requests: Requests) -> None:
    """Hand the next requests over, at most ``ARRIVALS``."""
    at, count = int(memory.n[layout.ARRIVALS_AT]), len(requests)
    rows = region(memory.n, at, count, layout.ARRIVAL_SIZE)
    rows[:, 1:] = requests.columns
    region(memory.y, at, count, layout.ARRIVAL_SIZE)[:, 0] = requests.arrival_s
    memory.n[layout.ARRIVAL_COUNT], memory.n[layout.TAKEN] = count, 0


def _fill_server(memory: Memory, at: int, server: Server) -> None:
    """Write one server's settings into its record."""
    policy = server.policy
    limit = _UNBOUNDED if server.queue_limit is None else server.queue_limit
    for field, value in (
        (layout.SEQUENCES, server.sequences),
        (layout.BUDGET, server.step_budget),
        (layout.PAGE, server.page_tokens),
        (layout.CAPACITY, server.blocks),
        (layout.FREE, server.blocks),
        (layout.HOST_CAPACITY, server.host_blocks),
        (layout.HOST_FREE, server.host_blocks),
        (layout.CHUNKED, policy.chunked),
        (layout.MIXED, policy.mixed),
        (layout.RESERVE, policy.reserve),
        (layout.HOLD, policy.hold),
        (layout.SWAP, server.swap),
        (layout.CACHING, server.prefix_cache),
        (layout.QUERIES, server.queries),
        (layout.OVERLAP, server.overlap_layers),
        (layout.QUEUE_LIMIT, limit),
        (layout.LOOK_EVERY, server.look_every),
        (layout.ASYNC, server.async_host),
    ):
        memory.n[at + field] = value
    nowhere = (layout.OLDEST, layout.NEWEST, layout.HOST_OLDEST, layout.HOST_NEWEST)
    for field in (*nowhere, layout.FREE_NODE):
        memory.n[at + field] = -1
    memory.n[at + layout.HEAD : at + layout.TAIL + layout.PRIORITIES] = -1
    for field, number in (
        (layout.NEXT_AT, layout.NEVER),
        (layout.SENT_NEXT, layout.NEVER),
        (layout.SLOW, 1.0),
        (layout.IDLE_W, server.idle_W),
        (layout.COPY_LATENCY, server.host_link.latency_s),
        (layout.COPY_RATE, server.host_link.bandwidth_Bps),
        (layout.LINK_LATENCY, server.link.latency_s),
        (layout.LINK_RATE, server.link.bandwidth_Bps),
        (layout.BLOCK_B, server.block_host_B),
        (layout.BLOCK_LINK_B, server.block_B),
        (layout.HOST_STEP, server.host_step_s),
        (layout.HOST_SEQUENCE, server.host_sequence_s),
        (layout.INGEST, server.ingest_s),
        (layout.INGEST_TOKEN, server.ingest_token_s),
        (layout.STREAM, server.stream_s),
    ):
        memory.y[at + field] = number
