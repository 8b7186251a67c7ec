"""How often a cascade must traverse a fibre, and what that costs: derived from its einsums alone.

A fibre is everything along one rank (or the ranks it was cut into) while the others stand still. An einsum that visits
a whole fibre and needs something for which the whole fibre had to be visited before, a maximum over it say, can only
begin when that visit is over: another *pass*. Einsums that visit one value per block of the fibre summarise it and add
no pass of their own; a running tensor moves along within a pass.

What one pass makes and a later one reads must be kept on chip for the whole fibre, or written out and read back, or
computed again from what it was made of. No mapping avoids all three.

Source: the pass analysis of FuseMax (Nayak et al., MICRO 2024, arXiv 2406.10491, section 3), restated as levels of a
data-flow graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from simulator.core.errors import InputError
from workloads.cascade import Access, Cascade, CascadeEinsum

__all__ = ["Crossing", "FibrePasses", "analyse_fibre", "fibres_of", "operations"]


@dataclass(frozen=True, slots=True)
class Crossing:
    """A tensor along the fibre that later passes need."""

    tensor: Access
    made_in: int  # pass; 0 for an input
    read_in: tuple[int, ...]  # passes, ascending
    from_inputs: tuple[Access, ...]  # inputs along the fibre that it is computed from; an input is its own

    @property
    def last(self) -> int:
        """The last pass that reads it."""
        return self.read_in[-1]

    @property
    def first(self) -> int:
        """The pass in which it first exists on chip."""
        return self.made_in or self.read_in[0]


@dataclass(frozen=True, slots=True)
class FibrePasses:
    """The passes of a cascade over one fibre."""

    cascade: Cascade
    ranks: tuple[str, ...]  # of the fibre, outermost first
    pass_of: Mapping[str, int]  # of each einsum that visits the whole fibre, by the tensor it makes
    alongside: Mapping[str, int]  # pass during which every other einsum works, one value per block at the most
    after: Mapping[str, int]  # or the pass whose end it waits for; 0: none
    waits_for: Mapping[str, str]  # what an einsum that begins a pass waits for
    crossings: tuple[Crossing, ...]

    @property
    def passes(self) -> int:
        """How often the fibre is traversed."""
        return max(self.pass_of.values(), default=0)

    def kept_words(self, bounds: Mapping[str, int]) -> int:
        """Words on chip that let every pass after the first find what it needs, for one point of the other ranks.

        The largest sum over a boundary between passes, of tensors that exist before it and are read after it. Ranks of
        a tensor that are neither of the fibre nor shared by all its tensors (the width of a key) count whole.
        """
        shared = self._outer()
        return max(
            (
                sum(_words(c.tensor, bounds, shared) for c in self.crossings if c.first <= boundary < c.last)
                for boundary in range(1, self.passes)
            ),
            default=0,
        )

    def extra_words(self, bounds: Mapping[str, int]) -> int:
        """Fewest words that must cross the chip's edge again where :meth:`kept_words` do not fit.

        Every tensor that crosses passes is written once and read in each later pass, or the inputs behind it are read
        at least once more in each: the lesser of the two, inputs counted once however many tensors they stand for.
        """
        spilled = sum(
            _words(c.tensor, bounds) * (len(_later(c)) + (c.made_in > 0)) for c in self.crossings if c.made_in
        )
        again = {
            (access, number) for c in self.crossings if c.made_in for access in c.from_inputs for number in _later(c)
        }
        reread = {(c.tensor, number) for c in self.crossings if not c.made_in for number in _later(c)}
        recomputed = sum(_words(access, bounds) for access, _ in again)
        return min(spilled, recomputed) + sum(_words(access, bounds) for access, _ in reread - again)

    def least_words(self, bounds: Mapping[str, int], capacity_words: float) -> int:
        """Lower bound on the words that any mapping moves to and from the chip with a buffer of some capacity.

        Inputs and outputs once, and :meth:`extra_words` where the fibre of one point of the other ranks does not fit.
        """
        once = sum(_words(access, bounds) for access in (*self.cascade.inputs, *self.cascade.outputs))
        return once + (0 if self.kept_words(bounds) <= capacity_words else self.extra_words(bounds))

    def _outer(self) -> frozenset[str]:
        """Ranks that every crossing intermediate has beside the fibre's: the fibre is repeated along them."""
        made = [frozenset(c.tensor.ranks) for c in self.crossings if c.made_in]
        return frozenset.intersection(*made) - set(self.ranks) if made else frozenset()


def _later(crossing: Crossing) -> tuple[int, ...]:
    return tuple(number for number in crossing.read_in if number > crossing.first)


def _words(access: Access, bounds: Mapping[str, int], without: Iterable[str] = ()) -> int:
    return prod(bounds[rank] for rank in access.ranks if rank not in without)


