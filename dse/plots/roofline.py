"""The roofline of a device with the operators of a run on it, sized by their share of the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import atan2, degrees
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dse.plots.figure import check_path, paper_style, plain_text, save_figure
from dse.plots.labels import Label, place_labels
from hwmodels.spec import DeviceSpec, GpuSpec, SystemSpec
from simulator.api.report import OperatorShare, Report
from simulator.core.errors import UnsupportedError
from simulator.core.provenance import provenance
from simulator.core.units import format_quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

__all__ = ["Roof", "plot_roofline", "roofs", "save_operators", "save_roofline"]

_FORMATS = ("fp4", "fp8", "bf16", "fp32")  # roofs drawn, where the device has them at rates of their own
_MARKERS = {"prefill": "o", "decode": "s"}
_LABELLED = 8  # operators named in the figure, by share of the time
_LEAST_SHARE = 0.01  # of an operator that is named
_POINTS = 120.0  # area of a marker that takes all the time, in points squared
_LEAST_POINTS = 4.0
_ROOM = 100.0  # how far the roofs go on after the highest ridge: their labels stand there
_LINE = 1.0  # half the width of a line, in pixels of the layout
_SMALL = 5.5  # font size of what stands in the figure, points


class Roof(NamedTuple):
    """A ceiling of compute: ``ridge_flop_per_B`` is where device memory and the units keep each other busy."""

    name: str
    peak_flops: float  # FLOP/s of the whole device
    ridge_flop_per_B: float


def roofs(device: DeviceSpec) -> list[Roof]:
    """Return the ceilings of a device, highest first: what multiplies by format, ordinary cores (fp32)."""
    found: dict[float, Roof] = {}
    for name in sorted(_FORMATS, key=lambda name: name != "bf16"):  # the name of a rate that several formats have
        used = _computed_in(device, name)
        if used is None:
            continue
        peak = device.peak_flops(name)
        roof = Roof("fp32 cores" if used == "fp32" else used, peak, peak / device.operand_Bps)
        found.setdefault(peak, roof)
    return sorted(found.values(), key=lambda roof: -roof.peak_flops)


def _computed_in(device: DeviceSpec, name: str) -> str | None:
    """Return the format operands are multiplied in; None where that is another's, at that one's rate."""
    if isinstance(device, GpuSpec):
        used = device.tensor_format(name)
        return used if used == name or name == "bf16" else None
    try:
        device.peak_flops(name)
    except UnsupportedError:
        return None
    return name


def save_roofline(system: SystemSpec, path: Path, command: Sequence[str] = ()) -> list[Path]:
    """Draw the roofs of a system's device and write figure, data and manifest.

    Raises
    ------
    InputError
        If the path does not end in a known format or cannot be written.
    """
    check_path(path)
    device = system.device
    rows = [
        {"roof": roof.name, "peak_flop_per_s": roof.peak_flops, "ridge_flop_per_B": roof.ridge_flop_per_B}
        for roof in roofs(device)
    ]
    return _save(device, (), device.name, path, rows, provenance({"hardware": system}, command))


def save_operators(report: Report, path: Path) -> list[Path]:
    """Draw a report's operators on the roofline of its device and write figure, data and manifest.

    Raises
    ------
    InputError
        If the path does not end in a known format or cannot be written.
    """
    check_path(path)
    first = report.system.unit_names[0]  # of several units, the one that models are spread over
    operators = [row for row in report.operators() if row.flops > 0 and row.unit == first]
    title = f"{report.model} on {report.hardware}, batch {report.request.batch}"
    rows = [_row(operator) for operator in operators]
    return _save(report.system.device, operators, title, path, rows, report.provenance)


def _save(
    device: DeviceSpec,
    operators: Sequence[OperatorShare],
    title: str,
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    manifest: Mapping[str, Any],
) -> list[Path]:
    with paper_style():
        from matplotlib.figure import Figure

        figure = Figure(layout="constrained")
        axes = figure.add_subplot()
        # Named before anything is measured: the layout settles on it.
        axes.set_title(plain_text(title), parse_math=False)
        plot_roofline(axes, device, operators)
        return save_figure(figure, path, rows, manifest)


def plot_roofline(axes: Axes, device: DeviceSpec, operators: Sequence[OperatorShare] = ()) -> Axes:
    """Draw the roofs of a device (units per format, device memory) and operators under them.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    device : DeviceSpec
        Whose roofs.
    operators : sequence of OperatorShare
        Points: FLOP per byte of device memory against FLOP/s reached, area by share of the time.

    Returns
    -------
    Axes
        The same, log-log, ridge points marked.
    """
    from matplotlib.figure import Figure

    ceilings = roofs(device)
    slope = device.operand_Bps
    low = min([0.5, *(row.intensity / 2 for row in operators if row.intensity > 0)])
    high = max([_ROOM * ceilings[0].ridge_flop_per_B, *(row.intensity * 2 for row in operators)])
    reached = [row.flops / row.time_s for row in operators]
    bottom = min([low * slope, *(rate / 2 for rate in reached)])
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(bottom / 1e12, 3 * ceilings[0].peak_flops / 1e12))
    axes.set_xlabel("arithmetic intensity (FLOP/B of device memory)")
    axes.set_ylabel("performance (TFLOP/s)")
    handles = _points(axes, operators)
    # Labels are fitted to what the axes will measure, so the layout must be final before the first of them.
    figure = axes.figure if isinstance(axes.figure, Figure) else axes.figure.figure
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    taken = _draw_roofs(axes, ceilings, slope, low, high)
    if handles:
        legend = axes.legend(loc="lower right")
        taken.append(legend.get_window_extent())
    named = [row for row in operators if row.share >= _LEAST_SHARE][:_LABELLED]
    labels = [Label(f"{row.name} {row.share:.0%}", row.intensity, row.flops / row.time_s / 1e12) for row in named]
    place_labels(axes, labels, taken, _marker_boxes(axes, operators), _SMALL)
    return axes


def _draw_roofs(axes: Axes, ceilings: Sequence[Roof], slope_Bps: float, low: float, high: float) -> list[Bbox]:
    """Draw roofs and ridges, and return the regions that they and their labels cover."""
    from matplotlib.patheffects import withStroke
    from matplotlib.transforms import Bbox

    top = ceilings[0]
    axes.plot([low, top.ridge_flop_per_B], [low * slope_Bps / 1e12, top.peak_flops / 1e12], color="0.25", zorder=2)
    notes = []
    for roof, style in zip(ceilings, ("-", "--", "-.", ":"), strict=False):
        peak, ridge = roof.peak_flops / 1e12, roof.ridge_flop_per_B
        axes.plot([ridge, high], [peak, peak], style, color="0.25", zorder=2)
        axes.plot([ridge], [peak], "D", color="0.25", markersize=3, zorder=3)
        text = f"{roof.name} {format_quantity(roof.peak_flops, 'FLOP/s')}, ridge {ridge:.{0 if ridge >= 100 else 1}f}"
        notes.append(
            axes.annotate(
                text,
                (high, peak),
                xytext=(-3, 1.5),
                textcoords="offset points",
                ha="right",
                fontsize=_SMALL,
                zorder=5,  # above the markers of operators that reach a lower format's roof
                path_effects=[withStroke(linewidth=0.8, foreground="white")],
            )
        )
    line = axes.transData.transform([(x, x * slope_Bps / 1e12) for x in _geometric(low, top.ridge_flop_per_B)])
    (x0, y0), (x1, y1) = line[0], line[-1]
    notes.append(
        axes.annotate(
            f"memory {format_quantity(slope_Bps, 'B/s')}",
            (low, low * slope_Bps / 1e12),
            xytext=(6, 8),
            textcoords="offset points",
            rotation=degrees(atan2(y1 - y0, x1 - x0)),
            rotation_mode="anchor",
            fontsize=_SMALL,
        )
    )
    level = [axes.transData.transform((roof.ridge_flop_per_B, roof.peak_flops / 1e12)) for roof in ceilings]
    edge, _ = axes.transData.transform((high, 1.0))
    lines = [Bbox.from_extents(x, y - _LINE, edge, y + _LINE) for x, y in level]
    lines += [Bbox.from_extents(x - _LINE, y - _LINE, x + _LINE, y + _LINE) for x, y in line]
    return [note.get_window_extent() for note in notes] + lines


def _geometric(low: float, high: float, count: int = 100) -> list[float]:
    return [low * (high / low) ** (index / (count - 1)) for index in range(count)]


def _points(axes: Axes, operators: Sequence[OperatorShare]) -> list[Any]:
    handles = []
    for index, (phase, marker) in enumerate(_MARKERS.items()):
        members = [row for row in operators if row.phase == phase]
        if not members:
            continue
        handles.append(
            axes.scatter(
                [row.intensity for row in members],
                [row.flops / row.time_s / 1e12 for row in members],
                s=[_area(row) for row in members],
                marker=marker,
                facecolors=f"C{index}",
                edgecolors="black",
                linewidths=0.4,
                alpha=0.85,
                label=phase,
                zorder=4,
            )
        )
    return handles


def _area(row: OperatorShare) -> float:
    return _LEAST_POINTS + _POINTS * row.share


def _marker_boxes(axes: Axes, operators: Sequence[OperatorShare]) -> list[Bbox]:
    """Return the regions that markers cover, in display coordinates."""
    from matplotlib.transforms import Bbox

    boxes = []
    for row in operators:
        x, y = axes.transData.transform((row.intensity, row.flops / row.time_s / 1e12))
        half = 0.5 * _area(row) ** 0.5 * axes.figure.dpi / 72.0
        boxes.append(Bbox.from_extents(x - half, y - half, x + half, y + half))
    return boxes


def _row(operator: OperatorShare) -> dict[str, Any]:
    return {
        "phase": operator.phase,
        "operator": operator.name,
        "intensity_flop_per_B": operator.intensity,
        "performance_flop_per_s": operator.flops / operator.time_s,
        "share": operator.share,
        "bound": operator.bound,
    }
