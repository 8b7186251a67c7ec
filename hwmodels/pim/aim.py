"""AiM's instructions: short programs written out, and a matrix times a vector, as batches of commands of one channel.

A front end decodes one instruction a tick into commands of every channel it names; all channels named do the same, so
one of them stands for all. Reads of the accumulators make the front end wait for their data.

Source: aim_simulator (commit 0f28a07): instruction set, front end and controller.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from hwmodels.pim.channel import ChannelRun, Entry, PimController, PimTable, run_batched
from simulator.core.errors import InputError

__all__ = ["CONTROLLER", "AimRun", "Instruction", "gemv_instructions", "parse_instructions", "run_aim"]

#: In order, one command bus, and a mode for registers beside one for banks.
CONTROLLER = PimController(capacity=33, window=1, dual=False, refresh=False, change="TMOD")

_BANKS, _LANES, _ROW_ELEMENTS = 16, 16, 1024
_FUNCTIONS_AT = 1 << 29  # row of the tables of activation functions
_REGISTERS = 1
_MOST_COMMANDS = 20_000_000


class _Meaning(NamedTuple):
    """What an instruction becomes: its command, whether it needs a row of all banks or of one, mode, latency."""

    command: str
    rows: str  # "all", "one" or ""
    mode: int
    latency: str  # a timing until it is done, "1" for one tick
    reads: bool = False


_MEANINGS = {
    "WR_GB": _Meaning("WRGB", "", _REGISTERS, "nCWLGB"),
    "WR_BIAS": _Meaning("WRMAC16", "", _REGISTERS, "nCWLREG"),
    "RD_MAC": _Meaning("RDMAC16", "", _REGISTERS, "nCLREG", reads=True),
    "RD_AF": _Meaning("RDAF16", "", _REGISTERS, "nCLREG", reads=True),
    "MAC_ABK": _Meaning("MAC16", "all", 0, "1"),
    "EWMUL": _Meaning("EWMUL16", "all", 0, "1"),
    "AF": _Meaning("AF16", "all", 0, "1"),
    "COPY_BKGB": _Meaning("RDCP", "one", 0, "1"),
    "COPY_GBBK": _Meaning("WRCP", "one", 0, "1"),
}


class Instruction(NamedTuple):
    """One instruction: how many columns, and of which bank and row where it needs one."""

    name: str
    size: int = 1
    bank: int = 0
    row: int = 0


@dataclass(frozen=True, slots=True)
class AimRun:
    """What a program took on one channel: ticks, and how many commands of each name were issued."""

    ticks: int
    commands: Counter[str]
    run: ChannelRun


def parse_instructions(text: str) -> list[Instruction]:
    """Read a program: instructions between ``;``, ``(A, B) x16`` repeated, ``rows 0-7`` one for each row.

    Raises
    ------
    InputError
        If it is none.

    Examples
    --------
    >>> parse_instructions("MAC_ABK 64 rows 0-1")
    [Instruction(name='MAC_ABK', size=64, bank=0, row=0), Instruction(name='MAC_ABK', size=64, bank=0, row=1)]
    """
    found: list[Instruction] = []
    for piece in re.sub(r",\s*\d+ channels?\s*$", "", text).split(";"):
        times = re.search(r"\s+x\s*(\d{1,7})\s*$", piece)
        body = piece[: times.start()] if times else piece
        parts = [one for part in body.strip().strip("()").split(",") for one in _instructions(part, text)]
        found += parts * (int(times[1]) if times else 1)
        if sum(part.size for part in parts) * (int(times[1]) if times else 1) > _MOST_COMMANDS:
            raise InputError(f"program {text!r}: more than {_MOST_COMMANDS} commands")
    return found


_INSTRUCTION = re.compile(
    r"\s*(?P<name>[A-Z_]+)(?:\s+(?P<size>\d{1,6}))?(?:\s+bank\s+(?P<bank>\d{1,2}))?"
    r"(?:\s+rows?\s+(?P<row>\d{1,6})(?:\s*-\s*(?P<last>\d{1,6}))?)?\s*"
)


def _instructions(text: str, whole: str) -> Iterator[Instruction]:
    match = _INSTRUCTION.fullmatch(text)
    if match is None or match["name"] not in _MEANINGS:
        raise InputError(
            f"program {whole!r}: {text.strip()!r} is not an instruction; write NAME [columns] [bank B] [row R] with a "
            f"name out of {', '.join(_MEANINGS)}"
        )
    size, bank, row = int(match["size"] or 1), int(match["bank"] or 0), int(match["row"] or 0)
    if bank >= _BANKS or not 1 <= size <= _MOST_COMMANDS:
        raise InputError(f"program {whole!r}: bank {bank} of {_BANKS}, {size} columns")
    for each in range(row, int(match["last"] or row) + 1):
        yield Instruction(match["name"], size, bank, each)


def gemv_instructions(outputs: int, inputs: int, channels: int) -> list[Instruction]:
    """Return the program of a matrix (outputs x inputs, 16 bits) times a vector, dealt to banks of so many channels.

    Inputs come in pieces that fill the global buffer and a row; every result of a bank takes a row for each piece, and
    its partial sum is read and written back between pieces.
    """
    if min(outputs, inputs, channels) < 1 or outputs * inputs > _MOST_COMMANDS * _BANKS * _LANES:
        raise InputError(f"GEMV of {outputs} x {inputs} on {channels} channels: expected at least 1, and not more")
    found = []
    row = 0
    for start in range(0, inputs, _ROW_ELEMENTS):
        columns = math.ceil(min(_ROW_ELEMENTS, inputs - start) / _LANES)
        found.append(Instruction("WR_GB", columns))
        for _ in range(math.ceil(outputs / (_BANKS * channels))):
            found += [Instruction("WR_BIAS"), Instruction("MAC_ABK", columns, 0, row), Instruction("RD_MAC")]
            row += 1
    return found


def run_aim(table: PimTable, instructions: list[Instruction], refresh: bool = False, traced: int = 0) -> AimRun:
    """Run a program on one channel to its end.

    Parameters
    ----------
    refresh
        Whether the channel is refreshed; the simulator the programs come from never does.
    traced
        Commands to keep of the trace.
    """
    timings = table.dram.timings
    entries: list[Entry] = []
    ends, blocks, latencies = [], [], []
    for instruction in instructions:
        meaning = _MEANINGS[instruction.name]
        latency = 1 if meaning.latency == "1" else timings[meaning.latency] + timings["nBL"]
        entries += [_entry(instruction, meaning)] * instruction.size
        latencies += [-latency if meaning.reads else latency] * instruction.size
        ends.append(len(entries))
        blocks.append(int(meaning.reads))
    entries.append(Entry("END"))
    controller = replace(CONTROLLER, refresh=refresh)
    run = run_batched(table, entries, [*ends, len(entries)], [*blocks, 1], [*latencies, -1], controller, _BANKS, traced)
    return AimRun(run.ticks, Counter(issued.name for issued in run.trace), run)


def _entry(instruction: Instruction, meaning: _Meaning) -> Entry:
    if meaning.rows == "one":
        bank = instruction.bank
        return Entry(meaning.command, 0, bank, (bank, bank + 1), instruction.row, bank, "ACT", "PREpb", meaning.mode)
    if meaning.rows == "all":
        row = _FUNCTIONS_AT if instruction.name == "AF" else instruction.row
        return Entry(meaning.command, 0, 0, (0, _BANKS), row, 0, "ACT16", "PREA", meaning.mode)
    return Entry(meaning.command, mode=meaning.mode)
