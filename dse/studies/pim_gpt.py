"""PIM-GPT (Wu, Wang, Lu 2024): GDDR6 that multiplies with a small ASIC beside it, token by token at batch 1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.plots.bars import plot_speedups
from dse.studies.pim_gpt_baselines import BASELINES, Run, run_baseline
from dse.studies.study import Comparison, Confidence, Progress, Study, StudyFigure
from hwmodels.catalog import load_hardware
from hwmodels.pim.closed_form import product_time
from hwmodels.pim.params import pim_params
from hwmodels.pim.spec import PimSpec
from hwmodels.pim.work import pim_work
from simulator.api.report import Report
from simulator.api.simulate import simulate
from workloads.catalog import load_model
from workloads.operators import Operator, Role, total_bytes
from workloads.precision import Precision
from workloads.step import Step
from workloads.transformer import build_graph

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MODELS", "run"]

_PAPER = (
    "Wu, Wang, Lu: PIM GPT a hybrid process in memory accelerator for autoregressive transformers, npj Unconventional "
    "Computing 2024, arXiv 2310.09385"
)

#: The eight models: GPT-2 and GPT-3 small, medium, large, XL.
MODELS: Mapping[str, str] = {
    "GPT2-small": "gpt2",
    "GPT2-medium": "gpt2-medium",
    "GPT2-large": "gpt2-large",
    "GPT2-XL": "gpt2-xl",
    "GPT3-small": "gpt3-125m",
    "GPT3-medium": "gpt3-350m",
    "GPT3-large": "gpt3-760m",
    "GPT3-XL": "gpt3-1.3b",
}
_TOKENS = 1024
_MIDDLE = 512  # tokens cached at the middle of a generation

#: What is changed for the sensitivities.
_CHANGES: Mapping[str, tuple[str, ...]] = {
    "ASIC at 100 MHz": ("processor.clock=100 MHz",),
    "ASIC at 500 MHz": ("processor.clock=500 MHz",),
    "multipliers at 500 MHz": ("compute.clock=500 MHz",),
    "interface at a quarter": ("hbm.bandwidth=64 GB/s",),
    "interface at four times": ("hbm.bandwidth=1024 GB/s",),
    "4 channels": ("stacks=4", "hbm.bandwidth=128 GB/s"),
    "16 channels": ("stacks=16", "hbm.bandwidth=512 GB/s"),
    "32 channels": ("stacks=32", "hbm.bandwidth=1024 GB/s"),
}


def run(data_dir: Path | None, progress: Progress) -> Study:
    """Run the study; the paper's values by model are in its figures only, so nothing is read from ``data_dir``."""
    ours = {}
    baselines: dict[str, dict[str, Run]] = {}
    for shown, name in MODELS.items():
        progress(f"pim-gpt: {shown}")
        ours[shown] = _generate(name)
        baselines[shown] = {baseline: run_baseline(baseline, name, _TOKENS) for baseline in BASELINES}
    sensitivity = list(_sensitivity(ours))
    ratios = [row for shown in MODELS for row in _ratios(shown, ours[shown], baselines[shown])]
    return Study(
        name="pim-gpt",
        paper=_PAPER,
        comparisons=[*_against_baselines(ratios), *_mapping(ours, sensitivity)],
        tables={
            "1024 tokens at batch 1": [_row(shown, ours[shown]) for shown in MODELS],
            "Baselines, and how many times less time and energy PIM-GPT takes": ratios,
            "Sensitivity: time over that of the design": sensitivity,
        },
        notes=_NOTES,
        figures=[StudyFigure(name="speedup", rows=ratios, draw=partial(_draw, ratios))],
    )


_NOTES = (
    "PIM-GPT: eight GDDR6 channels of 16 banks, one 32 B burst of every bank each nanosecond, bf16; 4.1 TB/s that no "
    "model reaches: a row is read in 64 ns and changed in 26 ns, refresh takes 455 of 6825 ns. Timings, SRAM and row "
    "size are recalled, and the paper's values by model are in figures that were not at hand.",
    "An honest T4 reads the same weights at 320 GB/s. Bandwidth alone would give 12.8 times; row changes and refresh "
    "leave 7 to 8 against the datasheet's bound and 10 to 11 against kernels that reach what T4 kernels reach.",
    "Launch-bound: every kernel costs the host 42 us, the median of eager PyTorch over the rows of "
    "hwmodels/measured/h200/h200_eager_decode.csv. That gives about 45 for the smallest models and 10 for the largest.",
    "Without a cache each token computes the whole sequence again, in fp32 as frameworks load these models: around 190 "
    "on the T4, around 330 on the CPU at the full rate of its vector units. The paper's 41 to 137 lie between the two "
    "kinds of T4; its 631 to 1074 are a CPU without a cache at a third of its rate, which no bandwidth explains (under "
    "45). The paper does not say how its baselines generate: this is our reading of them.",
    "Energy of a baseline is its board or socket limit (70 W and 200 W) over the time, except for the calibrated T4, "
    "whose power is modelled. Energy of PIM-GPT is of memory and ASIC: no board, no host. By the paper's own ratios "
    "PIM-GPT draws a third of what its T4 draws; ours draws 7 W, a tenth of a T4's limit: our currents of GDDR6 are "
    "DRAMsim3's, half of the paper's as recalled.",
    "A tenfold slower ASIC costs the smallest models more than the paper's 20 %: their vectors are short against what "
    "softmax, norms and GELU take in additions and multiplications; the lengths of the series are ours.",
)


def _generate(name: str, changes: Sequence[str] = ()) -> Report:
    return simulate(name, "pim-gpt", input_tokens=0, context=1, output_tokens=_TOKENS - 1, overrides=changes)


