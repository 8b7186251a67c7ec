"""How fast a sweep is: points per second of one core, beside a plain NumPy roofline over the same operator table."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from dse.batch.model import BLOCK, BatchModel
from dse.batch.table import ATTENTION, GEMM, GROUPED, WORK, Table
from hwmodels.gpu.gemm_tiles import TILE_CANDIDATES, tile_repeats
from hwmodels.gpu.grouped_gemm import GROUPED_CANDIDATES

__all__ = ["launches_and_candidates", "numpy_roofline", "sweep_rates"]

Column = NDArray[np.float64]

#: The space: a 70B model on eight GPUs and six axes of hardware, the slowest first: range over the base, and values.
AXES: Mapping[str, tuple[float, float, int]] = {
    "sms": (0.5, 1.5, 8),
    "hbm.bandwidth": (0.5, 2.0, 8),
    "l2.capacity": (0.5, 2.0, 4),
    "link.bandwidth": (0.5, 2.0, 8),
    "power.limit": (0.5, 1.5, 24),
    "hbm.capacity": (0.5, 2.0, 20),
}
#: Points none of which shares any value with another.
DISTINCT = 4000
WANTED = ("ttft_s", "tpot_s", "energy_per_token_J", "memory_fill")
_RUNS = 3


def sweep_rates(points: int | None = None) -> dict[str, float | int | str]:
    """Measure: points per second of process time, once everything is compiled.

    Parameters
    ----------
    points : int, optional
        Only so many of the space's, spread over it; by default all.
    """
    from simulator.api.simulate import prepare

    started = time.process_time()
    model = BatchModel(*prepare("llama-3-70b", "h100x8", batch=32), list(AXES))
    model.evaluate({name: np.array([model.base(name)]) for name in AXES})
    ready_s = time.process_time() - started
    columns = _grid(model)
    size = len(columns["sms"])
    if points is not None:
        first = (size - points) // 2
        columns = {name: column[first : first + points] for name, column in columns.items()}
        size = points
    out = {name: np.empty(size) for name in WANTED}
    full_s = _least_s(lambda: model.evaluate(columns, out))
    plain_s = _least_s(lambda: numpy_roofline(model, columns))
    apart = _distinct(model)
    apart_out = {name: np.empty(DISTINCT) for name in WANTED}
    apart_s = _least_s(lambda: model.evaluate(apart, apart_out))
    launches, candidates = launches_and_candidates(model.table)
    return {
        "space": "llama-3-70b on h100x8, 32 sequences of 2048 + 256 tokens; " + ", ".join(AXES),
        "points": size,
        "operators_per_point": launches,
        "tile_candidates_per_point": candidates,
        "rate": size / full_s,
        "numpy_roofline_rate": size / plain_s,
        "rate_over_numpy_roofline": plain_s / full_s,
        "devices": len(np.unique(np.stack([columns[n] for n in ("sms", "l2.capacity", "hbm.bandwidth")]), axis=1).T),
        "rate_all_distinct": DISTINCT / apart_s,
        "first_point_s": ready_s,
    }


def _grid(model: BatchModel) -> dict[str, Column]:
    """Return every combination of the axes' values."""
    values = []
    for name, (low, high, count) in AXES.items():
        around = model.base(name) * np.linspace(low, high, count)
        values.append(np.floor(around) if name == "sms" else around)
    return {
        name: grid.ravel().copy() for name, grid in zip(AXES, np.meshgrid(*values, indexing="ij"), strict=True)
    }  # fmt: skip


def _distinct(model: BatchModel) -> dict[str, Column]:
    draw = np.random.default_rng(0)
    columns = {name: model.base(name) * draw.uniform(low, high, DISTINCT) for name, (low, high, _) in AXES.items()}
    columns["sms"] = np.floor(columns["sms"])
    return columns


