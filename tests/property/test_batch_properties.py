"""A batch says of every point what a simulation of that point alone says."""

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dse.batch import COLUMNS, METRICS, BatchModel, column_name
from hwmodels.device import RESOURCES
from hwmodels.system import build_system
from simulator.api.phases import run_phases
from simulator.api.report import Report
from simulator.api.simulate import prepare, simulate
from simulator.core.errors import RidgelineError

pytestmark = pytest.mark.slow

TOLERANCE = 1e-12

#: Requests: what needs a table each. Small outputs keep every decode step a sample, larger ones weigh them.
REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("llama-3-8b", "h200", {"batch": 16}),
    ("llama-3-8b", "h200", {"batch": 100, "output_tokens": 3, "profile": "vllm"}),
    ("llama-3-8b", "a100", {"batch": 3, "context": 5000, "input_tokens": 100, "profile": "pytorch-sdpa"}),
    ("llama-3-8b", "h100x2", {"batch": 8, "kv": "fp8", "weights": "int4", "tp": 2, "profile": "vllm"}),
    ("llama-3-8b", "mi300x", {"batch": 2, "input_tokens": 0, "context": 300, "output_tokens": 9}),
    ("llama-3-8b", "h200", {"batch": 1, "input_tokens": 9000, "output_tokens": 1, "profile": "pytorch-static"}),
    ("llama-3-70b", "h200x8", {"batch": 24, "sequence_parallel": True}),
    ("llama-3-70b", "h100x8", {"batch": 10, "tp": 2, "pp": 4, "output_tokens": 5}),
    ("llama-3-70b", "h100x16", {"batch": 8, "tp": 16, "input_tokens": 300, "profile": "vllm"}),
    ("mixtral-8x7b", "h100x8", {"batch": 33, "tp": 2, "dp": 4, "ep": 8, "routing": "zipf:1.0"}),
    ("mixtral-8x7b", "b200", {"batch": 4, "weights": "fp8"}),
    ("deepseek-v3", "h200x16", {"batch": 64, "tp": 8, "dp": 2, "ep": 16, "input_tokens": 256}),
]

UNITS = {
    "sms": "",
    "die_area": " mm2",
    "price": " USD",
    "shared_memory": " B",
    "l2.capacity": " B",
    "hbm.capacity": " B",
}
UNITS |= dict.fromkeys(("hbm.bandwidth", "link.bandwidth", "network.bandwidth", "l2.bandwidth"), " B/s")
UNITS |= dict.fromkeys(("link.latency", "network.latency"), " s") | dict.fromkeys(("power.limit", "power.idle"), " W")
UNITS |= dict.fromkeys(("clock.max", "clock.min", "clock.peak_quoted_at"), " Hz")


#: For columns that a specification need not state.
UNSTATED = {"clock.peak_quoted_at": 1.4e9, "clock.min": 4e8, "die_area": 800.0, "price": 1e4}


def read(report: Report, metric: str) -> float:
    """A metric out of the JSON report, by its path."""
    devices = report.parallel.devices
    memory = report.memory
    own = {
        "tokens_per_s_per_device": report.tokens_per_s / devices,
        "power_per_device_W": report.power_W / devices,
        "memory_B": memory.total_B,
        "memory_fill": memory.total_B / memory.usable_B,
        "memory.margin_B": memory.margin_B,
        "devices": devices,
        "area_mm2": (report.system.device.die_area_mm2 or math.nan) * devices,
        "price_USD": (report.system.device.price_USD or math.nan) * devices,
    }
    if metric in own:
        return float(own[metric])
    value: Any = report.to_json()
    for key in metric.split("."):
        value = None if value is None else value[key]
    if isinstance(value, dict):
        value = sum(value.values())
    if isinstance(value, str):
        value = RESOURCES.index(value)
    return math.nan if value is None else float(value)


def unit_of(name: str) -> str:
    if name in UNITS:
        return UNITS[name]
    work = {"l2": "B", "vector.sfu": "OP", "tensor.int8": "OP", "tensor.int4": "OP"}
    base = name.removesuffix("/clk")
    return f" {work.get(base, work.get(base.partition('.')[0], 'FLOP'))}/{'clk' if name.endswith('/clk') else 's'}"


@cache
def usable(hardware: str) -> list[str]:
    """Columns that a system has a base for."""
    asked = prepare("llama-3-8b", hardware, batch=1, tp=1)
    found = []
    for name in COLUMNS:
        try:
            BatchModel(*asked, [name])
        except RidgelineError:
            continue
        found.append(name)
    return found


