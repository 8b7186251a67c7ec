"""The loops of a batch, compiled: clock, phases and points, over what operators cost.

Points are taken in order, and what their neighbour before left unchanged is not done again: a changed field of the
device makes kernels to be costed anew, step of the clock by step as the power limits of the points ask for them; a
changed link only its collectives; a changed power limit only the search for the clock; anything else nothing at all.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dse.batch.columns import (
    FREE,
    IDLE_W,
    KERNELS,
    LIMIT_W,
    LINK_BPS,
    LINK_S,
    LINKS,
    MAX_HZ,
    MIN_HZ,
    NETWORK_BPS,
    NETWORK_S,
    PRODUCTS,
    SMS,
)
from dse.batch.compiled import Family, batch_jit, power_of
from dse.batch.costs import COST, RESOURCE, cost_link, cost_operator
from dse.batch.device import device_of, link_of, rates_of
from dse.batch.metrics import BOUND_ROW, PART_ROW
from dse.batch.products import Plans, no_plans
from dse.batch.table import Floats, Ints, Operators, Runs, Steps, Table
from hwmodels.collectives import LinkParams
from hwmodels.gpu.clock import CLOCK_STEPS, look_at, slow_share, start_search, step_clock
from hwmodels.gpu.model import least_clock
from hwmodels.gpu.params import GpuParams
from hwmodels.gpu.power import PowerParams, step_energy, step_power_W

__all__ = ["Scratch", "evaluate", "scratch"]


_CLOCK_W, _SQUARE, _CLOCK_HZ = 5, 6, 7


class Scratch(NamedTuple):
    """Results kept from point to point; a stamp says for which device an entry is."""

    stamp: Ints  # (2,): the device now: its last change but for the size of the cache, and that included
    rates: Floats  # FLOP per SM and clock of each format
    operator_stamp: Ints  # (operators, steps of the clock)
    operator: Floats  # (operators, steps, COST): as dse.batch.costs.cost_operator gives it
    plans: Plans
    run_stamp: Ints  # (runs, steps)
    run: Floats  # (runs, steps, 8): the same summed over a run, without its collectives; power of clock trees in W,
    #   voltage squared over that at the highest clock, and the clock in Hz
    link: Floats  # (runs, 5): time, L2, memory and link energy of a run's collectives, and the host time of the run
    link_bounds: Floats  # (runs, resources): time of those collectives by what bounds them
    picked: Ints  # (runs, 2): the slower and the faster step that a run alternates between
    settled: Floats  # (runs, 4): share at the slower one; time, clock and energy of the run
    parts_J: Floats  # (2, 7): energy by part of one run, and of all
    bounds_s: Floats  # (resources,): time of a phase by what bounds its kernels


def scratch(table: Table) -> Scratch:
    """Return scratch memory for a table."""
    operators, runs, steps = len(table.operators.codes), len(table.runs.host_s), CLOCK_STEPS + 1
    return Scratch(
        stamp=np.zeros(2, np.int64),
        rates=np.zeros(len(table.rate_slot)),
        operator_stamp=np.zeros((operators, steps), np.int64),
        operator=np.zeros((operators, steps, COST)),
        plans=no_plans(operators),
        run_stamp=np.zeros((runs, steps), np.int64),
        run=np.zeros((runs, steps, _CLOCK_HZ + 1)),
        link=np.zeros((runs, 5)),
        link_bounds=np.zeros((runs, COST - RESOURCE)),
        picked=np.zeros((runs, 2), np.int64),
        settled=np.zeros((runs, 4)),
        parts_J=np.zeros((2, 7)),
        bounds_s=np.zeros(COST - RESOURCE),
    )


@batch_jit
def _cost_run(
    run: int,
    step: int,
    board: PowerParams,
    gpu: GpuParams,
    operators: Operators,
    runs: Runs,
    family: Family,
    s: Scratch,
) -> None:
    """Sum the operators of a run at a step of the clock."""
    s.run_stamp[run, step] = s.stamp[1]
    clock_Hz = step_clock(step, board)
    for part in range(5):
        s.run[run, step, part] = 0.0
    pace = step_energy(1.0, 0.0, 1.0, clock_Hz, board, power_of(family.power))
    s.run[run, step, _CLOCK_W] = pace.clock_J
    s.run[run, step, _SQUARE] = pace.core_J
    s.run[run, step, _CLOCK_HZ] = clock_Hz
    for entry in range(runs.ptr[run], runs.ptr[run + 1]):
        o = runs.operator[entry]
        if s.operator_stamp[o, step] != s.stamp[s.plans.sees_l2[o]]:
            cost_operator(
                o, operators.codes, operators.numbers, operators.groups, s.rates, clock_Hz, gpu, family.gemm,
                family.attention, family.vector, family.power, s.stamp, s.plans, s.operator[o, 0], s.operator[o, step],
            )  # fmt: skip
            s.operator_stamp[o, step] = s.stamp[s.plans.sees_l2[o]]  # known only now
        for part in range(5):
            s.run[run, step, part] += runs.repeat[entry] * s.operator[o, step, part]


@batch_jit
def _cost_links(
    runs: Runs, intra: LinkParams, inter: LinkParams, hbm_Bps: float, family: Family, link: Floats, bounds: Floats
) -> None:
    """Sum the collectives of every run."""
    for run in range(len(runs.host_s)):
        for part in range(4):
            link[run, part] = 0.0
        for resource in range(bounds.shape[1]):
            bounds[run, resource] = 0.0
        link[run, 4] = runs.host_s[run]
        for entry in range(runs.link_ptr[run], runs.link_ptr[run + 1]):
            route = runs.routes[runs.link[entry]]
            cost_link(route, intra, inter, hbm_Bps, family, runs.link_repeat[entry], link[run], bounds[run])


@batch_jit
def _run_at(run: int, step: int, sums: Floats, link: Floats, idle_W: float) -> tuple[float, float]:
    """Time and energy of a run at a step of the clock."""
    time_s = max(sums[run, step, 0] + link[run, 0], link[run, 4])
    core_J = sums[run, step, 1] + sums[run, step, 2] + sums[run, step, 3] + link[run, 1]
    memory_J = sums[run, step, 4] + link[run, 2] + link[run, 3]
    return time_s, (idle_W + sums[run, step, _CLOCK_W]) * time_s + core_J * sums[run, step, _SQUARE] + memory_J


@batch_jit
def _settle(
    run: int, stamp: int, stamps: Ints, sums: Floats, link: Floats, board: PowerParams, picked: Ints, settled: Floats,
) -> int:  # fmt: skip
    """Find the clock of a run, as hwmodels.gpu.device does it; return a step still to be costed, or -1 when done."""
    search = start_search()
    while search.found == 0:
        if stamps[run, search.step] != stamp:
            return search.step
        time_s, energy_J = _run_at(run, search.step, sums, link, board.idle_W)
        search = look_at(search, energy_J / time_s, board)
    slow, fast = search.slow, search.fast
    picked[run, 0] = slow
    picked[run, 1] = fast
    slow_s, slow_J = _run_at(run, slow, sums, link, board.idle_W)
    settled[run, 0] = 1.0
    settled[run, 1] = slow_s
    settled[run, 2] = sums[run, slow, _CLOCK_HZ]
    settled[run, 3] = slow_J
    if slow != fast:
        fast_s, fast_J = _run_at(run, fast, sums, link, board.idle_W)
        share = slow_share(slow_J, slow_s, fast_J, fast_s, board.limit_W)
        rest = 1.0 - share
        time_s = share * slow_s + rest * fast_s
        clocks = share * slow_s * sums[run, slow, _CLOCK_HZ] + rest * fast_s * sums[run, fast, _CLOCK_HZ]
        settled[run, 0] = share
        settled[run, 1] = time_s
        settled[run, 2] = clocks / time_s
        settled[run, 3] = share * slow_J + rest * fast_J
    return -1


@batch_jit
def _add_parts(run: int, step: int, share: float, idle_W: float, sums: Floats, link: Floats, parts_J: Floats) -> None:
    """Add the energy by part of a share of runs at a step of the clock."""
    time_s = max(sums[run, step, 0] + link[run, 0], link[run, 4])
    square = sums[run, step, _SQUARE]
    parts_J[0] += share * idle_W * time_s
    parts_J[1] += share * sums[run, step, _CLOCK_W] * time_s
    parts_J[2] += share * sums[run, step, 1] * square
    parts_J[3] += share * sums[run, step, 2] * square
    parts_J[4] += share * (sums[run, step, 3] + link[run, 1]) * square
    parts_J[5] += share * (sums[run, step, 4] + link[run, 2])
    parts_J[6] += share * link[run, 3]


@batch_jit
def _phase(
    first: int, last: int, sample: int, pipelined: bool, idle_W: float, steps: Steps, settled: Floats
) -> tuple[float, float, float, float]:
    """Time, energy, clock and energy of waiting of a phase, as simulator.engine.run and simulator.api.phases do it."""
    time_s = 0.0
    intervals_s = 0.0
    drain_s = 0.0
    energy_J = 0.0
    waiting_J = 0.0
    clock_Hz = math.inf
    for step in range(first, last):
        slots, weight, busy = steps.slots[step], steps.weight[step], steps.busy[step]
        begin, end = steps.ptr[step], steps.ptr[step + 1]
        slot_s = 0.0
        for run in range(begin, end):
            slot_s = max(slot_s, settled[run, 1])
            if step == sample:
                clock_Hz = min(clock_Hz, settled[run, 2])
        interval_s = max(slots, steps.stages) * slot_s + steps.host_step_s
        occupied_s = slots * slot_s + steps.host_step_s
        for run in range(begin, end):
            energy_J += settled[run, 3] * slots * busy * weight
            waits_s = busy * (interval_s - slots * settled[run, 1]) + steps.waiting[step] * interval_s
            waiting_J += idle_W * waits_s * weight
        intervals_s += interval_s * weight
        time_s += (occupied_s if pipelined else interval_s) * weight
        if pipelined:
            drain_s = max(drain_s, (slots + steps.stages - 1.0) * slot_s + steps.host_step_s - occupied_s)
    time_s += drain_s
    waiting_J += idle_W * steps.devices * (time_s - intervals_s)
    return time_s, energy_J + waiting_J, clock_Hz, waiting_J


@batch_jit
def _parts(
    idle_W: float, steps: Steps, sums: Floats, link: Floats, picked: Ints, settled: Floats, parts_J: Floats,
    total_J: Floats, waiting_J: float, point: int, out: Floats,
) -> None:  # fmt: skip
    """Put the energy of all steps by part, that of waiting among the idle energy, into the rows of ``out``."""
    for part in range(7):
        total_J[part] = 0.0
    for step in range(len(steps.slots)):
        often = steps.slots[step] * steps.busy[step] * steps.weight[step]
        for run in range(steps.ptr[step], steps.ptr[step + 1]):
            share = settled[run, 0]
            for part in range(7):
                parts_J[part] = 0.0
            _add_parts(run, picked[run, 0], share, idle_W, sums, link, parts_J)
            if share < 1.0:
                _add_parts(run, picked[run, 1], 1.0 - share, idle_W, sums, link, parts_J)
            for part in range(7):
                total_J[part] += parts_J[part] * often
    total_J[0] += waiting_J
    for part in range(7):
        out[PART_ROW + part, point] = total_J[part]


@batch_jit
def _bound(first: int, last: int, steps: Steps, runs: Runs, s: Scratch) -> int:
    """Return the resource that bounds the kernels which most of the time of a phase goes to."""
    resources = len(s.bounds_s)
    for resource in range(resources):
        s.bounds_s[resource] = 0.0
    for step in range(first, last):
        often = steps.slots[step] * steps.weight[step]
        for run in range(steps.ptr[step], steps.ptr[step + 1]):
            share, slow, fast = s.settled[run, 0], s.picked[run, 0], s.picked[run, 1]
            for entry in range(runs.ptr[run], runs.ptr[run + 1]):
                a, b = s.operator[runs.operator[entry], slow], s.operator[runs.operator[entry], fast]
                bound, longest_s = 0, -1.0
                for resource in range(resources):
                    mean_s = share * a[RESOURCE + resource] + (1.0 - share) * b[RESOURCE + resource]
                    if mean_s > longest_s:
                        bound, longest_s = resource, mean_s
                s.bounds_s[bound] += often * runs.repeat[entry] * (share * a[0] + (1.0 - share) * b[0])
            for resource in range(resources):
                s.bounds_s[resource] += often * s.link_bounds[run, resource]
    longest = 0
    for resource in range(1, resources):
        if s.bounds_s[resource] > s.bounds_s[longest]:
            longest = resource
    return longest


@batch_jit
def _take(columns: Floats, slots: Ints, ranks: Ints, point: int, raw: Floats) -> int:
    """Put a point's values where they go; return the lowest rank of what changed."""
    changed = FREE
    for c in range(len(slots)):
        if columns[c, point] != raw[slots[c]]:
            raw[slots[c]] = columns[c, point]
            changed = min(changed, ranks[c])
    return changed


