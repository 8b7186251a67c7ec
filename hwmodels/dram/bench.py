"""How fast the engine is: standards times patterns, skipping and stepping, beside additions of plain Python."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from hwmodels.dram.controller import Controller
from hwmodels.dram.device import Dram
from hwmodels.dram.requests import Requests, Stream, field_counts, parse_mapping
from hwmodels.dram.run import Skip, simulate
from hwmodels.dram.standard import load_dram

__all__ = ["DramRate", "dram_rates"]

_STANDARDS = ("ddr4", "ddr5", "lpddr5", "gddr6", "hbm2", "hbm3")
_RUNS = 3
_ADDITIONS = 1_000_000


class DramRate(NamedTuple):
    """Processor time of one stream on one channel, address mapping included; and of one addition in plain Python."""

    standard: str
    pattern: str
    requests: int
    cycles: int
    run_s: float
    stepped_s: float
    addition_s: float


def dram_rates(requests: int = 50_000) -> Iterator[DramRate]:
    """Yield the rates of a stream, of row conflicts, of random reads and of random reads at low load."""
    patterns = {
        "stream": Stream("seq", 10 * requests, 1 << 24),
        "conflict": Stream("stride", requests // 10, 1 << 24, stride=1 << 13),
        "random": Stream("random", requests, 1 << 24, seed=1),
        "low_load": Stream("random", requests // 5, 1 << 24, seed=1, gap=200),
    }
    addition_s = _best_s(_add) / _ADDITIONS
    for standard in _STANDARDS:
        dram = load_dram(standard)
        for pattern, stream in patterns.items():
            taken = stream.generate()
            cycles = _run(dram, taken, "periods")  # compiles
            yield DramRate(
                standard,
                pattern,
                stream.requests,
                cycles,
                _best_s(lambda d=dram, t=taken: _run(d, t, "periods")),  # type: ignore[misc]
                _best_s(lambda d=dram, t=taken: _run(d, t, "events")),  # type: ignore[misc]
                addition_s,
            )


def _run(dram: Dram, requests: Requests, skip: Skip) -> int:
    counts = dict(field_counts(dram))
    banks = "-".join(f"{f}{counts[f].bit_length() - 1}" for f in ("ra", "sid", "ba", "bg", "pc") if counts[f] > 1)
    mapping = parse_mapping(f"ro{counts['ro'].bit_length() - 1}-co{counts['co'].bit_length() - 1}-{banks}")
    controller = Controller(refresh="off", inject_per_cycle=2)
    return simulate(dram, controller, requests, mapping, skip=skip).cycles


def _add() -> float:
    total = 0.0
    for i in range(_ADDITIONS):
        total += i * 0.5
    return total


def _best_s(run: Callable[[], object]) -> float:
    """Return the least processor time of a few runs: others on the machine do not count."""
    times = []
    for _ in range(_RUNS):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)
