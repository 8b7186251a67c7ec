"""AttAcc's command programs: short ones written out, and attention as its trace generator lays it out.

One head lies on one channel. Scores: keys are spread over pseudo-channels, ranks and bank groups, and at bank level the
numbers of a key over the four banks of a group. Context: the same of values. Sixteen results of every bank group are
moved together. Heads of a channel run in pairs: while one computes context, the other's scores are normalised.

Source: scale-snu/attacc_simulator (MIT), trace_gen at commit c600051, whose traces these programs equal command by
command; its controller, ``hbm3_pim_controller.cpp`` and ``pim_scheduler.cpp``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from hwmodels.dram.device import Constraint, Dram
from hwmodels.pim.channel import Entry, PimController, PimTable
from simulator.core.errors import InputError

__all__ = ["LEVELS", "attention_entries", "program_entries", "reference_controller", "reference_table"]

CHANNELS = 16
LEVELS = ("bank", "bg", "buffer")

_COLUMNS, _ROWS, _BURST_B = 32, 1 << 14, 32
_BANKS, _GROUPS, _RANKS = 4, 4, 2
_BANK_B = _ROWS * _COLUMNS * _BURST_B
_VALUES_AT = 1 << 23  # bytes from a head's keys to its values, in every bank
_MOST_KEYS = 4096  # that the generator leaves room for
_TOGETHER = 16  # results of a bank group that are moved together
_MOST_ENTRIES = 20_000_000


def reference_controller(level: str, refresh: bool) -> PimController:
    """Return the reference's controller: its queue takes one more than its size, pseudo-channels are refreshed in turn.

    At the levels below all banks, its golden runs show no tick that a row command shares with another.
    """
    return PimController(capacity=33, window=33, dual=True, refresh=refresh, refreshes=2, rows_alone=level != "bank")


def reference_table(dram: Dram) -> PimTable:
    """Return the table as the reference enforces it: a refresh waits for no precharge and no activation.

    Its rules for them are of the pseudo-channel, and it checks those of the channel only. Closing all banks likewise
    does not wait for what same-bank and per-bank commands did.
    """
    lower = {"ACTSB", "ACTPB", "MACSB", "MACPB"}

    def enforced(row: Constraint) -> bool:
        refresh = "REFab" in row.next and row.latency > 2
        closing = "PREA" in (*row.prev, *row.next) and lower & {*row.prev, *row.next} and row.latency > 2
        return not refresh and not closing

    return PimTable(replace(dram, constraints=tuple(row for row in dram.constraints if enforced(row))))


@dataclass(frozen=True, slots=True)
class _Level:
    """Where the units are: how many parts keys are dealt to, how many parts a key has, and the commands."""

    parts: int
    split: int
    mac: str
    opens: str
    closes: str

    def address(self, index: int) -> int:
        """Return the byte address of the burst with this number, of those a command of the level reads in turn."""
        if self.mac == "MACAB":
            return index * _BURST_B
        if self.mac == "MACSB":
            row, column = divmod(index, _COLUMNS)
            return row % _BANKS * _BANK_B + row // _BANKS * _COLUMNS * _BURST_B + column * _BURST_B
        turn, group = divmod(index, _GROUPS * _RANKS)
        burst, bank = divmod(turn, _BANKS)
        return (group * _BANKS + bank) * _BANK_B + burst * _BURST_B

    def compute(self, channel: int, address: int) -> Entry:
        """Return the command that computes on the burst at an address."""
        bank, row = _place(address)
        unit = 0 if self.mac == "MACAB" else bank
        return Entry(self.mac, channel, unit, (unit, unit + 1), row, bank, self.opens, self.closes)


_LEVELS = {
    "bank": _Level(16, 4, "MACAB", "ACTAB", "PREA"),
    "bg": _Level(16, 1, "MACSB", "ACTSB", "PRESB"),
    "buffer": _Level(2, 1, "MACPB", "ACTPB", "PREPB"),
}


def _place(address: int) -> tuple[int, int]:
    """Return bank (of the first pseudo-channel) and row of a byte address."""
    bank, inside = divmod(address, _BANK_B)
    return bank, inside // (_COLUMNS * _BURST_B)


def _move(command: str, channel: int, bank: int) -> Entry:
    return Entry(command, channel, bank // _BANKS, bank=bank)


# --- short programs -------------------------------------------------------------------------------------------------


def program_entries(text: str, channels: int) -> list[Entry]:
    """Return the commands of a program: ``X*n`` repeats, ``( , )`` is a sequence, ``BAR`` a barrier.

    The i-th MAC goes to row i div 32; loads take the banks of a group in turn, moves the bank groups of both ranks.

    Raises
    ------
    InputError
        If the program is not one, or is too long.
    """
    names, end = _sequence(text.replace(" ", ""), 0)
    if end != len(text.replace(" ", "")):
        raise InputError(f"program {text!r}: expected a comma at character {end + 1}")
    level = _LEVELS["bank"]
    seen: dict[str, int] = {}
    entries = []
    for name in names:
        index = seen.get(name, 0)
        seen[name] = index + 1
        for channel in range(channels):
            if name == "BAR":
                entries.append(Entry("", channel))
            elif name == "MAC":
                entries.append(level.compute(channel, index * _BURST_B))
            elif name == "WRGB":
                entries.append(_move(name, channel, index % _BANKS))
            elif name == "SFM":
                entries.append(_move(name, channel, 0))
            else:
                group, rank = index % _GROUPS, index // _GROUPS % _RANKS
                entries.append(_move(name, channel, (rank * _GROUPS + group) * _BANKS))
    return entries


def _sequence(text: str, at: int) -> tuple[list[str], int]:
    names: list[str] = []
    while True:
        found, at = _item(text, at)
        names += found
        if len(names) > _MOST_ENTRIES:
            raise InputError(f"a program of more than {_MOST_ENTRIES} commands")
        if at >= len(text) or text[at] != ",":
            return names, at
        at += 1


def _item(text: str, at: int) -> tuple[list[str], int]:
    if text[at : at + 1] == "(":
        names, at = _sequence(text, at + 1)
        if text[at : at + 1] != ")":
            raise InputError(f"program {text!r}: expected ')' at character {at + 1}")
        at += 1
    else:
        found = re.compile("MAC|WRGB|MVSB|MVGB|SFM|BAR").match(text, at)
        if found is None:
            raise InputError(f"program {text!r}: expected MAC, WRGB, MVSB, MVGB, SFM, BAR or '(' at character {at + 1}")
        names, at = [found[0]], found.end()
    times = re.compile(r"\*(\d{1,8})").match(text, at)
    if times is None:
        return names, at
    if len(names) * int(times[1]) > _MOST_ENTRIES:
        raise InputError(f"a program of more than {_MOST_ENTRIES} commands")
    return names * int(times[1]), times.end()


# --- attention ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Heads:
    """Commands of up to sixteen heads, one on each channel, in the groups that are interleaved."""

    loads: list[Entry]  # query into the buffers
    scores: list[list[Entry]]  # by group of results moved together
    score_moves: list[list[Entry]]
    softmax: list[Entry]
    gathers: list[Entry]  # probabilities into the buffers
    contexts: list[list[Entry]]
    context_moves: list[list[Entry]]


def attention_entries(level: str, keys: int, heads: int, head_size: int, element_B: int) -> list[Entry]:
    """Return the commands of decode attention of ``heads`` heads on one stack of sixteen channels.

    Parameters
    ----------
    level
        One of :data:`LEVELS`.
    keys
        Tokens in the cache.
    head_size, element_B
        Numbers of a key and bytes of each.

    Raises
    ------
    InputError
        If the numbers make no program, or one too long.
    """
    if level not in _LEVELS or min(keys, heads, head_size) < 1 or element_B not in (1, 2, 4):
        raise InputError(
            f"attention needs a level out of {', '.join(LEVELS)}, at least one key, head and number, 1, 2 or 4 bytes; "
            f"got {level}, {keys}, {heads}, {head_size}, {element_B}"
        )
    shape = _LEVELS[level]
    if keys * heads * head_size * element_B // (_BURST_B * shape.parts * shape.split) > _MOST_ENTRIES:
        raise InputError(f"attention of more than {_MOST_ENTRIES} commands: take fewer heads or keys")
    rounds = math.ceil(heads / CHANNELS)
    every = [
        _heads(shape, keys, head_size, _BURST_B // element_B, i, min(CHANNELS, heads - i * CHANNELS))
        for i in range(rounds)
    ]
    barrier = [Entry("", channel) for channel in range(CHANNELS)]
    entries: list[Entry] = []
    for i in range(0, rounds - 1, 2):
        entries += _pair(every[i], every[i + 1], barrier, first=i == 0)
    if rounds % 2:
        entries += _alone(every[-1], barrier)
    return entries


def _heads(shape: _Level, keys: int, size: int, lanes: int, number: int, channels: int) -> _Heads:
    """Return the commands of one round of heads."""
    every = range(channels)
    keys_at = number * math.ceil(_MOST_KEYS * size / (2 * _RANKS * _GROUPS * _BANKS))
    bursts = math.ceil(size / (shape.split * lanes))  # of one key in each bank
    of_part = math.ceil(keys / shape.parts)
    groups = [(rank * _GROUPS + group) * _BANKS for rank in range(_RANKS) for group in range(_GROUPS)]
    by_group = [(rank * _GROUPS + group) * _BANKS for group in range(_GROUPS) for rank in range(_RANKS)]
    if shape.parts == 2:
        groups = by_group = [0]
    corners = [rank * _GROUPS * _BANKS for rank in range(_RANKS)] if shape.parts > 2 else [0]
    results = [rank + bank for bank in range(shape.split) for rank in corners]

    def computes(base: int, start: int, count: int) -> list[Entry]:
        return [shape.compute(c, base + shape.address(start + i)) for i in range(count) for c in every]

    def moves(command: str, banks: Iterable[int]) -> list[Entry]:
        return [_move(command, c, bank) for bank in banks for c in every]

    scores = [
        computes(keys_at, start * bursts, (min(start + _TOGETHER, of_part) - start) * bursts)
        for start in range(0, of_part, _TOGETHER)
    ]
    widths = math.ceil(size / (shape.split * lanes))
    inputs = math.ceil(keys / (shape.parts * lanes))
    return _Heads(
        loads=moves("WRGB", [bank for bank in range(shape.split) for _ in range(bursts)]),
        scores=scores,
        score_moves=[moves("MVSB", by_group) for _ in scores],
        softmax=moves("SFM", [0]),
        gathers=moves("MVGB", [bank for bank in groups for _ in range(inputs)]),
        contexts=[computes(keys_at + _VALUES_AT, i * of_part, of_part) for i in range(widths)],
        context_moves=[moves("MVSB", results) for _ in range(widths)],
    )


def _steps(
    computed: list[list[Entry]],
    moved: list[list[Entry]],
    barrier: list[Entry],
    beside: Callable[[int, int], list[Entry]] = lambda step, steps: [],
    last_barrier: bool = False,
) -> list[Entry]:
    """Interleave: compute a group, move the one before, and what runs ``beside`` this step; a barrier after each."""
    steps = len(computed)
    entries: list[Entry] = []
    for step in range(steps + 1):
        entries += computed[step] if step < steps else []
        entries += moved[step - 1] if step > 0 else []
        entries += beside(step, steps)
        entries += barrier if step < steps or last_barrier else []
    return entries


def _pair(one: _Heads, two: _Heads, barrier: list[Entry], first: bool) -> list[Entry]:
    """Return two rounds of heads, the second one step behind the first."""

    def load(step: int, steps: int) -> list[Entry]:
        share = len(two.loads) // steps
        return two.loads[step * share : (step + 1) * share] if step < steps else []

    def normalise(heads: _Heads) -> Callable[[int, int], list[Entry]]:
        def beside(step: int, steps: int) -> list[Entry]:
            entries = heads.softmax if step == 0 else []
            half = steps // 2
            if half <= step < steps:
                share = len(heads.gathers) // math.ceil(steps / 2)
                entries = entries + heads.gathers[(step - half) * share : (step - half + 1) * share]
            return entries

        return beside

    warm = one.scores[0][: len(one.softmax)] if first else []  # opens the first row
    return [
        *one.loads,
        *warm,
        *barrier,
        *_steps(one.scores, one.score_moves, barrier, load),
        *_steps(two.scores, two.score_moves, barrier, normalise(one)),
        *_steps(one.contexts, one.context_moves, barrier, normalise(two)),
        *_steps(two.contexts, two.context_moves, barrier),
    ]


def _alone(heads: _Heads, barrier: list[Entry]) -> list[Entry]:
    """Return one round of heads by itself."""
    return [
        *heads.loads,
        *barrier,
        *_steps(heads.scores, heads.score_moves, barrier),
        *heads.softmax,
        *heads.gathers,
        *barrier,
        *_steps(heads.contexts, heads.context_moves, barrier),
    ]
