"""Step times on a grid: what a server takes for any step, from a few hundred steps that were really costed.

Any callable that costs a :class:`Step` will do: the engine on any system, a table of measurements, a formula.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.serving.tables import Grid, pack
from workloads.step import Step

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = [
    "Limits",
    "StepCost",
    "StepSurface",
    "SurfaceError",
    "UnevenCost",
    "build_surface",
    "tabulate_uneven",
]

#: Seconds and joules of a step.
StepCost = Callable[[Step], tuple[float, float]]

#: Seconds that one standard deviation of the load of its experts adds to a step of so many tokens.
UnevenCost = Callable[[int], float]

_SHORT_CONTEXT = 2048  # the middle of the three contexts at which the saving of mixed steps is tabulated
_APART = 0.1  # of the time of a prompt: above that, prompts with nothing cached have a table of their own
_PROBES = 48
_DENSER = 2  # how often the grid is refined where the probes are off


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the steps of a server may hold."""

    sequences: int
    prompt_tokens: int  # of all prompts in a step
    context: int  # of one sequence
    captured: tuple[int, ...] = ()  # sizes that a step of generating sequences is padded to


@dataclass(frozen=True, slots=True)
class SurfaceError:
    """Looked up against costed, on random steps that are not points of the grid: relative errors of the time."""

    probes: int
    mean: float
    p90: float
    largest: float


@dataclass(frozen=True, slots=True)
class StepSurface:
    """A grid, what it took and how good it is."""

    grid: Grid
    costed: int  # steps
    error: SurfaceError


def build_surface(
    cost: StepCost, limits: Limits, *, tolerance: float = 0.03, seed: int = 0, queries: int = 1
) -> StepSurface:
    """Cost the points of the grid, and refine it while random steps are off by more than ``tolerance`` on average.

    Parameters
    ----------
    cost
        Seconds and joules of a step.
    limits
        What the grid must cover; beyond it, lookups go on in straight lines.
    queries
        Tokens that a generating sequence brings: 1, or with speculation those drafted and one.
    """
    memo: dict[Step, tuple[float, float]] = {}

    def costed(step: Step) -> tuple[float, float]:
        if step not in memo:
            memo[step] = cost(step)
        return memo[step]

    surface = _tabulate(costed, limits, 1, queries)
    error = _probe(costed, surface, limits, seed, queries)
    for finer in range(2, _DENSER + 1):
        if error.mean <= tolerance:
            break
        surface = _tabulate(costed, limits, finer, queries)
        error = _probe(costed, surface, limits, seed, queries)
    return StepSurface(surface, len(memo), error)


def tabulate_uneven(uneven: UnevenCost, limits: Limits, queries: int) -> tuple[Floats, Floats]:
    """Return tokens of a step, and the seconds that one standard deviation of its experts' load adds."""
    import numpy as np

    tokens = _axis(1.0, float(max(limits.sequences * queries + limits.prompt_tokens, 2)), 1.5)
    return np.array(tokens), np.array([uneven(int(count)) for count in tokens])


def _axis(first: float, last: float, ratio: float) -> list[float]:
    """Return whole numbers from first to last at about a constant ratio."""
    count = max(math.ceil(math.log(max(last / first, 1.0)) / math.log(ratio)), 1)
    points = {float(round(first * (last / first) ** (i / count))) for i in range(count + 1)}
    axis = sorted(points)
    return axis if len(axis) > 1 else [axis[0], axis[0] + 1.0]


def _batch_axis(limits: Limits, finer: int) -> list[float]:
    """Return numbers of sequences: captured sizes, where there are any, thinned out to about a constant ratio."""
    largest = limits.sequences
    sizes = [size for size in sorted(limits.captured) if size < largest]
    if not sizes:
        return _axis(1.0, float(max(largest, 2)), 1.0 + 0.5 / finer)
    kept = [float(sizes[0])]
    for size in sizes[1:]:
        if size >= kept[-1] * (1.0 + 0.33 / finer):
            kept.append(float(size))
    top = next((float(size) for size in sorted(limits.captured) if size >= largest), float(largest))
    return [*kept, top] if kept[-1] < top else kept


