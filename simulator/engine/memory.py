"""Does it fit: bytes on one device by part, and what would fit if it does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from hwmodels.system import System
from simulator.core.errors import InputError
from simulator.engine.profile import Profile
from workloads.kvcache import kv_bytes
from workloads.model import ModelSpec
from workloads.operators import Role
from workloads.parallel import Parallelism
from workloads.precision import Precision
from workloads.sharding import stage_weight_B
from workloads.step import Step
from workloads.transformer.build import build_graph, stage_layers

__all__ = ["MemoryReport", "Pool", "Residents", "check_memory", "pools_of", "resident_B"]

_LARGEST = 1 << 30  # no search for a fitting batch or context goes beyond this


@dataclass(frozen=True, slots=True, kw_only=True)
class Residents:
    """The sequences whose cache is resident at the worst moment, per replica."""

    sequences: int
    tokens: int  # of each at the end, in the cache
    new: int  # of each in its largest step: the prompt, or 1
    cached: int = 0  # of each before that step
    whole_prompts: bool = False  # encoders: no prompt is cut

    def step(self, profile: Profile) -> Step:
        """Return the step with most new tokens, within the profile's budget: it decides the activations."""
        steps = [step for step, _ in profile.prefill_steps(self.sequences, self.new, self.cached, self.whole_prompts)]
        return max(steps, key=lambda step: (step.tokens, max(g.cached for g in step.groups)))

    def of_length(self, tokens: int) -> Residents:
        """Return as many sequences of another length: what is cached before the step changes first, then the prompt."""
        new = min(self.new, tokens)
        cached = min(max(self.cached + tokens - self.tokens, 0), tokens - new)
        return replace(self, tokens=tokens, new=new, cached=cached)


@dataclass(frozen=True, slots=True)
class Pool:
    """One memory that a rank of the model uses."""

    name: str  # of the unit it belongs to
    capacity_B: float  # of the devices of one rank together
    holds: frozenset[str]  # "weights", "kv": what of the model lies in it


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReport:
    """Bytes on the fullest device. ``margin_B`` is signed: negative is what is missing.

    Where a model is spread over several memories, the figures are those of the one with the least room.
    """

    fits: bool
    name: str  # of the unit whose memory it is
    capacity_B: float  # what the device has
    usable_B: float  # what the profile lets the model fill
    parts_B: Mapping[str, float]  # weights, kv, activations, framework
    margin_B: float
    max_batch: int  # per replica, at this context; 0: not even one sequence
    max_context: int  # tokens per sequence, at this batch; 0: not even one
    least_tp: int | None  # the smallest tensor parallelism that would fit; None: none up to the number of heads

    @property
    def total_B(self) -> float:
        """Bytes asked for."""
        return sum(self.parts_B.values())


def check_memory(
    model: ModelSpec,
    precision: Precision,
    parallel: Parallelism,
    residents: Residents,
    memory: float | Sequence[Pool],
    profile: Profile,
) -> MemoryReport:
    """Add up what must be resident on the fullest device and search what would fit.

    Parameters
    ----------
    model, precision, parallel
        What is stored, in which formats, cut how.
    residents : Residents
        Sequences with their final length, and the largest step.
    memory : float or sequence of Pool
        Memory of one device in bytes, or the memories of one rank. Activations and what the stack keeps for itself lie
        in the first.
    profile : Profile
        What the stack keeps for itself, what share of a device it fills, and the page size of its cache.

    Returns
    -------
    MemoryReport
        Parts, margin, and the largest batch and context and smallest tensor parallelism that fit.
    """
    share = profile.memory.utilization
    pools = (Pool("device", memory, frozenset({"weights", "kv"})),) if isinstance(memory, float) else memory

    def tightest(trial: Residents, spread: Parallelism) -> tuple[Pool, dict[str, float], float]:
        parts_B = resident_B(model, precision, spread, trial, profile)
        candidates = []
        for pool in pools:
            apart = [part for part in ("weights", "kv") if part not in pool.holds]
            apart += [] if pool is pools[0] else ["activations", "framework"]
            held_B = {part: 0.0 if part in apart else size_B for part, size_B in parts_B.items()}
            candidates.append((pool, held_B, pool.capacity_B * share - sum(held_B.values())))
        return min(candidates, key=lambda candidate: candidate[2] / candidate[0].capacity_B)

    def fits(trial: Residents, spread: Parallelism = parallel) -> bool:
        return tightest(trial, spread)[2] >= 0

    pool, parts_B, margin_B = tightest(residents, parallel)
    return MemoryReport(
        fits=margin_B >= 0,
        name=pool.name,
        capacity_B=pool.capacity_B,
        usable_B=pool.capacity_B * share,
        parts_B=parts_B,
        margin_B=margin_B,
        max_batch=_largest(lambda n: fits(replace(residents, sequences=n))),
        max_context=_largest(lambda n: fits(residents.of_length(n))),
        least_tp=_least_tp(model, parallel, lambda spread: fits(residents, spread)),
    )


