"""How fast Ridgeline itself is: seconds for people, ratios to a fixed loop of plain Python for comparisons."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from simulator.api.bench_cycle import cycle

__all__ = ["BENCHES", "Bench"]

_RUNS = 5
_EXAMPLE = ("simulate", "llama-3-8b", "h200", "--in", "2048", "--out", "256", "--batch", "16")


@dataclass(frozen=True, slots=True)
class Bench:
    """A named measurement."""

    summary: str
    measure: Callable[[], dict[str, float | int | str]]


def _median_s(run: Callable[[], object], runs: int = _RUNS) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _calibration_s() -> float:
    """Time of a million additions in plain Python: the machine's speed, to divide by."""

    def loop() -> float:
        total = 0.0
        for i in range(1_000_000):
            total += i * 0.5
        return total

    return _median_s(loop)


def _command(arguments: tuple[str, ...], environment: Mapping[str, str] | None = None) -> None:
    subprocess.run(
        [sys.executable, "-m", "simulator", *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
    )


def startup() -> dict[str, float | int | str]:
    """Whole processes: ``--help``, a warm simulation, and the first ever (no compiled bytecode, no caches)."""
    _command(_EXAMPLE)
    help_s = _median_s(lambda: _command(("--help",)))
    warm_s = _median_s(lambda: _command(_EXAMPLE))
    with tempfile.TemporaryDirectory() as folder:
        first_s = _median_s(lambda: _command(_EXAMPLE, {"PYTHONPYCACHEPREFIX": folder}), runs=1)
    bare_s = _median_s(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))
    return {
        "help_s": help_s,
        "warm_simulate_s": warm_s,
        "first_simulate_s": first_s,
        "bare_python_s": bare_s,
        "warm_over_bare_python": warm_s / bare_s,
    }


def step() -> dict[str, float | int | str]:
    """One decode step of Llama-3-70B on an H200 at the analytic level, in a warm process."""
    from hwmodels.catalog import load_hardware
    from hwmodels.system import build_system
    from simulator.engine.profile import load_profile
    from simulator.engine.run import run_step
    from workloads.catalog import load_model
    from workloads.precision import Precision
    from workloads.step import Step

    model, system = load_model("llama-3-70b"), build_system(load_hardware("h200"))
    precision, profile = Precision.of(), load_profile("ideal")
    work = Step.of((16, 1, 2048))

    def once() -> object:
        return run_step(model, work, precision, system, profile)

    once()
    step_s = _median_s(once, runs=31)
    return {"step_s": step_s, "steps_per_s": 1.0 / step_s, "step_over_million_additions": step_s / _calibration_s()}


def systolic() -> dict[str, float | int | str]:
    """A systolic array: units stepped per second, and layers per second in closed form, compiled and plain."""
    import numpy as np

    from hwmodels.spatial.systolic import gemm_layer, layer_run, systolic_array
    from hwmodels.spatial.systolic_engine import run_batch, step_layer

    array = systolic_array(128, 128, "ws", overlapped=True, scratchpad_words=(2**20,) * 3, port_words_per_cycle=64.0)
    layer, many = gemm_layer(512, 512, 512), [gemm_layer(1 + i % 4096, 4096, 1 + i % 997) for i in range(100_000)]
    layers = np.asarray(many, np.int64)
    cycles = step_layer(layer, array).compute_cycles
    run_batch(layers[:1], array)
    stepped_s = _median_s(lambda: step_layer(layer, array))
    batch_s = _median_s(lambda: run_batch(layers, array)) / len(many)
    plain_s = _median_s(lambda: [layer_run(one, array) for one in many[:2000]]) / 2000
    unit_s = stepped_s / (cycles * array.rows * array.columns)
    return {
        "unit_cycles_per_s": 1.0 / unit_s,
        "layers_per_s": 1.0 / batch_s,
        "unit_cycles_per_plain_addition": _calibration_s() / 1e6 / unit_s,
        "layers_compiled_over_plain": plain_s / batch_s,
        "layers_closed_over_stepped": stepped_s / batch_s,
    }


def dram() -> dict[str, float | int | str]:
    """DRAM channels: ticks and requests per second of a core, and how often that of less skipping and plain Python."""
    from hwmodels.dram.bench import dram_rates

    figures: dict[str, float | int | str] = {}
    for case in dram_rates():
        name = f"{case.standard}_{case.pattern}"
        figures[f"{name}_cycles_per_s"] = 1.0 / case.cycle_s
        figures[f"{name}_requests_per_s"] = case.requests_per_cycle / case.cycle_s
        figures[f"{name}_cycles_per_plain_addition"] = case.addition_s / case.cycle_s
        figures[f"{name}_over_events"] = case.events_s / case.cycle_s
        figures[f"{name}_over_every_tick"] = case.every_tick_s / case.cycle_s
        figures[f"{name}_over_plain_python"] = case.plain_s / case.cycle_s
    return figures


def mapper() -> dict[str, float | int | str]:
    """The mapper: valid mappings evaluated per second of one core, and a search to proven optimality."""
    from hwmodels.spatial.mapper.bench import mapper_rates

    rates = mapper_rates()
    return {
        "valid_mappings_per_s": rates.valid_per_s,
        "moves_per_s": rates.moves_per_s,
        "valid_mappings_per_plain_addition": rates.valid_per_s * _calibration_s() / 1e6,
        "compiled_over_plain": rates.plain_s * rates.valid_per_s,
        "proven_search_s": rates.search_s,
        "proven_search_steps": rates.search_steps,
    }


BENCHES = {
    "dram": Bench("DRAM channels per standard and pattern: cycles and requests per second", dram),
    "cycle": Bench("matrix products of Llama-3 at the cycle level", cycle),
    "startup": Bench("start-up of the command line and a whole simulation", startup),
    "systolic": Bench("a systolic array, stepped and in closed form", systolic),
    "mapper": Bench("the mapper: mappings evaluated per second, and a search to the optimum", mapper),
    "step": Bench("one step of Llama-3-70B at the analytic level", step),
}