@batch_jit
def _repeat(point: int, out: Floats) -> None:
    for row in range(out.shape[0]):
        out[row, point] = out[row, point - 1]


@batch_jit
def evaluate(
    columns: Floats, slots: Ints, ranks: Ints, raw: Floats, table: Table, family: Family, intra: LinkParams,
    inter: LinkParams, s: Scratch, by_part: bool, by_bound: bool, out: Floats,
) -> None:  # fmt: skip
    """Evaluate points.

    Parameters
    ----------
    columns : (columns, points) float
        Raw numbers that differ from point to point,
    slots, ranks : (columns,) int
        where they go, and what depends on them.
    raw : (slots,) float
        Raw numbers of the point before (at first: of the base); overwritten.
    table, family, s
        What is run, coefficients, scratch memory.
    intra, inter
        Links, of which columns give bandwidth and latency.
    by_part, by_bound
        Whether energy by part, and what bounds the phases, are asked for.
    out : (dse.batch.metrics.ROWS, points) float
        Times, energies and clocks of the phases, energy by part, what bounds the phases; written.
    """
    steps, power = table.steps, power_of(family.power)
    last = len(steps.slots)
    gpu = device_of(raw)
    for point in range(out.shape[1]):
        changed = _take(columns, slots, ranks, point, raw)
        if point > 0 and changed == FREE:
            _repeat(point, out)
            continue
        if s.stamp[0] == 0:
            changed = KERNELS
        if changed <= PRODUCTS:
            s.stamp[1] += 1
            if changed == KERNELS:
                s.stamp[0] = s.stamp[1]
            gpu = device_of(raw)
            rates_of(raw, table.rate_slot, table.rate_at_max, s.rates)
        least_Hz = least_clock(raw[MIN_HZ], raw[MAX_HZ])
        board = PowerParams(raw[IDLE_W], raw[LIMIT_W], raw[SMS], raw[MAX_HZ], least_Hz)
        if changed <= LINKS:
            near = link_of(intra, raw[LINK_BPS], raw[LINK_S])
            far = link_of(inter, raw[NETWORK_BPS], raw[NETWORK_S])
            _cost_links(table.runs, near, far, gpu.hbm_Bps, family, s.link, s.link_bounds)
        for run in range(len(s.settled)):
            while True:
                step = _settle(run, s.stamp[1], s.run_stamp, s.run, s.link, board, s.picked, s.settled)
                if step < 0:
                    break
                _cost_run(run, step, board, gpu, table.operators, table.runs, family, s)
        idle_W = step_power_W(0.0, 0.0, 1.0, board.max_clock_Hz, board, power)
        prefill = _phase(0, steps.prefill, steps.prefill_sample, True, idle_W, steps, s.settled)
        decode = _phase(steps.prefill, last, steps.decode_sample, False, idle_W, steps, s.settled)
        for row in range(3):
            out[2 * row, point] = prefill[row]
            out[2 * row + 1, point] = decode[row]
        if by_part:
            _parts(
                board.idle_W, steps, s.run, s.link, s.picked, s.settled, s.parts_J[0], s.parts_J[1],
                prefill[3] + decode[3], point, out,
            )  # fmt: skip
        if by_bound:
            for phase in range(2):
                first, end = (0, steps.prefill) if phase == 0 else (steps.prefill, last)
                out[BOUND_ROW + phase, point] = _bound(first, end, steps, table.runs, s)
