"""DRAM channels under random traffic: no constraint broken, more banks never slower, refresh costs what it must."""

import dataclasses
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels.dram.checker import check_trace
from hwmodels.dram.controller import PAGE_POLICIES, SCHEDULERS, Controller
from hwmodels.dram.device import Constraint, Dram
from hwmodels.dram.energy import command_energy, run_energy
from hwmodels.dram.requests import Stream, blocks, field_counts, parse_mapping
from hwmodels.dram.run import DramRun, simulate
from hwmodels.dram.standard import load_dram, standards

STANDARDS = sorted(standards())
PER_BANK = [name for name in STANDARDS if name not in ("ddr4", "ddr5")]


def interleaved(dram: Dram, columns_below: int = 2) -> str:
    """Map consecutive blocks over all banks, with some columns lowest."""
    counts = dict(field_counts(dram))
    columns = counts["co"].bit_length() - 1
    low = min(columns_below, columns)
    middle = [f"{f}{counts[f].bit_length() - 1}" for f in ("ra", "pc", "sid", "ba", "bg") if counts[f] > 1]
    return "-".join([f"ro{counts['ro'].bit_length() - 1}", f"co{columns - low}", *middle, f"co{low}"])


def serve(dram: Dram, controller: Controller, stream: Stream, mapping: str, **options: Any) -> DramRun:
    return simulate(dram, controller, stream.generate(), parse_mapping(mapping, field_counts(dram)), **options)


@st.composite
def traffic(draw: st.DrawFn, footprint: int) -> Stream:
    pattern = draw(st.sampled_from(("seq", "stride", "random", "chunk", "local", "copy", "multi")))
    mixes = st.sampled_from(("0", "1", "p30", "p50", "k5:3"))
    return Stream(
        pattern=pattern,
        requests=draw(st.integers(1, 120)),
        footprint_blocks=draw(st.sampled_from((1, 64, 4096, footprint))) if pattern != "chunk" else footprint,
        stride=draw(st.integers(0, 1 << 14)),
        chunk=draw(st.integers(1, 16)) if pattern != "local" else 1,
        keep_pct=draw(st.integers(0, 100)),
        seed=draw(st.integers(0, 1 << 31)),
        writes=draw(mixes),
        gap=draw(st.sampled_from((0, 0, 1, 7, 60, 400))),
    )


controllers = st.builds(
    Controller,
    scheduler=st.sampled_from(sorted(SCHEDULERS)),
    page=st.sampled_from(PAGE_POLICIES),
    cap=st.integers(1, 5),
    refresh=st.sampled_from(("off", "all-bank")),
    read_queue=st.integers(1, 40),
    write_queue=st.integers(1, 40),
    inject_per_cycle=st.integers(1, 3),
)


