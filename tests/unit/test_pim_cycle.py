"""The cycle level of memory that computes: against the closed form, and its two short cuts against stepping."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels.catalog import bundled, load_hardware
from hwmodels.pim.channel import Entry, PimController, PimTable, run_stream, stream
from hwmodels.pim.checker import check_pim_trace
from hwmodels.pim.closed_form import product_time
from hwmodels.pim.cycle import cycle_product_time, run_passes
from hwmodels.pim.layout import Product, product_layout
from hwmodels.pim.params import pim_params
from hwmodels.pim.program import device_controller, pass_entries, row_units
from hwmodels.pim.spec import PimSpec
from hwmodels.pim.table import pim_dram
from hwmodels.system import build_system
from simulator.core.errors import UnsupportedError
from workloads.catalog import load_model
from workloads.parallel import Parallelism
from workloads.precision import Precision
from workloads.step import Step
from workloads.transformer import build_graph

DEVICES = tuple(bundled("pim"))
SHAPES = {  # inputs, results, numbers of an input
    "70B qkv": (1.0, 10240.0, 8192.0),
    "70B out": (1.0, 8192.0, 8192.0),
    "70B up": (1.0, 57344.0, 8192.0),
    "70B down": (1.0, 8192.0, 28672.0),
    "8B up, batch 4": (4.0, 28672.0, 4096.0),
    "8B down, batch 12": (12.0, 4096.0, 14336.0),
    "head": (1.0, 128256.0, 4096.0),
}


def _spec(name: str) -> PimSpec:
    spec = load_hardware(name).device
    assert isinstance(spec, PimSpec)
    return spec


@pytest.mark.parametrize("name", DEVICES)
def test_levels_agree_on_products_of_language_models(name: str) -> None:
    spec = _spec(name)
    params = pim_params(spec)
    for shape, (m, n, k) in SHAPES.items():
        if name == "attacc-buffer" and shape != "70B qkv":
            continue  # banks in turn leave nothing to pass over: a second for each
        job = Product(1.0, m, n, k, 2.0, 2.0, 2.0)
        closed, run = product_time(job, params), cycle_product_time(job, params, spec)
        assert closed.time_s == pytest.approx(run.time_s, rel=0.03), shape


@pytest.mark.parametrize("name", [name for name in DEVICES if name != "attacc-buffer"])
def test_levels_agree_on_a_step(name: str) -> None:
    system = load_hardware(name)
    closed, run = (build_system(system, level).device for level in ("analytic", "cycle"))  # type: ignore[arg-type]
    graph = build_graph(load_model("llama-3-70b"), Step.of((1, 1, 2048)), Precision.of(), Parallelism())
    both = [(closed.cost(op).time_s, run.cost(op).time_s, repeat) for op, repeat in graph]
    assert sum(r * a for a, _, r in both) == pytest.approx(sum(r * b for _, b, r in both), rel=0.03)
    start = time.process_time()
    total_s = sum(repeat * run.cost(op).time_s for op, repeat in graph)
    assert time.process_time() - start < 2.0  # command programs are kept
    assert total_s > 0.0


@pytest.mark.parametrize("name", ["attacc", "logic-pim", "aim", "pim-gpt", "hbm-pim", "attacc-bank-group"])
def test_passing_over_equal_passes_is_exact(name: str) -> None:
    spec = _spec(name)
    table, controller = PimTable(pim_dram(spec)), device_controller(spec)
    layout = product_layout(Product(1.0, 1.0, 2000.0, 1500.0, 2.0, 2.0, 2.0), 1.0, 4.0, pim_params(spec))
    entries = pass_entries(spec, table, layout)
    fast = run_passes(table, entries, controller, row_units(spec), 400)
    slow = run_passes(table, entries, controller, row_units(spec), 400, forward=False)
    assert fast.ticks == slow.ticks
    assert fast.simulated <= slow.simulated == 400
    if name not in ("logic-pim", "attacc"):  # where it takes longer until a state comes back
        assert fast.simulated < 400


@pytest.mark.parametrize("name", DEVICES)
def test_no_command_of_a_product_breaks_a_constraint(name: str) -> None:
    spec = _spec(name)
    table, controller = PimTable(pim_dram(spec)), device_controller(spec)
    layout = product_layout(Product(1.0, 3.0, 3000.0, 3000.0, 2.0, 2.0, 2.0), 1.0, 8.0, pim_params(spec))
    entries = pass_entries(spec, table, layout)
    run = run_stream(table, entries, controller, units=row_units(spec), traced=100_000)
    assert len(run.trace) == run.issued
    assert sum(command.name == spec.commands.compute for command in run.trace) == layout.bursts
    assert check_pim_trace(table, _entries(table, entries), run.trace, controller) == []
    untraced = run_stream(table, entries, controller, units=row_units(spec))
    assert (untraced.ticks, untraced.issued) == (run.ticks, run.issued)


def _entries(table: PimTable, rows: np.ndarray) -> list[Entry]:
    """Read a stream back into entries."""
    names = {**table.names, -1: ("", 0)}
    return [
        Entry(names[k][0], c, names[k][1], (lo, hi), row, bank, names[o][0], names[p][0], mode)
        for c, k, lo, hi, row, bank, mode, o, p, _ in rows.tolist()
    ]


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(["MACAB", "MVSB", "WRGB", ""]), st.integers(1, 60), st.integers(0, 3)), max_size=12
    ),
    st.sampled_from([1, 4, 16]),
    st.booleans(),
)
def test_random_streams_keep_their_constraints_however_they_are_run(
    runs: list[tuple[str, int, int]], window: int, refresh: bool
) -> None:
    table = PimTable(pim_dram(_spec("attacc")))
    shortened = replace(table.dram, timings={**table.dram.timings, "nREFI": 700})
    table = PimTable(shortened)
    controller = PimController(capacity=16, window=window, dual=window > 1, refresh=refresh)
    entries = [
        Entry(name, 0, 0 if name == "MACAB" else row, (0, 1), row, 0, "ACTAB", "PREA")
        if name == "MACAB"
        else Entry(name, 0, row if name else 0, bank=4 * row)
        for name, count, row in runs
        for _ in range(count if name else 1)
    ]
    rows = stream(table, entries)
    stepped = run_stream(table, rows, controller, traced=20_000)
    assert check_pim_trace(table, entries, stepped.trace, controller) == []
    passed = run_stream(table, rows, controller)
    assert (passed.ticks, passed.issued) == (stepped.ticks, stepped.issued)


def test_too_long_a_pass_is_refused() -> None:
    spec = _spec("hbm-pim")
    job = Product(1.0, 1.0, 4e6, 1e6, 2.0, 2.0, 2.0)
    with pytest.raises(UnsupportedError, match="use --level analytic"):
        cycle_product_time(job, pim_params(spec), spec)
