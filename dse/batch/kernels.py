"""The loops of a batch, compiled: the formulas that one simulation runs, over an operator table and hardware columns.

Points are taken in order, and what their neighbour before left unchanged is not done again: a changed field of the
device makes kernels to be costed anew, step of the clock by step as the power limits of the points ask for them; a
changed link only its collectives; a changed power limit only the search for the clock; anything else nothing at all.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

import hwmodels.collectives
import hwmodels.gpu
import simulator.core.formula
import simulator.core.quantity
from dse.batch.columns import (
    FREE,
    HBM_BPS,
    IDLE_W,
    KERNELS,
    L2_B,
    L2_RATE,
    LIMIT_W,
    LINK_BPS,
    LINK_S,
    LINKS,
    MAX_HZ,
    MIN_HZ,
    NETWORK_BPS,
    NETWORK_S,
    QUOTED_HZ,
    SFU_RATE,
    SMEM_B,
    SMS,
    VECTOR_RATE,
)
from dse.batch.metrics import PARTS
from dse.batch.table import ATTENTION, GEMM, GROUPED, Floats, Ints, Table
from hwmodels.collectives import CollectiveCoefficients, LinkParams, hierarchical_time
from hwmodels.gpu.attention import (
    FLASH2,
    FLASH2_PAGED,
    AttentionCoefficients,
    AttentionShape,
    attention_add,
    attention_finish,
    attention_work,
    query_tiles,
)
from hwmodels.gpu.clock import CLOCK_STEPS, look_at, slow_share, start_search, step_clock
from hwmodels.gpu.energy import OperatorWork, kernel_work
from hwmodels.gpu.gemm import GemmCoefficients, gemm_format, gemm_kernel
from hwmodels.gpu.grouped_gemm import grouped_gemm_kernel
from hwmodels.gpu.model import least_clock
from hwmodels.gpu.params import GpuParams, KernelTime
from hwmodels.gpu.power import (
    KernelWork,
    PowerCoefficients,
    PowerParams,
    kernel_energy,
    step_energy,
    step_power_W,
    tensor_clock,
    voltage,
)
from hwmodels.gpu.vector import VectorCoefficients, vector_kernel
from simulator.core.formula import register_formulas
from simulator.core.jit import kernel_jit
from simulator.core.quantity import per_core_clock, per_second

__all__ = ["Family", "LinkBase", "Scratch", "evaluate", "scratch"]


class Family(NamedTuple):
    """Coefficients of the families of a device and its links: the same for all points."""

    gemm: GemmCoefficients
    attention: AttentionCoefficients
    vector: VectorCoefficients
    power: PowerCoefficients
    intra: CollectiveCoefficients
    direct: CollectiveCoefficients  # `intra` with kernels that write to peers
    inter: CollectiveCoefficients


class LinkBase(NamedTuple):
    """What no column changes about links."""

    intra: LinkParams
    inter: LinkParams


class Scratch(NamedTuple):
    """Results kept from point to point; a stamp says for which device an entry is."""

    key: Ints  # (1,): the stamp of the device now
    rates: Floats  # FLOP per SM and clock of each format
    operator_key: Ints  # (operators, steps of the clock)
    operator: Floats  # (operators, steps, 5): time; matrix, ordinary-core, L2 and memory energy at the highest clock
    run_key: Ints  # (runs, steps)
    run: Floats  # (runs, steps, 5): the same summed over a run, without its collectives
    link: Floats  # (runs, 4): time, L2, memory and link energy of a run's collectives
    settled: Floats  # (runs, 9): time, clock and energy by part, at the clock the limit leaves


def scratch(table: Table) -> Scratch:
    """Return scratch memory for a table."""
    operators, runs, steps = len(table.kind), len(table.run_host_s), CLOCK_STEPS + 1
    return Scratch(
        key=np.zeros(1, np.int64),
        rates=np.zeros(len(table.rate_slot)),
        operator_key=np.zeros((operators, steps), np.int64),
        operator=np.zeros((operators, steps, 5)),
        run_key=np.zeros((runs, steps), np.int64),
        run=np.zeros((runs, steps, 5)),
        link=np.zeros((runs, 4)),
        settled=np.zeros((runs, 2 + len(PARTS))),
    )


def _sources() -> list[Path]:
    here = Path(__file__).parent
    formulas = Path(hwmodels.gpu.__file__ or "").parent
    others = (hwmodels.collectives, simulator.core.formula, simulator.core.quantity)
    own = (here / f"{name}.py" for name in ("kernels", "columns", "metrics", "table"))
    return [*own, *formulas.glob("*.py"), *(Path(module.__file__ or "") for module in others)]


register_formulas()
_jit = kernel_jit(_sources())


@_jit
def _shape(row: Floats, rate: float, may_split: int) -> AttentionShape:
    return AttentionShape(
        row[0], row[1], row[2], row[3], row[4], row[5], row[6], int(row[7]), row[8], row[9], row[10], row[11],
        row[12], int(row[13]), rate, int(row[15]), row[16], may_split,
    )  # fmt: skip


@_jit
def _launch(
    first: int, last: int, rate: float, may_split: int, tiles: float, gpu: GpuParams, t: Table, c: AttentionCoefficients
) -> KernelTime:
    work = attention_work(_shape(t.attention[first], rate, may_split), tiles, gpu, c)
    for group in range(first + 1, last):
        work = attention_add(work, attention_work(_shape(t.attention[group], rate, may_split), tiles, gpu, c))
    return attention_finish(work, gpu, c)


@_jit
def _attention(number: int, rate: float, gpu: GpuParams, t: Table, c: AttentionCoefficients) -> KernelTime:
    """As hwmodels.gpu.analytic does it: all groups of a step share one launch, split by a rule or by time."""
    first, last = t.attention_ptr[number], t.attention_ptr[number + 1]
    tiles = 0.0
    if last - first > 1:
        for group in range(first, last):
            tiles += query_tiles(_shape(t.attention[group], rate, 1), gpu, c)
    split = _launch(first, last, rate, 1, tiles, gpu, t, c)
    backend = int(t.attention[first, 15])
    if backend in (FLASH2, FLASH2_PAGED):
        return split
    whole = _launch(first, last, rate, 0, tiles, gpu, t, c)
    return split if split.time_s <= whole.time_s else whole


@_jit
def _kernel_time(o: int, gpu: GpuParams, rates: Floats, t: Table, family: Family) -> KernelTime:
    """Time of one operator on a device at its clock."""
    kind = t.kind[o]
    rate = rates[t.product_rate[o]]
    if kind == GEMM:
        w = t.gemm[t.row[o]]
        mma = gemm_format(t.product_code[o], family.gemm)
        return gemm_kernel(
            w[0], w[1], w[2], w[3], w[4], w[5], w[6], rate, mma, w[7], w[8], gpu, family.gemm
        )  # fmt: skip
    if kind == GROUPED:
        w = t.grouped[t.row[o]]
        mma = gemm_format(t.product_code[o], family.gemm)
        return grouped_gemm_kernel(
            w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], rate, mma, w[8], gpu, family.gemm
        )  # fmt: skip
    if kind == ATTENTION:
        return _attention(t.row[o], rate, gpu, t, family.attention)
    w = t.stream[t.row[o]]
    return vector_kernel(w[0], w[1], w[2], w[3], w[4], w[5], w[6], 0.0, gpu, family.vector)


@_jit
def _at(gpu: GpuParams, clock_Hz: float) -> GpuParams:
    return GpuParams(
        gpu.sms, clock_Hz, gpu.max_clock_Hz, gpu.mma_f16_flop_per_clock, gpu.vector_flop_per_clock,
        gpu.sfu_op_per_clock, gpu.smem_B, gpu.l2_B, gpu.l2_Bps, gpu.hbm_Bps, gpu.hbm_B,
    )  # fmt: skip


@_jit
def _cost_operator(
    o: int, step: int, key: int, gpu: GpuParams, board: PowerParams, t: Table, family: Family, s: Scratch
) -> None:
    """Put time and energy of an operator at a step of the clock into the scratch memory."""
    s.operator_key[o, step] = key
    clock_Hz = step_clock(step, board)
    if t.tensor_bits[o] > 0.0:
        clock_Hz = tensor_clock(clock_Hz, gpu.max_clock_Hz, t.tensor_bits[o], family.power)
        if step > 0 and clock_Hz == gpu.max_clock_Hz and s.operator_key[o, 0] == key:
            s.operator[o, step] = s.operator[o, 0]
            return
    now = _at(gpu, clock_Hz)
    time = _kernel_time(o, now, s.rates, t, family)
    w = t.work[o]
    work = kernel_work(OperatorWork(w[0], w[1], w[2], w[3], w[4], w[5], w[6]), time, now)
    energy = kernel_energy(work, family.power)
    s.operator[o, step, 0] = time.time_s
    s.operator[o, step, 1] = energy.mma_J
    s.operator[o, step, 2] = energy.vector_J + energy.special_J
    s.operator[o, step, 3] = energy.l2_J
    s.operator[o, step, 4] = energy.hbm_J


@_jit
def _cost_run(
    run: int, step: int, key: int, gpu: GpuParams, board: PowerParams, t: Table, family: Family, s: Scratch
) -> None:
    """Sum the operators of a run at a step of the clock."""
    s.run_key[run, step] = key
    sums = s.run[run, step]
    sums[:] = 0.0
    for entry in range(t.run_ptr[run], t.run_ptr[run + 1]):
        o = t.run_operator[entry]
        if s.operator_key[o, step] != key:
            _cost_operator(o, step, key, gpu, board, t, family, s)
        for part in range(5):
            sums[part] += t.run_repeat[entry] * s.operator[o, step, part]


@_jit
def _cost_links(links: LinkBase, t: Table, family: Family, s: Scratch) -> None:
    """Sum the collectives of every run."""
    for run in range(len(t.run_host_s)):
        sums = s.link[run]
        sums[:] = 0.0
        for entry in range(t.run_link_ptr[run], t.run_link_ptr[run + 1]):
            r = t.routes[t.run_link[entry]]
            library = family.direct if r[4] > 0.0 else family.intra
            spent = hierarchical_time(int(r[0]), r[1], r[2], r[3], links.intra, library, links.inter, family.inter)
            half_B = spent.hbm_B / 2.0
            work = KernelWork(0.0, 16.0, 0.0, 0.0, 0.0, spent.hbm_B, half_B, half_B, spent.wire_B)
            energy = kernel_energy(work, family.power)
            repeat = t.run_link_repeat[entry]
            sums[0] += repeat * spent.time_s
            sums[1] += repeat * energy.l2_J
            sums[2] += repeat * energy.hbm_J
            sums[3] += repeat * energy.link_J


@_jit
def _run_at(run: int, step: int, board: PowerParams, t: Table, family: Family, s: Scratch) -> tuple[float, float]:
    """Time and energy of a run at a step of the clock."""
    sums, link = s.run[run, step], s.link[run]
    time_s = max(sums[0] + link[0], t.run_host_s[run])
    core_J = sums[1] + sums[2] + sums[3] + link[1]
    e = step_energy(core_J, sums[4] + link[2] + link[3], time_s, step_clock(step, board), board, family.power)
    return time_s, e.idle_J + e.clock_J + e.core_J + e.memory_J


@_jit
def _add_run(run: int, step: int, share: float, board: PowerParams, t: Table, family: Family, s: Scratch) -> None:
    """Add a share of runs at a step of the clock to what a run is settled at."""
    sums, link, settled = s.run[run, step], s.link[run], s.settled[run]
    time_s = max(sums[0] + link[0], t.run_host_s[run])
    clock_Hz = step_clock(step, board)
    standing = step_energy(0.0, 0.0, time_s, clock_Hz, board, family.power)
    square = voltage(clock_Hz / board.max_clock_Hz, family.power) ** 2
    settled[0] += share * time_s
    settled[1] += share * time_s * clock_Hz
    settled[2] += share * standing.idle_J
    settled[3] += share * standing.clock_J
    settled[4] += share * sums[1] * square
    settled[5] += share * sums[2] * square
    settled[6] += share * (sums[3] + link[1]) * square
    settled[7] += share * (sums[4] + link[2])
    settled[8] += share * link[3]


@_jit
def _settle(run: int, key: int, gpu: GpuParams, board: PowerParams, t: Table, family: Family, s: Scratch) -> None:
    """Find the clock of a run, as hwmodels.gpu.device does it."""
    search = start_search()
    while search.found == 0:
        if s.run_key[run, search.step] != key:
            _cost_run(run, search.step, key, gpu, board, t, family, s)
        time_s, energy_J = _run_at(run, search.step, board, t, family, s)
        search = look_at(search, energy_J / time_s, board)
    s.settled[run] = 0.0
    if search.slow == search.fast:
        _add_run(run, search.slow, 1.0, board, t, family, s)
    else:
        slow_s, slow_J = _run_at(run, search.slow, board, t, family, s)
        fast_s, fast_J = _run_at(run, search.fast, board, t, family, s)
        share = slow_share(slow_J, slow_s, fast_J, fast_s, board.limit_W)
        _add_run(run, search.slow, share, board, t, family, s)
        _add_run(run, search.fast, 1.0 - share, board, t, family, s)
    s.settled[run, 1] /= s.settled[run, 0]


@_jit
def _phase(
    first: int, last: int, sample: int, pipelined: bool, idle_W: float, t: Table, s: Scratch, energy_J: Floats
) -> tuple[float, float]:
    """Time and clock of a phase; its energy is added to ``energy_J``. As simulator.engine.run and api.phases do it."""
    time_s = 0.0
    intervals_s = 0.0
    drain_s = 0.0
    clock_Hz = math.inf
    for step in range(first, last):
        slots, weight = t.step_slots[step], t.step_weight[step]
        begin, end = t.step_ptr[step], t.step_ptr[step + 1]
        slot_s = 0.0
        for run in range(begin, end):
            slot_s = max(slot_s, s.settled[run, 0])
            if step == sample:
                clock_Hz = min(clock_Hz, s.settled[run, 1])
        interval_s = max(slots, t.stages) * slot_s + t.host_step_s
        occupied_s = slots * slot_s + t.host_step_s
        for run in range(begin, end):
            for part in range(7):
                energy_J[part] += s.settled[run, 2 + part] * slots * t.step_busy[step] * weight
            waiting_s = t.step_busy[step] * (interval_s - slots * s.settled[run, 0]) + t.step_waiting[step] * interval_s
            energy_J[0] += idle_W * waiting_s * weight
        intervals_s += interval_s * weight
        time_s += (occupied_s if pipelined else interval_s) * weight
        if pipelined:
            drain_s = max(drain_s, (slots + t.stages - 1.0) * slot_s + t.host_step_s - occupied_s)
    time_s += drain_s
    energy_J[0] += idle_W * t.devices * (time_s - intervals_s)
    return time_s, clock_Hz


@_jit
def _rates(raw: Floats, t: Table, rates: Floats) -> None:
    """Work out what products in each format take per SM and clock."""
    quoted_Hz = raw[MAX_HZ] if math.isnan(raw[QUOTED_HZ]) else raw[QUOTED_HZ]
    for i in range(len(rates)):
        slot = t.rate_slot[i]
        clock_Hz = raw[MAX_HZ] if t.rate_at_max[i] else quoted_Hz
        rates[i] = per_core_clock(raw[slot], raw[slot + 1] > 0.0, raw[SMS], clock_Hz)


@_jit
def _device(raw: Floats) -> GpuParams:
    """Return a device at its highest clock, as hwmodels.gpu.spec makes it; fields no formula here reads are 0."""
    sms, top = raw[SMS], raw[MAX_HZ]
    return GpuParams(
        sms,
        top,
        top,
        0.0,
        per_core_clock(raw[VECTOR_RATE], raw[VECTOR_RATE + 1] > 0.0, sms, top),
        per_core_clock(raw[SFU_RATE], raw[SFU_RATE + 1] > 0.0, sms, top),
        raw[SMEM_B],
        raw[L2_B],
        per_second(raw[L2_RATE], raw[L2_RATE + 1] > 0.0, 1.0, top),
        raw[HBM_BPS],
        0.0,
    )


@_jit
def _link(base: LinkParams, bandwidth_Bps: float, latency_s: float) -> LinkParams:
    return LinkParams(bandwidth_Bps, latency_s, base.switched, base.peers, base.multicast)


@_jit
def evaluate(
    columns: Floats,
    slots: Ints,
    ranks: Ints,
    raw: Floats,
    t: Table,
    family: Family,
    base: LinkBase,
    s: Scratch,
    out: Floats,
) -> None:
    """Evaluate points.

    Parameters
    ----------
    columns : (columns, points) float
        Raw numbers that differ from point to point,
    slots, ranks : (columns,) int
        where they go, and what depends on them.
    raw : (slots,) float
        Raw numbers of the point before (at first: of the base); overwritten.
    t, family, base, s
        Table, coefficients, links, scratch memory.
    out : (dse.batch.metrics.ROWS, points) float
        Times, energies and clocks of the phases, energy by part; written.
    """
    energy_J = np.zeros(7)
    gpu = _device(raw)
    for point in range(out.shape[1]):
        changed = FREE
        for c in range(len(slots)):
            value = columns[c, point]
            if value != raw[slots[c]]:
                raw[slots[c]] = value
                changed = min(changed, ranks[c])
        if point > 0 and changed == FREE:
            for row in range(out.shape[0]):
                out[row, point] = out[row, point - 1]
            continue
        if changed == KERNELS or s.key[0] == 0:
            changed = KERNELS
            s.key[0] += 1
            gpu = _device(raw)
            _rates(raw, t, s.rates)
        least_Hz = least_clock(raw[MIN_HZ], raw[MAX_HZ])
        board = PowerParams(raw[IDLE_W], raw[LIMIT_W], raw[SMS], raw[MAX_HZ], least_Hz)
        if changed <= LINKS:
            links = LinkBase(
                _link(base.intra, raw[LINK_BPS], raw[LINK_S]), _link(base.inter, raw[NETWORK_BPS], raw[NETWORK_S])
            )
            _cost_links(links, t, family, s)
        for run in range(len(t.run_host_s)):
            _settle(run, s.key[0], gpu, board, t, family, s)
        idle_W = step_power_W(0.0, 0.0, 1.0, board.max_clock_Hz, board, family.power)
        energy_J[:] = 0.0
        prefill_s, prefill_Hz = _phase(0, t.prefill_steps, t.prefill_sample, True, idle_W, t, s, energy_J)
        prefill_J = energy_J.sum()
        last = len(t.step_slots)
        decode_s, decode_Hz = _phase(t.prefill_steps, last, t.decode_sample, False, idle_W, t, s, energy_J)
        out[0, point] = prefill_s
        out[1, point] = decode_s
        out[2, point] = prefill_J
        out[3, point] = energy_J.sum() - prefill_J
        out[4, point] = prefill_Hz
        out[5, point] = decode_Hz
        for part in range(7):
            out[6 + part, point] = energy_J[part]
