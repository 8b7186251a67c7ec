"""How the engine's state lies in arrays of whole numbers: compiled code reads these names as constants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]
else:
    Integers = Any

__all__ = ["State"]

#: Later than any tick of any run; no constraint added to it overflows.
NEVER = 1 << 60

#: A score is how long to wait and, in the bits below, an age: the smaller goes first. No wait is longer than 24 bits.
AGE_BITS = 38
FAR = 1 << 62


class State(NamedTuple):
    """The arrays that every function of the engine takes, each by its name.

    They are separate arguments there and not one record: taking an array out of a record counts its references, which
    costs more than most of these functions do.

    Attributes
    ----------
    r
        Numbers of the controller, ``SLOTS`` ... below: settings first, then what changes, then counters; behind them
        marks, the priority ring, refresh units, recent ticks of windows, and the trace.
    ready
        The tick from which on each key (a command at a node, see ``program``) may issue.
    starts, ranges
        The compiled constraint table.
    banks
        Per bank the columns ``ROW_OPEN`` ... below.
    entries
        Requests in the channel, ``BANK`` ... below. Those of a queue and bank are chained by age, and so are free ones.
    offers
        Per group those entries that may be next, ``KEY`` ... below.
    snapshots
        The state in normal form: now, and at the last checkpoint of each period; as ``kernel_steady`` lays it out.
    """

    r: Integers
    ready: Integers
    starts: Integers
    ranges: Integers
    banks: Integers
    entries: Integers
    offers: Integers
    snapshots: Integers


# Settings in r.
SLOTS, SCHEDULER, CAP, REFRESH, INTERVAL = 0, 1, 2, 3, 4
INJECT, HIGH, LOW, READ_LATENCY = 5, 6, 7, 8
CAPACITY = 9  # of reads; of writes in the next place
BANKS, UNITS, UNIT_BANKS, NEVER_KEY = 11, 12, 13, 14
ACT, PRE, RD, WR, RDA, WRA, REFPB, PREAB, REFAB = 15, 16, 17, 18, 19, 20, 21, 22, 23
SPLIT_TICKS, WAKE_READ, WAKE_WRITE = 24, 25, 26
TRACING, TRACE_AT, FORWARD, EVERY_TICK = 27, 28, 29, 30

# What changes.
NEXT, WRITING, REFRESH_AT, REFRESH_NODE = 32, 33, 34, 35
LENGTH = 36  # of reads; of writes in the next place
FREE = 38  # the first free entry
HEAD, QUEUED = 39, 40  # of the priority ring
EDGE, EDGE_CHANNEL, EDGE_BANK = 41, 42, 43  # half clocks: where the last row command restricts its partner, and how
HALF_BANK, HALF_DEADLINE, HALF_SLOT = 44, 45, 46  # the split activation under way: bank, last tick, entry
WAKE_SLOT, AWAKE_UNTIL = 47, 48  # the entry that the data clock was woken for, and until when it runs
COLUMN_AT = 49  # two buses: the last tick whose column command is out
BATCH_AT, BATCH_FIRST = 50, 51  # the last tick that took requests in, and the first of them

# Steady state, one place per period: the shorter and the longer.
PERIOD, CHECK_AT, CHECKED, CHECK_TICK, FAILURES = 86, 88, 90, 92, 94

# Counters, added up; END and LATENCY_MAX are maxima.
SERVED, END, LATENCY_MAX, LAST_INJECT, TRACED = 60, 61, 62, 63, 64
COUNTERS = 65  # from here on plain sums
HITS, MISSES, CONFLICTS, LATENCY_SUM, FORWARDED, COALESCED = 65, 66, 67, 68, 69, 70
N_ACT, N_PRE, N_RD, N_WR, N_RDA, N_WRA, N_REFPB, N_PREAB, N_REFAB, N_WAKE_RD, N_WAKE_WR = (
    71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81,
)  # fmt: skip
STEPS, SKIPPED = 82, 83  # turns of the loop; ticks passed over by steady state
COUNTERS_END = 82

# Per group: how many offers there are, how many of them were looked at, the soonest tick at which one can issue (-1: to
# be worked out anew), and whose that is.
SIZE, SEEN, SOONEST, WINNER, WINNER_AGE, WINNER_KEY = 96, 104, 112, 120, 128, 136

# Behind the numbers of the controller.
MARKS_AT, MARKS = 160, 1024  # how many buffered writes have a block of each hash; a power of two
RING_AT, RING = 1184, 8192  # keys of refreshes and precharges; a power of two that never fills
UNITS_AT, UNITS_MOST = 9376, 256  # per refresh unit the columns OPEN_BANKS ...
HISTORY_AT = 10400
BANKS_MOST = 4096  # each may have a precharge in the ring, beside the refreshes

# Columns of the constraint table.
FIRST, STOP, LATENCY, WINDOW, PLACE = 0, 1, 2, 3, 4

# Columns of bank and unit. Of the bank, per queue: the oldest and youngest entry, the oldest that hits the open row and
# the oldest that does not.
ROW_OPEN, ACTIVE, ACCESSES, CLOSING, UNIT, CHANNEL = 0, 1, 2, 3, 4, 5
OLDEST, YOUNGEST, HIT, MISS = 6, 8, 10, 12
BANK_COLUMNS = 16
OPEN_BANKS, UNIT_ACTIVE, OPEN_SINCE, OPEN_TICKS = 0, 1, 2, 3
CLOSED, OPENING = -1, -2

# Fields of an entry. BATCH: the first request taken in at the same tick. FLAG: 1 for a write, plus 2 once its row hit
# or miss is counted. AFTER, BEFORE: its chain. GROUP, SEAT: where it is offered.
BANK, ROW, REQUEST, BATCH, ARRIVED, FLAG, BLOCK, AFTER, BEFORE, GROUP, SEAT = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
FIELDS = 12
READS, WRITES = 0, 1

# Groups of offers: three per queue, and activated requests, which are in no queue any more. Columns of an offer.
COLUMNS, ROWS, CLOSES, GROUPS_PER_QUEUE = 0, 1, 2, 3
ACTIVES, GROUPS = 6, 7
KEY, AGE, SLOT = 0, 1, 2
OFFER_COLUMNS = 3

# What to issue: the next command of an entry, of the priority ring, the second half of an activation, a wake-up.
ENTRY, PRIORITY, SECOND_HALF, WAKE_UP = 0, 1, 2, 3

# Fields of a request.
R_BANK, R_ROW, R_WRITE, R_BLOCK, R_ARRIVAL = 0, 1, 2, 3, 4

# Values of settings.
SINGLE, DUAL, HALF, SPLIT = 0, 1, 2, 3
FR_FCFS, ROW_HIT, IN_ORDER = 0, 1, 2
ALL_BANK, PER_BANK = 1, 2
OPEN_PAGE = -1

# Commands by number, in the order of their first keys.
C_ACT, C_PRE, C_RD, C_RDA, C_REFPB, C_PREAB, C_REFAB = 0, 1, 2, 4, 6, 7, 8
