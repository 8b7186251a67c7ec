"""Continuous batching in its steady state: as many sequences as fit the batch, a new one as soon as one ends.

No request is followed: contexts of running sequences are taken evenly over what they go through, prompts enter at the
rate at which sequences end. The request-level loop is ``ridgeline serve``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from simulator.engine.run import StepResult
from workloads.step import SequenceGroup, Step

__all__ = ["Steady", "steady_state", "steady_steps"]

_CONTEXTS = 8  # groups of contexts that running sequences are counted in


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """What a batch that is kept full does in the mean."""

    batch: int
    tokens_per_s: float
    step_s: float  # mean time between tokens of a sequence
    median_step_s: float
    p99_step_s: float
    first_token_s: float  # of a prompt that does not wait: its own step
    request_s: float  # from its prompt to its last token
    energy_per_token_J: float
    steps: tuple[tuple[StepResult, float], ...]  # each kind of step with its share of all steps


def steady_steps(batch: int, prompt: int, output: int) -> list[tuple[Step, float]]:
    """Return the kinds of step of a full batch with their shares, which add up to 1.

    A sequence holds its place for ``output`` steps, the first of which is its prompt; so ``batch / output`` prompts
    enter each step, in whole numbers around that mean. Of the others, contexts lie evenly between ``prompt`` and
    ``prompt + output``.

    Examples
    --------
    >>> [(step.tokens, share) for step, share in steady_steps(64, 512, 256)]
    [(64, 0.75), (575, 0.25)]
    """
    rate = batch / output
    fewer = math.floor(rate)
    more = rate - fewer
    kinds = [(fewer, 1.0 - more), (fewer + 1, more)]
    return [(_step(batch, prompts, prompt, output), share) for prompts, share in kinds if share > 0.0]


def _step(batch: int, prompts: int, prompt: int, output: int) -> Step:
    prompts = min(prompts, batch)
    running = batch - prompts
    parts = min(_CONTEXTS, running)
    groups = [SequenceGroup(prompts, prompt, 0)] if prompts else []
    for part in range(parts):
        count = running * (part + 1) // parts - running * part // parts
        groups.append(SequenceGroup(count, 1, prompt + int(output * (part + 0.5) / parts)))
    return Step(tuple(groups))


def steady_state(run: Callable[[Step], StepResult], batch: int, prompt: int, output: int) -> Steady:
    """Run the kinds of step of a full batch and average them.

    Parameters
    ----------
    run
        Runs one step.
    batch, prompt, output
        Sequences in flight, and tokens of each.
    """
    kinds = [(run(step), share) for step, share in steady_steps(batch, prompt, output)]
    mean_s = sum(result.interval_s * share for result, share in kinds)
    energy_J = sum(result.total_energy_J * share for result, share in kinds)
    longest_s = max(result.interval_s for result, _ in kinds)
    first_s = next((r.interval_s for r, _ in kinds if any(g.new > 1 for g in r.step.groups)), longest_s)
    return Steady(
        batch=batch,
        tokens_per_s=batch / mean_s,
        step_s=mean_s,
        median_step_s=_quantile(kinds, 0.5),
        p99_step_s=_quantile(kinds, 0.99),
        first_token_s=first_s,
        request_s=first_s + (output - 1) * mean_s,
        energy_per_token_J=energy_J / batch,
        steps=tuple(kinds),
    )


def _quantile(kinds: list[tuple[StepResult, float]], quantile: float) -> float:
    """Return the step time that a share of all steps does not exceed."""
    passed = 0.0
    ordered = sorted((result.interval_s, share) for result, share in kinds)
    for time_s, share in ordered:
        passed += share
        if passed >= quantile - 1e-12:
            return time_s
    return ordered[-1][0]
