"""Execution profiles: how a software stack runs a graph. Habits of software live here, physics in devices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from simulator.core.document import Node, read_tree
from simulator.core.errors import SpecError, SpecProblem
from simulator.core.names import match_name
from simulator.core.quantity import Quantity
from simulator.core.specfile import SpecRecord, annotate, apply_overrides, merge, validate
from workloads.parallel import ExpertExchange
from workloads.step import SequenceGroup, Step

__all__ = ["Profile", "load_profile", "profile_names", "profile_schema"]

_FOLDER = Path(__file__).parent / "profiles"
_MOST_CHUNKS = 128  # of a prompt that are told apart: 2 million tokens in steps of 16384

Seconds = Annotated[float, Quantity("s", zero=True)]
Bytes = Annotated[float, Quantity("B", zero=True)]
VectorKernel = Literal[
    "ideal",
    "add",
    "add_rmsnorm",
    "add_rmsnorm_static",
    "combine",
    "copy",
    "gelu",
    "index",
    "layernorm",
    "rmsnorm",
    "rope",
    "silu_mul",
    "softmax",
    "strided_copy",
]
Names = Annotated[tuple[str, ...], Field(strict=False)]


class AttentionRule(SpecRecord):
    """Use ``backend`` for steps whose longest query has at most ``max_queries`` tokens (all, where it is left out)."""

    backend: Literal["ideal", "flash2", "flash2_paged", "flash3", "cudnn"]
    max_queries: int | None = Field(default=None, ge=1)


class Insertion(SpecRecord):
    """A kernel the stack runs that the model does not ask for: a copy of the result of the operator named ``after``."""

    after: str
    name: str
    implementation: VectorKernel = "ideal"


class SmallKernels(SpecRecord):
    """Launches with next to no work (index arithmetic, casts, fills) per layer, per layer of experts, per step."""

    layer: int = Field(default=0, ge=0)
    moe_layer: int = Field(default=0, ge=0)
    step: int = Field(default=0, ge=0)


class Launch(SpecRecord):
    """``graph``: kernels follow each other on the device; ``eager``: the host issues each, ``host_interval`` apart.

    Stacks that capture steps of generation alone issue those with prompts of more than ``captured_tokens`` tokens one
    by one, ``prompt_interval`` apart by the kernels of the graph here; the host runs ahead of the device.
    """

    mode: Literal["graph", "eager"] = "graph"
    host_interval_s: Seconds = 0.0
    prompt_interval_s: Seconds = 0.0
    captured_tokens: int = Field(default=0, ge=0)

    def interval_s(self, step: Step) -> float:
        """Return what the host takes for each kernel of a step; 0 where a captured graph is replayed."""
        if self.mode == "eager":
            return self.host_interval_s
        prompts = any(g.new > 1 and g.logits < g.new for g in step.groups)
        return self.prompt_interval_s if prompts and step.tokens > self.captured_tokens else 0.0


class MemoryHabits(SpecRecord):
    """What the stack keeps for itself: context and workspaces, share of the device it may fill, page of the cache."""

    framework_B: Bytes = 0.0
    utilization: float = Field(default=1.0, gt=0, le=1)
    page_tokens: int = Field(default=1, ge=1)


class ServingHabits(SpecRecord):
    """How the stack serves a stream of requests: its scheduler, and host time that a lone step does not show."""

    policy: str = "continuous"  # a name that the serving layer knows
    sequences: int = Field(default=256, ge=1)  # most in a step
    prefix_cache: bool = False
    look_every: int = Field(default=1, ge=1)  # generating steps between looks for new requests
    swap: bool = False  # preempted requests go to host memory, where there is some, instead of being computed again
    step_s: Seconds = 0.0  # host time of every step: schedule, inputs, sampled tokens back
    sequence_s: Seconds = 0.0  # and per sequence in it
    async_host: bool = False  # the host prepares a step while the device runs the one before
    ingest_s: Seconds = 0.0  # from arrival to the queue, per request
    ingest_token_s: Seconds = 0.0  # and per token of its prompt
    stream_s: Seconds = 0.0  # from a step's end to the client


class Profile(SpecRecord):
    """A software stack. Every list refers to operators by the names the graph gives them.

    A file that ``inherits`` a bundled profile changes only what it names.
    """

    schema_: Literal["ridgeline/profile/v1"] = Field(alias="schema")
    name: str
    description: str
    based_on: str  # where the habits were read from
    launch: Launch = Launch()
    host_step_s: Seconds = 0.0  # host time per step that the device waits for
    step_tokens: int | None = Field(default=None, ge=1)  # token budget of one step; None: prompts are never cut
    pad_sequences: Annotated[
        tuple[int, ...], Field(strict=False)
    ] = ()  # captured batch sizes: a step of single tokens is padded to the next
    merge: Annotated[tuple[Names, ...], Field(strict=False)] = ()  # products of one input with one matrix of weights
    fusion: Annotated[tuple[Names, ...], Field(strict=False)] = ()
    attention: Annotated[tuple[AttentionRule, ...], Field(strict=False, min_length=1)] = (
        AttentionRule(backend="ideal"),
    )
    insert: Annotated[tuple[Insertion, ...], Field(strict=False)] = ()
    omit_uncached: Names = ()  # operators not run in a step that finds nothing cached
    implementations: Mapping[str, VectorKernel] = Field(default_factory=dict)  # by operator; the rest run ideal ones
    packed_products: Literal["tensor", "cores"] = (
        "tensor"  # where products with packed weights multiply after unpacking
    )
    expert_exchange: ExpertExchange = "all_to_all"  # under expert parallelism
    fused_experts: bool = False  # products of experts by a serving stack's kernels, not a framework's grouped ones
    direct_all_reduce: bool = False  # small all-reduces by kernels that write to peers directly
    small_kernels: SmallKernels = SmallKernels()
    memory: MemoryHabits = MemoryHabits()
    serving: ServingHabits = ServingHabits()

    def backend(self, step: Step) -> str:
        """Return the attention kernel family this stack picks for a step."""
        longest = max(g.new for g in step.groups)
        for rule in self.attention:
            if rule.max_queries is None or longest <= rule.max_queries:
                return rule.backend
        return self.attention[-1].backend

    def pad(self, step: Step) -> Step:
        """Return the step the device really runs: single-token batches grow to the next captured size."""
        if not self.pad_sequences or any(g.new > 1 for g in step.groups):
            return step
        target = next((size for size in sorted(self.pad_sequences) if size >= step.sequences), step.sequences)
        missing = target - step.sequences
        if missing == 0:
            return step
        return Step((*step.groups, SequenceGroup(missing, 1, 0, step.groups[0].logits)))

    def prefill_steps(self, count: int, new: int, cached: int, whole_prompts: bool = False) -> list[tuple[Step, int]]:
        """Cut the prefill of ``count`` prompts into steps within the token budget, alike ones counted.

        A prompt longer than the budget is cut into chunks, of which only the last computes logits; ``whole_prompts``
        (encoders: every token sees every other) are never cut. Beyond ``_MOST_CHUNKS`` whole chunks, the middle of so
        many stretches stands for all chunks in it: exact where a step's cost grows linearly with what is cached.
        """
        budget = self.step_tokens
        if budget is None or count * new <= budget:
            return [(Step.of((count, new, cached)), 1)]
        if new <= budget or whole_prompts:
            whole = max(budget // new, 1)
            steps = [(Step.of((whole, new, cached)), count // whole)]
            if count % whole:
                steps.append((Step.of((count % whole, new, cached)), 1))
            return steps
        chunks = math.ceil(new / budget)
        whole = chunks - 1
        stretches = min(whole, _MOST_CHUNKS)
        ends = [index * whole // stretches for index in range(stretches + 1)]
        steps = [
            (Step.of((1, budget, cached + (first + end - 1) * budget // 2, 0)), count * (end - first))
            for first, end in pairwise(ends)
        ]
        return [*steps, (Step.of((1, new - whole * budget, cached + whole * budget, 1)), count)]


def profile_names() -> list[str]:
    """Names of the bundled profiles."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def profile_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a profile file; one that inherits need not be complete."""
    schema = Profile.model_json_schema()
    complete = schema.pop("required")
    schema["properties"]["inherits"] = {"enum": profile_names(), "description": "the bundled profile to start from"}
    schema["anyOf"] = [{"required": ["inherits"]}, {"required": complete}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Ridgeline profile"}


def _read(path: Path, heirs: tuple[Path, ...] = ()) -> tuple[Node, list[SpecProblem]]:
    """Return the tree of a file, laid over that of the profile it inherits, and what is wrong with the file itself."""
    root, problems = read_tree(path)
    if root is None:
        raise SpecError(problems)
    if not isinstance(root.value, dict) or "inherits" not in root.value:
        return root, problems
    members = dict(root.value)
    name = members.pop("inherits")
    base = _FOLDER / f"{name.value}.yaml"
    if not isinstance(name.value, str) or name.value not in profile_names() or base in (path, *heirs):
        known = ", ".join(profile_names())
        raise SpecError(
            [SpecProblem(*name.place, "inherits", f"expected a bundled profile other than itself: {known}")]
        )
    inherited, _ = _read(base, (*heirs, path))
    return merge(inherited, Node(members, root.place)), problems


def load_profile(name_or_path: str, overrides: Sequence[str] = ()) -> Profile:
    """Load a bundled profile by name, or a YAML file by path.

    Parameters
    ----------
    name_or_path : str
        ``pytorch-sdpa``, or a path: whatever holds a separator or ends in .yaml or .yml.
    overrides : sequence of str
        Changes of fields, ``path=value``: ``launch.mode=eager``.

    Raises
    ------
    UnknownNameError
        If it is neither; the message carries the nearest names.
    SpecError
        If the file or an override is malformed.
    """
    path = Path(name_or_path)
    if not ("/" in name_or_path or "\\" in name_or_path or path.suffix in (".yaml", ".yml")):
        path = _FOLDER / f"{match_name(name_or_path, profile_names(), 'profile')}.yaml"
    root, problems = _read(path)
    tree, more = annotate(root)
    if overrides:
        tree = apply_overrides(tree, overrides, Profile)
    return validate(tree, Profile, [*problems, *more])
