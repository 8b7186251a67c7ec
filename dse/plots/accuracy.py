"""Predicted against measured, log-log: own rows as points by family, public rows as counts by device."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.plots.figure import paper_style, save_figure
from simulator.core.errors import InputError
from simulator.validation.overview import Line, Overview
from simulator.validation.report import ValidationReport
from simulator.validation.sample import Sample

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.axes import Axes

__all__ = ["draw_overview", "plot_parity", "save_parity"]

#: Panels of own rows: title, and the beginnings of the families in it.
_PANELS = (
    ("matrix products", ("gemm/", "grouped_gemm")),
    ("attention", ("attention/",)),
    ("vector operations", ("vector/",)),
    ("links", ("collective/", "gemm_allreduce", "pcie")),
    ("whole steps", ("e2e/", "tp2/")),
    ("energy", ("energy/",)),
    ("clock under the power limit", ("clock",)),
    ("bytes at device memory", ("traffic/total",)),
)
_COLUMNS = 4
_DECADE = 10.0  # less has no room for the ticks of a logarithmic axis
_CELLS = 70  # along each axis of a panel of counts
_PNG_DPI = 110
_UNITS = {"energy": "J", "clock under the power limit": "MHz", "bytes at device memory": "byte"}


def draw_overview(found: Overview, folder: Path, manifest: Mapping[str, Any]) -> list[Path]:
    """Write ``own`` and, where there are public rows, ``public`` as PDF and PNG with their CSV; same input, same bytes.

    The CSV of own rows holds every point. That of public rows holds errors by device and family only: the rows
    themselves are other projects' and are drawn as counts per cell.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}") from error
    with paper_style():
        written = _draw_own([line for line in found.own if not line.shown], folder, manifest)
        if found.public:
            written += _draw_public([line for line in found.public if not line.shown], folder, manifest)
    return written


def _axes(count: int, width: float, height: float) -> tuple[Any, list[Axes]]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["savefig.dpi"] = _PNG_DPI
    columns = min(count, _COLUMNS)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = [figure.add_subplot(rows, columns, index + 1) for index in range(count)]
    return figure, axes


def _diagonal(axes: Axes, low: float, high: float) -> None:
    """Draw where prediction equals measurement, and 20 % to either side."""
    axes.plot([low, high], [low, high], color="0.2", linewidth=0.7, zorder=1)
    for factor in (0.8, 1.2):
        axes.plot([low, high], [low * factor, high * factor], color="0.5", linewidth=0.5, linestyle=":", zorder=1)
    scale = "log" if high > _DECADE * low else "linear"
    axes.set(xscale=scale, yscale=scale, xlim=(low, high), ylim=(low, high))
    axes.set_box_aspect(1)


