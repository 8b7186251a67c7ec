"""Calibrate a device: read tables, fit section by section, never take what is worse."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hwmodels.catalog import load_hardware
from hwmodels.spec import as_gpu
from simulator.calibration.least_squares import Array
from simulator.calibration.observations import Bench, Observation, Values, gather, read_layouts
from simulator.calibration.parameters import Parameter, section_parameters
from simulator.calibration.report import CalibrationReport, FamilyErrors
from simulator.calibration.section_fit import Progress, SectionFit, fit_section, section_loss
from simulator.calibration.sections import SECTIONS
from simulator.core.errors import InputError
from simulator.core.names import suggest
from simulator.engine.profile import load_profile
from simulator.validation.metrics import ErrorStats, error_stats

__all__ = ["FEWEST_ROWS", "calibrate"]

#: Rows of a section below which nothing is fitted: about a launch time, a bandwidth and a peak, each seen a few times.
FEWEST_ROWS = 10

#: Factor by which the error of rows may grow whose own coefficients stay: what the clock of a few long kernels makes.
UNNOTICED = 1.02

_NOTHING = 1e-9  # an error that is only rounding

_LAST = "power"  # rests on the times that the other sections predict


def calibrate(
    hardware: str,
    files: Sequence[Path],
    *,
    sections: Sequence[str] = (),
    models_dir: Path | None = None,
    profile: str = "pytorch-sdpa",
    seed: int = 0,
    progress: Progress | None = None,
) -> CalibrationReport:
    """Fit a device's coefficients to measurements of it.

    Parameters
    ----------
    hardware : str
        The device that was measured, as it is specified now: a bundled GPU (``h200``) or the path of a file.
    files : sequence of Path
        Tables in the columns of hwmodels/measured/h200/README.md.
    sections : sequence of str, optional
        Keys of :data:`simulator.calibration.sections.SECTIONS`; none: all that the files have rows for.
    models_dir : Path, optional
        Folder of ``<model>.json`` configurations that rows of whole models name.
    profile : str
        Execution profile of those rows.
    seed : int
        Draws which rows enter the fit where there are very many of a family; same inputs, same result.
    progress : callable, optional
        Told one line at a time what is going on.

    Returns
    -------
    CalibrationReport
        Coefficients and errors before and after.

    Raises
    ------
    InputError
        If a section is unknown, the hardware is more than one GPU, or there are too few rows to fit anything.
    SpecError, UnknownNameError
        If a table or specification is malformed, or a model or device is unknown.
    """
    wanted = _wanted(sections)
    spec = load_hardware(hardware)
    if spec.devices > 1:
        raise InputError(
            f"{hardware!r} is a system of {spec.devices} devices: calibrate its GPU alone ({spec.device.name}), and "
            "name the file that comes out as `device:` of the system's units"
        )
    if not files:
        raise InputError("no tables to fit: name files with the columns of hwmodels/measured/h200/README.md")
    tables = read_layouts(files)
    bench = Bench(spec, load_profile(profile), models_dir)
    observations, skipped = gather(tables, wanted, bench)
    notes = _few(observations, explicit=bool(sections))
    chosen = [section for section in wanted if len(observations[section]) >= FEWEST_ROWS]
    used = {observation.layout.name for section in chosen for observation in observations[section]}
    unused = sorted({layout.name for layout, _ in tables} - used)
    if unused:
        notes.append(f"tables of {', '.join(unused)} say nothing about {', '.join(chosen)}: not used")
    parameters = {section: section_parameters(as_gpu(spec.device), section) for section in chosen}
    told: Progress = progress or (lambda line: None)

    def fit(section: str, others: Mapping[str, SectionFit]) -> SectionFit:
        fixed = {name: other.values for name, other in others.items() if name != section}
        return fit_section(section, observations[section], bench, fixed, parameters, seed, told)

    fits: dict[str, SectionFit] = {}
    for section in chosen:
        fits[section] = fit(section, fits)
    fits, predictions = _never_worse(fits, bench, parameters, fit)
    return CalibrationReport(
        hardware=hardware,
        device=spec.device.name,
        files=tuple(str(file) for file in dict.fromkeys(files)),
        seed=seed,
        sections=tuple(fits.values()),
        families={name: _families(done, *predictions[name]) for name, done in fits.items()},
        groups={name: tuple(sorted({o.group for o in done.observations})) for name, done in fits.items()},
        skipped=tuple(skipped),
        notes=tuple(notes),
    )


def _wanted(sections: Sequence[str]) -> list[str]:
    for name in sections:
        if name not in SECTIONS:
            near = suggest(name, SECTIONS, most=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(SECTIONS)}"
            raise InputError(f"no coefficients to fit in section {name!r}: {hint}")
    return [name for name in SECTIONS if not sections or name in sections]


def _few(observations: Mapping[str, Sequence[Observation]], *, explicit: bool) -> list[str]:
    """Complain about sections with too few rows; those nobody asked for are only noted if another can be fitted."""
    few = {name: len(rows) for name, rows in observations.items() if len(rows) < FEWEST_ROWS}
    lines = [f"{name}: {count} rows are too few to fit (at least {FEWEST_ROWS})" for name, count in few.items()]
    if explicit and few:
        raise InputError("; ".join(lines))
    if len(few) == len(observations):
        raise InputError(f"nothing to fit: {'; '.join(lines)}")
    return [line for line, count in zip(lines, few.values(), strict=True) if count]


def _never_worse(
    fits: Mapping[str, SectionFit],
    bench: Bench,
    parameters: Mapping[str, Sequence[Parameter]],
    fit_again: Callable[[str, Mapping[str, SectionFit]], SectionFit],
) -> tuple[dict[str, SectionFit], dict[str, tuple[Array, Array]]]:
    """Put sections back to their start until no rows are predicted worse than before; return what is predicted.

    Sections touch each other (energy is power times a time; power sets the clock of long kernels), so that all are
    judged together, and the one goes back without which the rows that suffer most come out best. Power, which was
    fitted to times that then are no more, is fitted once more.
    """
    kept = dict(fits)

    def predict(section: str, without: str = "") -> Array:
        values: Values = {name: fit.values for name, fit in kept.items() if fit.values and name != without}
        return bench.predict(fits[section].observations, values, parameters)

    def loss(section: str, predicted: Array) -> tuple[float, float]:
        measured = np.array([o.measured for o in fits[section].observations])
        return section_loss(np.log(predicted / measured), fits[section].scale)

    before = {name: bench.predict(fit.observations, {}, parameters) for name, fit in fits.items()}
    start = {name: loss(name, predicted) for name, predicted in before.items()}
    while True:
        after = {name: predict(name) for name in kept}
        now = {name: loss(name, predicted) for name, predicted in after.items()}
        changed = [name for name, fit in kept.items() if fit.values]
        worse = [n for n in kept if _growth(now[n], start[n]) > (1.0 if n in changed else UNNOTICED)]
        if not worse or not changed:
            return kept, {name: (before[name], after[name]) for name in kept}
        most = max(worse, key=lambda name: _growth(now[name], start[name]))
        without = {name: _growth(loss(most, predict(most, name)), start[most]) for name in changed}
        culprit = min(changed, key=lambda name: without[name])
        kept[culprit] = _at_start(kept[culprit], most, start[most], now[most])
        if _LAST in kept and culprit != _LAST:
            kept[_LAST] = fit_again(_LAST, kept)


def _growth(now: tuple[float, float], start: tuple[float, float]) -> float:
    """Factor by which the worse of two measures of error has grown; nothing can have grown from nothing to nothing."""
    return max(new / max(old, _NOTHING) for new, old in zip(now, start, strict=True))


def _at_start(fit: SectionFit, rows: str, old: tuple[float, float], new: tuple[float, float]) -> SectionFit:
    why = (
        f"with the fit, rows of {rows} come out no better (robust loss {old[0]:.3g} before, {new[0]:.3g} after; "
        f"MAPE {old[1]:.2%} before, {new[1]:.2%} after)"
    )
    coefficients = tuple(
        replace(c, after=c.parameter.start, state="kept with its section", left_out=None) if c.state == "fitted" else c
        for c in fit.coefficients
    )
    return replace(fit, coefficients=coefficients, left_out={}, kept_start=why)


def _families(fit: SectionFit, before: Array, after: Array) -> dict[str, FamilyErrors]:
    """Errors of every family of a section."""
    errors: dict[str, tuple[list[float], list[float], list[float]]] = {}
    for observation, old, new in zip(fit.observations, before, after, strict=True):
        was, now, left_out = errors.setdefault(observation.family, ([], [], []))
        was.append(float(old) / observation.measured - 1.0)
        now.append(float(new) / observation.measured - 1.0)
        if observation.key in fit.left_out:
            left_out.append(fit.left_out[observation.key] / observation.measured - 1.0)
    return {
        family: FamilyErrors(before=error_stats(was), after=error_stats(now), left_out=_stats(left_out))
        for family, (was, now, left_out) in sorted(errors.items())
    }


def _stats(errors: Sequence[float]) -> ErrorStats | None:
    return error_stats(errors) if errors else None
