"""Where tokens go in a mixture of experts: distinct experts touched, the largest load of one, what a capacity drops."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

from simulator.core.errors import InputError, UnknownNameError
from simulator.core.names import suggest
from workloads.occupancy import expected_active, expected_excess, unequal_maximum

__all__ = [
    "UNIFORM",
    "ExpertLoad",
    "Routing",
    "expert_load",
    "load_routing",
]

Kind = Literal["uniform", "balanced", "zipf", "power", "counts"]
_KINDS: dict[str, Kind] = {kind: kind for kind in get_args(Kind)}
_DEFAULT_SPAN = 200.0  # AIConfigurator draws small batches from a power law between 0.01 and 2


class ExpertLoad(NamedTuple):
    """What the experts of one layer (on the fullest of ``ep`` ranks) have to do. All are expectations, hence floats."""

    experts: float  # that live here
    active: float  # distinct ones with at least one token: their weights are read
    max_tokens: float  # tokens of the busiest expert
    rows: float  # (token, expert) pairs computed here
    dropped: float  # share of the pairs lost to a capacity limit


@dataclass(frozen=True, slots=True)
class Routing:
    """How popular the experts are.

    ``uniform``: each token picks ``top_k`` distinct experts at random. ``balanced``: loads as even as can be.
    ``zipf``: the router's weights fall as rank^-alpha and a token draws ``top_k`` without replacement. ``power``:
    expected loads follow a truncated power law of exponent ``alpha`` whose largest value is ``span`` times the
    smallest. ``counts``: loads as given.
    """

    kind: Kind = "uniform"
    alpha: float = 0.0
    span: float = _DEFAULT_SPAN
    counts: tuple[float, ...] = ()
    capacity_factor: float | None = None  # an expert takes at most this times its even share; None: all
    surge: float = 1.0  # what the fullest of several ranks is sent, over what is expected of it

    def inclusion(self, experts: int, top_k: int) -> tuple[float, ...]:
        """Probability of each expert to be among a token's ``top_k``, most popular first; they sum to ``top_k``.

        Drawing without replacement with weights w gives nearly 1 - exp(-c w), with c such that they add up (Rosen 1972,
        "Asymptotic theory for successive sampling", Annals of Mathematical Statistics 43:2).
        """
        if self.kind == "zipf":
            return _successive([(i + 1.0) ** -self.alpha for i in range(experts)], top_k)
        if self.kind == "power":
            loads = [self._power_quantile((i + 0.5) / experts) for i in range(experts)]
            return _proportional(sorted(loads, reverse=True), top_k)
        if self.kind == "counts":
            if len(self.counts) != experts:
                raise InputError(f"routing gives {len(self.counts)} counts, but the layer has {experts} experts")
            return _proportional(sorted(self.counts, reverse=True), top_k)
        return (top_k / experts,) * experts

    def _power_quantile(self, u: float) -> float:
        beta = 1.0 - self.alpha
        if abs(beta) < 1e-9:
            return math.pow(self.span, u)
        return math.pow(1.0 + u * (math.pow(self.span, beta) - 1.0), 1.0 / beta)


UNIFORM = Routing()


def load_routing(text: str) -> Routing:
    """Read ``uniform``, ``balanced``, ``zipf:1.0``, ``power:1.2``, ``power:1.2:13000`` (span) or ``counts:90,40,8,2``.

    A capacity factor may follow: ``uniform@1.25`` drops what an expert is sent beyond 1.25 times its even share.

    Raises
    ------
    UnknownNameError, InputError
        If the kind is unknown or a number is missing or out of range.

    Examples
    --------
    >>> load_routing("zipf:1.0")
    Routing(kind='zipf', alpha=1.0, span=200.0, counts=(), capacity_factor=None, surge=1.0)
    """
    popularity, at, factor = text.partition("@")
    if at:
        (limit,) = _numbers(text, factor, "@") or [0.0]
        if limit <= 0:
            raise InputError(f"routing {text!r}: the capacity factor must be above 0")
        return replace(load_routing(popularity), capacity_factor=limit)
    kind, _, rest = text.strip().lower().partition(":")
    if kind not in _KINDS:
        raise UnknownNameError("routing", text, suggest(kind, _KINDS), list(_KINDS))
    if kind in ("uniform", "balanced"):
        if rest:
            raise InputError(f"routing {text!r}: {kind} takes no number")
        return Routing(_KINDS[kind])
    numbers = _numbers(text, rest, "," if kind == "counts" else ":")
    if kind == "counts":
        if not any(numbers):
            raise InputError(f"routing {text!r}: at least one count must be positive")
        return Routing("counts", counts=tuple(numbers))
    if kind == "zipf" and len(numbers) == 1:
        return Routing("zipf", alpha=numbers[0])
    if kind == "power" and len(numbers) in (1, 2):
        span = numbers[1] if len(numbers) == 2 else _DEFAULT_SPAN
        if span < 1:
            raise InputError(f"routing {text!r}: the span is the largest load over the smallest, at least 1")
        return Routing("power", alpha=numbers[0], span=span)
    raise InputError(f"routing {text!r}: write zipf:<exponent> or power:<exponent>[:<span>], e.g. zipf:1.0")


def _numbers(text: str, rest: str, separator: str) -> list[float]:
    numbers: list[float] = []
    for part in rest.split(separator):
        try:
            value = float(part)
        except ValueError:
            raise InputError(f"routing {text!r}: {part!r} is not a number, e.g. zipf:1.0 or counts:90,40,8,2") from None
        if not 0 <= value <= 1e12:
            raise InputError(f"routing {text!r}: {part} must lie between 0 and 1e12")
        numbers.append(value)
    return numbers


def _successive(weights: list[float], top_k: int) -> tuple[float, ...]:
    if top_k >= len(weights):
        return (1.0,) * len(weights)
    low, high = 0.0, 1.0
    while sum(-math.expm1(-high * w) for w in weights) < top_k:
        high *= 2.0
    for _ in range(80):
        middle = 0.5 * (low + high)
        if sum(-math.expm1(-middle * w) for w in weights) < top_k:
            low = middle
        else:
            high = middle
    return tuple(-math.expm1(-high * w) for w in weights)


def _proportional(loads: list[float], top_k: int) -> tuple[float, ...]:
    """Scale loads (largest first) to add up to ``top_k`` with none above 1; the excess goes to the others."""
    positive = sum(1 for load in loads if load > 0)
    if positive < top_k:
        raise InputError(f"routing leaves {positive} experts with tokens, but each token needs {top_k} distinct ones")
    rest = math.fsum(loads)
    for full, load in enumerate(loads):
        scale = (top_k - full) / rest if rest > 0 else 0.0
        if load * scale <= 1.0:
            return (1.0,) * full + tuple(min(1.0, x * scale) for x in loads[full:])
        rest -= load
    return (1.0,) * len(loads)


@lru_cache(maxsize=4096)
def expert_load(
    tokens: float,
    experts: int,
    top_k: int,
    routing: Routing = UNIFORM,
    ep: int = 1,
    capacity_factor: float | None = None,
) -> ExpertLoad:
    """Return the expected load of the experts of one layer, on the fullest of ``ep`` ranks.

    Parameters
    ----------
    tokens : float
        Tokens that pass the router, of all ranks together.
    experts, top_k : int
        Routed experts of the layer, and how many of them one token visits.
    routing : Routing
        Their popularity.
    ep : int
        Ranks that share the experts out; under a skewed routing they are dealt round-robin by popularity.
    capacity_factor : float, optional
        An expert accepts ``ceil(capacity_factor * tokens * top_k / experts)`` tokens and drops the others (GShard,
        Switch).

    Raises
    ------
    InputError
        If a number is out of range or ``ep`` does not divide ``experts``.

    Examples
    --------
    >>> expert_load(1, 8, 2)
    ExpertLoad(experts=8.0, active=2.0, max_tokens=1.0, rows=2.0, dropped=0.0)
    """
    _check(tokens, experts, top_k, ep, capacity_factor)
    local = float(experts // ep)
    if tokens == 0:
        return ExpertLoad(float(local), 0.0, 0.0, 0.0, 0.0)
    rows = float(tokens * top_k)
    limit = None if capacity_factor is None else float(math.ceil(capacity_factor * rows / experts))
    if routing.kind == "balanced":
        largest = max(1.0, math.ceil(rows / experts))
        return _limited(ExpertLoad(local, min(local, rows / ep), largest, rows / ep, 0.0), (), tokens, limit)
    chances = routing.inclusion(experts, top_k)
    if routing.kind == "uniform":
        active = expected_active(experts, top_k, tokens)
    else:
        active = math.fsum(_touched(tokens, p) for p in chances)
    rank_rows, rank_active = (rows, active) if ep == 1 else _rank(tokens, top_k, chances, ep, routing.surge)
    # No expert can do less than its share of what the active ones must do together.
    largest = min(float(tokens), max(unequal_maximum(float(tokens), chances), rows / active, rank_rows / rank_active))
    return _limited(ExpertLoad(local, rank_active, largest, rank_rows, 0.0), chances, tokens, limit)


def _touched(tokens: float, chance: float) -> float:
    """Probability that an expert with this chance per token sees at least one of ``tokens``."""
    return 1.0 if chance >= 1.0 else -math.expm1(tokens * math.log1p(-chance))


def _rank(tokens: float, top_k: int, chances: tuple[float, ...], ep: int, surge: float) -> tuple[float, float]:
    """Rows and active experts of the fullest of ``ep`` ranks, where it is sent ``surge`` times what is expected.

    Rows are binomial over the ``tokens * top_k`` picks, with the deviation of drawing without replacement:
    sqrt((E - k) / (E - 1)), the hypergeometric factor.
    """
    experts = len(chances)
    mine = [chances[rank::ep] for rank in range(ep)]
    shares = tuple(min(1.0, sum(part) / top_k) for part in mine)
    picks = tokens * top_k
    mean = picks * shares[0]
    spread = math.sqrt((experts - top_k) / (experts - 1)) if experts > 1 else 0.0
    largest = surge * (mean + spread * (unequal_maximum(picks, shares) - mean))
    largest = max(min(picks, 1.0), min(largest, float(tokens * min(top_k, len(mine[0])))))
    # Seen from the tokens, its experts are visited as often as it has more rows; seen from its rows, each falls on one
    # of its experts. Either leaves out some distinctness (of a token's picks, of the rank's), so the larger is closer.
    by_tokens = math.fsum(_touched(tokens * largest / mean, p) for p in mine[0])
    by_rows = math.fsum(_touched(largest, p / (shares[0] * top_k)) for p in mine[0])
    return largest, max(by_tokens, by_rows, largest / tokens)


def _limited(load: ExpertLoad, chances: tuple[float, ...], tokens: float, limit: float | None) -> ExpertLoad:
    """Apply a capacity of ``limit`` tokens per expert; no chances: all experts have the same load."""
    if limit is None:
        return load
    if chances:
        lost = math.fsum(expected_excess(float(tokens), p, limit) for p in chances) / math.fsum(chances) / tokens
    else:
        lost = max(0.0, 1.0 - limit * load.experts / load.rows)
    return load._replace(max_tokens=min(load.max_tokens, limit), rows=load.rows * (1.0 - lost), dropped=lost)


def _check(tokens: float, experts: int, top_k: int, ep: int, capacity_factor: float | None) -> None:
    if not 0 <= tokens < math.inf:
        raise InputError(f"{tokens} tokens for the experts: it must be zero or more")
    if not 1 <= top_k <= experts:
        raise InputError(f"top-k {top_k} of {experts} experts: it must lie between 1 and the number of experts")
    if ep < 1 or experts % ep:
        raise InputError(f"expert parallelism {ep} must divide the {experts} experts")
    if capacity_factor is not None and not 0 < capacity_factor < math.inf:
        raise InputError(f"capacity factor {capacity_factor} must be positive")