def pools_of(system: System) -> tuple[Pool, ...]:
    """Return the memories of one rank of a system: those that units own."""
    return tuple(
        Pool(unit.name, spec.device.hbm.capacity_B * unit.per_rank, unit.holds)
        for unit, spec in zip(system.units, system.spec.units, strict=True)
        if not unit.shares_memory
    )


def resident_B(
    model: ModelSpec, precision: Precision, parallel: Parallelism, residents: Residents, profile: Profile
) -> dict[str, float]:
    """Return what must be resident on a device of the pipeline stage that needs most, by part; see `check_memory`."""
    stages = [_stage_parts(model, precision, parallel, residents, profile, stage) for stage in range(parallel.pp)]
    weights_B, kv_B = max(stages, key=sum)
    return {
        "weights": weights_B,
        "kv": kv_B,
        "activations": _activation_bytes(model, precision, parallel, residents.step(profile)),
        "framework": profile.memory.framework_B,
    }


def _stage_parts(
    model: ModelSpec, precision: Precision, parallel: Parallelism, residents: Residents, profile: Profile, stage: int
) -> tuple[float, float]:
    """Return bytes of weights and cache on one device of a stage."""
    weights_B = stage_weight_B(model, precision, parallel, stage)
    if not model.is_decoder:
        return weights_B, 0.0
    layers = replace(model, layers=stage_layers(model, parallel.pp, stage))
    cache = [(residents.sequences, residents.tokens)]
    return weights_B, kv_bytes(layers, precision.kv, cache, page_tokens=profile.memory.page_tokens, tp=parallel.tp)


def _activation_bytes(model: ModelSpec, precision: Precision, parallel: Parallelism, step: Step) -> float:
    """Return the largest set of values alive at once: the residual stream beside one operator's inputs and outputs.

    Of all stages together: the logits of the last one may be what decides.
    """
    graph = build_graph(model, step, precision, replace(parallel, pp=1, micro_batches=None))
    stream_B = precision.stream.total_B(step.tokens * model.hidden)
    largest = 0.0
    for operator, _ in graph:
        live = sum(t.size_B for t in operator.tensors if t.role in (Role.INPUT, Role.OUTPUT) and t.base != "x")
        largest = max(largest, live)
    return stream_B + largest


def _largest(fits: Callable[[int], bool]) -> int:
    """Return the largest n for which ``fits(n)`` holds, by doubling and bisection; 0 if not even 1 does."""
    if not fits(1):
        return 0
    low, high = 1, 2
    while high < _LARGEST and fits(high):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low


def _least_tp(model: ModelSpec, parallel: Parallelism, fits: Callable[[Parallelism], bool]) -> int | None:
    heads = min(g.layer.attention.heads for g in model.layers)
    for tp in range(1, heads + 1):
        try:
            spread = replace(parallel, tp=tp)
            spread.check(model)
        except InputError:
            continue
        if fits(spread):
            return tp
    return None
