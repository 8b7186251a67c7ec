"""Tensor engines through the bit-weight dimension (HPCA 2025): what the transformation buys on an open library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.plots.marks import mark
from dse.studies.study import Comparison, Progress, Study, StudyFigure
from hwmodels.spatial.tensor_engine import TensorEngine, engine_file, tensor_engine
from simulator.core.errors import UnsupportedError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["run"]

_PAPER = "Tensor processing engines through the bit-weight dimension of MACs, HPCA 2025, arXiv 2503.06342"

#: Area and energy efficiency over the plain engine in the abstract (28 nm), by our name of the engine.
_ABSTRACT = {"systolic-ws": (1.27, 1.04), "cube": (1.28, 1.56), "matrix": (1.44, 1.20)}

#: Products of a layer of Llama-3-8B (m, n, k): prefill of 512 tokens, decode of 16, scores of one head.
_PRODUCTS = {"prefill FFN": (512, 14336, 4096), "decode FFN": (16, 14336, 4096), "scores": (512, 512, 128)}


def run(data_dir: Path | None, progress: Progress) -> Study:
    """Run the study; it needs no tables of others."""
    progress("tensor-engines")
    rows = [_row(engine) for engine in _engines()]
    return Study(
        name="tensor-engines",
        paper=_PAPER,
        comparisons=list(_comparisons()),
        tables={
            "Engines as synthesised, int8": rows,
            "Units of fp8 instead of int8": [_fp8_row(engine) for engine in _engines()],
            "Products on 1024 units": list(_products()),
        },
        notes=[
            f"Clock, area and power are of the open library {engine_file().library}, the abstract's ratios of a 28 nm "
            "one: on the open one the transformation buys clock and area, and costs energy; shown, not judged.",
            "The tree was synthesised only transformed, the matrix not at all: 256 single units, without their operand "
            "broadcast. Their ratios rest on less than the others.",
            "fp8 is given as a range: its source says 50 to 180 % less efficient than int8.",
            "The bit-sparse engines (OPT3, OPT4) take data-dependent cycles and have no power reports: left out.",
        ],
        figures=[StudyFigure(name="efficiency", rows=rows, draw=lambda: _draw(rows))],
    )


def _draw(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw energy against area efficiency, an arrow from the plain engine to the transformed one."""
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    axes = figure.add_subplot()
    names = list(dict.fromkeys(row["engine"] for row in rows))
    for index, name in enumerate(names):
        style = mark(index)
        points = [(row["TOPS/mm2"], row["TOPS/W"]) for row in rows if row["engine"] == name]
        plain = all(row["bit-weight"] == "no" for row in rows if row["engine"] == name)
        alone = len(points) == 1
        axes.plot(
            *points[-1], style.marker, color=style.color, markeredgecolor="black", markeredgewidth=0.4, label=name
        )
        if not alone or plain:
            axes.plot(*points[0], style.marker, color="white", markeredgecolor=style.color)
        if not alone:
            axes.annotate("", points[1], points[0], arrowprops={"arrowstyle": "->", "color": style.color})
    axes.set_xlabel("area efficiency (TOPS/mm2, int8)")
    axes.set_ylabel("energy efficiency (TOPS/W, int8)")
    axes.legend(title="hollow: without bit-weights", title_fontsize=6.5)
    return figure


def _engines(units: int | None = None) -> Iterator[TensorEngine]:
    """Yield every engine with and without the transformation, as synthesised or of so many units."""
    for name, spec in engine_file().engines.items():
        for bit_weight in (False, True):
            try:
                engine = tensor_engine(name, bit_weight)
            except UnsupportedError:
                continue
            if units is not None:
                columns = units // (spec.rows * spec.depth)
                engine = tensor_engine(name, bit_weight, columns=columns)
            yield engine


def _comparisons() -> Iterator[Comparison]:
    for name, (area, energy) in _ABSTRACT.items():
        plain, changed = tensor_engine(name), tensor_engine(name, True)
        for what, reported, figure in (
            ("area efficiency", area, changed.ops_per_mm2()[0] / plain.ops_per_mm2()[0]),
            ("energy efficiency", energy, changed.ops_per_J()[0] / plain.ops_per_J()[0]),
        ):
            yield Comparison(
                what=f"{name}, {what} with the transformation over without",
                reported=reported,
                simulated=figure,
                source="abstract",
                note="another library and node",
            )


def _row(engine: TensorEngine) -> dict[str, Any]:
    return {
        "engine": engine.name,
        "bit-weight": "yes" if engine.bit_weight else "no",
        "units": engine.units,
        "clock MHz": engine.clock_Hz / 1e6,
        "area mm2": engine.area_mm2()[0],
        "TOPS/mm2": engine.ops_per_mm2()[0] / 1e12,
        "TOPS/W": engine.ops_per_J()[0] / 1e12,
        "pJ per MAC": engine.mac_J()[0] * 1e12,
    }


def _fp8_row(engine: TensorEngine) -> dict[str, Any]:
    (small, large), (least, most) = engine.ops_per_mm2("fp8"), engine.mac_J("fp8")
    return {
        "engine": engine.name,
        "bit-weight": "yes" if engine.bit_weight else "no",
        "TOPS/mm2, least": small / 1e12,
        "TOPS/mm2, most": large / 1e12,
        "pJ per MAC, least": least * 1e12,
        "pJ per MAC, most": most * 1e12,
    }


def _products() -> Iterator[dict[str, Any]]:
    for engine in _engines(units=1024):
        for product, shape in _PRODUCTS.items():
            run = engine.run(*shape)
            yield {
                "engine": engine.name,
                "bit-weight": "yes" if engine.bit_weight else "no",
                "product": product,
                "cycles": run.cycles,
                "utilisation": run.utilisation,
                "time us": run.time_s * 1e6,
                "useful TOPS/mm2": run.utilisation * engine.ops_per_mm2()[0] / 1e12,
            }
