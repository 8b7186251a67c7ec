"""Servers out of a model, a system and a profile: step times by the engine, memory by what is left of it."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace

from hwmodels.coefficients import load_coefficients
from hwmodels.host_link import HostLinkCoefficients
from hwmodels.spec import SystemSpec
from hwmodels.system import System
from simulator.api.phases import Setup
from simulator.core.errors import InputError
from simulator.engine.memory import Residents, check_memory, pools_of
from simulator.engine.run import run_step
from simulator.serving.cluster import Link, Server, Speculation
from simulator.serving.policy import load_policy
from simulator.serving.surface import StepCost, UnevenCost
from workloads.kvcache import kv_bytes
from workloads.routing_draws import rank_spread
from workloads.step import Step
from workloads.transformer.build import stage_layers

__all__ = ["EngineCost", "engine_cost", "engine_server", "kv_room_B", "page_B", "uneven_cost"]

_WHOLE_DEVICE_B = 1e30
_LEAST_SURGE = 0.1  # tiles make time a staircase over load: its slope is taken over no less than this to either side
_OPEN_TOKENS = 16384  # of a step, where the profile names no budget
_HOST_SHARE = 0.5  # of host memory that is given to the cache where it is used


class EngineCost:
    """What a step costs by the engine: seconds until the same sequences can take their next one, and joules.

    Host time per step is the server's business and left out here. Steps that were asked for before are not run again.
    """

    def __init__(self, setup: Setup, system: System) -> None:
        self.setup, self.system = setup, system
        self._profile = setup.profile.model_copy(update={"host_step_s": 0.0})
        self._known: dict[Step, tuple[float, float]] = {}

    def __call__(self, step: Step) -> tuple[float, float]:
        """Return seconds and joules of a step."""
        if step not in self._known:
            s = self.setup
            result = run_step(s.model, step, s.precision, self.system, self._profile, s.parallel, s.routing)
            self._known[step] = result.interval_s, result.total_energy_J
        return self._known[step]


#: Those used last: points of a sweep differ in how many servers they have of which kind, and share the kinds.
_COSTS: deque[EngineCost] = deque(maxlen=8)


def engine_cost(setup: Setup, system: System) -> EngineCost:
    """Return what a step costs by the engine, the same for the same setup and system."""
    for cost in _COSTS:
        if cost.setup == setup and cost.system == system:
            return cost
    _COSTS.append(EngineCost(setup, system))
    return _COSTS[-1]


def uneven_cost(setup: Setup, system: System) -> UnevenCost | None:
    """Return the standard deviation of a step's time, by its tokens, that comes from the load of its experts.

    The engine takes the expected load of the fullest rank; here it takes more and less of it, which tells what a load
    costs that is off by its standard deviation in all layers. They route independently of each other, so that their sum
    varies by the square root of their number less. None without expert parallelism: no rank waits.

    Raises
    ------
    InputError
        If the model has no experts.
    """
    mixtures = [(group.count, group.layer.moe) for group in setup.model.layers if group.layer.moe is not None]
    if not mixtures:
        raise InputError(f"{setup.model.name} has no experts whose load could vary: leave --draw-routing out")
    parallel = setup.parallel
    if parallel.ep == 1:
        return None
    layers = sum(count for count, _ in mixtures)
    _, moe = max(mixtures, key=lambda mixture: mixture[0])

    def cost(tokens: int) -> float:
        step = Step.of((tokens, 1, 1, 1))
        at_once = max(tokens // parallel.pp, 1)  # of one micro-batch
        spread = rank_spread(at_once, moe.experts, moe.top_k, setup.routing, parallel.ep)
        apart = max(spread, _LEAST_SURGE)
        less_s, more_s = (
            engine_cost(replace(setup, routing=replace(setup.routing, surge=surge)), system)(step)[0]
            for surge in (1.0 - apart, 1.0 + apart)
        )
        return (more_s - less_s) / (2.0 * apart) * spread / math.sqrt(layers)

    return cost


def page_B(setup: Setup, tokens: float) -> float:
    """Bytes of one page of the cache on the fullest device, for a sequence of ``tokens`` tokens.

    Windows hold less than all tokens of a long sequence, so that a page costs less there.
    """
    page = setup.profile.memory.page_tokens
    pages = max(math.ceil(tokens / page), 1)
    stages = []
    for stage in range(setup.parallel.pp):
        layers = replace(setup.model, layers=stage_layers(setup.model, setup.parallel.pp, stage))
        held_B = kv_bytes(layers, setup.precision.kv, [(1, pages * page)], page_tokens=page, tp=setup.parallel.tp)
        stages.append(held_B / pages)
    return max(stages)


def kv_room_B(setup: Setup, system: System) -> float:
    """Bytes that are left for the cache on one rank beside weights, activations and what the stack keeps."""
    profile = setup.profile
    tokens = profile.step_tokens or _OPEN_TOKENS
    residents = Residents(sequences=1, tokens=tokens, new=tokens)
    parts_B = check_memory(setup.model, setup.precision, setup.parallel, residents, _WHOLE_DEVICE_B, profile).parts_B
    pools = pools_of(system)
    rooms_B = []
    for pool in pools:
        if "kv" in pool.holds:
            taken_B = parts_B["weights"] if "weights" in pool.holds else 0.0
            if pool is pools[0]:
                taken_B += parts_B["activations"] + parts_B["framework"]
            rooms_B.append(pool.capacity_B * profile.memory.utilization - taken_B)
    return min(rooms_B)


def engine_server(
    setup: Setup,
    system: System,
    *,
    mean_tokens: float,
    policy: str | None = None,
    sequences: int | None = None,
    blocks: int | None = None,
    host_tier: bool = False,
    prefix_cache: bool | None = None,
    speculation: Speculation | None = None,
    draft: StepCost | None = None,
    overlap_transfer: bool = False,
    draw_routing: bool = False,
    name: str = "",
) -> Server:
    """Return a server that runs a model on a system under a profile.

    Parameters
    ----------
    setup, system
        What runs on what; the setup's request does not matter.
    mean_tokens
        Mean length of the requests, for the size of pages of models with windows.
    policy, sequences, prefix_cache
        As the profile has them, unless given. Sequences and tokens of a step are those of one data-parallel replica:
        the server has as many times as much.
    blocks
        Pages of the cache; by default what fits.
    host_tier
        Whether evicted prefixes and swapped-out requests go to host memory.
    speculation, draft
        Tokens drafted per step, and what a step of the drafting model costs (None: heads of the model, for nothing).
    draw_routing
        Whether the load of the busiest rank of experts varies around its mean from step to step.

    Raises
    ------
    InputError
        If not even one page fits.
    """
    profile, habits, parallel = setup.profile, setup.profile.serving, setup.parallel
    one_B = page_B(setup, mean_tokens)
    room_B = kv_room_B(setup, system)
    if blocks is None:
        blocks = int(room_B / one_B) * parallel.dp
    if blocks < 1:
        raise InputError(
            f"{setup.model.name} leaves {room_B / 1e9:.3g} GB of {system.spec.name} for the cache, less than one page "
            f"of {one_B / 1e6:.3g} MB, beside weights and steps of {profile.step_tokens or _OPEN_TOKENS} tokens; raise "
            "--tp, or choose smaller --weights or a smaller --budget"
        )
    cost = engine_cost(setup, system)
    return Server(
        name=name or system.spec.name,
        cost=cost if speculation is None or draft is None else _drafted(cost, draft, speculation),
        blocks=blocks,
        page_tokens=profile.memory.page_tokens,
        policy=load_policy(policy or habits.policy),
        sequences=parallel.dp * (habits.sequences if sequences is None else sequences),
        budget=parallel.dp * (profile.step_tokens or _OPEN_TOKENS),
        captured=tuple(parallel.dp * size for size in profile.pad_sequences),
        host_blocks=_host_blocks(system.spec, one_B, parallel.devices) if host_tier else 0,
        host_link=_host_link(system.spec),
        swap=habits.swap or host_tier,
        prefix_cache=habits.prefix_cache if prefix_cache is None else prefix_cache,
        block_B=one_B * parallel.tp * parallel.pp,
        block_host_B=one_B,
        link=_link(system.spec, parallel.tp * parallel.pp),
        overlap_layers=sum(group.count for group in setup.model.layers) if overlap_transfer else 0,
        host_step_s=habits.step_s + profile.host_step_s,
        host_sequence_s=habits.sequence_s,
        async_host=habits.async_host,
        ingest_s=habits.ingest_s,
        ingest_token_s=habits.ingest_token_s,
        stream_s=habits.stream_s,
        look_every=habits.look_every,
        uneven=uneven_cost(setup, system) if draw_routing else None,
        speculation=speculation,
        idle_W=system.idle_W * parallel.devices,
        devices=parallel.devices,
        limit_W=_share(system.spec.limit_W, system.spec, parallel.devices),
        price_USD=_share(system.spec.price_USD, system.spec, parallel.devices),
    )


def _drafted(cost: StepCost, draft: StepCost, speculation: Speculation) -> StepCost:
    """Add the drafting model's steps, one per token of the longest path, to every verification."""
    queries, width = speculation.drafted + 1, speculation.width

    def both(step: Step) -> tuple[float, float]:
        time_s, energy_J = cost(step)
        generating = tuple(replace(g, new=width, logits=width) for g in step.groups if g.new == queries == g.logits)
        if not generating:
            return time_s, energy_J
        draft_s, draft_J = draft(Step(generating))
        return time_s + speculation.depth * draft_s, energy_J + speculation.depth * draft_J

    return both


def _host_link(spec: SystemSpec) -> Link:
    """Return the link to host memory, as fast as pinned copies have been measured to be."""
    link = spec.device.host_link
    c = load_coefficients("host_link", link.family, HostLinkCoefficients)
    return Link(c.latency_s, link.bandwidth_Bps * c.efficiency)


def _link(spec: SystemSpec, ranks: int) -> Link:
    """Return the link to other servers: the network between nodes where there is one, of all ranks together."""
    link = spec.network or spec.device.link
    return Link(link.latency_s, link.bandwidth_Bps * ranks)


def _host_blocks(spec: SystemSpec, one_B: float, devices: int) -> int:
    """Return the pages that host memory holds: the devices' share of what is given to the cache."""
    if spec.host is None:
        return 0
    share = devices / spec.devices_per_node
    return int(spec.host.capacity_B * _HOST_SHARE * min(share, 1.0) / (one_B * devices))


def _share(total: float | None, spec: SystemSpec, devices: int) -> float | None:
    """Return what the devices in use have of a system's total, the host's included by their share of it."""
    return None if total is None else total * devices / spec.ranks
