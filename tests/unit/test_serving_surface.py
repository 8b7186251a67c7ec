"""Step-time tables: how far lookups are from costed steps, of the kinds of steps that servers run."""

from __future__ import annotations

import pytest

from simulator.serving.surface import Limits, build_surface
from workloads.step import Step

LIMITS = Limits(sequences=32, prompt_tokens=2048, context=3000)


def by_keys(step: Step, per_key_s: float) -> float:
    """A floor for the weights, time per token, and per key that the tokens of prompts see."""
    prompts = [g for g in step.groups if g.new > 1]
    pairs = sum(g.tokens * (g.cached + 0.5 * (g.new + 1)) for g in prompts)
    context = sum(g.count * g.cached for g in step.groups if g.new == 1)
    return 1e-3 + 1e-5 * step.tokens + per_key_s * pairs + 1e-7 * context


def near(step: Step) -> tuple[float, float]:
    return by_keys(step, 1e-8), 1.0


def offloaded(step: Step) -> tuple[float, float]:
    """Attention of prompts is ten times as slow as soon as any of them has cached tokens: another device does it."""
    away = any(g.new > 1 and g.cached for g in step.groups)
    return by_keys(step, 1e-7 if away else 1e-8), 1.0


def test_only_where_cached_tokens_change_everything_have_fresh_prompts_a_table_of_their_own() -> None:
    assert build_surface(near, LIMITS).grid.fresh is None
    assert build_surface(offloaded, LIMITS).grid.fresh is not None


@pytest.mark.parametrize("cost", [near, offloaded])
@pytest.mark.parametrize("context", [100, 3000])
def test_the_stated_error_is_small_on_either(cost, context: int) -> None:
    """Also where prompts are much shorter than what a step can take: none of those compared is longer than them."""
    longest = []

    def watched(step: Step) -> tuple[float, float]:
        longest.append(max(g.new for g in step.groups))
        return cost(step)

    limits = Limits(sequences=32, prompt_tokens=2048, context=context)
    surface = build_surface(watched, limits)
    assert surface.error.mean < 0.03
    assert surface.error.largest < 0.25
    assert max(longest[-surface.error.probes :]) <= context
