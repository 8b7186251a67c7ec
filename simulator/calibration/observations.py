"""The rows a fit uses, and what the simulator predicts for them under trial coefficients."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hwmodels.spec import SystemSpec, as_gpu
from simulator.calibration.least_squares import Array
from simulator.calibration.parameters import Parameter
from simulator.calibration.sections import group_of, section_of, shape_block, tells
from simulator.engine.profile import Profile
from simulator.validation.layouts import Layout, Skip, detect
from simulator.validation.sample import Sample
from simulator.validation.system_target import SystemTarget
from simulator.validation.table import Row, parse_rows, read_table

__all__ = ["Bench", "Observation", "Values", "gather", "read_layouts", "stratified"]

#: Values in place of those of the specification, by section and name.
Values = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Observation:
    """One measured number and the whole group it is left out with."""

    layout: Layout
    row: Row
    family: str
    group: str
    measured: float

    @property
    def key(self) -> tuple[str, int, str]:
        """What tells it from every other."""
        return (self.row.file, self.row.line, self.family)


class Bench:
    """Predicts observations for one device under trial coefficients, by the same comparison that `validate` makes."""

    def __init__(self, hardware: SystemSpec, profile: Profile, models_dir: Path | None) -> None:
        """Take the hardware whose device is calibrated, and what whole-model rows run under."""
        self.hardware = hardware
        self._profile = profile
        self._models_dir = models_dir

    def changed(self, values: Values, parameters: Mapping[str, Sequence[Parameter]]) -> SystemSpec:
        """Return the hardware with other coefficients, as a specification would state them."""
        unit = self.hardware.units[0]
        given = as_gpu(unit.device).coefficients
        update = {}
        for section, chosen in values.items():
            dimension = {parameter.name: parameter.dimension for parameter in parameters[section]}
            stated = {n: v if dimension[n] == "1" else f"{v!r} {dimension[n]}" for n, v in chosen.items()}
            update[section] = {**getattr(given, section), **stated}
        device = unit.device.model_copy(update={"coefficients": given.model_copy(update=update)})
        return self.hardware.model_copy(update={"units": (unit.model_copy(update={"device": device}),)})

    def predict(
        self, observations: Sequence[Observation], values: Values, parameters: Mapping[str, Sequence[Parameter]]
    ) -> Array:
        """Return what is predicted for each observation, in the unit it was measured in."""
        target = SystemTarget(self.changed(values, parameters), self._profile, self._models_dir)
        rows: dict[str, tuple[Layout, dict[tuple[str, int], Row]]] = {}
        for observation in observations:
            _, members = rows.setdefault(observation.layout.name, (observation.layout, {}))
            members[observation.row.file, observation.row.line] = observation.row
        predicted: dict[tuple[str, int, str], float] = {}
        for layout, members in rows.values():
            for sample in layout.compare(list(members.values()), target):
                if isinstance(sample, Sample):
                    predicted[sample.row.file, sample.row.line, sample.family] = sample.predicted
        return np.array([predicted[observation.key] for observation in observations])

    def compare(self, layout: Layout, rows: Sequence[Row]) -> list[Sample | Skip]:
        """Compare rows once under the coefficients the hardware has."""
        target = SystemTarget(self.hardware, self._profile, self._models_dir)
        return [outcome for outcome in layout.compare(rows, target) if isinstance(outcome, Sample | Skip)]


def read_layouts(files: Sequence[Path]) -> list[tuple[Layout, list[Row]]]:
    """Read tables, each told by its columns; a file named twice counts once.

    Raises
    ------
    SpecError
        If one is malformed.
    """
    tables = []
    for file in dict.fromkeys(files):
        table = read_table(file)
        layout = detect(table)
        tables.append((layout, parse_rows(table, layout.columns)))
    return tables


def gather(
    tables: Sequence[tuple[Layout, Sequence[Row]]], sections: Sequence[str], bench: Bench
) -> tuple[dict[str, list[Observation]], list[Skip]]:
    """Sort what was measured by the section it judges; also return the rows that the model cannot answer."""
    found: dict[str, list[Observation]] = {section: [] for section in sections}
    skipped: list[Skip] = []
    for layout, rows in tables:
        if not tells(layout, found):
            continue
        for outcome in bench.compare(layout, rows):
            if isinstance(outcome, Skip):
                skipped.append(outcome)
                continue
            section = section_of(outcome)
            if section in found:
                group = group_of(outcome.row)
                found[section].append(Observation(layout, outcome.row, outcome.family, group, outcome.measured))
    return {section: _regrouped(members) for section, members in found.items()}, skipped


def _regrouped(observations: list[Observation]) -> list[Observation]:
    """Group by blocks of shapes where the tables name one group for everything."""
    if len({observation.group for observation in observations}) > 1:
        return observations
    return [replace(observation, group=shape_block(observation.row)) for observation in observations]


def stratified(observations: Sequence[Observation], most: int, seed: int) -> list[Observation]:
    """Return at most ``most`` observations of each family, spread evenly over its groups and sizes, in file order.

    Sorted by group and measured number, every so-manieth is taken, from a start that ``seed`` draws.
    """
    by_family: dict[str, list[int]] = {}
    for index, observation in enumerate(observations):
        by_family.setdefault(observation.family, []).append(index)
    draw = random.Random(seed)
    chosen: list[int] = []
    for family in sorted(by_family):
        members = by_family[family]
        if len(members) > most:
            members = sorted(members, key=lambda i: (observations[i].group, observations[i].measured, i))
            stride = len(members) / most
            start = draw.random() * stride
            members = [members[int(start + step * stride)] for step in range(most)]
        chosen += members
    return [observations[index] for index in sorted(chosen)]
