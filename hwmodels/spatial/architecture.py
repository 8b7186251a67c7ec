"""A machine for loop nests as a user's file describes it: any levels, from the outermost memory to the innermost."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

from pydantic import Field

from hwmodels.spatial.mapping import MemoryLevel, NestMachine
from hwmodels.spatial.mapping_machines import Energy
from simulator.core.errors import SpecError, SpecProblem
from simulator.core.specfile import SpecRecord, load_spec

__all__ = ["Architecture", "Level", "load_architecture"]

_PICO = 1e-12

_Count = Annotated[int, Field(ge=1, le=2**53)]
_Rate = Annotated[float, Field(ge=1e-6, le=1e12)]

#: More levels than a machine has, and more units on an axis than any array: loops over them stay short.
_MOST_LEVELS, _LONGEST_AXIS = 8, 2**16


class Below(SpecRecord):
    """Instances of the next level, or multiply-add units, that one instance feeds; equal words travel once."""

    x: Annotated[int, Field(ge=1, le=_LONGEST_AXIS)]
    y: Annotated[int, Field(ge=1, le=_LONGEST_AXIS)] = 1


class Level(SpecRecord):
    """One memory; what is left out is without limit."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][\w-]*$", max_length=30)]
    words: _Count | None = None
    read_words_per_cycle: _Rate | None = None
    write_words_per_cycle: _Rate | None = None
    energy_pJ_per_word: Energy
    below: Below | None = None


class Architecture(SpecRecord):
    """Levels from the outermost to the one beside the multiply-add units, and a unit's energy."""

    name: Annotated[str, Field(min_length=1, max_length=60)]
    levels: list[Level] = Field(min_length=2, max_length=_MOST_LEVELS)
    energy_pJ_per_mac: Annotated[float, Field(ge=0.0, le=1e12)]


def load_architecture(path: Path | str) -> NestMachine:
    """Read a machine.

    Raises
    ------
    SpecError
        With every problem of the file.
    """
    file = load_spec(path, Architecture)
    names = [level.name for level in file.levels]
    repeated = {name for name in names if names.count(name) > 1} | ({"mac", "compute"} & set(names))
    if repeated:
        message = f"level {min(repeated)!r}: names are unique, and not 'mac' or 'compute'"
        raise SpecError([SpecProblem(str(path), 1, 1, "levels", message)])
    if file.levels[0].words is not None:
        message = "the outermost level holds everything: leave out its words"
        raise SpecError([SpecProblem(str(path), 1, 1, "levels.0.words", message)])
    return NestMachine(file.name, tuple(map(_memory, file.levels)), file.energy_pJ_per_mac * _PICO)


def _memory(level: Level) -> MemoryLevel:
    return MemoryLevel(
        level.name,
        math.inf if level.words is None else float(level.words),
        math.inf if level.read_words_per_cycle is None else level.read_words_per_cycle,
        math.inf if level.write_words_per_cycle is None else level.write_words_per_cycle,
        level.energy_pJ_per_word.read * _PICO,
        level.energy_pJ_per_word.write * _PICO,
        (1, 1) if level.below is None else (level.below.x, level.below.y),
    )
