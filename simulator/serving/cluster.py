"""A cluster: kinds of servers, how many of each, and who sends requests where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from simulator.core.errors import InputError
from simulator.serving.policy import POLICIES, Policy
from simulator.serving.surface import StepCost, UnevenCost

_MOST_SEQUENCES = 65536
_MOST_DRAFTED = 256

__all__ = ["ROUTERS", "Cluster", "Fault", "Link", "Pool", "Role", "Server", "Speculation", "parse_speculation"]

Role = Literal["prefill", "decode", "both"]

#: Routers in the order of their codes in ``layout``.
ROUTERS = ("round-robin", "shortest-queue", "fewest-tokens", "least-kv", "prefix-aware")


@dataclass(frozen=True, slots=True)
class Link:
    """A link that carries the cache: to other servers, or to host memory."""

    latency_s: float = 0.0
    bandwidth_Bps: float = 1e30

    def __post_init__(self) -> None:
        if not (self.latency_s >= 0.0 and self.bandwidth_Bps > 0.0):
            raise InputError(f"a link needs a latency of at least 0 and a bandwidth above 0, got {self}")


@dataclass(frozen=True, slots=True)
class Speculation:
    """Tokens drafted and verified at once: a chain of them, or a tree of which the longest path that holds is kept.

    Attributes
    ----------
    drafted
        Tokens verified for a sequence in a step, besides its own.
    acceptance
        Of a chain: each is accepted with this chance as long as those before it are. Source: Leviathan et al., ICML
        2023, eq. 1: a step yields k tokens with probability a^(k-1) (1 - a), and all ``drafted`` + 1 with a^drafted.
    distribution
        Instead: shares of the steps that yield 1, 2, ... tokens, as measured; one more than a tree is deep. Trees:
        Miao et al. (SpecInfer), ASPLOS 2024; Cai et al. (Medusa), ICML 2024.
    """

    drafted: int
    acceptance: float = 0.7
    distribution: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.drafted <= _MOST_DRAFTED:
            raise InputError(f"1 to {_MOST_DRAFTED} tokens can be drafted per step, got {self.drafted}")
        if not 0.0 <= self.acceptance <= 1.0:
            raise InputError(f"acceptance is a share between 0 and 1, got {self.acceptance:g}")
        if self.distribution and (
            not 2 <= len(self.distribution) <= self.drafted + 1
            or not min(self.distribution) >= 0.0
            or not abs(sum(self.distribution) - 1.0) <= 1e-3
        ):
            raise InputError(
                f"{self.drafted} drafted tokens yield 1 to {self.drafted + 1} tokens per step: give 2 to "
                f"{self.drafted + 1} shares that add up to 1, got {len(self.distribution)} that add up to "
                f"{sum(self.distribution):g}"
            )

    @property
    def shares(self) -> tuple[float, ...]:
        """Probability that a step yields 1, 2, ... tokens."""
        if self.distribution:
            total = sum(self.distribution)
            return tuple(share / total for share in self.distribution)
        a, g = self.acceptance, self.drafted
        return (*(a ** (k - 1) * (1.0 - a) for k in range(1, g + 1)), a**g)

    @property
    def tokens_per_step(self) -> float:
        """Mean tokens that a step yields; of a chain (1 - a^(g+1)) / (1 - a)."""
        return sum(k * share for k, share in enumerate(self.shares, 1))

    @property
    def depth(self) -> int:
        """Steps of what drafts, one after the other: the longest path."""
        return len(self.shares) - 1

    @property
    def width(self) -> int:
        """Tokens drafted in each of them, for one sequence."""
        return -(-self.drafted // self.depth)


def parse_speculation(text: str) -> Speculation:
    """Read ``4:0.7``, a chain and the chance of each, or ``24:0.2,0.3,0.3,0.2``, a tree and shares of 1, 2, ... tokens.

    Raises
    ------
    InputError
        If it is of another form, or a number is out of range.

    Examples
    --------
    >>> parse_speculation("24:0.2,0.3,0.3,0.2").tokens_per_step
    2.5
    """
    drafted, _, accepted = text.partition(":")
    try:
        shares = tuple(float(part) for part in (accepted or "0.7").split(","))
        number = int(drafted)
    except ValueError:
        raise InputError(
            f"--speculate {text!r}: expected N:A, tokens drafted and the chance of each (4:0.7), or N:P1,P2,..., "
            "tokens of a tree and the shares of steps that yield 1, 2, ... tokens (24:0.2,0.3,0.3,0.2)"
        ) from None
    return Speculation(number, shares[0]) if len(shares) == 1 else Speculation(number, distribution=shares)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One engine: the devices that run one copy of the model, and how it schedules.

    Attributes
    ----------
    cost
        Seconds and joules of a step on the devices, without the host.
    blocks, page_tokens
        Memory for the cache: blocks of so many tokens.
    host_blocks, host_link
        The tier behind it: swapped-out requests, evicted prefixes.
    block_B, block_host_B
        Bytes of a block over all devices, and on the device whose host link decides.
    link
        To other servers, for the cache of prompts computed here.
    overlap_layers
        The cache leaves layer by layer while the prompt is computed; 0: when it is done.
    host_step_s, host_sequence_s, async_host
        Host time per step and per sequence in it: added, or hidden behind the device while it is shorter.
    ingest_s, ingest_token_s, stream_s
        From arrival to the queue, and from the step's end to the client.
    look_every
        The scheduler looks for new requests after so many generating steps, and after every step with prompts.
    uneven
        Seconds that one standard deviation of the load of its experts adds to a step of so many tokens, drawn per step;
        None: every step takes what is expected of it.
    """

    name: str
    cost: StepCost
    blocks: int
    page_tokens: int = 16
    policy: Policy = POLICIES["continuous"]
    sequences: int = 256
    budget: int = 8192
    captured: tuple[int, ...] = ()
    host_blocks: int = 0
    host_link: Link = Link()
    swap: bool = False
    prefix_cache: bool = False
    block_B: float = 0.0
    block_host_B: float = 0.0
    link: Link = Link()
    overlap_layers: int = 0
    host_step_s: float = 0.0
    host_sequence_s: float = 0.0
    async_host: bool = False
    ingest_s: float = 0.0
    ingest_token_s: float = 0.0
    stream_s: float = 0.0
    uneven: UnevenCost | None = None
    look_every: int = 1
    speculation: Speculation | None = None
    queue_limit: int | None = None
    idle_W: float = 0.0
    devices: int = 1
    limit_W: float | None = None  # of the devices together, what a site must provide for them
    price_USD: float | None = None

    def __post_init__(self) -> None:
        for name, least in (
            ("blocks", 1),
            ("look_every", 1),
            ("page_tokens", 1),
            ("sequences", 1),
            ("budget", 1),
            ("host_blocks", 0),
        ):
            value = getattr(self, name)
            if value < least:
                raise InputError(f"{self.name}: {name} must be at least {least}, got {value}")
        if self.sequences > _MOST_SEQUENCES:
            raise InputError(f"{self.name}: a step has at most {_MOST_SEQUENCES} sequences, got {self.sequences}")
        if self.budget < self.queries:
            raise InputError(
                f"{self.name}: a budget of {self.budget} tokens is less than the {self.queries} that a sequence "
                "verifies in a step: raise --budget, or draft fewer (--speculate)"
            )

    @property
    def queries(self) -> int:
        """Tokens that a generating sequence brings to a step."""
        return 1 if self.speculation is None else self.speculation.drafted + 1

    @property
    def step_budget(self) -> int:
        """Tokens of a step: the policy's, else the profile's."""
        return self.budget if self.policy.budget is None else self.policy.budget


