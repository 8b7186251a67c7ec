"""What a sweep file may hold, as checked records; axes, derived values and constraints are read further by hand."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from simulator.core.specfile import SpecRecord

__all__ = ["RUN_WHEN_SERVING", "BaseSpec", "RunSpec", "SearchSpec", "ServeSpec", "SweepSpec"]

#: What of a run is asked of servers too; lengths and batches come with the requests.
RUN_WHEN_SERVING = ("weights", "activations", "kv", "tp", "pp", "ep", "dp", "profile", "level", "routing")

Whole = Annotated[int, Field(ge=0)]
Degree = Annotated[int, Field(ge=1)]


class RunSpec(SpecRecord):
    """What is asked of every point, as :func:`simulator.simulate` takes it; what is left out has its defaults there."""

    input_tokens: Whole | None = None
    output_tokens: Whole | None = None
    batch: Degree | None = None
    context: Whole | None = None
    weights: str | None = None
    activations: str | None = None
    kv: str | None = None
    tp: Degree | None = None
    pp: Degree | None = None
    ep: Degree | None = None
    dp: Degree | None = None
    sequence_parallel: bool | None = None
    micro_batches: Degree | None = None
    profile: str | None = None
    level: Literal["roofline", "analytic", "cycle"] | None = None
    routing: str | None = None


class ServeSpec(SpecRecord):
    """Requests that come one by one and the servers that answer them, as ``ridgeline serve`` has them."""

    rate: Annotated[float, Field(gt=0)]  # requests per second
    find_capacity: bool = False  # each design at the highest rate that keeps its SLO, searched from ``rate`` on
    requests: Degree = 500
    lengths: str = "1024:128"
    burstiness: Annotated[float, Field(ge=0)] = 1.0
    slo: str | None = None
    seed: Whole = 0  # of arrivals and lengths: every design meets the same requests
    policy: str | None = None
    sequences: Degree | None = None
    budget: Degree | None = None
    prefix_cache: bool | None = None
    replicas: Degree | None = None
    prefill: Whole = 0  # servers that only do prompts
    decode: Whole = 0
    prefill_hardware: str | None = None
    decode_hardware: str | None = None
    prefill_tp: Degree | None = None  # degrees of one pool: as of the run where none of a pool is given
    prefill_pp: Degree | None = None
    prefill_ep: Degree | None = None
    prefill_dp: Degree | None = None
    decode_tp: Degree | None = None
    decode_pp: Degree | None = None
    decode_ep: Degree | None = None
    decode_dp: Degree | None = None
    router: str = "shortest-queue"
    lend: bool = False
    overlap_transfer: bool = False


class BaseSpec(SpecRecord):
    """What stays as it is unless an axis says otherwise."""

    model: str
    hardware: str
    set: dict[str, str | int | float | bool | None] = Field(default_factory=dict)  # overrides, as after --set
    run: RunSpec = RunSpec()
    serve: ServeSpec | None = None  # simulate servers under load in place of one batch


class SearchSpec(SpecRecord):
    """How points are chosen; the command line may say otherwise."""

    explorer: Literal["exhaustive", "grid", "random", "sobol", "lhs", "nsga2", "tpe"] = "exhaustive"
    points: Degree | None = None  # of those that sample; all for exhaustive
    population: Annotated[int, Field(ge=4, le=100_000)] = 64
    seed: Whole = 0
    keep: Literal["all", "feasible", "front"] = "all"
    shard: Annotated[int, Field(ge=1, le=4_000_000)] | None = None
    tier: Literal["points", "compiled"] | None = None


class SweepSpec(SpecRecord):
    """A sweep file. Axes, derived values and constraints are read further by hand: their keys are free."""

    schema_: Literal["ridgeline/space/v1"] = Field(alias="schema")
    name: Annotated[str, Field(pattern=r"^\w[\w. -]{0,99}$")]  # a folder is called so
    question: str = ""
    base: BaseSpec
    axes: dict[str, Any]
    derived: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, str] = Field(default_factory=dict)
    objectives: Annotated[dict[str, Literal["min", "max"]], Field(min_length=1)]
    constraints: dict[str, Any] = Field(default_factory=dict)
    for_each: Annotated[tuple[str, ...], Field(strict=False)] = ()  # names of axes: a front for each of their values
    search: SearchSpec = SearchSpec()
