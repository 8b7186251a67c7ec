"""Scheduling policies: what may stand in one step together, and how memory is promised."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.core.names import match_name

__all__ = ["POLICIES", "Policy", "load_policy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A scheduler as five switches: a new one is a new line below.

    Attributes
    ----------
    mixed
        Prompts and generating sequences share steps; else steps of prompts go first.
    chunked
        Prompts are cut to the token budget of a step; else they run whole.
    reserve
        Memory for the whole output is taken at admission; else block by block, with preemption when it runs out.
    hold
        A batch is filled once and runs until its last sequence ends; places of finished ones are computed all the same.
    budget
        Tokens of a step; None: as the profile has it.
    """

    name: str
    source: str
    mixed: bool = True
    chunked: bool = True
    reserve: bool = False
    hold: bool = False
    budget: int | None = None


_UNBOUNDED = 1 << 40

POLICIES = {
    policy.name: policy
    for policy in (
        Policy(
            name="continuous", source="vLLM 0.8 and later (V1 scheduler): running first, then the queue, one budget"
        ),
        Policy(name="prefill-first", source="vLLM before 0.8 (V0 scheduler)", mixed=False, chunked=False),
        Policy(
            name="prompts-first",
            source="SGLang 0.5: prompts before generation, in chunks, not mixed (--enable-mixed-chunk is off)",
            mixed=False,
        ),
        Policy(
            name="inflight",
            source="TensorRT-LLM 1.0: whole prompts beside generation, memory kept to the end (GUARANTEED_NO_EVICT)",
            chunked=False,
            reserve=True,
        ),
        Policy(name="sarathi", source="Agrawal et al., OSDI 2024: small chunks beside generation", budget=512),
        Policy(name="orca", source="Yu et al., OSDI 2022, algorithm 1", chunked=False, reserve=True, budget=_UNBOUNDED),
        Policy(
            name="static",
            source="FasterTransformer: one batch after the other",
            mixed=False,
            chunked=False,
            reserve=True,
            hold=True,
            budget=_UNBOUNDED,
        ),
    )
}


def load_policy(name: str) -> Policy:
    """Return a policy by name.

    Raises
    ------
    UnknownNameError
        If there is none; the message names the nearest.
    """
    return POLICIES[match_name(name, sorted(POLICIES), "policy")]
