"""Links, storage and power: more is never slower, parts sum, and compiled formulas equal plain ones."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels.coefficients import load_coefficients
from hwmodels.collectives import (
    CollectiveCoefficients,
    LinkParams,
    OverlapCoefficients,
    collective_time,
    hierarchical_time,
    overlap_time,
)
from hwmodels.gpu.power import PowerCoefficients, PowerParams, step_energy, step_power_W
from hwmodels.host_link import HostLinkCoefficients, host_copy_time
from hwmodels.storage import StorageParams, storage_read_time
from simulator.core.formula import HOUSE_JIT, register_formulas

KINDS = ("nvlink3", "nvlink4", "pcie5", "infinity_fabric", "infiniband_ndr")
LIBRARIES = {kind: load_coefficients("collectives", kind, CollectiveCoefficients) for kind in KINDS}
HOPPER = load_coefficients("power", "hopper", PowerCoefficients)
BOARD = PowerParams(idle_W=80.0, limit_W=700.0, sms=132.0, max_clock_Hz=1980e6, min_clock_Hz=345e6)

ops = st.integers(0, 5)
worlds = st.integers(2, 64)
sizes = st.floats(1.0, 1e11)
libraries = st.tuples(st.sampled_from(KINDS), st.sampled_from([0.0, 1.0])).map(
    lambda chosen: LIBRARIES[chosen[0]]._replace(direct=chosen[1])
)
links = st.builds(
    LinkParams,
    bandwidth_Bps=st.floats(1e9, 2e12),
    latency_s=st.floats(0.0, 2e-5),
    switched=st.sampled_from([0.0, 1.0]),
    peers=st.sampled_from([1.0, 2.0, 7.0]),
    multicast=st.sampled_from([0.0, 1.0]),
)


@given(ops, sizes, worlds, links, libraries, st.floats(1.0, 10.0))
def test_more_bandwidth_or_fewer_bytes_are_never_slower(
    op: int, size_B: float, world: int, link: LinkParams, c: CollectiveCoefficients, factor: float
) -> None:
    base = collective_time(op, size_B, world, link, c)
    wider = collective_time(op, size_B, world, link._replace(bandwidth_Bps=link.bandwidth_Bps * factor), c)
    quicker = collective_time(op, size_B, world, link._replace(latency_s=link.latency_s / factor), c)
    assert wider.time_s <= base.time_s * (1 + 1e-12)
    assert quicker.time_s <= base.time_s * (1 + 1e-12)
    if c.direct == 0.0 or size_B * factor <= c.direct_limit_B or size_B > c.direct_limit_B:
        assert collective_time(op, size_B * factor, world, link, c).time_s >= base.time_s * (1 - 1e-12)


@given(ops, sizes, worlds, links, libraries)
def test_no_collective_beats_its_links(
    op: int, size_B: float, world: int, link: LinkParams, c: CollectiveCoefficients
) -> None:
    cost = collective_time(op, size_B, world, link, c)
    assert cost.time_s >= cost.wire_B / link.bandwidth_Bps * (1 - 1e-12)
    assert 0.0 < cost.latency_s <= cost.time_s * (1 + 1e-12)
    assert cost.hbm_B >= size_B * (1 - 1e-12)


@given(ops, sizes, st.integers(1, 8), st.integers(1, 16), links, links, libraries, st.floats(1.0, 10.0))
def test_more_bandwidth_on_either_network_is_never_slower(
    op: int,
    size_B: float,
    per_node: int,
    nodes: int,
    intra: LinkParams,
    inter: LinkParams,
    c: CollectiveCoefficients,
    factor: float,
) -> None:
    far = LIBRARIES["infiniband_ndr"]
    base = hierarchical_time(op, size_B, per_node, nodes, intra, c, inter, far).time_s
    near = intra._replace(bandwidth_Bps=intra.bandwidth_Bps * factor)
    card = inter._replace(bandwidth_Bps=inter.bandwidth_Bps * factor)
    assert hierarchical_time(op, size_B, per_node, nodes, near, c, inter, far).time_s <= base * (1 + 1e-12)
    assert hierarchical_time(op, size_B, per_node, nodes, intra, c, card, far).time_s <= base * (1 + 1e-12)


@given(st.floats(1e-6, 1e-2), st.floats(1e-6, 1e-2), st.integers(1, 16))
def test_overlap_never_beats_the_longer_part(compute_s: float, collective_s: float, chunks: int) -> None:
    c = load_coefficients("overlap", "", OverlapCoefficients)
    overlapped_s = overlap_time(compute_s, collective_s, chunks, c)
    assert overlapped_s >= chunks * max(compute_s, collective_s) + min(compute_s, collective_s) - 1e-15
    assert overlapped_s <= chunks * (compute_s + collective_s + c.switch_s) * (1 + 1e-12)


@given(st.integers(0, 3), sizes, st.floats(4e9, 1e12), st.floats(1.0, 10.0))
def test_a_wider_host_link_is_never_slower(kind: int, size_B: float, bandwidth_Bps: float, factor: float) -> None:
    c = load_coefficients("host_link", "", HostLinkCoefficients)
    base_s = host_copy_time(kind, size_B, bandwidth_Bps, c)
    assert host_copy_time(kind, size_B, bandwidth_Bps * factor, c) <= base_s * (1 + 1e-12)
    assert base_s >= size_B / bandwidth_Bps


@given(st.floats(1.0, 1e12), st.floats(512.0, 1e8), st.floats(1.0, 256.0), st.floats(1.0, 10.0))
def test_deeper_queues_and_better_drives_are_never_slower(
    total_B: float, chunk_B: float, depth: float, factor: float
) -> None:
    drive = StorageParams(bandwidth_Bps=7e9, latency_s=60e-6, requests_per_s=1e6, page_B=4096.0)
    base = storage_read_time(total_B, chunk_B, depth, drive)
    assert base.read_B >= total_B
    assert base.time_s >= base.read_B / drive.bandwidth_Bps * (1 - 1e-9)
    assert storage_read_time(total_B, chunk_B, depth * factor, drive).time_s <= base.time_s * (1 + 1e-12)
    for better in (
        drive._replace(bandwidth_Bps=drive.bandwidth_Bps * factor),
        drive._replace(latency_s=drive.latency_s / factor),
        drive._replace(requests_per_s=drive.requests_per_s * factor),
    ):
        assert storage_read_time(total_B, chunk_B, depth, better).time_s <= base.time_s * (1 + 1e-12)


@given(st.floats(0.0, 3000.0), st.floats(0.0, 400.0), st.floats(0.01, 1.0), st.floats(0.0, 1.0), st.floats(0.15, 1.0))
def test_power_rises_with_the_clock_and_parts_sum(
    core_J: float, memory_J: float, clocked_s: float, other_s: float, share: float
) -> None:
    def power_W(clock_Hz: float) -> float:
        time_s = clocked_s * BOARD.max_clock_Hz / clock_Hz + other_s
        parts = step_energy(core_J, memory_J, time_s, clock_Hz, BOARD, HOPPER)
        watts = step_power_W(core_J, memory_J, time_s, clock_Hz, BOARD, HOPPER)
        assert math.isclose(sum(parts), watts * time_s, rel_tol=1e-12)
        assert min(parts) >= 0.0
        return watts

    assert power_W(share * BOARD.max_clock_Hz) <= power_W(BOARD.max_clock_Hz) * (1 + 1e-12)


@pytest.mark.slow
def test_compiled_formulas_equal_plain_ones() -> None:
    import numba

    register_formulas()
    compiled = numba.njit(**HOUSE_JIT)(_everything)
    host = load_coefficients("host_link", "", HostLinkCoefficients)
    drive = StorageParams(7e9, 60e-6, 1e6, 4096.0)

    @settings(max_examples=200, deadline=None)
    @given(ops, sizes, worlds, links, libraries)
    def same(op: int, size_B: float, world: int, link: LinkParams, c: CollectiveCoefficients) -> None:
        arguments = (op, size_B, float(world), link, c, host, drive, BOARD, HOPPER)
        for plain, fast in zip(_everything(*arguments), compiled(*arguments), strict=True):
            assert math.isclose(plain, fast, rel_tol=1e-12)

    same()


def _everything(op, size_B, world, link, c, host, drive, board, power):  # type: ignore[no-untyped-def]
    """One number out of each formula of these modules."""
    alone = collective_time(op, size_B, world, link, c)
    wide = hierarchical_time(op, size_B, world, 4.0, link, c, link, c)
    copy_s = host_copy_time(op % 4, size_B, link.bandwidth_Bps, host)
    read = storage_read_time(size_B, 65536.0, world, drive)
    core_J = size_B * 1e-8
    clock_Hz = 0.6 * board.max_clock_Hz
    watts = step_power_W(core_J, 0.1 * core_J, 1.2, clock_Hz, board, power)
    return (alone.time_s, alone.wire_B, alone.hbm_B, wide.time_s, wide.latency_s, copy_s, read.time_s, clock_Hz, watts)