def chunk_step(tokens: int, keys: float) -> list[tuple[int, int, int]]:
    """Return groups of prompts with ``tokens`` new tokens that see ``keys`` keys each on average.

    Short prompts side by side where ``keys`` is less than one prompt would see, else cached tokens in front.

    Examples
    --------
    >>> chunk_step(1000, 250.5)  # two prompts of 500 see 250.5 keys on average
    [(2, 500, 0)]
    >>> chunk_step(1000, 1000.5)
    [(1, 1000, 500)]
    """
    longest = max(2.0 * keys - 1.0, 1.0)
    count = max(math.ceil(tokens / longest), 1)
    size, longer = divmod(tokens, count)
    cached = max(round(keys - (tokens / count + 1.0) / 2.0), 0)
    groups = [(longer, size + 1, cached), (count - longer, size, cached)]
    return [group for group in groups if group[0] > 0 and group[1] > 0]


def _side_by_side(tokens: int, number: int) -> list[tuple[int, int]]:
    """Return so many prompts of about the same length with nothing cached."""
    size, longer = divmod(tokens, number)
    return [group for group in ((longer, size + 1), (number - longer, size)) if group[0] > 0 and group[1] > 0]


def _starts_apart(costed: StepCost, limits: Limits) -> bool:
    """Return whether a prompt runs in another way as soon as something of it is cached.

    So it does where attention over cached keys is done by another device than that of a prompt alone.
    """
    longest = min(limits.prompt_tokens, limits.context)
    for tokens in {max(longest // 4, 1), longest}:
        alone, continued = (costed(Step.of((1, tokens, cached)))[0] for cached in (0, 1))
        if abs(continued / alone - 1.0) > _APART:
            return True
    return False


def _decode_groups(sequences: int, context: float, queries: int) -> list[tuple[int, ...]]:
    return [(sequences, queries, round(context), queries)]


def _tabulate(costed: StepCost, limits: Limits, finer: int, queries: int) -> Grid:
    import numpy as np

    batch = _batch_axis(limits, finer)
    context = [0.0, *_axis(128.0, float(max(limits.context, 256)), 1.0 + 2.0 / finer)]
    prompt = [1.0, *_axis(16.0, float(max(limits.prompt_tokens, 32)), 1.0 + 0.5 / finer)]
    keys = [point + 0.5 for point in _axis(8.0, float(max(limits.context, 32)), 1.0 + 3.0 / finer)]
    few = _axis(1.0, float(max(limits.sequences, 2)), 1.0 + 2.0 / finer)
    chunk = [1.0, *_axis(16.0, float(max(limits.prompt_tokens, 32)), 1.0 + 1.0 / finer)]
    held = [0.0, float(min(_SHORT_CONTEXT, max(limits.context // 4, 1))), float(max(limits.context, 4))]

    def table(rows: Sequence[float], columns: Sequence[float], at: StepCostAt) -> Floats:
        return np.moveaxis(np.array([[at(row, column) for column in columns] for row in rows]), 2, 0).copy()

    def decode(sequences: float, mean: float) -> tuple[float, float]:
        return costed(Step.of(*_decode_groups(int(sequences), mean, queries)))

    apart = _starts_apart(costed, limits)

    def prefill(tokens: float, seen: float) -> tuple[float, float]:
        groups = chunk_step(int(tokens), seen)
        return costed(Step.of(*((number, new, max(cached, int(apart))) for number, new, cached in groups)))

    def fresh(tokens: float, seen: float) -> tuple[float, float]:
        """Cost prompts side by side; go on in a straight line beyond what one prompt sees, for lookups there."""
        alone = (tokens + 1.0) / 2.0
        if seen <= alone:
            return costed(Step.of(*_side_by_side(int(tokens), math.ceil(tokens / (2.0 * seen - 1.0)))))
        one, two = (costed(Step.of(*_side_by_side(int(tokens), number))) for number in (1, min(2, int(tokens))))
        far = (seen - alone) / (tokens / 4.0)  # two prompts see a quarter of the tokens less
        return one[0] + (one[0] - two[0]) * far, one[1] + (one[1] - two[1]) * far

    def saving(sequences: float, tokens: float, mean: float) -> tuple[float, float]:
        prompts = chunk_step(int(tokens), (tokens + 1.0) / 2.0)
        whole = costed(Step.of(*prompts, *_decode_groups(int(sequences), mean, queries)))
        halves = costed(Step.of(*prompts)), decode(sequences, mean)
        return halves[0][0] + halves[1][0] - whole[0], halves[0][1] + halves[1][1] - whole[1]

    def savings(mean: float) -> Floats:
        return table(few, chunk, lambda sequences, tokens: saving(sequences, tokens, mean))

    return Grid(
        batch=np.array(batch),
        context=np.array(context),
        prompt=np.array(prompt),
        keys=np.array(keys),
        few=np.array(few),
        chunk=np.array(chunk),
        held=np.array(held),
        decode=table(batch, context, decode),
        prefill=table(prompt, keys, prefill),
        fresh=table(prompt, keys, fresh) if apart else None,
        saving=np.stack([savings(mean) for mean in held], axis=1),
        padded=_padded(limits),
    )


StepCostAt = Callable[[float, float], tuple[float, float]]


def _padded(limits: Limits) -> NDArray[np.int64]:
    """Return the size that each number of sequences runs with."""
    import numpy as np

    sizes = np.arange(limits.sequences + 1)
    captured = np.array(sorted(limits.captured), dtype=np.int64)
    if captured.size:
        at = np.searchsorted(captured, sizes)
        sizes = np.where(at < captured.size, captured[np.minimum(at, captured.size - 1)], sizes)
    return np.maximum(sizes, 1).astype(np.int64)


def _probe(costed: StepCost, grid: Grid, limits: Limits, seed: int, queries: int) -> SurfaceError:
    """Compare random steps: generating, prompts, both; contexts and prompts of unlike length."""
    import numpy as np

    from simulator.serving.kernel_cost import lookup_all

    random = np.random.default_rng(seed)
    rows, truths = [], []
    for probe in range(_PROBES):
        groups: list[tuple[int, ...]] = []
        decoding = context = tokens = 0
        pairs = 0.0
        fresh = True
        if probe % 3 != 1:
            decoding = int(np.exp(random.uniform(0.0, math.log(max(limits.sequences, 2)))))
            mean = np.exp(random.uniform(math.log(64.0), math.log(max(limits.context / 2, 65.0))))
            for part in _halves(decoding):
                cached = int(mean * random.uniform(0.5, 1.5))
                groups.append((part, queries, cached, queries))
                context += part * cached
        if probe % 3 != 0:
            tokens = int(np.exp(random.uniform(math.log(16.0), math.log(max(limits.prompt_tokens, 17)))))
            for part in _prompts(tokens, limits.context):
                cached = int(random.integers(0, max(limits.context // 8, 1))) if random.random() < 0.3 else 0
                groups.append((1, part, cached))
                pairs += part * (cached + 0.5 * (part + 1))
                fresh = fresh and cached == 0
        rows.append((decoding, context, tokens, pairs, fresh))
        truths.append(costed(Step.of(*groups))[0])
    looked_up = np.empty(2 * len(rows))
    memory = pack(grid)
    lookup_all(memory.n, memory.y, 0, len(rows), np.array(rows, dtype=np.float64).ravel(), looked_up)
    errors = np.abs(looked_up[::2] / np.array(truths) - 1.0)
    return SurfaceError(len(rows), float(errors.mean()), float(np.quantile(errors, 0.9)), float(errors.max()))


def _prompts(tokens: int, context: int) -> list[int]:
    """Return lengths of prompts with so many tokens: two, or as many as the context asks for."""
    number = max(-(-tokens // context), min(tokens, 2))
    return [tokens // number + (index < tokens % number) for index in range(number)]


def _halves(count: int) -> list[int]:
    return [part for part in (count // 2, count - count // 2) if part > 0]
