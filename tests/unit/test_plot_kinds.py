"""Every kind of figure: the numbers that are drawn are those given, and what cannot be drawn is refused by name."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dse.plots.bars import fold_parts, geometric_mean, plot_breakdown, plot_speedups
from dse.plots.curves import plot_curves, plot_distributions, plot_scaling
from dse.plots.energy_roofline import EnergyRoof, energy_per_flop, plot_energy_roofline
from dse.plots.figure import FORMATS, paper_style
from dse.plots.maps import grid_of, plot_contours, plot_heat_map
from dse.plots.marks import MOST_SERIES, marks
from dse.plots.pareto import Objective, plot_front, plot_projections
from dse.plots.timeline import Bar, bars_of_trace, plot_timeline
from dse.plots.tornado import plot_tornado
from simulator.core.errors import InputError

COST, TIME = Objective("cost", "cost (kUSD)"), Objective("time", "latency (ms)")
POINTS = {"cost": np.array([1.0, 2.0, 3.0, 3.0]), "time": np.array([9.0, 4.0, 1.0, 8.0])}
FRONT = np.array([True, True, True, False])
GRID = ([1.0, 2.0, 4.0], [0.5, 1.0], np.array([[3.0, 2.0, 1.0], [6.0, 5.0, 4.0]]))
LABELS = ("bandwidth (TB/s)", "compute (PFLOP/s)", "TPOT (ms)")
ROOF = EnergyRoof(0.5e-12, 40e-12, 150.0, 1e15, 4e12)

KINDS: dict[str, Callable[[Axes], Any]] = {
    "breakdown": lambda axes: plot_breakdown(axes, {"a": {"x": 1.0, "y": 2.0}, "b": {"x": 3.0}}, "time (ms)"),
    "speedups": lambda axes: plot_speedups(axes, {"m": {"a": 1.0, "b": 2.0}, "n": {"a": 1.0, "b": 8.0}}),
    "front": lambda axes: plot_front(axes, POINTS, COST, TIME, {"": FRONT}, knee=1, names={1: "knee design"}),
    "heat": lambda axes: plot_heat_map(axes, *GRID, LABELS),
    "contours": lambda axes: plot_contours(axes, *GRID, LABELS),
    "curves": lambda axes: plot_curves(axes, {"a": [(1.0, 2.0), (2.0, 5.0)]}, ("x", "y"), {"a": ["b 1", "b 2"]}, 4.0),
    "scaling": lambda axes: plot_scaling(axes, {"tp": {1: 10.0, 2: 18.0, 8: 50.0}}, "over one"),
    "distributions": lambda axes: plot_distributions(axes, {"a": [3.0, 1.0, 2.0]}, "TTFT (s)"),
    "tornado": lambda axes: plot_tornado(axes, {"bw": {"TPOT": -0.06}, "cap": {"TPOT": -0.01}}, "for 10 % more"),
    "timeline": lambda axes: plot_timeline(axes, [Bar("xpu", "up", 0.0, 1e-3), Bar("pim", "attention", 5e-4, 1e-3)]),
    "energy": lambda axes: plot_energy_roofline(axes, ROOF),
}


def draw(kind: str) -> Figure:
    with paper_style():
        figure = Figure(layout="constrained")
        KINDS[kind](figure.add_subplot())
        figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_byte_identical_and_names_its_axes(kind: str) -> None:
    written = []
    for _ in range(2):
        stream = io.BytesIO()
        with paper_style():
            draw(kind).savefig(stream, format="svg", metadata=dict(FORMATS[".svg"]))
        written.append(stream.getvalue())
    assert written[0] == written[1]
    axes = draw(kind).axes[0]
    assert axes.get_xlabel() or axes.get_ylabel()


def test_series_differ_in_colour_and_in_what_grey_keeps() -> None:
    found = marks(MOST_SERIES)
    assert len({style.color for style in found}) == MOST_SERIES
    pairs = list(itertools.pairwise(found))
    assert all(a.hatch != b.hatch and a.marker != b.marker and a.line != b.line for a, b in pairs)


def test_folding_keeps_sums_and_says_other() -> None:
    bars = {"a": {f"p{i}": float(i) for i in range(30)}, "b": {"p29": 1.0, "tiny": 1e-6}}
    folded = fold_parts(bars)
    assert [sum(parts.values()) for parts in folded.values()] == pytest.approx([435.0, 1.0 + 1e-6])
    assert list(folded["a"]) == list(folded["b"]) and len(folded["a"]) <= MOST_SERIES
    assert list(folded["a"])[-1] == "other"
    assert fold_parts({"a": {"x": 1.0, "y": 2.0}}) == {"a": {"y": 2.0, "x": 1.0}}


def test_bars_are_stacked_to_their_totals() -> None:
    axes = draw("breakdown").axes[0]
    tops: dict[int, float] = {}
    for patch in axes.patches:
        column = round(patch.get_x() + patch.get_width() / 2)  # type: ignore[attr-defined]
        tops[column] = max(tops.get(column, 0.0), patch.get_y() + patch.get_height())  # type: ignore[attr-defined]
    assert tops == {0: 3.0, 1: 3.0}


def test_geometric_mean_is_the_last_group() -> None:
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    axes = draw("speedups").axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["m", "n", "geomean"]
    assert any(text.get_text().strip() == "4.00" for text in axes.texts)
    with pytest.raises(InputError, match="positive"):
        geometric_mean([1.0, 0.0])
    with pytest.raises(InputError, match="same series"):
        plot_speedups(Figure().add_subplot(), {"m": {"a": 1.0}, "n": {"b": 1.0}})


def test_a_front_is_a_staircase_of_its_own_points() -> None:
    axes = draw("front").axes[0]
    line = axes.lines[0]
    assert list(line.get_xdata()) == [1.0, 2.0, 3.0] and list(line.get_ydata()) == [9.0, 4.0, 1.0]  # type: ignore[arg-type]
    assert line.get_drawstyle() == "steps-post"
    with pytest.raises(InputError, match="no column 'energy'"):
        plot_front(Figure().add_subplot(), POINTS, COST, Objective("energy", "J"), {"": FRONT})


def test_projections_draw_every_pair() -> None:
    points = {**POINTS, "energy": np.array([1.0, 5.0, 9.0, 2.0])}
    with paper_style():
        panels = plot_projections(Figure(), points, [COST, TIME, Objective("energy", "energy (J)", True)], FRONT, 1)
    assert [(axes.get_xlabel()[:4], axes.get_ylabel()[:4]) for axes in panels] == [
        ("cost", "late"),
        ("cost", "ener"),
        ("late", "ener"),
    ]
    assert "more is better" in panels[-1].get_ylabel()


def test_a_grid_is_arranged_and_a_shared_cell_refused() -> None:
    points = {"x": np.array([2, 1, 2]), "y": np.array(["b", "a", "a"]), "z": np.array([3.0, 1.0, 2.0])}
    xs, ys, values = grid_of(points, "x", "y", "z")
    assert xs == [1, 2] and ys == ["b", "a"]
    assert np.array_equal(values, [[np.nan, 3.0], [1.0, 2.0]], equal_nan=True)
    doubled = {name: np.concatenate([column, column[:1]]) for name, column in points.items()}
    with pytest.raises(InputError, match="fix the other axes"):
        grid_of(doubled, "x", "y", "z")
    with pytest.raises(InputError, match="heat map instead"):
        plot_contours(Figure().add_subplot(), [1.0], [1.0, 2.0], np.ones((2, 1)), LABELS)


def test_scaling_is_relative_to_the_smallest_system() -> None:
    axes = draw("scaling").axes[0]
    assert list(axes.lines[0].get_ydata()) == pytest.approx([1.0, 1.8, 5.0])  # type: ignore[arg-type]
    assert list(axes.lines[1].get_ydata()) == [1.0, 2.0, 8.0]  # type: ignore[arg-type]


def test_tornado_has_the_largest_on_top() -> None:
    labels = [text.get_text() for text in draw("tornado").axes[0].get_yticklabels()]
    assert labels == ["cap", "bw"]  # axes count from below


def test_energy_per_flop_has_its_three_terms() -> None:
    # at the ridge of 250 FLOP/B both times are equal: 0.5 pJ + 40 pJ / 250 + 150 W / 1e15 FLOP/s
    assert energy_per_flop(250.0, ROOF) == pytest.approx(0.5e-12 + 0.16e-12 + 0.15e-12)
    assert energy_per_flop(25.0, ROOF) == pytest.approx(0.5e-12 + 1.6e-12 + 1.5e-12)
    assert ROOF.balance_flop_per_B == pytest.approx(80.0)


def test_bars_of_a_trace_carry_their_threads() -> None:
    events: list[dict[str, Any]] = [
        {"ph": "M", "pid": 1, "tid": 0, "name": "process_name", "args": {"name": "decode"}},
        {"ph": "M", "pid": 1, "tid": 7, "name": "thread_name", "args": {"name": "pim"}},
        {"ph": "X", "pid": 1, "tid": 7, "name": "attention", "ts": 10.0, "dur": 5.0},
        {"ph": "X", "pid": 1, "tid": 8, "name": "up", "ts": 2e6, "dur": 5.0},
    ]
    bars = bars_of_trace(events, last=1.0)
    assert [(bar.lane, bar.name) for bar in bars] == [("pim", "attention")]
    assert (bars[0].start_s, bars[0].duration_s) == pytest.approx((10e-6, 5e-6))