@dataclass(frozen=True, slots=True)
class Pool:
    """Servers of one kind that do the same part of the work."""

    server: Server
    count: int = 1
    role: Role = "both"

    def __post_init__(self) -> None:
        if not 1 <= self.count <= 4096:
            raise InputError(f"a pool has 1 to 4096 servers, got {self.count}")


@dataclass(frozen=True, slots=True)
class Fault:
    """From ``time_s`` on a server takes ``factor`` times as long per step; 0: it is down, 1: it is well again."""

    time_s: float
    server: int
    factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Pools, their router, and what goes wrong.

    Attributes
    ----------
    spill_tokens
        Prompt tokens that may wait at a dedicated server before servers that do both help out.
    lend
        Dedicated servers help the other pool, too: those that generate with prompts beyond ``spill_tokens``, those for
        prompts with requests for whose cache there is no room (the machines of Splitwise's mixed pool).
    max_context
        Longest request that the model takes; None: any.
    """

    pools: Sequence[Pool]
    router: str = "shortest-queue"
    spill_tokens: int = 0
    lend: bool = False
    max_context: int | None = None
    faults: Sequence[Fault] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        roles = {pool.role for pool in self.pools}
        if not (roles & {"prefill", "both"}) or not (roles & {"decode", "both"}):
            raise InputError("a cluster needs servers for prompts and servers for generation")
        if self.router not in ROUTERS:
            raise InputError(f"router {self.router!r} is none of {', '.join(ROUTERS)}")
        count = sum(pool.count for pool in self.pools)
        for fault in self.faults:
            if not (0.0 <= fault.time_s < 1e12 and 0 <= fault.server < count and 0.0 <= fault.factor <= 1e6):
                raise InputError(
                    f"fault {fault.time_s:g}:{fault.server}:{fault.factor:g}: expected a time from 0 to 1e12 s, a "
                    f"server from 0 to {count - 1} and a factor from 0 to 1e6"
                )

    @property
    def servers(self) -> list[tuple[Server, Role]]:
        """Every server with its role, in order."""
        return [(pool.server, pool.role) for pool in self.pools for _ in range(pool.count)]
