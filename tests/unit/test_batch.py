"""Tables and columns of a batch, before anything is compiled; tests/property/test_batch_properties.py holds results."""

from typing import Any

import numpy as np
import pytest

from dse.batch import COLUMNS, BatchModel, column_name
from dse.batch.columns import BOARD, FREE, KERNELS, LINKS, PRODUCTS, SLOTS, raw_numbers
from dse.batch.table import GEMM
from hwmodels.catalog import load_hardware
from hwmodels.system import build_system
from simulator.api.phases import run_phases
from simulator.api.simulate import prepare
from simulator.core.errors import InputError, UnsupportedError


def model(columns: list[str], hardware: str = "h200", **asked: Any) -> BatchModel:
    return BatchModel(*prepare("llama-3-8b", hardware, **asked), columns)


def test_a_table_launches_what_the_simulation_launches() -> None:
    setup, spec = prepare("mixtral-8x7b", "h100x8", batch=16, tp=2, pp=2, dp=2, ep=4)
    table = BatchModel(setup, spec).table
    phases = run_phases(setup, build_system(spec))
    simulated = sum(
        operator.count * weight
        for phase in phases
        if phase is not None
        for result, weight in phase.samples
        for operator in result.operators
    )
    steps, runs = table.steps, table.runs
    launched = 0.0
    for step in range(len(steps.slots)):
        for run in range(steps.ptr[step], steps.ptr[step + 1]):
            kernels = runs.repeat[runs.ptr[run] : runs.ptr[run + 1]].sum()
            collectives = runs.link_repeat[runs.link_ptr[run] : runs.link_ptr[run + 1]].sum()
            launched += (kernels + collectives) * steps.slots[step] * steps.weight[step]
    assert launched == pytest.approx(simulated)


def test_alike_operators_of_different_steps_are_stored_once() -> None:
    table = model([], batch=4, output_tokens=100).table
    # Five products in each of six runs: four of a layer's for prefill and four for decode, one head for both.
    assert sum(table.operators.codes[o, 0] == GEMM for o in table.runs.operator) == 30
    assert (table.operators.codes[:, 0] == GEMM).sum() == 9


def test_every_column_has_a_place_and_a_rank() -> None:
    assert {place.rank for place in COLUMNS.values()} == {KERNELS, PRODUCTS, LINKS, BOARD, FREE}
    assert all(0 <= place.slot < SLOTS for place in COLUMNS.values())
    raw = raw_numbers(load_hardware("h200"))
    assert raw[COLUMNS["sms"].slot] == 132
    assert raw[COLUMNS["hbm.bandwidth"].slot] == 4.8e12
    assert np.isnan(raw[COLUMNS["tensor.fp4"].slot])


def test_values_per_clock_have_columns_of_their_own() -> None:
    assert column_name("tensor.bf16", "FLOP/s") == "tensor.bf16"
    assert column_name("tensor.bf16", "FLOP/clk") == "tensor.bf16/clk"
    assert column_name("power.limit", "W") == "power.limit"
    assert column_name("clock.max", "Hz") == "clock.max"
    assert column_name("model.layers", "1") is None


@pytest.mark.parametrize(
    ("columns", "hardware", "message"),
    [
        (["hbm.size"], "h200", "'hbm.size' is no column of a batch: known are clock.max"),
        (["tensor.fp4"], "h200", "tensor.fp4 cannot be a column: NVIDIA H200 does not compute in that format"),
        (["network.bandwidth"], "h200", "network.bandwidth cannot be a column: NVIDIA H200 has no network"),
    ],
)
def test_what_cannot_be_a_column_is_refused(columns: list[str], hardware: str, message: str) -> None:
    with pytest.raises(InputError, match=message.replace(".", r"\.")):
        model(columns, hardware)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sms": [132.0]}, "columns given: sms; the model was made for: power.limit, sms"),
        ({"sms": [132.0], "power.limit": [700.0, 600.0]}, "unequal length: 1, 2"),
        ({"sms": [131.5], "power.limit": [700.0]}, "sms: 131.5 is no value of this field"),
        ({"sms": [132.0], "power.limit": [-1.0]}, "power.limit: -1 is no value"),
        ({"sms": [132.0], "power.limit": [float("nan")]}, "power.limit: nan is no value"),
        ({"sms": [0.0], "power.limit": [700.0]}, "sms: 0 is no value"),
    ],
)
def test_wrong_columns_are_refused_before_anything_is_compiled(values: dict[str, list[float]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        model(["sms", "power.limit"]).evaluate({name: np.array(v) for name, v in values.items()})


@pytest.mark.parametrize("hardware", ["aim", "tpu-v5e", "duplex"])
def test_devices_that_are_no_gpus_are_refused(hardware: str) -> None:
    with pytest.raises(UnsupportedError):
        model([], hardware)
