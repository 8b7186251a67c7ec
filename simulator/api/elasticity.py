"""Elasticities: what 10 % more of each resource would buy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from hwmodels.system import System
from simulator.api.phases import Setup, run_phases
from simulator.api.report import Phase
from simulator.engine.memory import MemoryReport

__all__ = ["STEP", "elasticities", "memory_elasticity"]

#: The relative change that is tried.
STEP = 0.10
_SAMPLES = 2  # decode steps per variation: first and last


def elasticities(
    setup: Setup, system: System, tell: Callable[[str], None] = lambda line: None
) -> dict[str, Mapping[str, float]]:
    """Run the request again with 10 % more memory bandwidth, compute, link bandwidth and power limit, in turn.

    Links count where there are several devices, the power limit where it holds the clock down.

    Returns
    -------
    dict
        By resource, the relative change of ``ttft``, ``tpot`` and ``energy`` (negative is better).
    """
    changes: dict[str, Mapping[str, float]] = {}
    base = run_phases(setup, system, samples=_SAMPLES, tell=tell)
    throttled = any(phase is not None and phase.sample.clock_Hz < system.device.max_clock_Hz for phase in base)
    for resource in ("hbm", "compute", "link", "power"):
        if (resource == "link" and setup.parallel.devices == 1) or (resource == "power" and not throttled):
            continue
        scaled = system.scaled(resource, 1.0 + STEP)
        more = run_phases(setup, scaled, samples=_SAMPLES, tell=partial(_tell_more, tell, resource))
        changes[resource] = _change(base, more)
    return changes


def _tell_more(tell: Callable[[str], None], resource: str, line: str) -> None:
    tell(f"more {resource}: {line}")


def _change(base: tuple[Phase | None, Phase | None], more: tuple[Phase | None, Phase | None]) -> dict[str, float]:
    change = {}
    for name, before, after in zip(("ttft", "tpot"), base, more, strict=True):
        if before is not None and after is not None:
            change[name] = after.time_s / before.time_s - 1.0
    joules = [sum(p.total_energy_J for p in pair if p is not None) for pair in (base, more)]
    change["energy"] = joules[1] / joules[0] - 1.0
    return change


def memory_elasticity(before: MemoryReport, after: MemoryReport) -> dict[str, float]:
    """Return the relative change of the largest batch that fits with 10 % more memory."""
    if before.max_batch == 0:
        return {}
    return {"max_batch": after.max_batch / before.max_batch - 1.0}
