"""Every formula compiles, and the compiled one gives the numbers of the plain one."""

import importlib
import math
import pkgutil
import random
import typing

import pytest

import hwmodels
import workloads
from hwmodels.catalog import load_hardware
from hwmodels.coefficients import gpu_coefficients
from hwmodels.gpu.attention import AttentionCoefficients, attention_kernel
from hwmodels.gpu.gemm import GemmCoefficients, gemm_format, gemm_kernel
from hwmodels.gpu.params import GpuParams
from hwmodels.gpu.vector import VectorCoefficients, framework_shape, vector_kernel
from hwmodels.pim.energy import pim_energy
from hwmodels.pim.params import pim_params
from simulator.core.formula import FORMULAS, HOUSE_JIT, register_formulas

pytestmark = pytest.mark.slow

SPEC = load_hardware("h200").device
GPU = SPEC.params()
PIM = load_hardware("logic-pim").device
RECORDS = {
    "GemmCoefficients": gpu_coefficients(SPEC, "gemm", GemmCoefficients),
    "AttentionCoefficients": gpu_coefficients(SPEC, "attention", AttentionCoefficients),
    "VectorCoefficients": gpu_coefficients(SPEC, "vector", VectorCoefficients),
    "GpuParams": GPU,
    "LinkParams": SPEC.link.params(),
    "PimEnergy": pim_energy(PIM),
    "PimParams": pim_params(PIM),
}
ENOUGH = 60  # argument lists per formula
#: Logarithms of factorials differ by their last digit between C libraries, and large ones cancel.
TOLERANCE = {"workloads.occupancy": 1e-9}


def formulas():
    """Every formula of the packages that takes numbers, whoever imports it; property tests cover those of arrays."""
    for package in (workloads, hwmodels):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            importlib.import_module(module.name)
    found = [function for function in FORMULAS if typing.Any not in typing.get_type_hints(function).values()]
    return sorted(found, key=lambda function: (function.__module__, function.__name__))


def argument(kind, draw, name=""):
    """A number as formulas see them: whole sizes as floats, codes as integers, records of such."""
    if kind is float:
        if name == "p" or "share" in name or "efficiency" in name or "resident" in name:
            return draw.uniform(0.1, 1.0)
        return float(draw.choice([1, 2, 3, 7, 8, 16, 64, 100, 128, 256, 1000, 1024, 4096, 5120, 14336]))
    if kind is int:
        return draw.randint(0, 3)
    if kind is bool:
        return draw.random() < 0.5
    if typing.get_origin(kind) is tuple:
        return tuple(argument(part, draw) for part in typing.get_args(kind) if part is not Ellipsis)
    if kind.__name__ in RECORDS:
        return RECORDS[kind.__name__]
    hints = typing.get_type_hints(kind)
    return kind(*(argument(hints[field], draw, field) for field in kind._fields))


def numbers(value):
    if isinstance(value, tuple):
        return [number for part in value for number in numbers(part)]
    return [float(value)]


def same(plain, fast, rel_tol):
    pairs = zip(numbers(plain), numbers(fast), strict=True)
    return all(a == b or math.isclose(a, b, rel_tol=rel_tol) or (math.isnan(a) and math.isnan(b)) for a, b in pairs)


@pytest.mark.parametrize("function", formulas(), ids=lambda f: f"{f.__module__}.{f.__name__}")
def test_compiled_equals_plain(function):
    import numba

    register_formulas()
    compiled = numba.njit(**HOUSE_JIT)(function)
    hints = typing.get_type_hints(function)
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    draw = random.Random(function.__name__)
    tried = 0
    for _ in range(2000):
        arguments = [argument(hints[name], draw, name) for name in names]
        try:
            plain = function(*arguments)
        except (ZeroDivisionError, ValueError, OverflowError):
            continue  # nonsense that no caller asks for: plain Python refuses it, compiled code gives nan
        tried += 1
        assert same(plain, compiled(*arguments), TOLERANCE.get(function.__module__, 1e-12)), arguments
        if tried == ENOUGH:
            return
    raise AssertionError(f"only {tried} of 2000 argument lists made sense")


def layer(tokens, hidden, heads, context, gpu, gemm, attention, vector):
    """One product, one attention and one norm of a decode step of ``tokens`` sequences."""
    product = gemm_kernel(
        tokens,
        hidden,
        hidden,
        1.0,
        2.0,
        2.0,
        2.0,
        gpu.mma_f16_flop_per_clock,
        gemm_format(0, gemm),
        0.0,
        0.0,
        gpu,
        gemm,
    )
    attend = attention_kernel(
        tokens, heads, heads / 4.0, 128.0, 128.0, 1.0, context, 1, 0.0, 2.0, 2.0, 2.0, 0.0, 0,
        gpu.mma_f16_flop_per_clock, 0, gpu, attention,
    )  # fmt: skip
    shape = framework_shape(4, tokens, hidden)
    size_B = 2.0 * tokens * hidden
    norm = vector_kernel(tokens, size_B, size_B, shape.flop, 0.0, shape.trips, shape.rows_per_sm, 0.0, gpu, vector)
    return product.time_s + attend.time_s + norm.time_s


def test_a_whole_layer_compiles_into_one_loop_over_design_points():
    """In a loop a compiler may hoist divisions by constants: whole tiles must not become a bit more than whole."""
    import numba
    import numpy as np

    register_formulas()
    one = numba.njit(**HOUSE_JIT)(layer)

    @numba.njit(**HOUSE_JIT)
    def sweep(points, bandwidths_Bps, gpu, gemm, attention, vector):
        times_s = np.empty(len(points))
        for i in range(len(points)):
            faster = GpuParams(
                gpu.sms, gpu.clock_Hz, gpu.max_clock_Hz, gpu.mma_f16_flop_per_clock, gpu.vector_flop_per_clock,
                gpu.sfu_op_per_clock, gpu.smem_B, gpu.l2_B, gpu.l2_Bps, bandwidths_Bps[i], gpu.hbm_B,
            )  # fmt: skip
            times_s[i] = one(points[i, 0], points[i, 1], points[i, 2], points[i, 3], faster, gemm, attention, vector)
        return times_s

    draw = random.Random(1)
    points = np.array(
        [
            [draw.randint(1, 300), 64.0 * draw.randint(4, 200), 4.0 * draw.randint(1, 16), draw.randint(1, 30_000)]
            for _ in range(300)
        ],
        dtype=float,
    )
    bandwidths_Bps = np.array([draw.uniform(1e12, 1e13) for _ in points])
    coefficients = (RECORDS["GemmCoefficients"], RECORDS["AttentionCoefficients"], RECORDS["VectorCoefficients"])
    fast = sweep(points, bandwidths_Bps, GPU, *coefficients)
    for point, bandwidth_Bps, time_s in zip(points, bandwidths_Bps, fast, strict=True):
        plain = layer(*point.tolist(), GPU._replace(hbm_Bps=float(bandwidth_Bps)), *coefficients)
        assert time_s == pytest.approx(plain, rel=1e-12)
