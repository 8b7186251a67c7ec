"""The two phases of a request, run step by step on a system."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from hwmodels.system import System
from simulator.api.report import Phase
from simulator.api.request import Request
from simulator.engine.profile import Profile
from simulator.engine.run import StepResult, run_step
from workloads.model import ModelSpec
from workloads.moe import Routing
from workloads.parallel import Parallelism
from workloads.precision import Precision
from workloads.step import Step

__all__ = ["Setup", "request_steps", "run_phases"]

_DECODE_SAMPLES = 5  # decode steps that are run; between them time is nearly linear in the context


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything a request runs with, so that variations of it can be run again."""

    model: ModelSpec
    precision: Precision
    parallel: Parallelism
    profile: Profile
    routing: Routing
    request: Request

    def run(self, step: Step, system: System) -> StepResult:
        """Run one step."""
        return run_step(self.model, step, self.precision, system, self.profile, self.parallel, self.routing)


#: Steps with how many steps each stands for.
Weighted = list[tuple[Step, float]]


def request_steps(setup: Setup, samples: int = _DECODE_SAMPLES) -> tuple[Weighted, Weighted]:
    """Return the steps of the prefill, and those steps of the decode that are run for all of them."""
    request = setup.request
    prefill = request.prefill(setup.profile, setup.parallel.dp, not setup.model.is_decoder)
    decode = _trapezoid(request.decode_steps, samples) if request.decode_steps else []
    return (
        [(step, float(times)) for step, times in prefill],
        [(request.decode_step(index), weight) for index, weight in decode],
    )


def run_phases(
    setup: Setup, system: System, samples: int = _DECODE_SAMPLES, tell: Callable[[str], None] = lambda line: None
) -> tuple[Phase | None, Phase | None]:
    """Run the prefill and ``samples`` of the decode steps of a request.

    Decode time is integrated over the output with the trapezoidal rule between sampled contexts; exact where there are
    no more steps than samples. ``tell`` is called before each step that is run.
    """
    prefill_steps, decode_steps = request_steps(setup, samples)
    number = count(1)
    of = len(prefill_steps) + len(decode_steps)

    def run(step: Step) -> StepResult:
        tell(f"{system.spec.name}: step {next(number)} of {of}")
        return setup.run(step, system)

    prefill = decode = None
    if prefill_steps:
        results = [(run(step), times) for step, times in prefill_steps]
        # Steps enter the pipeline as soon as its first stage is free; the last one drains through the others.
        drain_s = max(result.time_s - result.occupied_s for result, _ in results)
        time_s = sum(result.occupied_s * times for result, times in results) + drain_s
        prefill = _phase(results, time_s, max(results, key=lambda pair: pair[0].step.tokens)[0])
    if decode_steps:
        runs = [(run(step), weight) for step, weight in decode_steps]
        decode = _phase(runs, sum(result.interval_s * weight for result, weight in runs), runs[len(runs) // 2][0])
    return prefill, decode


def _phase(results: Sequence[tuple[StepResult, float]], time_s: float, sample: StepResult) -> Phase:
    energy_J: dict[str, float] = {}
    for result, times in results:
        for part, joules in result.energy_J.items():
            energy_J[part] = energy_J.get(part, 0.0) + joules * times
    # Each step counted the waiting of its own interval.
    waited_s = time_s - _total(result.interval_s * times for result, times in results)
    energy_J["idle"] += sample.standing_W * waited_s
    return Phase(
        steps=round(_total(times for _, times in results)),
        time_s=time_s,
        energy_J=energy_J,
        sample=sample,
        samples=tuple(results),
    )


def _total(values: Iterable[float]) -> float:
    return sum(values)


def _trapezoid(steps: int, samples: int) -> list[tuple[int, float]]:
    """Return sampled step indices with how many steps each stands for; the weights add up to ``steps``.

    Summing f over 0..n-1 with f linear between the samples: every step's weight goes to its two neighbours.
    """
    if steps <= samples:
        return [(index, 1.0) for index in range(steps)]
    chosen = [round(i * (steps - 1) / (samples - 1)) for i in range(samples)]
    weights = [0.0] * samples
    for left in range(samples - 1):
        a, b = chosen[left], chosen[left + 1]
        inside = b - a  # steps a .. b-1
        right_share = (inside - 1) / 2.0  # sum over j < inside of j / inside
        weights[left] += inside - right_share
        weights[left + 1] += right_share
    weights[-1] += 1.0
    return list(zip(chosen, weights, strict=True))
