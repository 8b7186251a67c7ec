"""Loop nests: the counting rules against a walk through the nest, and what must hold of any mapping."""

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hwmodels.spatial.mapping import LevelMapping, MemoryLevel, NestMachine, evaluate_mapping, nest_arrays
from hwmodels.spatial.nest import count_words
from workloads.einsum import Einsum, TensorAccess, parse_einsum

TEXTS = (
    "Z[B,M,N] += A[B,M,K] * W[B,K,N]",
    "Z[N,P] += I[C,P+R] * W[N,C,R]",
    "Z[N,P] += I[C,2*P+R] * W[N,C,R]",
    "Z[P] += Q[P,E] * K[E]",
)


class Loop(NamedTuple):
    """One loop; the order of its fields is the order in which loops nest."""

    level: int
    spatial: int
    position: int
    rank: str
    bound: int


def walk(einsum: Einsum, mapping: Sequence[LevelMapping]) -> dict[tuple[int, str, str], int]:
    """Count words by going through every iteration with the blocks that every instance holds."""
    loops = [Loop(level, 0, i, *loop) for level, m in enumerate(mapping) for i, loop in enumerate(m.temporal)]
    loops += [Loop(level, 1, i, *loop) for level, m in enumerate(mapping) for i, loop in enumerate(m.spread)]
    stride: dict[Loop, int] = {}
    running = dict.fromkeys(einsum.bounds, 1)
    for loop in sorted(loops, reverse=True):  # innermost level first; in each, what is spread below it first
        stride[loop] = running[loop.rank]
        running[loop.rank] *= loop.bound
    counts: dict[tuple[int, str, str], int] = defaultdict(int)
    for tensor in einsum.tensors:
        kept = [level for level, m in enumerate(mapping) if tensor.name not in m.bypass]
        for parent, child in itertools.pairwise([*kept, len(mapping)]):
            exchange(einsum, tensor, parent, child, stride, counts, child < len(mapping))
    return counts


def exchange(
    einsum: Einsum,
    tensor: TensorAccess,
    parent: int,
    child: int,
    stride: dict[Loop, int],
    counts: dict[tuple[int, str, str], int],
    keeps: bool,
) -> None:
    """Walk the loops above ``child`` and count what passes between it and ``parent``."""
    output = tensor is einsum.output
    above = sorted(loop for loop in stride if loop.level < child and not loop.spatial)
    across = sorted(loop for loop in stride if loop.level < child and loop.spatial)
    inside = dict.fromkeys(einsum.bounds, 1)
    for loop in stride:
        if loop.level >= child:
            inside[loop.rank] *= loop.bound
    held: dict[tuple[int, ...], object] = {}
    seen: dict[tuple[int, ...], set[tuple[int, ...]]] = defaultdict(set)
    for point in itertools.product(*(range(loop.bound) for loop in above)):
        sent: dict[tuple[int, ...], set[tuple[int, ...]]] = defaultdict(set)
        received = []
        for place in itertools.product(*(range(loop.bound) for loop in across)):
            start = dict.fromkeys(einsum.bounds, 0)
            for loop, at in [*zip(above, point, strict=True), *zip(across, place, strict=True)]:
                start[loop.rank] += at * stride[loop]
            block = [start[rank] for rank in einsum.bounds if rank in tensor.ranks]
            if keeps and held.get(place) == block:
                continue
            held[place] = block
            owner = tuple(at for loop, at in zip(across, place, strict=True) if loop.level < parent)
            words = elements(tensor, start, inside)
            sent[owner] |= words
            received.append((owner, words))
        back = {owner: words & seen[owner] if output else words for owner, words in sent.items()}
        for owner, words in sent.items():
            counts[parent, tensor.name, "updates"] += len(words) if output else 0
            counts[parent, tensor.name, "reads"] += len(back[owner])
            seen[owner] |= words
        for owner, words in received:
            counts[child, tensor.name, "fills"] += len(words & back[owner]) if keeps else 0


def elements(tensor: TensorAccess, start: dict[str, int], extent: dict[str, int]) -> set[tuple[int, ...]]:
    """Return the elements of the box from the first to the last that a block touches."""
    ranges = []
    for index in tensor.indices:
        low = sum(coefficient * start[rank] for rank, coefficient in index)
        ranges.append(range(low, low + 1 + sum(c * (extent[rank] - 1) for rank, c in index)))
    return set(itertools.product(*ranges))


