"""Formulas: plain functions of numbers, run as Python for one point and compiled for a million.

A function marked ``@formula`` takes and returns numbers, tuples and ``NamedTuple`` records only, and calls only
``math`` and other formulas. One design point runs it as ordinary Python, with no compiler to wait for; a sweep compiles
the very same function into its loop after :func:`register_formulas`. A property test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["FORMULAS", "HOUSE_JIT", "formula", "register_formulas"]

F = TypeVar("F", bound=Callable[..., Any])

#: Every function marked ``@formula``, in order of definition.
FORMULAS: list[Callable[..., Any]] = []

#: Options of every compiled kernel. No fast-math at all: compiled and plain Python then round every sum, product and
#: quotient alike, so that what just fills a whole number of tiles or waves does so in both (a product with a reciprocal
#: or a fused multiply-add in one of them made one wave more of it, in one design in two hundred). The default error
#: model would raise on a division by zero in the middle of a vector loop.
HOUSE_JIT: dict[str, Any] = {"error_model": "numpy"}

_registered: set[int] = set()


def formula(function: F) -> F:
    """Mark a function as physics that is also compiled; returns it unchanged."""
    FORMULAS.append(function)
    return function


def register_formulas() -> None:
    """Make every formula defined so far callable from compiled code (imports numba, so only sweeps call it)."""
    from numba.extending import register_jitable

    # Made part of their callers: records of coefficients are handed on number by number, which takes longer than
    # many a formula.
    for function in FORMULAS:
        if id(function) not in _registered:
            register_jitable(**HOUSE_JIT, forceinline=True)(function)
            _registered.add(id(function))