def fibres_of(cascade: Cascade) -> dict[str, tuple[str, ...]]:
    """Return the fibres to analyse by name: those of the file, else one for each rank that is reduced."""
    if cascade.fibres:
        return dict(cascade.fibres)
    reduced = {rank for e in cascade.einsums for rank in e.ranks - e.output.iterated}
    return {rank: (rank,) for rank in cascade.ranks if rank in reduced}


def operations(cascade: Cascade, bounds: Mapping[str, float]) -> dict[str, float]:
    """Return how many operations of each kind a cascade does."""
    total: dict[str, float] = {}
    for einsum in cascade.einsums:
        for name, count in einsum.operations.items():
            total[name] = total.get(name, 0) + count * einsum.points(bounds)
    return total


def analyse_fibre(cascade: Cascade, ranks: tuple[str, ...]) -> FibrePasses:
    """Derive the passes over the fibre of ``ranks`` (outermost first).

    Every tensor gets a level: 2 k - 1 while it streams by in pass k, 2 k when it is known only after pass k. An einsum
    that visits the whole fibre streams in the pass of what it reads, or in the next one if that is known only at the
    end; reducing over the outermost rank ends a pass.

    Raises
    ------
    InputError
        If a running tensor needs a result over the fibre that it is itself a part of: no number of passes is enough.
    """
    levels = {access.tensor: 0 for access in cascade.inputs} | {einsum.name: 0 for einsum in cascade.einsums}
    streams: dict[str, int] = {}  # level at which each einsum visits the fibre
    for _ in range(len(cascade.einsums) + 2):
        before = dict(levels)
        for einsum in cascade.einsums:
            streams[einsum.name], levels[einsum.name] = _level(einsum, cascade, ranks, levels)
        if before == levels:
            break
    else:
        raise InputError(f"{cascade.name}: a running tensor along {', '.join(ranks)} needs its own end to go on")
    fibre = set(ranks)
    pass_of = {e.name: (streams[e.name] + 1) // 2 for e in cascade.einsums if fibre <= e.ranks}
    waits = {}
    for einsum in cascade.einsums:
        known = {a.tensor: _read_level(a, cascade, ranks, levels) for a in einsum.reads}
        latest = max(known, key=lambda name: known[name])
        if einsum.name in pass_of and known[latest] == 2 * pass_of[einsum.name] - 2 and known[latest]:
            waits[einsum.name] = latest
    others = {e.name: streams[e.name] for e in cascade.einsums if e.name not in pass_of}
    return FibrePasses(
        cascade=cascade,
        ranks=ranks,
        pass_of=pass_of,
        alongside={name: (level + 1) // 2 for name, level in others.items() if level % 2},
        after={name: level // 2 for name, level in others.items() if level % 2 == 0},
        waits_for=waits,
        crossings=tuple(_crossings(cascade, fibre, pass_of)),
    )


def _read_level(access: Access, cascade: Cascade, ranks: tuple[str, ...], levels: Mapping[str, int]) -> int:
    """Return when what is read is known: the end of a running tensor only after its pass, its past at once."""
    level = levels[access.tensor]
    if access.tensor not in cascade.running:
        return level
    along = {i.rank for i in cascade.einsum(access.tensor).output.indices if i.at == "next"}
    if any(index.at == "end" and index.rank in ranks for index in access.indices):
        return level + level % 2
    past = any(index.at == "here" and index.rank in along for index in access.indices)
    return 0 if past and not along & set(ranks) else level


def _level(
    einsum: CascadeEinsum, cascade: Cascade, ranks: tuple[str, ...], levels: Mapping[str, int]
) -> tuple[int, int]:
    """Return the level at which an einsum works, and that of what it makes."""
    known = max((_read_level(access, cascade, ranks, levels) for access in einsum.reads), default=0)
    works = known + 1 if set(ranks) <= einsum.ranks and known % 2 == 0 else known
    ends = ranks[0] in einsum.ranks and ranks[0] not in einsum.output.iterated
    return works, works + works % 2 if ends else works


def _crossings(cascade: Cascade, fibre: set[str], pass_of: Mapping[str, int]) -> Iterable[Crossing]:
    behind: dict[str, tuple[Access, ...]] = {}
    for einsum in cascade.einsums:
        found: dict[Access, None] = {}
        for access in einsum.reads:
            own = (access,) if access in cascade.inputs and fibre <= access.iterated else ()
            found.update(dict.fromkeys(behind.get(access.tensor, own)))
        behind[einsum.name] = tuple(found)
    candidates = (*cascade.inputs, *(e.output for e in cascade.einsums if e.name in pass_of))
    for tensor in candidates:
        if not fibre <= tensor.iterated:
            continue
        readers = [e.name for e in cascade.einsums if any(a.tensor == tensor.tensor for a in e.reads)]
        read_in = tuple(sorted({pass_of[name] for name in readers if name in pass_of}))
        made_in = pass_of.get(tensor.tensor, 0)
        if read_in and read_in[-1] > (made_in or read_in[0]):
            yield Crossing(tensor, made_in, read_in, behind.get(tensor.tensor, (tensor,)))
