"""How fast the engine is: standards times patterns, with less and less passed over, and beside plain Python."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from hwmodels.dram.controller import Controller
from hwmodels.dram.device import Dram
from hwmodels.dram.requests import Mapping, Requests, Stream, field_counts, parse_mapping
from hwmodels.dram.run import Skip, simulate
from hwmodels.dram.standard import load_dram, standards
from hwmodels.dram.stepped import simulate_stepped

__all__ = ["DramRate", "dram_rates"]

_RUNS = 3
_ADDITIONS = 1_000_000
_CONTROLLER = Controller(refresh="off", inject_per_cycle=2)


class DramRate(NamedTuple):
    """Processor time per tick of one stream on one channel, address mapping included; and of an addition in Python.

    Attributes
    ----------
    requests_per_cycle
        Requests served per tick.
    cycle_s, events_s, every_tick_s
        The engine, passing over repetitions and idle ticks, over idle ticks, over nothing.
    plain_s
        The same rules in plain Python (``stepped``), on the first requests of the stream.
    addition_s
        One addition of floating-point numbers in plain Python, for the speed of the machine.
    """

    standard: str
    pattern: str
    requests_per_cycle: float
    cycle_s: float
    events_s: float
    every_tick_s: float
    plain_s: float
    addition_s: float


def dram_rates(requests: int = 50_000) -> Iterator[DramRate]:
    """Yield the rates of a stream, of row conflicts, of random reads saturating and at low load, and of a mix."""
    patterns = {
        "stream": Stream("seq", 10 * requests, 1 << 24),
        "conflict": Stream("stride", requests // 10, 1 << 24, stride=1 << 13),
        "random": Stream("random", requests, 1 << 24, seed=1),
        "random_mix": Stream("random", requests, 1 << 24, seed=1, writes="p30"),
        "low_load": Stream("random", requests // 5, 1 << 24, seed=1, gap=200),
    }
    addition_s = _best_s(_add) / _ADDITIONS
    for standard in standards():
        dram = load_dram(standard)
        mapping = _mapping(dram)
        for pattern, stream in patterns.items():
            taken = stream.generate()
            cycles = simulate(dram, _CONTROLLER, taken, mapping).cycles  # compiles
            few = Requests(taken.block[:60], taken.write[:60], taken.arrival[:60])
            plain_cycles = simulate(dram, _CONTROLLER, few, mapping).cycles

            def per_tick(skip: Skip, dram: Dram = dram, taken: Requests = taken, mapping: Mapping = mapping) -> float:
                return _best_s(lambda: simulate(dram, _CONTROLLER, taken, mapping, skip=skip))

            yield DramRate(
                standard,
                pattern,
                stream.requests / cycles,
                per_tick("periods") / cycles,
                per_tick("events") / cycles,
                per_tick("nothing") / cycles,
                _seconds(lambda d=dram, f=few, m=mapping: simulate_stepped(d, _CONTROLLER, f, m)) / plain_cycles,  # type: ignore[misc]
                addition_s,
            )


def _mapping(dram: Dram) -> Mapping:
    """Map consecutive blocks over all banks, rows highest."""
    counts = dict(field_counts(dram))
    banks = "-".join(f"{f}{counts[f].bit_length() - 1}" for f in ("ra", "sid", "ba", "bg", "pc") if counts[f] > 1)
    return parse_mapping(f"ro{counts['ro'].bit_length() - 1}-co{counts['co'].bit_length() - 1}-{banks}")


def _add() -> float:
    total = 0.0
    for i in range(_ADDITIONS):
        total += i * 0.5
    return total


def _seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def _best_s(run: Callable[[], object]) -> float:
    """Return the least processor time of a few runs: others on the machine do not count."""
    return min(_seconds(run) for _ in range(_RUNS))
