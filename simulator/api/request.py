"""What is asked of a simulation: tokens in and out, batch, formats, parallelism."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hwmodels.spec import SystemSpec
from simulator.core.errors import InputError
from simulator.engine.memory import Residents
from simulator.engine.profile import Profile
from workloads.model import ModelSpec
from workloads.parallel import Parallelism
from workloads.step import Step

__all__ = ["Request", "choose_parallelism"]

_MOST_TOKENS = 1 << 31  # more tokens than any memory holds: a slip of the finger


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """``batch`` sequences of ``input_tokens`` on top of ``context`` cached ones, ``output_tokens`` generated each."""

    input_tokens: int
    output_tokens: int
    batch: int
    context: int = 0

    def __post_init__(self) -> None:
        for name, flag, least in (
            ("input_tokens", "--in", 0),
            ("output_tokens", "--out", 0),
            ("batch", "--batch", 1),
            ("context", "--context", 0),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InputError(f"{flag} must be an integer of at least {least}, got {value!r}")
            if value > _MOST_TOKENS:
                raise InputError(f"{flag} {value} is more than {_MOST_TOKENS}, the most that is simulated")
        if self.input_tokens == 0 and self.output_tokens == 0:
            raise InputError("nothing to do: give --in, --out or both")
        if self.input_tokens == 0 and self.context == 0:
            raise InputError("--in 0 needs --context: something must be in the cache to generate from")

    @property
    def final_tokens(self) -> int:
        """Tokens of one sequence in the cache at the end (the last token generated is never fed back)."""
        fed_back = self.output_tokens - 1 if self.input_tokens else self.output_tokens
        return self.context + self.input_tokens + max(fed_back, 0)

    @property
    def decode_steps(self) -> int:
        """Steps of one token each: the first output token comes out of the prefill, where there is one."""
        return max(self.output_tokens - 1, 0) if self.input_tokens else self.output_tokens

    def decode_step(self, index: int) -> Step:
        """Return the ``index``-th decode step, from 0."""
        return Step.of((self.batch, 1, self.context + self.input_tokens + index))

    def prefill(self, profile: Profile, dp: int, whole_prompts: bool = False) -> list[tuple[Step, int]]:
        """Return the steps of the prefill of all replicas together, alike ones counted."""
        if self.input_tokens == 0:
            return []
        share = -(-self.batch // dp)
        return [
            (Step(tuple(replace(g, count=g.count * dp) for g in step.groups)), times)
            for step, times in profile.prefill_steps(share, self.input_tokens, self.context, whole_prompts)
        ]

    def residents(self, parallel: Parallelism, whole_prompts: bool = False) -> Residents:
        """Return what must be in memory at the worst moment, per data-parallel replica."""
        share = -(-self.batch // parallel.dp)
        return Residents(
            sequences=share,
            tokens=self.final_tokens,
            new=max(self.input_tokens, 1),
            cached=self.context,
            whole_prompts=whole_prompts,
        )


def choose_parallelism(
    model: ModelSpec,
    hardware: SystemSpec,
    tp: int | None = None,
    pp: int | None = None,
    ep: int | None = None,
    dp: int | None = None,
    *,
    sequence_parallel: bool = False,
    micro_batches: int | None = None,
) -> Parallelism:
    """Fill in what was left open: tensor parallelism inside a node, pipeline stages over nodes, replicas for the rest.

    Raises
    ------
    InputError
        If the degrees do not divide the model, or need more devices than there are.
    """
    if tp is None and pp is None and ep is None and dp is None:
        for candidate in range(hardware.ranks_per_node, 0, -1):
            if hardware.ranks_per_node % candidate == 0 and _divides(model, candidate):
                stages = min(hardware.nodes, sum(g.count for g in model.layers))
                tp, pp, dp = candidate, stages, hardware.ranks_per_node // candidate
                break
    parallel = Parallelism(
        tp=1 if tp is None else tp,
        pp=1 if pp is None else pp,
        ep=1 if ep is None else ep,
        dp=1 if dp is None else dp,
        sequence_parallel=sequence_parallel,
        micro_batches=micro_batches,
    )
    parallel.check(model)
    if parallel.devices > hardware.ranks:
        raise InputError(
            f"tp x pp x dp = {parallel.devices} devices, but {hardware.name} has {hardware.ranks}; "
            "lower the degrees or name a larger system"
        )
    return parallel


def _divides(model: ModelSpec, tp: int) -> bool:
    try:
        Parallelism(tp=tp).check(model)
    except InputError:
        return False
    return True
