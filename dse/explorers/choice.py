"""The choice among explorers, by name."""

from __future__ import annotations

from dse.explorers.explorer import Explorer
from dse.space.space import Search, Space
from simulator.core.errors import InputError

__all__ = ["open_explorer"]

_DEFAULT_POINTS = 1024
_MOST_LISTED = 50_000_000  # indices of a sample are kept in memory
_MOST_EXHAUSTIVE = 20_000_000_000  # an hour and more even of the compiled tier


def open_explorer(space: Space, search: Search, round_points: int) -> Explorer:
    """Return the explorer that ``search`` names.

    Parameters
    ----------
    round_points : int
        Points in a round of those that choose all in advance.

    Raises
    ------
    InputError
        If it cannot do what is asked.
    """
    from dse.explorers import samplers

    wanted = min(search.points or _DEFAULT_POINTS, space.size)
    if search.explorer == "exhaustive":
        points = min(search.points or space.size, space.size)
        if points > _MOST_EXHAUSTIVE:
            raise InputError(
                f"{points:.2g} points are too many to look at each: thin the axes out, give --limit, "
                "or sample them (--explorer nsga2, random, sobol, lhs)"
            )
        return samplers.Everything(points, round_points)
    if wanted > _MOST_LISTED:
        raise InputError(f"a sample of {wanted} points: at most {_MOST_LISTED}")
    if search.explorer == "nsga2":
        from dse.explorers.nsga2 import Nsga2

        return Nsga2(space, wanted, search.population, search.seed)
    if search.explorer == "tpe":
        from dse.explorers.tpe import Tpe

        return Tpe(space, wanted, search.population, search.seed)
    chosen = samplers.SAMPLERS.get(search.explorer)
    if chosen is None:
        known = ", ".join(("exhaustive", *samplers.SAMPLERS, "nsga2", "tpe"))
        raise InputError(f"no explorer is called {search.explorer!r}: known are {known}")
    return samplers.Listed(chosen(space, wanted, search.seed), round_points)