def _least_s(run: Callable[[], object]) -> float:
    """Return the least process time of some runs."""
    times = []
    for _ in range(_RUNS):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def launches_and_candidates(table: Table) -> tuple[int, int]:
    """Return kernels launched per point (alike layers once) and cuts that are compared for them."""
    operators, runs = table.operators, table.runs
    candidates = 0
    for o in runs.operator:
        kind, n = operators.codes[o, 0], operators.numbers[o]
        if kind == GEMM:
            candidates += sum(not tile_repeats(index, min(n[0], n[1])) for index in range(TILE_CANDIDATES))
        elif kind == GROUPED:
            candidates += GROUPED_CANDIDATES
        elif kind == ATTENTION:
            candidates += 2
    return len(runs.operator) + len(runs.link), candidates


def numpy_roofline(model: BatchModel, columns: Mapping[str, Column]) -> tuple[Column, Column]:
    """Return prefill and decode time by datasheet peaks alone, over the same table, in blocks that fit a cache.

    Per kernel the larger of FLOP over peak and bytes over memory bandwidth; per collective bytes over link bandwidth.
    """
    table = model.table
    flop, moved_B = _flop_and_bytes(table)
    points = len(columns["sms"])
    times = np.zeros((2, points))
    peak = model.gpu.model.mma_rate("bf16") * model.gpu.max_clock_Hz  # of one SM
    weights = _weights(table)
    for begin in range(0, points, BLOCK):
        part = slice(begin, begin + BLOCK)
        flop_s = 1.0 / (peak * columns["sms"][part])
        byte_s = 1.0 / columns["hbm.bandwidth"][part]
        link_s = 1.0 / columns["link.bandwidth"][part]
        for phase, (kernels, links) in enumerate(weights):
            total = times[phase, part]
            for o, often in kernels.items():
                total += often * np.maximum(flop[o] * flop_s, moved_B[o] * byte_s)
            for route, often in links.items():
                total += (often * table.runs.routes[route, 1]) * link_s
    return times[0], times[1]


def _flop_and_bytes(table: Table) -> tuple[Column, Column]:
    """Return work and least traffic of every operator of a table."""
    n, codes = table.operators.numbers, table.operators.codes
    moved_B = n[:, 1] + n[:, 2]  # of streams: read, written
    for o, kind in enumerate(codes[:, 0]):
        if kind == GEMM:
            m, wide, k, copies, a_B, b_B, c_B = n[o, :7]
            moved_B[o] = copies * (m * k * a_B + wide * k * b_B + m * wide * c_B)
        elif kind == GROUPED:
            rows, active, _, wide, k, a_B, b_B, c_B = n[o, :8]
            moved_B[o] = rows * k * a_B + active * wide * k * b_B + rows * wide * c_B
        elif kind == ATTENTION:
            g = table.operators.groups[codes[o, 3] : codes[o, 4]]
            keys_B = g[:, 0] * g[:, 2] * g[:, 6] * (g[:, 3] + g[:, 4]) * g[:, 10]
            moved_B[o] = (keys_B + g[:, 0] * g[:, 1] * g[:, 5] * (g[:, 3] * g[:, 9] + g[:, 4] * g[:, 11])).sum()
    return n[:, WORK], moved_B


def _weights(table: Table) -> list[tuple[dict[int, float], dict[int, float]]]:
    """Return, per phase, how often each operator and each collective runs."""
    steps, runs = table.steps, table.runs
    phases: list[tuple[dict[int, float], dict[int, float]]] = [({}, {}), ({}, {})]
    for step in range(len(steps.slots)):
        kernels, links = phases[int(step >= steps.prefill)]
        often = float(steps.slots[step] * steps.weight[step])
        for run in range(steps.ptr[step], steps.ptr[step + 1]):
            for entry in range(runs.ptr[run], runs.ptr[run + 1]):
                o = int(runs.operator[entry])
                kernels[o] = kernels.get(o, 0.0) + often * float(runs.repeat[entry])
            for entry in range(runs.link_ptr[run], runs.link_ptr[run + 1]):
                link = int(runs.link[entry])
                links[link] = links.get(link, 0.0) + often * float(runs.link_repeat[entry])
    return phases
