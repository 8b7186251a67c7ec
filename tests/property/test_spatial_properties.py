"""Spatial arrays: more of anything never hurts, a bound is a bound, what goes in comes out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels.catalog import bundled, load_hardware
from hwmodels.spatial.device import Spatial
from hwmodels.spatial.product import ProductArray, blocking, product_run
from hwmodels.system import build_system
from workloads.formats import load_format
from workloads.operators import Attention, AttentionGroup, Gemm, Operator, Role, Tensor, Vector

_SETTINGS = settings(max_examples=60, deadline=None, derandomize=True)
_DEVICES = {
    (name, level): build_system(load_hardware(name), level).device  # type: ignore[arg-type]
    for name in bundled("spatial")
    for level in ("analytic", "roofline")
}
BF16 = load_format("bf16")

gemms = st.builds(
    lambda m, n, k, weights: Gemm(name="g", m=m, n=n, k=k, activations=BF16, weights=load_format(weights), output=BF16),
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.sampled_from(["bf16", "int8", "int4-g128"]),
)
attentions = st.builds(
    lambda count, q_len, more, kv_heads, group, width, causal: Attention(
        name="attention",
        groups=(AttentionGroup(count, q_len, q_len + more),),
        heads=kv_heads * group,
        kv_heads=kv_heads,
        qk_dim=width,
        v_dim=width,
        causal=causal,
        activations=BF16,
        kv=BF16,
    ),
    st.integers(1, 32),
    st.integers(1, 2000),
    st.integers(0, 4000),
    st.integers(1, 8),
    st.integers(1, 8),
    st.sampled_from([64, 128]),
    st.booleans(),
)
vectors = st.builds(
    lambda rows, columns: Vector(
        name="v",
        rows=float(rows),
        columns=float(columns),
        operands=(Tensor("x", Role.INPUT, 2.0 * rows * columns), Tensor("y", Role.OUTPUT, 2.0 * rows * columns)),
        special_per_element=1.0,
    ),
    st.integers(1, 5000),
    st.integers(1, 5000),
)
operators = st.one_of(gemms, attentions, vectors)
names = st.sampled_from(sorted(bundled("spatial")))


def _device(name: str, level: str = "analytic") -> Spatial:
    device = _DEVICES[name, level]
    assert isinstance(device, Spatial)
    return device


@_SETTINGS
@given(operators, names)
def test_roofline_is_never_slower(operator: Operator, name: str) -> None:
    assert _device(name, "roofline").cost(operator).time_s <= _device(name).cost(operator).time_s * (1 + 1e-12)


@_SETTINGS
@given(operators, names, st.sampled_from(["hbm", "compute"]), st.floats(1.0, 4.0))
def test_more_is_never_slower(operator: Operator, name: str, resource: str, factor: float) -> None:
    device = _device(name)
    assert device.scaled(resource, factor).cost(operator).time_s <= device.cost(operator).time_s * (1 + 1e-12)


@_SETTINGS
@given(operators, names)
def test_bytes_are_conserved_between_levels(operator: Operator, name: str) -> None:
    """Memory moves at least every operand once, and the buffer what memory moves, either way."""
    cost = _device(name).cost(operator)
    least_B = sum(t.size_B for t in operator.tensors if not t.role.is_write)
    assert cost.hbm_read_B >= least_B * (1 - 1e-9)
    assert cost.hbm_write_B >= sum(t.size_B for t in operator.tensors if t.role.is_write) * (1 - 1e-9)
    assert cost.l2_B >= cost.hbm_B * (1 - 1e-9)
    assert all(joules >= 0.0 for joules in cost.energy_J.values())
    assert cost.time_s >= max(cost.resource_s.values()) * (1 - 1e-12)


shapes = st.tuples(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 4000))
arrays = st.builds(
    ProductArray,
    rows=st.sampled_from([8, 32, 128]),
    columns=st.sampled_from([8, 32, 128]),
    arrays=st.integers(1, 4),
    dataflow=st.integers(0, 2),
    overlapped=st.booleans(),
    rate=st.sampled_from([1.0, 2.0]),
    buffer_B=st.floats(1e4, 1e8),
)


@_SETTINGS
@given(shapes, arrays, st.floats(1.0, 16.0))
def test_a_larger_buffer_never_moves_more(shape: tuple[int, int, int], array: ProductArray, factor: float) -> None:
    m, n, k = shape

    def moved(one: ProductArray) -> float:
        found = blocking(m, n, k, 2.0, 2.0, one)
        return found.input_times * m * k + found.weight_times * n * k

    assert moved(array._replace(buffer_B=array.buffer_B * factor)) <= moved(array) * (1 + 1e-12)
    assert moved(array) >= m * k + n * k


@_SETTINGS
@given(shapes, arrays)
def test_no_array_beats_its_units(shape: tuple[int, int, int], array: ProductArray) -> None:
    m, n, k = shape
    run = product_run(m, n, k, 2.0, 2.0, array)
    assert run.cycles >= m * n * k / (array.rows * array.columns * array.arrays * array.rate) * (1 - 1e-12)
    assert product_run(m, n, k, 2.0, 2.0, array._replace(arrays=array.arrays + 1)).cycles <= run.cycles


def test_energy_of_attention_is_counted_by_operation() -> None:
    """Multiply-adds of scores and values, and six for every exponential, on the 2D array of FuseMax."""
    operator = Attention(
        name="attention",
        groups=(AttentionGroup(1, 4096, 4096),),
        heads=1,
        kv_heads=1,
        qk_dim=64,
        v_dim=64,
        causal=False,
        activations=BF16,
        kv=BF16,
    )
    cost = _device("fusemax-cloud").cost(operator)
    scores = 4096.0**2
    per_score = (128 + 6) * 17.1645 + 2 * 8.3395 + 0.028036
    assert cost.energy_J["compute"] == pytest.approx(scores * per_score * 1e-12, rel=1e-9)
