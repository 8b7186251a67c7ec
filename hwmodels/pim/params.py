"""The numbers that formulas of memory that computes see, derived from its specification and its constraint table."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hwmodels.dram.device import Dram
from hwmodels.pim.spec import CommandsSpec, PimSpec
from hwmodels.pim.table import pim_dram, spacing
from simulator.core.errors import InputError

__all__ = ["PimParams", "pim_params"]


class PimParams(NamedTuple):
    """One unit. Times are of one channel; channels run side by side."""

    channels: float  # each commanded on its own
    banks: float  # that one compute command reads
    burst_B: float  # of one bank
    row_bursts: float  # that an open row holds in each bank
    gap_s: float  # from one compute command to the next on open rows
    row_gap_s: float  # what a change of row adds
    joint_s: float  # what a change of row and moves of results take less together than apart
    load_joint_s: float  # the same of a change of row and loads
    cycle_s: float  # from opening a row to opening the next in the same banks
    refresh_s: float  # what a refresh adds
    refresh_every_s: float
    flop_per_s: float  # of the multipliers of a channel on 16-bit operands
    read_again: float  # 1: a burst is read again for more inputs than meet it at full rate
    bank_split: float  # most banks that share the inputs of one result
    accumulators: float  # results a bank keeps before they must be moved
    buffer_B: float  # inputs a channel holds
    packed: float  # 1: weights fill rows from result to result
    load_s: float  # one burst into the input buffers
    turn_s: float  # changing from computing to loading and back
    move_s: float  # results of all banks moved once, with changes of mode
    hides_loads: float
    hides_moves: float
    external_Bps: float  # what leaves the unit's memory
    vector_op_per_s: float  # of the processor beside it
    special_ops: float  # operations of the processor for one exponential, division or root
    sram_B: float
    softmax_in_memory: float

    @property
    def stream_Bps(self) -> float:
        """Bytes per second computed on in open rows, whole unit."""
        return self.channels * self.banks * self.burst_B / self.gap_s

    @property
    def flops(self) -> float:
        """FLOP/s of all multipliers on 16-bit operands."""
        return self.channels * self.flop_per_s


#: Bandwidths of datasheets are rounded: a multiplier may ask for a little more than all banks give.
_ROUNDING = 1.02


def _check(spec: PimSpec, dram: Dram) -> None:
    """Raise InputError where the table lacks what the specification names."""
    names = spec.commands
    known = {command for row in dram.constraints for command in (*row.prev, *row.next)}
    wanted = {names.activate, names.compute, names.precharge, names.load, *names.move, "REFab", "PREA"}
    missing = sorted((wanted | ({names.mode} if names.mode is not None else set())) - known)
    if missing:
        raise InputError(f"{spec.name}: {dram.standard} has no command {missing[0]}; it has {', '.join(sorted(known))}")
    for level in (names.level, names.compute_within, names.move_within):
        if level not in dram.levels:
            raise InputError(f"{spec.name}: {dram.standard} has no level {level}: {', '.join(dram.levels)}")
    groups = dram.nodes(names.level)
    if spec.compute.turns > groups:
        raise InputError(
            f"{spec.name}: compute.turns is {spec.compute.turns}, {dram.standard} has {groups} {names.level}"
        )
    if not names.move:
        raise InputError(f"{spec.name}: commands.move is empty: name what moves results")
    absent = [timing for timing in ("nRFC", "nREFI") if timing not in dram.timings]
    if absent:
        raise InputError(f"{spec.name}: {dram.standard} has no timing {absent[0]}")
    if dram.timings["nRFC"] >= dram.timings["nREFI"]:
        raise InputError(
            f"{spec.name}: a refresh of {dram.timings['nRFC']} clocks every {dram.timings['nREFI']} leaves no time"
        )
    if spacing(dram, names.compute, names.compute, names.compute_within) < 1:
        raise InputError(f"{spec.name}: {dram.standard} has no constraint from {names.compute} to {names.compute}")


class _Moves(NamedTuple):
    """Waits around and between the commands that move results."""

    enter_s: float  # from the last compute command to the first move
    between_s: float  # from the first move to the last
    leave_s: float  # from the last move to the next compute command
    close_s: float  # from the last move to closing the row
    own_s: float  # one move after another of its kind

    @classmethod
    def of(cls, names: CommandsSpec, wait_s: Callable[..., float], tick_s: float) -> _Moves:
        """Read the waits off the table; a change of mode is a command of its own before and after."""
        first, last = names.move[0], names.move[-1]
        mode_s = tick_s + wait_s(names.mode, names.compute) if names.mode is not None else 0.0
        pairs = zip(names.move, names.move[1:], strict=False)
        return cls(
            enter_s=max(wait_s(names.compute, first), tick_s, mode_s),
            between_s=sum(max(wait_s(a, b, names.move_within), tick_s) for a, b in pairs),
            leave_s=max(wait_s(last, names.compute), tick_s, mode_s),
            close_s=max(wait_s(last, names.precharge), tick_s, mode_s),
            own_s=max(wait_s(first, first, names.move_within), tick_s),
        )

    def time_s(self, gap_s: float, beside: bool) -> float:
        """Return what moving the results of all banks once takes, of the moves alone or between compute commands."""
        return self.between_s + (self.own_s if beside else self.enter_s + self.leave_s - gap_s)


def pim_params(spec: PimSpec) -> PimParams:
    """Derive the numbers; times are latencies of the constraint table.

    A change of row adds, to the gap between compute commands, closing, precharging and opening; where groups of banks
    take turns, only what does not fit beside the commands of the other groups.

    Raises
    ------
    InputError
        If the table lacks a command, a level or a timing, or has fewer banks than compute together.
    """
    dram, names, compute = pim_dram(spec), spec.commands, spec.compute
    _check(spec, dram)
    tick_s = dram.tick_s

    def wait_s(before: str, after: str, within: str = "Bank") -> float:
        return spacing(dram, before, after, within) * tick_s

    gap_s = wait_s(names.compute, names.compute, names.compute_within)
    open_s = wait_s(names.activate, names.compute)
    close_s = wait_s(names.compute, names.precharge)
    precharge_s = wait_s(names.precharge, names.activate)
    columns = float(dram.bursts_per_row)
    turn_s = max(wait_s(names.load, names.compute) + wait_s(names.compute, names.load) - gap_s, 0.0)
    load_s = max(tick_s, wait_s(names.load, names.load))
    reopen_s = tick_s + precharge_s + open_s
    # Loads between compute commands on two rows: the row changes behind the last of them.
    apart_s = turn_s + load_s + close_s + precharge_s + open_s
    joined_s = max(wait_s(names.compute, names.load), tick_s) + max(wait_s(names.load, names.compute), reopen_s)
    period_s = max((columns - 1.0) * gap_s + open_s + close_s, wait_s(names.activate, names.precharge)) + precharge_s
    period_s = max(period_s, wait_s(names.activate, names.activate))
    turns = float(compute.turns)
    channels = float(spec.all_channels)
    external_Bps = spec.hbm.bandwidth_Bps / channels
    banks = float(compute.banks or 0)
    if compute.bandwidth_multiplier is not None:
        banks = compute.bandwidth_multiplier * external_Bps * gap_s / dram.burst_B
    if banks > dram.banks * _ROUNDING:
        raise InputError(
            f"{spec.name}: {banks:.0f} banks would compute together, a channel of {dram.standard} has {dram.banks}: "
            "lower compute.banks or compute.bandwidth_multiplier"
        )
    stream_Bps = banks * dram.burst_B / gap_s
    flop_per_s = 2.0 * (compute.macs or 0) * compute.clock_Hz
    if compute.op_per_byte is not None:
        flop_per_s = compute.op_per_byte * stream_Bps
    moves = _Moves.of(names, wait_s, tick_s)
    processor = spec.processor
    return PimParams(
        channels=channels,
        banks=banks,
        burst_B=float(dram.burst_B),
        row_bursts=columns,
        gap_s=gap_s,
        row_gap_s=max(period_s / turns, columns * gap_s) - columns * gap_s,
        joint_s=moves.leave_s + close_s - gap_s - moves.close_s if turns == 1.0 else 0.0,
        load_joint_s=apart_s - joined_s if turns == 1.0 else 0.0,
        cycle_s=open_s + close_s + precharge_s,
        refresh_s=dram.timings["nRFC"] * tick_s,
        refresh_every_s=dram.timings["nREFI"] * tick_s,
        flop_per_s=flop_per_s,
        read_again=float(compute.read_again),
        bank_split=float(compute.bank_split),
        accumulators=float(compute.accumulators),
        buffer_B=spec.operands.buffer_B,
        packed=float(spec.operands.packed),
        load_s=load_s / spec.operands.load_bursts,
        turn_s=turn_s,
        move_s=moves.time_s(gap_s, beside=spec.operands.hides_moves),
        hides_loads=float(spec.operands.hides_loads),
        hides_moves=float(spec.operands.hides_moves),
        external_Bps=spec.hbm.bandwidth_Bps,
        vector_op_per_s=processor.lanes * processor.clock_Hz,
        special_ops=processor.special_ops,
        sram_B=processor.sram_B,
        softmax_in_memory=float(processor.in_memory),
    )
