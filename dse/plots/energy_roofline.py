"""Energy per FLOP against arithmetic intensity: what work, bytes and standing power cost, with operators above it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dse.plots.figure import check_path, paper_style, plain_text, save_figure
from dse.plots.labels import Label, place_labels
from hwmodels.spec import SystemSpec, as_gpu
from simulator.api.report import OperatorShare, Report
from simulator.core.provenance import provenance

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

__all__ = [
    "EnergyRoof",
    "energy_per_flop",
    "energy_roof",
    "plot_energy_roofline",
    "save_operators",
    "save_roofline",
]

_MARKERS = {"prefill": "o", "decode": "s"}
_LABELLED = 6
_LEAST_SHARE = 0.02
_SMALL = 5.5
_POINTS = 200
_MARKER_SIZE = 4.0  # points


class EnergyRoof(NamedTuple):
    """What a device cannot do better than."""

    flop_J: float  # energy of one operation of the matrix units
    byte_J: float  # energy of one byte of device memory
    standing_W: float  # power without work, spent for as long as the work takes at best
    peak_flops: float  # FLOP/s
    bandwidth_Bps: float

    @property
    def balance_flop_per_B(self) -> float:
        """Intensity at which the bytes cost as much as the operations."""
        return self.byte_J / self.flop_J


def energy_roof(system: SystemSpec) -> EnergyRoof:
    """Return what the GPU of a system cannot do better than, in bf16 at its highest clock.

    Raises
    ------
    UnsupportedError
        If its device is no GPU.
    """
    from hwmodels.gpu.model import gpu_model

    gpu = as_gpu(system.device)
    model = gpu_model(gpu)
    standing_W = model.board.idle_W + model.power.clock_J * model.board.sms * model.board.max_clock_Hz
    return EnergyRoof(
        model.power.mma_J_per_flop,
        model.power.hbm_J_per_B,
        standing_W,
        gpu.peak_flops("bf16"),
        gpu.hbm.bandwidth_Bps,
    )


def save_roofline(system: SystemSpec, path: Path, command: Sequence[str] = ()) -> list[Path]:
    """Draw the energy roofline of a system's device and write figure, data and manifest."""
    return _save(system, (), system.device.name, path, provenance({"hardware": system}, command))


def save_operators(report: Report, path: Path) -> list[Path]:
    """Draw a report's operators above the energy roofline of its device and write figure, data and manifest."""
    title = f"{report.model} on {report.hardware}, batch {report.request.batch}"
    return _save(report.system, report.operators(), title, path, report.provenance)


def _save(
    system: SystemSpec, operators: Sequence[OperatorShare], title: str, path: Path, manifest: Mapping[str, Any]
) -> list[Path]:
    check_path(path)
    roof = energy_roof(system)
    rows: list[Mapping[str, Any]] = [{"what": name, "value": value} for name, value in roof._asdict().items()]
    if operators:
        rows = [
            {
                "phase": row.phase,
                "operator": row.name,
                "intensity_flop_per_B": row.intensity,
                "energy_J_per_flop": (row.energy_J + roof.standing_W * row.time_s) / row.flops,
            }
            for row in operators
            if row.flops > 0
        ]
    with paper_style():
        from matplotlib.figure import Figure

        figure = Figure(layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(plain_text(title), parse_math=False)
        plot_energy_roofline(axes, roof, operators)
        return save_figure(figure, path, rows, manifest)


def energy_per_flop(intensity_flop_per_B: float, roof: EnergyRoof) -> float:
    """Least energy of one FLOP, in joules.

    E / W = e_flop + e_byte / I + P0 max(1 / peak, 1 / (I B)).

    Source: Choi, Bedard, Fowler, Vuduc, "A Roofline Model of Energy", IPDPS 2013, equations 3 to 6.
    """
    seconds = max(1.0 / roof.peak_flops, 1.0 / (intensity_flop_per_B * roof.bandwidth_Bps))
    return roof.flop_J + roof.byte_J / intensity_flop_per_B + roof.standing_W * seconds


def plot_energy_roofline(axes: Axes, roof: EnergyRoof, operators: Sequence[OperatorShare] = ()) -> Axes:
    """Draw the least energy per FLOP, its three parts, and operators with what they took.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    roof : EnergyRoof
        The device.
    operators : sequence of OperatorShare
        Points; an operator pays the standing power for its own time.

    Returns
    -------
    Axes
        The same, log-log.
    """
    shown = [row for row in operators if row.flops > 0 and row.intensity > 0]
    ridge = roof.peak_flops / roof.bandwidth_Bps
    low = min([ridge / 300.0, *(row.intensity / 2 for row in shown)])
    high = max([ridge * 30.0, *(row.intensity * 2 for row in shown)])
    xs = [low * (high / low) ** (i / (_POINTS - 1)) for i in range(_POINTS)]
    parts = {
        "all": ("-", 1.2, [energy_per_flop(x, roof) for x in xs]),
        "operations": ("--", 0.7, [roof.flop_J for _ in xs]),
        "memory": (":", 0.7, [roof.byte_J / x for x in xs]),
        "standing power": ("-.", 0.7, [energy_per_flop(x, roof) - roof.flop_J - roof.byte_J / x for x in xs]),
    }
    for name, (line, width, ys) in parts.items():
        axes.plot(xs, [y * 1e12 for y in ys], line, color="0.25", linewidth=width, label=name, zorder=2)
    points = [(row.intensity, (row.energy_J + roof.standing_W * row.time_s) / row.flops * 1e12) for row in shown]
    for index, (phase, marker) in enumerate(_MARKERS.items()):
        members = [point for point, row in zip(points, shown, strict=True) if row.phase == phase]
        if members:
            axes.scatter(
                [x for x, _ in members],
                [y for _, y in members],
                s=_MARKER_SIZE**2,
                marker=marker,
                color=f"C{index}",
                edgecolors="black",
                linewidths=0.4,
                label=phase,
                zorder=4,
            )
    floor = roof.flop_J * 1e12
    top = max([energy_per_flop(low, roof) * 1e12, *(y for _, y in points)])
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(floor / 20.0, top * 2.0))
    axes.set_xlabel("arithmetic intensity (FLOP/B of device memory)")
    axes.set_ylabel("energy (pJ/FLOP)")
    legend = axes.legend(loc="upper right")
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    named = [(row, point) for row, point in zip(shown, points, strict=True) if row.share >= _LEAST_SHARE][:_LABELLED]
    labels = [Label(row.name, *point) for row, point in named]
    place_labels(axes, labels, [legend.get_window_extent()], [_around(axes, point) for point in points], _SMALL)
    return axes


def _around(axes: Axes, point: tuple[float, float]) -> Bbox:
    """Return the region that the marker of a point covers, in display coordinates."""
    from matplotlib.transforms import Bbox

    x, y = axes.transData.transform(point)
    half = _MARKER_SIZE / 2.0 * axes.figure.dpi / 72.0
    return Bbox.from_extents(x - half, y - half, x + half, y + half)