def plot_parity(axes: Axes, groups: Mapping[str, Sequence[tuple[float, float]]], unit: str) -> Axes:
    """Draw predicted against measured, a marker per group, with the diagonal and 20 % to either side.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    groups : mapping of sequences of (measured, predicted)
        Positive numbers, by family.
    unit : str
        Of both.

    Returns
    -------
    Axes
        The same, square; log-log where there is more than a decade.
    """
    for index, (family, pairs) in enumerate(groups.items()):
        axes.plot(
            [measured for measured, _ in pairs],
            [predicted for _, predicted in pairs],
            "osv^D*"[(index + index // 6) % 6],
            color=f"C{index % 6}",
            markersize=2.4,
            alpha=0.6,
            markeredgewidth=0,
            label=family,
            zorder=3,
        )
    values = [value for pairs in groups.values() for pair in pairs for value in pair]
    room = max(values) / min(values)
    _diagonal(axes, min(values) / room**0.05, max(values) * room**0.05)
    axes.set(xlabel=f"measured, {unit}", ylabel=f"predicted, {unit}")
    axes.legend(fontsize=4.8, markerscale=1.6, loc="upper left", handletextpad=0.1, borderpad=0.1)
    return axes


def save_parity(report: ValidationReport, path: Path, manifest: Mapping[str, Any]) -> list[Path]:
    """Draw what `ridgeline validate` compared, a panel per kind of family, and write figure, data and manifest.

    Raises
    ------
    InputError
        If nothing was compared, or the path does not end in a known format or cannot be written.
    """
    samples = [sample for sample in report.samples if not sample.shown]
    panels = {title: [s for s in samples if s.family.startswith(prefixes)] for title, prefixes in _PANELS}
    panels = {title: members for title, members in panels.items() if members}
    if not panels:
        raise InputError(f"no row of {report.hardware} was compared: nothing to draw")
    with paper_style():
        figure, drawn = _axes(len(panels), 2.2, 2.4)
        for axes, (title, members) in zip(drawn, panels.items(), strict=True):
            plot_parity(axes, _by_family(members), _UNITS.get(title, "µs")).set_title(title)
        rows = [
            {"family": s.family, "row": s.row.place, "measured": s.measured, "predicted": s.predicted} for s in samples
        ]
        return save_figure(figure, path, rows, manifest)


def _by_family(samples: Sequence[Sample]) -> dict[str, list[tuple[float, float]]]:
    groups: dict[str, list[tuple[float, float]]] = {name: [] for name in sorted({_short(s.family) for s in samples})}
    for sample in samples:
        groups[_short(sample.family)].append((sample.measured, sample.predicted))
    return groups


def _draw_own(lines: Sequence[Line], folder: Path, manifest: Mapping[str, Any]) -> list[Path]:
    figure, panels = _axes(len(_PANELS), 2.2, 2.4)
    for axes, (title, prefixes) in zip(panels, _PANELS, strict=True):
        members = [s for line in lines if line.family.startswith(prefixes) for s in line.samples]
        plot_parity(axes, _by_family(members), _UNITS.get(title, "µs")).set_title(title)
    rows = [
        {
            "set": line.group,
            "family": line.family,
            "row": sample.row.place,
            "measured": f"{sample.measured:.6g}",
            "predicted": f"{sample.predicted:.6g}",
        }
        for line in lines
        for sample in line.samples
    ]
    return _save(figure, folder / "own", rows, manifest)


def _short(family: str) -> str:
    """Return a family as a legend has room for it: operations of one kind together."""
    kind, _, rest = family.partition("/")
    return family if kind in ("gemm", "e2e", "tp2", "energy", "traffic") or not rest else _joined(kind, rest)


def _joined(kind: str, rest: str) -> str:
    return rest if kind in ("attention", "vector", "collective") else f"{kind}/{rest}"


def _draw_public(lines: Sequence[Line], folder: Path, manifest: Mapping[str, Any]) -> list[Path]:
    import numpy as np
    from matplotlib.colors import LogNorm

    devices = sorted({line.device for line in lines})
    figure, panels = _axes(len(devices), 1.9, 2.0)
    for axes, device in zip(panels, devices, strict=True):
        samples = [s for line in lines if line.device == device for s in line.samples]
        measured, predicted = (np.array([getattr(s, name) for s in samples]) for name in ("measured", "predicted"))
        edges = _edges(measured, predicted)
        counts, _, _ = np.histogram2d(measured, predicted, bins=(edges, edges))
        shown = np.ma.masked_equal(counts.T, 0)
        axes.pcolormesh(edges, edges, shown, norm=LogNorm(1, max(10, counts.max())), cmap="viridis_r", rasterized=True)
        _diagonal(axes, float(edges[0]), float(edges[-1]))
        mape = float(np.mean(np.abs(predicted / measured - 1)))
        axes.set(title=f"{device}: {len(samples)} rows, {mape:.0%}", xlabel="measured, µs", ylabel="predicted, µs")
    rows = [
        {
            "device": line.device,
            "family": line.family,
            "rows": line.stats.n,
            **{name: f"{getattr(line.stats, name):.3f}" for name in ("mape", "median", "p90", "bias")},
            "roofline_mape": f"{line.roofline.mape:.3f}",
        }
        for line in lines
    ]
    return _save(figure, folder / "public", rows, manifest)


def _edges(measured: npt.NDArray[np.float64], predicted: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    import numpy as np

    low = 0.9 * min(measured.min(), predicted.min())
    high = 1.1 * max(measured.max(), predicted.max())
    edges: npt.NDArray[np.float64] = np.geomspace(low, high, _CELLS + 1)
    return edges


def _save(figure: Any, stem: Path, rows: Sequence[Mapping[str, Any]], manifest: Mapping[str, Any]) -> list[Path]:
    written = save_figure(figure, stem.with_suffix(".png"), rows, manifest)
    return [*written, *save_figure(figure, stem.with_suffix(".pdf"), rows, manifest)[:1]]