@pytest.mark.parametrize("name", STANDARDS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_no_command_ever_breaks_a_constraint(name: str, data: st.DataObject) -> None:
    dram = load_dram(name)
    controller = data.draw(controllers)
    if name in PER_BANK and data.draw(st.booleans()):
        controller = dataclasses.replace(controller, refresh="per-bank")
    stream = data.draw(traffic(blocks(dram)))
    mapping = parse_mapping(interleaved(dram, data.draw(st.integers(0, 3))))
    requests = stream.generate()
    run = simulate(dram, controller, requests, mapping, trace=True)
    _, rows = mapping.banks_rows(dram, requests.block)
    assert check_trace(dram, run.trace, rows.tolist(), requests.write.tolist()) == []
    served = sum(run.commands[c] for c in ("RD", "WR", "RDA", "WRA")) + run.reads_forwarded + run.writes_coalesced
    assert served == len(requests)
    assert run.row_hits + run.row_misses + run.row_conflicts + run.reads_forwarded + run.writes_coalesced == served
    assert dataclasses.replace(run, trace=(), steps=0) == dataclasses.replace(
        simulate(dram, controller, requests, mapping), trace=(), steps=0, skipped_ticks=0
    )


def test_the_checker_finds_what_is_broken() -> None:
    """Tightened by one tick, some constraint of every kind is broken by a trace of the true device."""
    dram = load_dram("hbm3")
    mapping = parse_mapping(interleaved(dram))
    requests = Stream("random", 400, blocks(dram), seed=3, writes="p40").generate()
    run = simulate(dram, Controller(), requests, mapping, trace=True)
    _, rows = mapping.banks_rows(dram, requests.block)
    found = 0
    for row in dram.constraints:
        tight = dataclasses.replace(dram, constraints=(dataclasses.replace(row, latency=row.latency + 1),))
        found += bool(check_trace(tight, run.trace, rows.tolist(), requests.write.tolist()))
    assert found >= 8
    moved = [c._replace(tick=c.tick - 40) if c.name == "RD" and i > 100 else c for i, c in enumerate(run.trace)]
    assert check_trace(dram, moved, rows.tolist(), requests.write.tolist())
    lost = [c for c in run.trace if c.name != "ACT"]
    assert any("is not open" in v.reason for v in check_trace(dram, lost, rows.tolist(), requests.write.tolist()))


REGULAR = (
    Stream("seq", 20_000, 1 << 24),
    Stream("seq", 20_000, 1 << 24, writes="1"),
    Stream("seq", 20_000, 1 << 24, writes="k8:8"),
    Stream("seq", 20_000, 900),  # wraps around
    Stream("stride", 5_000, 1 << 24, stride=2048),
    Stream("copy", 20_000, 1 << 24, stride=1 << 18),
    Stream("multi", 20_000, 1 << 24, stride=20_512, chunk=8),
    Stream("seq", 3_000, 1 << 24, gap=20),
)


@pytest.mark.parametrize("name", STANDARDS)
@pytest.mark.parametrize("refresh", ["off", "all-bank"])
def test_steady_state_is_passed_over_exactly(name: str, refresh: str) -> None:
    """Every counter equals that of the stepped run, open ticks included, and most of a regular stream is skipped."""
    dram = load_dram(name)
    skipped = 0.0
    for stream in REGULAR:
        for low in (0, 9):
            controller = Controller(refresh=refresh, inject_per_cycle=2)
            mapping = interleaved(dram, low)
            fast = serve(dram, controller, stream, mapping)
            slow = serve(dram, controller, stream, mapping, skip="events")
            assert slow.skipped_ticks == 0
            assert dataclasses.replace(fast, steps=0, skipped_ticks=0) == dataclasses.replace(slow, steps=0), stream
            skipped = max(skipped, fast.skipped_ticks / fast.cycles)
    assert skipped > (0.5 if refresh == "off" else 0.3)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_steady_state_is_exact_for_any_mapping_and_policy(data: st.DataObject) -> None:
    dram = load_dram(data.draw(st.sampled_from(STANDARDS)))
    controller = dataclasses.replace(data.draw(controllers), page=data.draw(st.sampled_from(("open", "closed"))))
    pattern = data.draw(st.sampled_from(("seq", "stride", "copy", "multi")))
    stream = Stream(
        pattern,
        data.draw(st.integers(500, 4000)),
        data.draw(st.sampled_from((256, 1 << 12, 1 << 22))),
        stride=data.draw(st.sampled_from((1, 16, 64, 1000, 4096))),
        chunk=data.draw(st.integers(1, 12)),
        writes=data.draw(st.sampled_from(("0", "1", "k3:1", "k16:16"))),
        gap=data.draw(st.sampled_from((0, 0, 3, 30))),
    )
    mapping = interleaved(dram, data.draw(st.integers(0, 5)))
    fast = serve(dram, controller, stream, mapping)
    slow = serve(dram, controller, stream, mapping, skip="events")
    assert dataclasses.replace(fast, steps=0, skipped_ticks=0) == dataclasses.replace(slow, steps=0)


@pytest.mark.parametrize("name", STANDARDS)
@settings(max_examples=25)
@given(data=st.data())
def test_more_banks_are_never_slower(name: str, data: st.DataObject) -> None:
    """The same blocks with one bit of their row choosing the bank instead: what hit still hits, conflicts become hits.

    Served in order that is never slower, but for the spacing of two activations at the end. Schedulers that reorder may
    drain writes at another moment and then lose up to one row cycle.
    """
    dram = load_dram(name)
    scheduler = data.draw(st.sampled_from(sorted(SCHEDULERS)))
    depth = data.draw(st.sampled_from((1, 8, 32)))
    controller = Controller(scheduler=scheduler, refresh="off", read_queue=depth, write_queue=depth)
    stream = dataclasses.replace(data.draw(traffic(1 << 14)), footprint_blocks=1 << 14)
    cycles = [
        serve(dram, controller, stream, mapping).cycles
        for mapping in ("ro12-co2", "ro11-bg1-co2", "ro10-bg2-co2", "ro9-ba1-bg2-co2")
    ]
    slack = dram.timings["nRRDL"] if scheduler == "in-order" else dram.timings["nRC"]
    for fewer, more in itertools.pairwise(cycles):
        assert more <= fewer + slack


@pytest.mark.parametrize("name", STANDARDS)
def test_random_reads_gain_from_banks(name: str) -> None:
    dram = load_dram(name)
    stream = Stream("random", 600, 1 << 12, seed=5)
    one, four = (
        serve(dram, Controller(refresh="off"), stream, mapping).cycles for mapping in ("ro10-co2", "ro8-bg2-co2")
    )
    assert four < 0.6 * one


def hits_of_one_row(dram: Dram, refresh: str) -> DramRun:
    """Serve reads of one row of one bank, as fast as it gives them."""
    columns = dict(field_counts(dram))["co"].bit_length() - 1
    stream = Stream("seq", 40_000, dram.bursts_per_row)
    return serve(dram, Controller(refresh=refresh, inject_per_cycle=2), stream, f"ro1-co{columns}")


def reopening(dram: Dram, *refresh: str) -> int:
    """Ticks from a row's last read to its next over a refresh, less those between reads anyway.

    tRTP + tRP + tRFC + tRCD - tCCD; a data clock that stopped takes a command to wake, and where activations end on
    half clocks the read waits for a whole one.
    """
    t = dram.timings
    blocked, read_to_close, to_column = (
        next(t[n] for n in names if n in t) for names in (refresh, ("nRTP", "nRTPL"), ("nRCD", "nRCDRD"))
    )
    extra = {"split-activate": 1, "half-clock": 2}.get(dram.slots, 0)
    return read_to_close + t["nRP"] + blocked + to_column + extra - t["nCCDL"]


@pytest.mark.parametrize("name", STANDARDS)
def test_refresh_costs_what_the_closed_form_says(name: str) -> None:
    """All banks at once, every tREFI: to the tick."""
    dram = load_dram(name)
    plain, refreshed = hits_of_one_row(dram, "off"), hits_of_one_row(dram, "all-bank")
    refreshes = refreshed.cycles // dram.timings["nREFI"]
    assert refreshes > 20
    assert refreshed.commands["REFab"] == refreshes * dram.refresh_units
    assert refreshed.cycles - plain.cycles == refreshes * reopening(dram, "nRFC", "nRFCab")


@pytest.mark.parametrize("name", PER_BANK)
def test_refresh_of_one_bank_after_another_costs_its_own_and_little_more(name: str) -> None:
    """Only every so-many-th meets the bank that is read; others cost a slot, or a wait for their turn."""
    dram = load_dram(name)
    interval = Controller(refresh="per-bank").refresh_interval(dram)
    plain, refreshed = hits_of_one_row(dram, "off"), hits_of_one_row(dram, "per-bank")
    refreshes = refreshed.cycles // interval
    own = -(-refreshes // dram.banks)
    assert refreshed.commands["REFpb"] == refreshes
    assert refreshed.commands["ACT"] == 1 + own
    least = own * (reopening(dram, "nRFCpb") - 2)
    assert least <= refreshed.cycles - plain.cycles <= 1.08 * least
    assert run_energy(refreshed).refresh_J == pytest.approx(
        refreshes / (dram.banks / dram.refresh_units) * command_energy(dram).refresh_J
    )


@pytest.mark.parametrize("name", STANDARDS)
def test_a_row_conflict_costs_a_row_cycle(name: str) -> None:
    """Two rows of one bank in turn, one request at a time: every request pays at least tRC, and little more."""
    dram = load_dram(name)
    counts = dict(field_counts(dram))
    mapping = f"ro{counts['ro'].bit_length() - 1}-co{counts['co'].bit_length() - 1}"
    stream = Stream("stride", 200, blocks(dram), stride=counts["co"])
    run = serve(dram, Controller(refresh="off"), stream, mapping)
    assert run.row_conflicts == 199
    column = max(dram.timings.get("nRCDRD", 0), dram.timings.get("nRCD", 0)) + dram.timings.get("nRTP", 5)
    row_cycle = max(dram.timings["nRC"], column + dram.timings["nRP"])
    assert 199 * dram.timings["nRC"] <= run.cycles <= 200 * (row_cycle + 6) + dram.read_latency + column


def test_one_read_takes_activation_and_latency() -> None:
    dram = load_dram("ddr4")
    run = serve(dram, Controller(), Stream("seq", 1, 1), "ro16-co7-ba2-bg2", trace=True)
    assert [(c.tick, c.name) for c in run.trace] == [(1, "ACT"), (1 + 22, "RD")]
    assert run.cycles == 1 + 22 + 22 + 4
    assert run.avg_read_latency == run.max_read_latency == run.cycles


def test_schedulers_and_pages_order_as_they_should() -> None:
    """In order is slowest; closing rows early costs a local stream; the row-hit guard activates least."""
    dram = load_dram("ddr4")
    stream = Stream("local", 3000, 1 << 27, chunk=128, keep_pct=80, seed=6)
    runs = {
        (scheduler, page): serve(
            dram, Controller(scheduler=scheduler, page=page, refresh="off"), stream, "ro16-ba2-bg2-co7"
        )
        for scheduler in SCHEDULERS
        for page in PAGE_POLICIES
    }
    best = runs["fr-fcfs-row-hit", "open"]
    assert best.commands["ACT"] == min(run.commands["ACT"] for run in runs.values())
    assert runs["in-order", "open"].cycles > runs["fr-fcfs", "open"].cycles > best.cycles
    assert runs["fr-fcfs", "closed"].cycles > runs["fr-fcfs", "capped"].cycles > runs["fr-fcfs", "open"].cycles
    closed = runs["fr-fcfs", "closed"].commands
    assert (closed["RDA"], closed["RD"], closed["PREpb"]) == (3000, 0, 0)


def test_a_constraint_more_never_makes_a_conflict_stream_faster() -> None:
    dram = load_dram("gddr6")
    slower = dataclasses.replace(dram, constraints=(*dram.constraints, Constraint("Channel", ("ACT",), ("ACT",), 100)))
    stream = Stream("random", 500, blocks(dram), seed=1)
    mapping = interleaved(dram)
    assert (
        serve(slower, Controller(refresh="off"), stream, mapping).cycles
        > serve(dram, Controller(refresh="off"), stream, mapping).cycles
    )