@st.composite
def mapped(draw: st.DrawFn, texts: Sequence[str] = TEXTS, most: int = 10**9) -> tuple[Einsum, list[LevelMapping]]:
    """Draw an einsum and a mapping of it onto three or four levels."""
    text = draw(st.sampled_from(texts))
    ranks = sorted(set(re.findall(r"[A-Z]", " ".join(re.findall(r"\[(.*?)\]", text)))))
    tensors = re.findall(r"(\w)\[", text)
    levels = draw(st.integers(3, 4))
    bounds = dict.fromkeys(ranks, 1)
    mapping = []
    for level in range(levels):
        temporal = tuple((rank, draw(st.integers(1, 3))) for rank in draw(st.permutations(ranks)))
        pairs = st.tuples(st.sampled_from(ranks), st.integers(1, 3))
        axes = st.tuples(st.lists(pairs, max_size=2).map(tuple), st.lists(pairs, max_size=1).map(tuple))
        spatial = draw(axes) if level < levels - 1 else ()
        bypass = draw(st.frozensets(st.sampled_from(tensors))) if level > 0 else frozenset()
        mapping.append(LevelMapping(temporal, spatial, bypass))
        for rank, bound in (*temporal, *mapping[-1].spread):
            bounds[rank] *= bound
    assume(math.prod(bounds.values()) <= most)
    return parse_einsum(text, bounds), mapping


def machine(levels: int, rate: float = 4.0) -> NestMachine:
    memory = MemoryLevel("", math.inf, rate, rate, 1e-12, 2e-12, (9, 9))
    named = [memory._replace(name=f"L{level}") for level in range(levels)]
    return NestMachine("any", (*named[:-1], named[-1]._replace(below=(1, 1))), 1e-12)


@settings(max_examples=150, deadline=None)
@given(mapped(most=1000))
def test_rules_equal_a_walk_through_the_nest(drawn: tuple[Einsum, list[LevelMapping]]) -> None:
    einsum, mapping = drawn
    if any(len(index) > 1 for tensor in einsum.inputs for index in tensor.indices):
        # Blocks of a sliding window are counted as adjacent: they are where no level is passed by and no word skipped.
        assume(all(coefficient == 1 for t in einsum.inputs for index in t.indices for _, coefficient in index))
        mapping = [level._replace(bypass=frozenset()) for level in mapping]
    cost, walked = evaluate_mapping(einsum, machine(len(mapping)), mapping), walk(einsum, mapping)
    for (level, tensor), words in cost.words.items():
        for name in words._fields:
            assert getattr(words, name) == walked[int(level[1:]), tensor, name], (level, tensor, name)


@settings(deadline=None)
@given(mapped())
def test_words_are_conserved_level_to_level(drawn: tuple[Einsum, list[LevelMapping]]) -> None:
    einsum, mapping = drawn
    cost = evaluate_mapping(einsum, machine(len(mapping)), mapping)
    for tensor in einsum.tensors:
        whole = tensor.words(einsum.bounds)
        kept = [f"L{i}" for i, level in enumerate(mapping) if tensor.name not in level.bypass]
        outermost = cost.words["L0", tensor.name]
        if tensor is einsum.output:
            assert outermost.updates - outermost.reads == whole
            assert all(cost.words[level, tensor.name].updates <= einsum.macs for level in kept)
        else:
            assert outermost.reads >= whole
            for parent, child in itertools.pairwise(kept):
                above, below = cost.words[parent, tensor.name], cost.words[child, tensor.name]
                assert above.reads <= below.fills  # multicast: sent once, received at least once
        for i, level in enumerate(mapping):
            if tensor.name in level.bypass:
                assert cost.words[f"L{i}", tensor.name] == (0, 0, 0)
    assert sum(cost.energy_J.values()) == pytest.approx(
        1e-12 * einsum.macs
        + sum(1e-12 * words.reads + 2e-12 * (words.fills + words.updates) for words in cost.words.values())
    )


@settings(deadline=None)
@given(mapped(), st.floats(1.0, 50.0))
def test_more_bandwidth_is_never_slower(drawn: tuple[Einsum, list[LevelMapping]], times: float) -> None:
    einsum, mapping = drawn
    slow, fast = (evaluate_mapping(einsum, machine(len(mapping), rate), mapping) for rate in (4.0, 4.0 * times))
    assert fast.cycles <= slow.cycles
    assert fast.words == slow.words


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(mapped())
def test_compiled_counts_equal_plain_ones(drawn: tuple[Einsum, list[LevelMapping]]) -> None:
    import numba

    from simulator.core.formula import HOUSE_JIT, register_formulas

    register_formulas()
    einsum, mapping = drawn
    arrays = nest_arrays(einsum, mapping)
    plain = np.zeros((len(mapping), len(einsum.tensors), 3), np.int64)
    compiled = np.zeros_like(plain)
    count_words(*arrays, plain)
    _COMPILED.setdefault("count", numba.njit(**HOUSE_JIT)(count_words))(*arrays, compiled)
    assert (plain == compiled).all()


_COMPILED: dict[str, object] = {}
