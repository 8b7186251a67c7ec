"""The engine against its rules written plainly, tick by tick: equal in every command and counter on any small case."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels.dram.controller import PAGE_POLICIES, SCHEDULERS, Controller
from hwmodels.dram.device import Dram
from hwmodels.dram.requests import PATTERNS, Mapping, Stream, blocks, field_counts, parse_mapping
from hwmodels.dram.run import Skip, simulate
from hwmodels.dram.standard import load_dram, load_standard, standards
from hwmodels.dram.stepped import simulate_stepped

SKIPS: tuple[Skip, ...] = ("periods", "events", "nothing")


@st.composite
def channels(draw: st.DrawFn, name: str) -> Dram:
    """Any organisation, speed bin and number of ranks of a standard."""
    spec = load_standard(name)
    ranks = draw(st.sampled_from((1, 2))) if "Rank" in spec.levels else None
    organisation = draw(st.sampled_from(sorted(spec.organisations)))
    return load_dram(name, organisation, draw(st.sampled_from(sorted(spec.speeds))), ranks)


@st.composite
def controllers(draw: st.DrawFn, dram: Dram) -> Controller:
    per_bank = any("REFpb" in constraint.prev for constraint in dram.constraints)
    return Controller(
        scheduler=draw(st.sampled_from(sorted(SCHEDULERS))),
        page=draw(st.sampled_from(PAGE_POLICIES)),
        cap=draw(st.integers(1, 5)),
        refresh=draw(st.sampled_from(("off", "all-bank", "per-bank")[: 2 + per_bank])),
        read_queue=draw(st.integers(1, 40)),
        write_queue=draw(st.integers(1, 40)),
        inject_per_cycle=draw(st.integers(1, 3)),
    )


@st.composite
def streams(draw: st.DrawFn, dram: Dram) -> Stream:
    return Stream(
        pattern=draw(st.sampled_from(PATTERNS)),
        requests=draw(st.integers(1, 150)),
        footprint_blocks=draw(st.sampled_from((64, 4096, blocks(dram)))),
        stride=draw(st.sampled_from((1, 16, 64, 1000, 4096, 1 << 14))),
        chunk=draw(st.integers(1, 16)),
        keep_pct=draw(st.integers(0, 100)),
        seed=draw(st.integers(0, 1 << 31)),
        writes=draw(st.sampled_from(("0", "1", "p30", "p50", "k5:3"))),
        gap=draw(st.sampled_from((0, 0, 1, 7, 60, 400))),
    )


@st.composite
def mappings(draw: st.DrawFn, dram: Dram) -> Mapping:
    """Rows highest, banks in any order, some columns lowest."""
    bits = {field: count.bit_length() - 1 for field, count in field_counts(dram)}
    low = min(draw(st.integers(0, 5)), bits["co"])
    middle = draw(st.permutations([f"{f}{bits[f]}" for f in ("ra", "pc", "sid", "ba", "bg") if bits[f]]))
    return parse_mapping("-".join([f"ro{bits['ro']}", f"co{bits['co'] - low}", *middle, f"co{low}"]))


@pytest.mark.parametrize("name", sorted(standards()))
@settings(max_examples=30)
@given(data=st.data())
def test_the_engine_is_the_rules(name: str, data: st.DataObject) -> None:
    dram = data.draw(channels(name))
    controller, stream = data.draw(controllers(dram)), data.draw(streams(dram))
    mapping = data.draw(mappings(dram))
    requests = stream.generate()
    slow = simulate_stepped(dram, controller, requests, mapping)
    fast = simulate(dram, controller, requests, mapping, trace=True)
    assert fast.trace == slow.trace
    assert dataclasses.replace(fast, steps=0) == dataclasses.replace(slow, steps=0)
    for skip in SKIPS:
        run = simulate(dram, controller, requests, mapping, skip=skip)
        assert dataclasses.replace(run, steps=0, skipped_ticks=0) == dataclasses.replace(slow, steps=0, trace=())
        assert skip != "nothing" or run.steps >= run.cycles


def test_in_order_starts_the_next_request_in_the_tick_that_frees_the_way() -> None:
    """Where a column and a row command share a tick, the read of one request lets the next one activate with it."""
    dram = load_dram("hbm2")
    mapping = parse_mapping("ro16-co5-ba2-bg2-pc1")
    controller = Controller(scheduler="in-order", refresh="off")
    run = simulate(dram, controller, Stream("seq", 2, 2).generate(), mapping, trace=True)
    assert [command.name for command in run.trace] == ["ACT", "RD", "ACT", "RD"]
    assert run.trace[1].tick == run.trace[2].tick
