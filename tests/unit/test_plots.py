"""Figures: right numbers beside them, the same bytes every time, labels that cover nothing."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from dse.plots.figure import FORMATS, paper_style, plain_text, save_figure
from dse.plots.labels import Label, place_labels
from dse.plots.roofline import plot_roofline, roofs, save_operators, save_roofline
from hwmodels.catalog import load_gpu, load_hardware
from simulator import simulate
from simulator.api.report import Report
from simulator.core.errors import InputError


@pytest.fixture(scope="module")
def report() -> Report:
    return simulate("llama-3-8b", "h200", batch=16, output_tokens=32)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_ridge_points_are_peak_over_bandwidth() -> None:
    # H200 datasheet: 989.4 TFLOP/s dense bf16, 1978.9 in fp8, 4.8 TB/s; T4 has neither bf16 nor fp8
    found = {roof.name: roof for roof in roofs(load_gpu("h200"))}
    assert found["bf16"].ridge_flop_per_B == pytest.approx(989.4e12 / 4.8e12, rel=1e-3)
    assert found["fp8"].ridge_flop_per_B == pytest.approx(1978.9e12 / 4.8e12, rel=1e-3)
    assert [roof.name for roof in roofs(load_gpu("t4"))] == ["fp16", "fp32 cores"]


def test_roofs_of_memory_that_computes_and_of_arrays() -> None:
    # Duplex, section IV: 21.3 TFLOP/s and four times 670 GB/s a stack, eight operations a byte.
    (roof,) = roofs(load_hardware("logic-pim").device)
    assert (roof.name, roof.ridge_flop_per_B) == ("bf16", pytest.approx(8.0, rel=0.01))
    assert roof.peak_flops == pytest.approx(5 * 21.3e12, rel=0.01)
    assert roofs(load_hardware("tpu-v5e").device)[0].peak_flops > 1e14


def test_only_the_first_unit_is_drawn_on_its_roofline(tmp_path: Path) -> None:
    mixed = simulate("llama-3-8b", "duplex", batch=8, input_tokens=64, output_tokens=4)
    save_operators(mixed, tmp_path / "r.svg")
    drawn = {(row["phase"], row["operator"]) for row in rows(tmp_path / "r.csv")}
    assert drawn == {(row.phase, row.name) for row in mixed.operators() if row.flops and row.unit == "xpu"}


def test_no_operator_is_above_its_roof(report: Report, tmp_path: Path) -> None:
    save_operators(report, tmp_path / "r.svg")
    gpu = report.system.device
    table = rows(tmp_path / "r.csv")
    assert len(table) == len([row for row in report.operators() if row.flops])
    for row in table:
        roof = min(gpu.peak_flops("bf16"), float(row["intensity_flop_per_B"]) * gpu.hbm.bandwidth_Bps)
        assert float(row["performance_flop_per_s"]) <= roof * 1.001


@pytest.mark.parametrize("ending", FORMATS)
def test_figures_are_byte_identical(ending: str, report: Report, tmp_path: Path) -> None:
    written = []
    for run in ("one", "two"):
        folder = tmp_path / run
        folder.mkdir()
        files = save_operators(report, folder / f"figure{ending}")
        files += save_roofline(load_hardware("t4"), folder / f"roofs{ending}", ["ridgeline", "plot"])
        written.append([file.read_bytes() for file in files])
    assert written[0] == written[1]
    assert len(written[0]) == 6


def test_pdf_embeds_fonts_that_publishers_accept(report: Report, tmp_path: Path) -> None:
    save_operators(report, tmp_path / "r.pdf")
    content = (tmp_path / "r.pdf").read_bytes()
    assert b"/Type3" not in content
    assert b"/CreationDate" not in content


def test_the_users_own_style_changes_nothing(report: Report, tmp_path: Path) -> None:
    save_operators(report, tmp_path / "a.svg")
    with mpl.rc_context({"font.size": 20, "lines.linewidth": 9, "figure.figsize": (20, 2)}):
        save_operators(report, tmp_path / "b.svg")
        assert mpl.rcParams["font.size"] == 20
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_manifest_says_how_to_make_it_again(report: Report, tmp_path: Path) -> None:
    save_operators(report, tmp_path / "r.png")
    manifest = json.loads((tmp_path / "r.manifest.json").read_text(encoding="utf-8"))
    assert manifest["figure"] == "r.png"
    assert manifest["specs"] == report.provenance["specs"]
    assert manifest["matplotlib"] == mpl.__version__


@pytest.mark.parametrize("name", ["r.gif", "r", "none/r.pdf"])
def test_what_cannot_be_written_is_an_input_error(name: str, report: Report, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.pdf|does not exist"):
        save_operators(report, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_names_from_outside_are_drawn_plainly(report: Report, tmp_path: Path) -> None:
    assert plain_text("a$b\n模型\udcff") == "a$b????"
    with paper_style():
        figure = Figure()
        figure.add_subplot().set_title(plain_text("$broken{ 模型"), parse_math=False)
        assert save_figure(figure, tmp_path / "t.svg", [], {})


@pytest.mark.parametrize(
    ("model", "hardware"), [("llama-3-8b", "h200"), ("mixtral-8x7b", "h100x8"), ("bert-base", "b200")]
)
def test_labels_overlap_neither_each_other_nor_the_frame(model: str, hardware: str) -> None:
    report = simulate(model, hardware, batch=8)
    operators = [row for row in report.operators() if row.flops]
    with paper_style():
        figure = Figure(layout="constrained")
        axes = figure.add_subplot()
        axes.set_title("title")
        plot_roofline(axes, report.system.device, operators)
        notes = [text for text in axes.texts if text.get_text().endswith("%")]
        boxes = [text.get_window_extent() for text in notes]
        assert len(notes) >= 3
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
        # the longest operator is always named
        assert notes[0].get_text().startswith(operators[0].name)


def test_a_label_that_finds_no_place_is_left_out() -> None:
    with paper_style():
        figure = Figure()
        axes = figure.add_subplot()
        figure.draw_without_rendering()
        everything = Bbox.from_bounds(-1e4, -1e4, 2e4, 2e4)
        assert place_labels(axes, [Label("x", 0.5, 0.5)], [everything], [], 6.0) == []
        assert place_labels(axes, [Label("x", 0.5, 0.5)], [], [], 6.0) == [Label("x", 0.5, 0.5)]
        assert [text.get_text() for text in axes.texts] == ["x"]


def test_a_label_does_not_stand_beside_another_marker() -> None:
    with paper_style():
        figure = Figure()
        axes = figure.add_subplot()
        figure.draw_without_rendering()
        x, y = axes.transData.transform((0.5, 0.5))
        reach = 10.0 * figure.dpi / 72.0  # right and up of the point, where its label would go first
        own, other = (Bbox.from_bounds(x + d - 1.0, y + d - 1.0, 2.0, 2.0) for d in (0.0, reach))
        place_labels(axes, [Label("x", 0.5, 0.5)], [], [own], 6.0)
        place_labels(axes, [Label("x", 0.5, 0.5)], [], [own, other], 6.0)
        alone, beside = (text.get_position() for text in axes.texts if text.get_text())
        assert min(alone) > 0.0
        assert min(beside) < 0.0
