"""What PIM-GPT is compared with: a T4 and a CPU, each read in several ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from hwmodels.catalog import load_hardware
from hwmodels.system import Level, build_system
from simulator.api.simulate import simulate
from simulator.engine.profile import load_profile
from simulator.engine.run import run_step
from workloads.catalog import load_model
from workloads.operators import total_bytes
from workloads.precision import Precision
from workloads.step import Step
from workloads.transformer import build_graph

__all__ = ["BASELINES", "Baseline", "Run", "run_baseline"]

#: Host time of a kernel launched by eager PyTorch: median of wall time over kernels in
#: hwmodels/measured/h200/h200_eager_decode.csv.
_EAGER = ("profile.launch.mode=eager", "profile.launch.host_interval=42 us")

#: Xeon Gold 6154. Source: Intel ARK: 18 cores, 3.0 GHz, two AVX-512 units (64 fp32 FLOP a clock and core), six channels
#: of DDR4-2666, 200 W.
_CPU_FLOPS = 18 * 64 * 3.0e9
_CPU_BPS = 6 * 2666e6 * 8
_CPU_W = 200.0
_T4_W = 70.0  # NVIDIA T4 datasheet

_SAMPLES = 5  # lengths at which a generation is costed; between them time is nearly linear


class Run(NamedTuple):
    """A whole generation."""

    time_s: float
    energy_J: float


class Baseline(NamedTuple):
    """One way of running a model without PIM."""

    meaning: str
    run: Callable[[str, int], Run]
    cpu: bool = False


def run_baseline(baseline: str, model: str, tokens: int) -> Run:
    """Generate ``tokens`` tokens at batch 1."""
    return BASELINES[baseline].run(model, tokens)


def _t4(level: Level, profile: str = "ideal", changes: tuple[str, ...] = ()) -> Callable[[str, int], Run]:
    def run(model: str, tokens: int) -> Run:
        report = simulate(
            model,
            "t4",
            input_tokens=0,
            context=1,
            output_tokens=tokens - 1,
            level=level,
            profile=profile,
            overrides=changes,
        )
        modelled = level == "analytic" and not changes
        return Run(report.latency_s, report.total_energy_J if modelled else _T4_W * report.latency_s)

    return run


def _over_lengths(tokens: int, time_s: Callable[[int], float]) -> float:
    """Sum a time over lengths 1 to ``tokens``, sampled evenly (trapezoids)."""
    lengths = [1 + round(i * (tokens - 1) / (_SAMPLES - 1)) for i in range(_SAMPLES)]
    times = [time_s(length) for length in lengths]
    inner = sum((b - a) * (s + t) / 2.0 for a, b, s, t in zip(lengths, lengths[1:], times, times[1:], strict=False))
    return inner + (times[0] + times[-1]) / 2.0


def _t4_recomputing(model: str, tokens: int) -> Run:
    spec, system, profile = load_model(model), build_system(load_hardware("t4")), load_profile("ideal")
    precision = Precision.of("fp32", "fp32", "fp32")

    def time_s(length: int) -> float:
        return run_step(spec, Step.of((1, length, 0)), precision, system, profile).time_s

    total_s = _over_lengths(tokens, time_s)
    return Run(total_s, _T4_W * total_s)


def _cpu(recomputing: bool) -> Callable[[str, int], Run]:
    def run(model: str, tokens: int) -> Run:
        spec, precision = load_model(model), Precision.of("fp32", "fp32", "fp32")

        def time_s(length: int) -> float:
            step = Step.of((1, length, 0)) if recomputing else Step.of((1, 1, length))
            graph = build_graph(spec, step, precision)
            return sum(n * max(op.flops / _CPU_FLOPS, total_bytes(op) / _CPU_BPS) for op, n in graph)

        total_s = _over_lengths(tokens, time_s)
        return Run(total_s, _CPU_W * total_s)

    return run


#: From the kindest to the least kind.
BASELINES: Mapping[str, Baseline] = {
    "T4, roofline": Baseline("datasheet bandwidth, 16-bit weights: no GPU does better", _t4("roofline")),
    "T4, calibrated": Baseline("kernels as calibrated, launched from a graph", _t4("analytic")),
    "T4, launch-bound": Baseline("every kernel launched by the host", _t4("analytic", "pytorch-sdpa", _EAGER)),
    "T4, no cache": Baseline("fp32, the sequence computed again for every token", _t4_recomputing),
    "CPU, roofline": Baseline("fp32 at the datasheet's bandwidth", _cpu(False), cpu=True),
    "CPU, no cache": Baseline("fp32 at the datasheet's rates, the sequence computed again", _cpu(True), cpu=True),
}
