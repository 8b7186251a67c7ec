"""How the state of a serving run lies in memory: compiled code reads these names as constants.

All state is one array of 64-bit words, seen as whole numbers (``n``) and as floats (``y``). A *handle* of a server, a
request's slot or a prefix node is the place where its record begins: ``n[server + FREE]`` is a whole number of a
server, ``y[slot + READY]`` a time of a request. One array of fixed type keeps compiled functions quick to compile and
to call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:

    class Integers(Protocol):
        """Memory as whole numbers."""

        def __getitem__(self, at: int, /) -> int: ...
        def __setitem__(self, at: int | slice, value: int, /) -> None: ...

    class Floats(Protocol):
        """Memory as floats."""

        def __getitem__(self, at: int, /) -> float: ...
        def __setitem__(self, at: int | slice, value: float, /) -> None: ...
else:
    Integers = Floats = Any

__all__ = ["Floats", "Integers"]

#: Later than anything that happens.
NEVER = 1e300

#: From here on keys of sessions are those of single requests that were preempted.
LONE = 1 << 40

#: Classes of priority, 0 the most urgent; each has a queue of its own.
PRIORITIES = 8

# The first words: where everything lies, settings of the cluster, what changes, counters.
(
    SERVERS_AT,
    SERVER_COUNT,
    SLOTS_AT,  # at the end, with the turns to come, so that there may be more of either
    FAULTS_AT,
    FAULT_COUNT,
    ARRIVALS_AT,
    ARRIVAL_COUNT,
    RESULTS_AT,
    RESULT_ROOM,  # rows
    LOG_AT,
    LOG_ROOM,  # rows
    SERIES_AT,
    GAPS_AT,
    ROUTER,
    SPILL,  # prompt tokens waiting before servers that do both help
    CONCURRENCY,  # closed loop: conversations in the system; 0: they come when they come
    DEBUG,
    SEED,
    MOST_CONTEXT,
    TURN,  # round robin
    SHARD,  # of the servers this run has those whose index leaves this rest,
    SHARDS,  # divided by this
    TAKEN,  # of the arrivals given
    NUMBERED,  # requests so far
    INSIDE,  # conversations in the system
    FREE_SLOT,
    FREE_TURN,
    FREE_TURNS,  # how many, of
    TURNS,
    THINKING,  # the conversation whose next turn comes first, of those between two turns
    THINKERS,  # how many
    UNASKED,  # turns that never came, because one before them was turned away
    WRITTEN,  # rows of results
    LOGGED,
    FAULT,  # the next one
    BROKEN,  # what check found
    ABORTED,  # steps cut short
    RETURNED,  # requests sent to another server after a failure
    REJECTED,
    COMPLETED,
    NOW,  # from here on times
    BIN_S,
    LAST_TOKEN,
    OPENED,  # when the closed loop last had room
    HEADER,
) = range(45)

# An arrival: its time (of a turn that follows: seconds after the last token of the one before), then whole numbers.
A_TIME, A_INPUT, A_OUTPUT, A_PRIORITY, A_SESSION, A_GROUP, A_GROUP_TOKENS, A_FOLLOWS, ARRIVAL_SIZE = range(9)

# A turn to come of a conversation whose slot holds an earlier one.
T_NEXT, T_INPUT, T_OUTPUT, T_THINK, TURN_SIZE = range(5)

# A slot: a request in the system, or a conversation between two.
(
    NUMBER,  # of the request, from 0 in order of arrival
    INPUT,
    OUTPUT,
    PRIORITY,
    SESSION,  # key of the conversation whose tokens it goes on with; -1: none
    GROUP,  # key of the prefix it shares with others; -1: none
    GROUP_TOKENS,
    DONE,  # tokens whose keys and values exist
    MADE,  # tokens generated
    OWN,  # blocks of the cache that are its own
    LENT,  # blocks of the prefix cache that it uses in front of its own
    GROUP_NODE,
    SESSION_NODE,
    AWAY,  # blocks that lie in host memory, swapped out
    SERVER,
    SOURCE,  # the server that still holds its blocks for a transfer; -1: none
    SOURCE_BLOCKS,  # of the whole prompt, to be moved
    SOURCE_OWN,  # of those, what its own blocks are and only then free again
    NEW,  # tokens it brings to the step being run
    HITS,  # prompt tokens found in the prefix cache
    PREEMPTED,
    FIRST_SERVER,
    NEXT_TURN,  # of its conversation; -1: none
    BEHIND,  # neighbours in the queue; while thinking, the conversations below it in the heap
    AHEAD,
    ARRIVED,  # from here on times
    QUEUED,
    SCHEDULED,
    FIRST,
    LAST,
    READY,  # when what it waits for is there: its blocks, or its next turn
    PROMPT_S,  # time of the steps with its prompt
    GAPS,  # counts of gaps between its tokens by bin, two to a word
) = range(33)
GAP_BINS = 96
SLOT_SIZE = GAPS + GAP_BINS // 2

#: Bins of the gaps of one request: 4 per factor of two (19 % wide) from 10 us on; of all requests together: 40.
GAP_LEAST_S = 1e-5
GAP_PER_OCTAVE = 4
FINE_BINS = 1024
FINE_PER_OCTAVE = 40

# A server: whole numbers, settings first.
(
    ROLE,  # bits: 1 prompts, 2 generation, LENDS, MOVED
    TABLES,  # where its step-time tables lie
    LIST,  # where its list of running requests lies
    TABLE,  # where its hash table of prefixes lies
    TABLE_MASK,
    SEQUENCES,  # most in a step
    BUDGET,  # tokens of a step
    PAGE,
    CAPACITY,  # blocks
    HOST_CAPACITY,  # blocks
    CHUNKED,
    MIXED,
    RESERVE,
    HOLD,
    SWAP,
    CACHING,
    QUERIES,  # tokens a generating sequence brings to a step: 1, or the draft and one
    OVERLAP,  # layers after which a transfer may start; 0: when the prompt is done
    QUEUE_LIMIT,
    LOOK_EVERY,  # generating steps from one look for new requests to the next
    SINCE_LOOK,
    ASYNC,  # 1: the host prepares the next step while the device runs
    FREE,  # blocks
    EVICTABLE,  # blocks of the prefix cache that nobody uses
    HELD,  # blocks that wait for a transfer to end
    HOST_FREE,
    RUNNING,
    WAITING,
    PENDING,  # prompt tokens not computed yet
    BUSY,  # whether a step runs
    OLDEST,  # ends of the list of evictable nodes, and of those that lie in host memory only
    NEWEST,
    HOST_OLDEST,
    HOST_NEWEST,
    FREE_NODE,
    SENT_RING,  # transfers on its link in order: where they lie, how many there is room for, the first, how many
    SENT_SIZE,
    SENT_FIRST,
    SENT_COUNT,
    PLACES,  # of a static batch
    STEPS,
    MIXED_STEPS,
    PREEMPTIONS,
    LOOKED_UP,
    FOUND,
    FOUND_AWAY,
    EVICTED,
    PROMPT_TOKENS,
    MADE_TOKENS,
    SEQUENCE_STEPS,  # sum of the sequences over steps
    PEAK_BLOCKS,
    HEAD,  # of the queues, one per class of priority
) = range(52)
TAIL = HEAD + PRIORITIES
# Then seconds, watts and joules.
(
    NEXT_AT,  # when something happens by itself
    SENT_NEXT,  # when the first of its transfers ends
    STARTED,
    STEP_S,
    STEP_J,
    SLOW,  # factor on every step; 0: the server is down
    IDLE_W,
    COPY_LATENCY,  # host link
    COPY_RATE,
    COPY_FREE,
    LINK_LATENCY,  # to other servers
    LINK_RATE,
    LINK_FREE,
    BLOCK_B,  # bytes of a block of the cache on one device, as its host link sees it
    BLOCK_LINK_B,  # bytes of a block on all devices
    IDLE_SINCE,
    BUSY_S,
    ENERGY,
    HOST_STEP,
    HOST_SEQUENCE,
    INGEST,  # from arrival to the queue: per request, and per token of its prompt
    INGEST_TOKEN,
    STREAM,  # from the end of a step to the client
    LOOKED,  # when it last looked for new requests
    SERVER_SIZE,
) = range(TAIL + PRIORITIES, TAIL + PRIORITIES + 25)

# A prefix node: a run of blocks in the prefix cache.
KEY, RESIDENT, HOSTED, USERS, OLDER, YOUNGER, NODE_SIZE = range(7)

# Step-time tables of one kind of server. Each axis: its length, and where it lies behind the start; each table: where.
(
    BATCH_SIZE,
    BATCH_AT,
    CONTEXT_SIZE,
    CONTEXT_AT,
    PROMPT_SIZE,
    PROMPT_AT,
    KEYS_SIZE,
    KEYS_AT,
    FEW_SIZE,
    FEW_AT,
    CHUNK_SIZE,
    CHUNK_AT,
    HELD_SIZE,
    HELD_AT,
    TOKENS_SIZE,  # 0: every step takes what is expected of it
    TOKENS_AT,
    DECODE_AT,  # (2, batch, context): seconds and joules
    PREFILL_AT,  # (2, prompt, keys)
    FRESH_AT,  # (2, prompt, keys), where nothing is cached yet; 0: as the other
    SAVING_AT,  # (2, held, few, chunk): what a mixed step takes less than its halves
    UNEVEN_AT,  # (tokens): seconds that one standard deviation of the experts' load adds
    PADDED_SIZE,
    PADDED_AT,  # the sequences that a step of so many is run with
    ACCEPTED_AT,  # probability that a step yields at most n tokens per sequence
    TABLE_HEADER,
) = range(25)

# A row of results.
(
    R_NUMBER,
    R_ARRIVED,
    R_QUEUED,
    R_SCHEDULED,
    R_FIRST,
    R_LAST,
    R_INPUT,
    R_OUTPUT,
    R_GAP_P50,
    R_GAP_P90,
    R_GAP_P99,
    R_GAP_MAX,
    R_HITS,
    R_PREEMPTED,
    R_FIRST_SERVER,
    R_SERVER,
    R_STATUS,
    R_PRIORITY,
    R_SESSION,
    RESULT_SIZE,
) = range(20)

# Outcomes of a request.
COMPLETED_OK, TOO_LONG_FOR_MEMORY, TOO_LONG_FOR_MODEL, QUEUE_FULL = range(4)

# A row of the log: one step.
L_SERVER, L_START, L_TIME, L_DECODING, L_CONTEXT, L_PROMPT, L_PAIRS, L_ENERGY, LOG_SIZE = range(9)

# A bin of the series over time: sums over servers.
S_ENERGY, S_MADE, S_PROMPT, S_RUNNING, S_WAITING, S_BLOCKS, S_BUSY, S_ARRIVED, SERIES_SIZE = range(9)
SERIES_BINS = 2048

# A fault.
F_TIME, F_SERVER, F_FACTOR, FAULT_SIZE = range(4)

#: Of a role: may leave its pool to do both where the other is loaded; has left it.
LENDS, MOVED = 4, 8

# Ways to choose a server.
ROUND_ROBIN, SHORTEST_QUEUE, FEWEST_TOKENS, LEAST_KV, PREFIX = range(5)

# Why the loop returned.
ENDED, WANTS_ARRIVALS, WANTS_SLOTS, WANTS_TURNS, WANTS_ROOM, INCONSISTENT = range(6)