@st.composite
def spaces(draw: st.DrawFn) -> tuple[tuple[str, str, dict[str, Any]], dict[str, list[float]]]:
    """A request, and columns of three points around its hardware."""
    request = draw(st.sampled_from(REQUESTS))
    names = draw(st.lists(st.sampled_from(usable(request[1])), min_size=1, max_size=6, unique=True))
    names = [n for n in names if not (n.endswith("/clk") and n.removesuffix("/clk") in names)]
    base = BatchModel(*prepare(request[0], request[1], **request[2]), names)
    columns: dict[str, list[float]] = {}
    for name in names:
        around = base.base(name)
        if math.isnan(around):
            around = UNSTATED[name]
        factors = draw(st.lists(st.sampled_from([0.3, 0.7, 0.9, 1.0, 1.0, 1.3, 2.0]), min_size=3, max_size=3))
        columns[name] = [round(around * f) if name == "sms" else around * f for f in factors]
    return request, columns


@given(spaces())
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_a_batch_equals_simulations(space: tuple[tuple[str, str, dict[str, Any]], dict[str, list[float]]]) -> None:
    (model, hardware, asked), columns = space
    batch = BatchModel(*prepare(model, hardware, **asked), list(columns))
    found = batch.evaluate({name: np.array(values, dtype=float) for name, values in columns.items()})
    for point in range(3):
        changes = [f"{n.removesuffix('/clk')}={v[point]!r}{unit_of(n)}" for n, v in columns.items()]
        try:
            report = simulate(model, hardware, **asked, overrides=changes, elasticity=False)
        except RidgelineError:
            assert math.isnan(found["latency_s"][point])
            continue
        for metric in METRICS:
            alone = read(report, metric)
            together = float(found[metric][point])
            if metric == "memory.margin_B":  # what is left of two large numbers
                assert abs(together - alone) <= TOLERANCE * report.memory.usable_B
                continue
            assert math.isclose(together, alone, rel_tol=TOLERANCE) or (math.isnan(alone) and math.isnan(together)), (
                metric,
                together,
                alone,
                changes,
            )


def test_waves_that_are_just_full_are_so_in_both() -> None:
    """Over all counts of SMs some fill whole waves: rounding anywhere would make one wave more of them."""
    asked: dict[str, Any] = {"batch": 33, "tp": 2, "dp": 4, "ep": 8, "routing": "zipf:1.0", "output_tokens": 1}
    sms = np.arange(100, 200)
    found = BatchModel(*prepare("mixtral-8x7b", "h100x8", **asked), ["sms"]).evaluate({"sms": sms.astype(float)})
    for point, count in enumerate(sms):
        setup, spec = prepare("mixtral-8x7b", "h100x8", **asked, overrides=[f"sms={count}"])
        prefill, _ = run_phases(setup, build_system(spec))
        assert prefill is not None
        assert found["ttft_s"][point] == pytest.approx(prefill.time_s, rel=TOLERANCE), count


@pytest.mark.parametrize("batch_size", [1, 32])
def test_points_do_not_depend_on_their_neighbours(batch_size: int) -> None:
    """In the order of a sweep, most is kept from the point before; in any other order, little."""
    names = ["sms", "hbm.bandwidth", "l2.capacity", "link.bandwidth", "power.limit", "hbm.capacity"]
    asked = prepare("llama-3-70b", "h200x8", batch=batch_size)
    batch = BatchModel(*asked, names)
    values = [
        batch.base(name) * np.array([0.5, 1.0, 1.5][: 2 + (name in ("l2.capacity", "power.limit"))]) for name in names
    ]
    grid = np.meshgrid(*values, indexing="ij")
    columns = {name: column.ravel() for name, column in zip(names, grid, strict=True)}
    together = batch.evaluate(columns)
    order = np.random.default_rng(3).permutation(len(columns["sms"]))
    shuffled = batch.evaluate({name: column[order] for name, column in columns.items()})
    one = BatchModel(*asked, names).evaluate({name: column[-1:] for name, column in columns.items()})
    for metric in METRICS:
        assert np.array_equal(together[metric][order], shuffled[metric], equal_nan=True)
        assert np.array_equal(together[metric][-1:], one[metric], equal_nan=True)


def test_columns_are_named_as_the_fields_that_override_them() -> None:
    assert column_name("hbm.bandwidth", "B/s") == "hbm.bandwidth"
    assert column_name("units.*.device.l2.bandwidth", "B/clk") == "l2.bandwidth/clk"
    assert column_name("units.0.device.power.limit", "W") == "power.limit"
    assert column_name("network.latency", "s") == "network.latency"
    assert column_name("units.0.count", "1") is None
    assert column_name("run.batch", "1") is None
