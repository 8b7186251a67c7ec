"""Fit some coefficients of one section to rows of chosen devices: how the sets of the transfer table were made.

In log space, ``x = log(value / start)``; the sum of ``soft_l1(log(predicted / measured))`` over rows and
``(x / PRIOR)^2`` over coefficients is made least, so that what no row tells stays at its start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hwmodels.coefficients import coefficient_dimensions, gpu_coefficients
from hwmodels.gpu.attention import AttentionCoefficients
from hwmodels.gpu.gemm import GemmCoefficients
from hwmodels.spec import SystemSpec, as_gpu
from simulator.engine.profile import load_profile
from simulator.validation.layout import Layout
from simulator.validation.sample import Sample
from simulator.validation.system_target import SystemTarget
from simulator.validation.table import Row

__all__ = ["RECORDS", "Material", "fit_coefficients", "with_coefficients"]

#: The record of each section that may be replaced.
RECORDS = {"gemm": GemmCoefficients, "attention": AttentionCoefficients}

#: Standard deviation of log(value / start): a device's coefficients lie within a factor of 2.7 of another's family.
PRIOR = 1.0
_SCALE = 0.1  # residuals beyond this count by their size, not by its square
_STEP = 0.01


@dataclass(frozen=True, slots=True)
class Material:
    """Rows of one device that a fit may see, all of one layout."""

    hardware: SystemSpec
    layout: Layout
    rows: Sequence[Row]
    families: tuple[str, ...]  # of the samples to use


def with_coefficients(hardware: SystemSpec, section: str, values: Mapping[str, float]) -> SystemSpec:
    """Return the hardware with every coefficient of a section replaced; ``values`` in SI units by bare name."""
    dimension = coefficient_dimensions(RECORDS[section])
    stated: dict[str, str | float] = {
        name: value if dimension[name] == "1" else f"{value!r} {dimension[name]}" for name, value in values.items()
    }
    unit = hardware.units[0]
    given = as_gpu(unit.device).coefficients.model_copy(update={section: stated})
    device = unit.device.model_copy(update={"coefficients": given})
    return hardware.model_copy(update={"units": (unit.model_copy(update={"device": device}),)})


def predict(material: Material, section: str, values: Mapping[str, float]) -> list[Sample]:
    """Predict the rows of a device under trial coefficients."""
    target = SystemTarget(with_coefficients(material.hardware, section, values), load_profile("ideal"), None)
    return [
        outcome
        for outcome in material.layout.compare(material.rows, target)
        if isinstance(outcome, Sample) and outcome.family in material.families
    ]


def fit_coefficients(
    section: str,
    start: Mapping[str, float],
    free: Sequence[str],
    materials: Sequence[Material],
) -> tuple[dict[str, float], float]:
    """Return all coefficients of a section with the ``free`` ones fitted, and the mean absolute error of the fit.

    Parameters
    ----------
    section : str
        ``gemm`` or ``attention``.
    start : mapping
        Every coefficient of the section, SI, by bare name.
    free : sequence of str
        Those to fit.
    materials : sequence of Material
        What it may see; every sample counts the same.
    """
    import numpy as np
    from scipy.optimize import least_squares

    def values(x: Sequence[float]) -> dict[str, float]:
        fitted = {name: start[name] * float(np.exp(v)) for name, v in zip(free, x, strict=True)}
        return {**start, **fitted}

    def residuals(x: Sequence[float]) -> list[float]:
        now = values(x)
        rows = [
            float(np.log(sample.predicted / sample.measured))
            for material in materials
            for sample in predict(material, section, now)
        ]
        prior = _SCALE / PRIOR
        return rows + [prior * float(v) for v in x]

    found = least_squares(
        residuals, np.zeros(len(free)), loss="soft_l1", f_scale=_SCALE, diff_step=_STEP, x_scale=1.0, max_nfev=12
    )
    best = values(list(found.x))
    errors = [abs(s.error) for material in materials for s in predict(material, section, best)]
    return best, float(np.mean(errors))


def start_values(hardware: SystemSpec, section: str) -> dict[str, float]:
    """Return what the device uses now, SI, by bare name."""
    record = RECORDS[section]
    given: tuple[float, ...] = gpu_coefficients(as_gpu(hardware.device), section, record)
    return dict(zip(coefficient_dimensions(record), given, strict=True))