def _row(shown: str, report: Report) -> dict[str, Any]:
    hits, others, moved = _locality(MODELS[shown])
    return {
        "model": shown,
        "latency ms": 1e3 * report.latency_s,
        "ms/token": 1e3 * report.latency_s / _TOKENS,
        "energy J": report.total_energy_J,
        "power W": report.power_W,
        "row hits": hits,
        "time not in products": others,
        "bytes saved": moved,
    }


def _operators(name: str) -> Iterator[tuple[Operator, int]]:
    yield from build_graph(load_model(name), Step.of((1, 1, _MIDDLE)), Precision.of())


def _locality(name: str) -> tuple[float, float, float]:
    """Share of bursts that hit an open row; of time outside products; bytes not moved over bytes moved."""
    device = load_hardware("pim-gpt").device
    assert isinstance(device, PimSpec)
    params = pim_params(device)
    bursts = rows = products_s = all_B = moved_B = 0.0
    for operator, repeat in _operators(name):
        for times, job in pim_work(operator).products:
            time = product_time(job, params)
            commands = repeat * times * time.layout.passes
            bursts += commands * time.layout.bursts
            rows += commands * time.layout.rows
            products_s += repeat * times * time.time_s
        all_B += repeat * total_bytes(operator)
        moved_B += repeat * sum(t.size_B for t in operator.tensors if t.role in _MOVED) if operator.flops else 0.0
    total_s = _generate_one(name)
    return 1.0 - rows / bursts, 1.0 - products_s / total_s, all_B / moved_B


#: What leaves or enters the memory: vectors in, results out.
_MOVED = (Role.INPUT, Role.OUTPUT)


def _generate_one(name: str) -> float:
    report = simulate(name, "pim-gpt", input_tokens=0, context=_MIDDLE, output_tokens=1)
    return report.latency_s


def _ratios(shown: str, report: Report, baselines: Mapping[str, Run]) -> Iterator[dict[str, Any]]:
    for baseline, result in baselines.items():
        yield {
            "model": shown,
            "baseline": baseline,
            "latency s": result.time_s,
            "energy J": result.energy_J,
            "speed-up": result.time_s / report.latency_s,
            "energy over PIM-GPT": result.energy_J / report.total_energy_J,
        }


def _sensitivity(ours: Mapping[str, Report]) -> Iterator[dict[str, Any]]:
    for change, overrides in _CHANGES.items():
        row: dict[str, Any] = {"change": change}
        for shown in MODELS:
            row[shown] = _generate(MODELS[shown], overrides).latency_s / ours[shown].latency_s
        yield row


def _range(rows: Sequence[Mapping[str, Any]], baseline: str, key: str) -> tuple[float, float]:
    values = [row[key] for row in rows if row["baseline"] == baseline]
    return min(values), max(values)


def _against_baselines(ratios: Sequence[Mapping[str, Any]]) -> Iterator[Comparison]:
    for key, what, gpu, cpu, source in (
        ("speed-up", "speed-up over", (41.0, 137.0), (631.0, 1074.0), "abstract"),
        ("energy over PIM-GPT", "energy against", (123.0, 383.0), (320.0, 602.0), "abstract, second version"),
    ):
        for baseline, about in BASELINES.items():
            yield Comparison(
                what=f"{what} {baseline}",
                reported=cpu if about.cpu else gpu,
                simulated=_range(ratios, baseline, key),
                source=source,
                note=about.meaning,
            )


def _mapping(ours: Mapping[str, Report], sensitivity: Sequence[Mapping[str, Any]]) -> Iterator[Comparison]:
    hits, others, moved = zip(*(_locality(name) for name in MODELS.values()), strict=True)
    largest = list(MODELS).index("GPT3-XL")
    slow = max(100.0 * (row[shown] - 1.0) for row in sensitivity[:1] for shown in MODELS)
    large_slow = 100.0 * (sensitivity[0]["GPT3-XL"] - 1.0)
    room = simulate("gpt3-1.3b", "pim-gpt", input_tokens=0, context=1, overrides=("profile.memory.framework=0 B",))

    def told(
        what: str,
        reported: float | tuple[float, float],
        simulated: float | tuple[float, float],
        unit: str,
        tolerance: float | None = None,
        confidence: Confidence = "secondary",
    ) -> Comparison:
        return Comparison(
            what=what,
            reported=reported,
            simulated=simulated,
            unit=unit,
            source="results",
            tolerance=tolerance,
            confidence=confidence,
        )

    yield told("bursts in an open row", 98.0, (100.0 * min(hits), 100.0 * max(hits)), "%")
    yield told("time outside products, GPT3-XL", 1.16, 100.0 * others[largest], "%")
    yield told("ASIC ten times slower costs, most", 20.0, slow, "%")
    yield told("ASIC ten times slower costs, GPT3-XL", 20.0, large_slow, "%")
    yield told("bytes not moved off the memory", (110.0, 259.0), (min(moved), max(moved)), "x")
    yield told("tokens that GPT3-XL has room for", 8192.0, float(room.memory.max_context), "", None, "recalled")
    floor_s = 2.0 * 1.3e9 / (128 * 32 / 1e-9)  # weights over 128 banks of 32 B a nanosecond
    yield told("GPT3-XL over its weights' time at 4.1 TB/s", 1.0, ours["GPT3-XL"].latency_s / _TOKENS / floor_s, "x")


def _draw(rows: Sequence[Mapping[str, Any]]) -> Figure:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.0, 3.0), layout="constrained")
    groups: dict[str, dict[str, float]] = {}
    for row in rows:
        groups.setdefault(row["model"], {})[row["baseline"]] = row["speed-up"]
    plot_speedups(axes, groups, "speed-up of PIM-GPT")
    axes.set_yscale("log")
    axes.set_ylim(1.0, 4000.0)
    return figure
