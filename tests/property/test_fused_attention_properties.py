"""Fused attention: more of anything never hurts, no mapping moves less than the passes demand, masks count tiles."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels.spatial import binding as binding_module
from hwmodels.spatial.binding import binding_names, load_binding
from hwmodels.spatial.fused_attention import AttentionWork, FusedMachine, run_attention
from hwmodels.spatial.tiles import floor_sum, tiles_visited
from simulator.core.errors import InputError, RidgelineError
from workloads.passes import analyse_fibre, fibres_of

_SETTINGS = settings(max_examples=60, deadline=None, derandomize=True)

works = st.builds(
    lambda problems, heads, positions, more, width, causal: AttentionWork(
        problems, heads * positions, positions, positions + more, width, width, causal
    ),
    st.integers(1, 64),
    st.integers(1, 8),
    st.integers(1, 3000),
    st.integers(0, 9000),
    st.sampled_from([32, 64, 80, 128]),
    st.booleans(),
)
machines = st.builds(
    lambda rows, columns, buffer, bandwidth: FusedMachine(
        rows, columns, columns, 1, 1e9, bandwidth * 1e9, buffer * 1024.0, 2.0
    ),
    st.sampled_from([16, 64, 256]),
    st.sampled_from([16, 64, 256]),
    st.integers(64, 32768),
    st.integers(1, 2000),
)
bindings = st.sampled_from(binding_names())


@_SETTINGS
@given(works, machines, bindings, st.floats(1.0, 8.0))
def test_more_bandwidth_or_buffer_is_never_slower(
    work: AttentionWork, machine: FusedMachine, name: str, factor: float
) -> None:
    binding = load_binding(name)
    base = run_attention(work, machine, binding)
    faster = run_attention(work, machine._replace(memory_Bps=machine.memory_Bps * factor), binding)
    roomier = run_attention(work, machine._replace(buffer_B=machine.buffer_B * factor), binding)
    assert faster.time_s <= base.time_s * (1 + 1e-12)
    assert roomier.traffic_B <= base.traffic_B * (1 + 1e-12)
    assert roomier.time_s <= base.time_s * (1 + 1e-12)


@_SETTINGS
@given(works, machines, bindings)
def test_roofs_hold(work: AttentionWork, machine: FusedMachine, name: str) -> None:
    run = run_attention(work, machine, load_binding(name))
    assert run.array_2d_s <= run.time_s * (1 + 1e-12)
    assert run.array_1d_s <= run.time_s * (1 + 1e-12)
    assert run.memory_s <= run.time_s * (1 + 1e-12)
    assert run.read_B >= 0.0
    assert run.write_B >= work.problems * 2.0 * work.queries * work.v_width * (1 - 1e-12)


@_SETTINGS
@given(works, machines, bindings)
def test_traffic_is_never_below_the_bound_of_the_passes(work: AttentionWork, machine: FusedMachine, name: str) -> None:
    """The lower bound derived from the cascade alone holds for every binding's traffic."""
    binding = load_binding(name)
    full = work._replace(causal=False)
    cascade = binding.cascade
    blocks = -(-full.keys // machine.rows)
    exact = {"m1": blocks, "m0": machine.rows} if full.keys % machine.rows == 0 else {"m1": 1, "m0": full.keys}
    bounds = {"p": full.queries, "m": full.keys, "e": full.qk_width, "f": full.v_width, **exact}
    least = analyse_fibre(cascade, fibres_of(cascade)["keys"]).least_words(bounds, machine.buffer_B / 2.0)
    run = run_attention(full, machine, binding)
    assert run.traffic_B >= full.problems * 2.0 * least * (1 - 1e-12)


@_SETTINGS
@given(
    st.integers(1, 6),
    st.integers(1, 60),
    st.integers(0, 60),
    st.booleans(),
    st.integers(0, 40),
    st.integers(1, 17),
    st.integers(1, 17),
)
def test_tiles_visited_are_those_a_mask_leaves_something_of(
    heads: int, positions: int, more: int, causal: bool, window: int, tile_queries: int, tile_keys: int
) -> None:
    """Against counting every tile with a visible score, query by query."""
    keys = positions + more
    visible: set[tuple[int, int]] = set()
    for query in range(heads * positions):
        at = more + query // heads
        last = at if causal or not window else min(keys - 1, at + window - 1)
        last = last if causal or window else keys - 1
        first = max(0, at - window + 1) if window else 0
        visible |= {(query // tile_queries, key // tile_keys) for key in range(first, last + 1)}
    found = tiles_visited(heads * positions, positions, keys, causal, window, tile_queries, tile_keys)
    assert found == len(visible)


@_SETTINGS
@given(st.integers(0, 60), st.integers(1, 40), st.integers(0, 90), st.integers(0, 200))
def test_floor_sum(count: int, divisor: int, step: int, start: int) -> None:
    assert floor_sum(count, divisor, step, start) == sum((start + step * i) // divisor for i in range(count))


def test_causal_attention_approaches_half() -> None:
    machine = FusedMachine(256, 256, 256, 1, 1e9, 1e15, 2**24, 2.0)
    work = AttentionWork(8, 1 << 16, 1 << 16, 1 << 16, 64, 64)
    binding = load_binding("fusemax")
    ratio = (
        run_attention(work._replace(causal=True), machine, binding).time_s
        / run_attention(work, machine, binding).time_s
    )
    assert ratio == pytest.approx(0.5, abs=0.005)


def test_a_binding_that_leaves_an_einsum_out_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "name: x\ndescription: x\ncascade: softmax\nfused: true\nscores: memory\ncycles_2d: {}\n"
        "cycles_1d: {max: 1, sub: 1, exp: 1, add: 1, div: 1}\nphases:\n  - {array_1d: [GM, SN, SD]}\n"
    )
    with pytest.raises(InputError, match="A is bound 0 times"):
        load_binding(str(path))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("cascade: attention-3-pass", "cascade: attention-1-pass"), "makes no GM"),
        (("  - {array_2d: [AV]}", ""), "three phases"),
        (("fused: false", "fused: true\nx: 1"), "unknown key"),
        (("max: 1, ", ""), "has no 'max'"),
        (("scores: memory", "scores: rows"), ""),
    ],
)
def test_wrong_bindings_are_refused(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    text = Path(binding_module.__file__).with_name("bindings").joinpath("unfused.yaml").read_text()
    assert change[0] in text
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(*change))
    if not says:
        assert load_binding(str(path)).scores == "rows"
        return
    with pytest.raises(RidgelineError, match=says):
        load_binding(str(path))


def test_phases_of_one_binding_differ_only_in_overlap() -> None:
    """FuseMax and + architecture do the same work; one only overlaps more of it."""
    machine = FusedMachine(256, 256, 256, 1, 1e9, 1e15, 2**24, 2.0)
    work = AttentionWork(8, 4096, 4096, 4096, 64, 64)
    serial, bound = (run_attention(work, machine, load_binding(n)) for n in ("architecture", "fusemax"))
    assert serial.operations == bound.operations
    assert serial.traffic_B == bound.traffic_B
    assert bound.time_s < serial.time_s
    assert load_binding("fusemax").einsums == load_binding("architecture").einsums
