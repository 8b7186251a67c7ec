"""Duplex (Yun et al., MICRO 2024): a processor and Logic-PIM on one HBM, for experts and continuous batching."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.plots.bars import plot_speedups
from dse.plots.marks import mark
from dse.studies.duplex_serving import closed_loop, latencies, saturated_rate, steady_rate
from dse.studies.duplex_setup import MODELS, SYSTEMS, Case, Outcome, grid, run_case
from dse.studies.study import Comparison, Progress, Study, StudyFigure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["run"]

_PAPER = (
    "Yun, Kyung, Cho, Choi, Kim, Lee, Ahn: Duplex: A Device for Large Language Models with Mixture of Experts, Grouped "
    "Query Attention, and Continuous Batching, MICRO 2024, arXiv 2409.01141"
)
_MOE = ("Mixtral", "GLaM", "Grok1")
_DENSE = ("Llama3", "OPT")
_BATCHES = (32, 64, 128)
_OURS = 64  # the batch that is also run with our calibrated GPU
_FULL = "Duplex+PE+ET"

_CLOSE = 0.20  # of ratios of throughput and latency
_LOOSE = 0.30  # of reductions of energy: bytes and operations only

Ratio = Callable[[Case], float]


def run(data_dir: Path | None, progress: Progress) -> Study:
    """Run the study; there are no tables of the paper to be read from ``data_dir``."""
    cases: list[Case] = []
    for model in MODELS:
        progress(f"duplex: {model}")
        systems = [name for name in SYSTEMS if name != _FULL or model in _MOE]
        for case in grid((model,), tuple(systems), _BATCHES):
            cases += [case, *([case._replace(published=False)] if case.batch == _OURS else [])]
    for case in cases:
        run_case(case)
    progress("duplex: requests one by one")
    requests = [row for terms in (True, False) for row in latencies(("GPU", "2xGPU", _FULL), terms)]
    published = [case for case in cases if case.published]
    ours = [case for case in cases if not case.published]
    return Study(
        name="duplex",
        paper=_PAPER,
        comparisons=[*_throughput(published), *_latency(), *_bank_pim(), *_energy(published), *_saturation()],
        tables={
            "Throughput over GPU, means over batches and lengths": list(_means(cases)),
            "On the terms of the paper's simulator": [_row(case) for case in published],
            "With our GPU and collectives, batch 64": [_row(case) for case in ours],
            "Mixtral, requests one by one": requests,
        },
        notes=_NOTES,
        figures=[*_figures(published), StudyFigure(name="latency", rows=requests, draw=partial(_draw_rates, requests))],
    )


_NOTES = (
    "Steady state of continuous batching: running contexts evenly between prompt and prompt plus output, prompts enter "
    "as sequences end; lengths are the means of the paper's distributions. Uniform choice of experts, fp16, H100-class "
    "processors; a batch without memory shrinks to what fits (OPT-66B at 1024: 43, where the paper says 41).",
    "Terms of the paper's simulator: processors at datasheet rates, 3 us for a hop between devices, memory that "
    "computes timed by its commands. Its energies: 27.8, 14.5 and 5.8 pJ/B (processor, Logic-PIM, Bank-PIM), rows "
    "opened, 0.46 pJ for a multiply-add; no standing power.",
    "GLaM, of which the attention is not grouped, gains more here than reported: in our layers little is left beside "
    "experts and cache, both read at the four-fold bandwidth. The paper gives no time by operator, so what else it "
    "spends cannot be told.",
    "Bank-PIM is slower here than reported. Its banks read a weight again for every input, so that experts with eight "
    "tokens run at the rate of its multipliers, 53 TFLOP/s; a row of 1 KB is computed on for 98 ns and changed in 32 "
    "ns, refresh takes 9 %, and inputs are loaded before. Without all that (level roofline) it is about 1.7 and 1.0 "
    "times the GPU in the two cases compared, and for OPT-66B ahead of Duplex, as in the paper.",
    "With our calibrated GPU the gain is larger: kernels of few rows for each expert reach less than the datasheet's "
    "bandwidth, and launches and collectives take their time; Logic-PIM as published has no such losses, nor a board "
    "around it, and its energies are the paper's. That comparison favours what exists on paper only.",
    "Requests one by one are in the loop of `ridgeline serve`. Saturation: Mixtral on four devices, 2000 requests of "
    "4096 and 512 tokens that come faster than they can be served, at most 128 at once. The steady state is a little "
    "above, since no batch of real requests is always full. The paper reads its rates off latencies, which grow a "
    "step earlier (figure latency); the ratio of both systems agrees on either terms.",
    "GLaM in the loop: 64 requests at once, one comes as soon as one ends, lengths evenly from 256 to 768. The first "
    "token takes as much less than with twice the GPUs as reported; the hundredth longest gap does not: it is a step "
    "with several prompts, which half as many processors compute. How the paper draws lengths and arrivals there is "
    "not printed.",
)


def _over(case: Case, system: str) -> float:
    """Throughput of a case over that of another system."""
    return run_case(case).steady.tokens_per_s / run_case(case._replace(system=system)).steady.tokens_per_s


def _of(cases: Sequence[Case], system: str, models: Sequence[str] = _MOE) -> list[Case]:
    return [case for case in cases if case.system == system and case.model in models]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _throughput(cases: Sequence[Case]) -> Iterator[Comparison]:
    full = [_over(case, "GPU") for case in _of(cases, _FULL)]
    yield _ratio(
        "throughput over GPU, Mixtral, most", 2.67, max(_over(c, "GPU") for c in _of(cases, _FULL, ("Mixtral",)))
    )
    yield _ratio("throughput over GPU, MoE models, mean", 2.07, _mean(full))
    alone = [_over(case, "GPU") for case in _of(cases, "Duplex", ("Mixtral", "Grok1"))]
    yield _ratio("without co-processing, Mixtral and Grok1, most", 2.51, max(alone))
    yield _ratio("co-processing over Duplex, mean", 1.04, _mean([_over(c, "Duplex") for c in _of(cases, "Duplex+PE")]))
    yield _ratio("both options over Duplex, most", 1.36, max(_over(case, "Duplex") for case in _of(cases, _FULL)))


def _ratio(what: str, reported: float | tuple[float, float], simulated: float, source: str = "Fig. 11") -> Comparison:
    return Comparison(what=what, reported=reported, simulated=simulated, source=source, tolerance=_CLOSE)


def _latency() -> Iterator[Comparison]:
    """GLaM at batch 64: what a step, a request and a first token take."""

    def less(of: str, than: str, length: int, figure: Callable[[Outcome], float]) -> float:
        case = Case("GLaM", of, 64, length)
        return 100.0 * (1.0 - figure(run_case(case)) / figure(run_case(case._replace(system=than))))

    lengths = MODELS["GLaM"].lengths
    for what, reported, than, figure in (
        ("median time between tokens less than GPU", 58.3, "GPU", lambda o: o.steady.median_step_s),
        ("time of a request less than GPU", 60.2, "GPU", lambda o: o.steady.request_s),
        ("time of a request less than 2xGPU", 35.38, "2xGPU", lambda o: o.steady.request_s),
    ):
        simulated = _mean([less(_FULL, than, length, figure) for length in lengths])
        yield _percent(f"GLaM, batch 64, {what}", reported, simulated, "Fig. 12", _CLOSE)
    case = Case("GLaM", _FULL, 64, 512)
    served, other = (closed_loop(each).metrics for each in (case, case._replace(system="2xGPU")))
    for what, reported, looped, figure in (
        ("p99 between tokens", 16.74, served["itl"].p99 / other["itl"].p99, lambda o: o.steady.p99_step_s),
        ("first token", 26.17, served["ttft"].p50 / other["ttft"].p50, lambda o: o.steady.first_token_s),
    ):
        name = f"GLaM, batch 64, 512 tokens, {what} less than 2xGPU"
        yield _percent(f"{name}, requests one by one", reported, 100.0 * (1.0 - looped), "Fig. 12", None)
        simulated = less(_FULL, "2xGPU", 512, figure)
        yield _percent(f"{name}, steady state", reported, simulated, "Fig. 12", None, "a step with a prompt")


def _percent(
    what: str, reported: float, simulated: float, source: str, tolerance: float | None, note: str = ""
) -> Comparison:
    return Comparison(
        what=what, reported=reported, simulated=simulated, unit="%", source=source, tolerance=tolerance, note=note
    )


def _bank_pim() -> Iterator[Comparison]:
    """Who is ahead as work per byte grows."""
    few, many = Case("Mixtral", "Bank-PIM", 32, 4096), Case("Mixtral", "Bank-PIM", 64, 256)
    yield _ratio("Bank-PIM over GPU, Mixtral, batch 32, 4096 tokens", 2.17, _over(few, "GPU"), "Fig. 14")
    yield _ratio("Bank-PIM over GPU, Mixtral, batch 64, 256 tokens", 1.18, _over(many, "GPU"), "Fig. 14")
    yield _ratio(
        "Duplex over GPU, Mixtral, batch 64, 256 tokens", 2.05, _over(many._replace(system=_FULL), "GPU"), "Fig. 14"
    )
    mixtral = [_over(case, "Bank-PIM") for case in grid(("Mixtral",), (_FULL,), (32, 64))]
    yield _ratio("Duplex over Bank-PIM, Mixtral, most", 1.80, max(mixtral), "Fig. 14")
    yield _ratio("Duplex over Bank-PIM, Mixtral, mean", 1.49, _mean(mixtral), "Fig. 14")
    for model, ahead in (("Llama3", (1.0, 2.0)), ("OPT", (0.5, 1.0))):
        ratio = _mean([_over(case, "Bank-PIM") for case in grid((model,), ("Duplex+PE",), (32, 64))])
        note = "grouped queries: Duplex is ahead" if model == "Llama3" else "one query to a KV head: Bank-PIM is ahead"
        yield Comparison(
            what=f"Duplex over Bank-PIM, {model}, mean",
            reported=ahead,
            simulated=ratio,
            source="Fig. 14, sign only",
            tolerance=0.0,
            note=note,
        )


def _less_energy(case: Case) -> float:
    return 100.0 * (1.0 - run_case(case).access_J / run_case(case._replace(system="GPU")).access_J)


def _energy(cases: Sequence[Case]) -> Iterator[Comparison]:
    for model, reported in (("Mixtral", 33.28), ("GLaM", 42.03), ("Grok1", 34.59)):
        most = max(_less_energy(case) for case in _of(cases, _FULL, (model,)))
        yield _percent(f"energy less than GPU, {model}, most", reported, most, "Fig. 15", _LOOSE)
    mean = _mean([_less_energy(case) for case in _of(cases, _FULL)])
    yield _percent("energy less than GPU, MoE models, mean", 28.19, mean, "Fig. 15", _LOOSE)


def _saturation() -> Iterator[Comparison]:
    """Requests per second beyond which a queue grows: Mixtral, 4096 tokens in, 512 out (figure 13)."""
    for published, terms in ((True, ""), (False, ", our GPU")):
        rates = {name: saturated_rate(name, published) for name in ("GPU", _FULL)}
        for name, reported in (("GPU", 9.0), (_FULL, 14.0)):
            yield Comparison(
                what=f"Mixtral, requests per second at saturation, {name}{terms}",
                reported=reported,
                simulated=rates[name],
                unit="1/s",
                source="Fig. 13",
                note=f"{steady_rate(name, published):.3g} 1/s by the steady state",
            )
        yield _ratio(f"Mixtral, saturation over GPU{terms}", 14.0 / 9.0, rates[_FULL] / rates["GPU"], "Fig. 13")


def _row(case: Case) -> dict[str, Any]:
    steady = run_case(case).steady
    return {
        "model": case.model,
        "batch": steady.batch,
        "length": case.length,
        "system": case.system,
        "tokens/s": steady.tokens_per_s,
        "over GPU": _over(case, "GPU"),
        "step ms": 1e3 * steady.step_s,
        "median ms": 1e3 * steady.median_step_s,
        "first token ms": 1e3 * steady.first_token_s,
        "J/token": steady.energy_per_token_J,
        "access J/token": run_case(case).access_J,
    }


def _means(cases: Sequence[Case]) -> Iterator[dict[str, Any]]:
    for model in MODELS:
        for published in (True, False):
            row: dict[str, Any] = {"model": model, "terms": "paper" if published else "ours"}
            for system in SYSTEMS:
                mine = [case for case in _of(cases, system, (model,)) if case.published == published]
                row[system] = _mean([_over(case, "GPU") for case in mine]) if mine else None
            yield row


def _figures(cases: Sequence[Case]) -> list[StudyFigure]:
    rows = [
        {"model": c.model, "batch": c.batch, "length": c.length, "system": c.system, "over_gpu": _over(c, "GPU")}
        for c in cases
        if c.system != "GPU"
    ]
    return [StudyFigure(name="throughput", rows=rows, draw=partial(_draw, rows))]


def _draw(rows: Sequence[Mapping[str, Any]]) -> Figure:
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(len(_MOE + _DENSE), 1, figsize=(7.0, 9.0), layout="constrained")
    for axes, model in zip(panels, (*_MOE, *_DENSE), strict=True):
        groups: dict[str, dict[str, float]] = {}
        for row in rows:
            if row["model"] == model:
                groups.setdefault(f"{row['batch']}, {row['length']}", {})[row["system"]] = row["over_gpu"]
        plot_speedups(axes, groups, f"{model}: over GPU")
        if axes is not panels[0]:
            axes.get_legend().remove()
    panels[-1].set_xlabel("batch, tokens in and out")
    return figure


def _draw_rates(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Time to the first token and between tokens by rate, on the paper's terms."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(7.0, 2.4), layout="constrained")
    for axes, name in zip(panels, ("first token s", "between tokens ms"), strict=True):
        for number, system in enumerate(dict.fromkeys(row["system"] for row in rows)):
            style = mark(number)
            shown = [row for row in rows if row["system"] == system and row["terms"] == "paper"]
            axes.plot(
                [row["requests/s"] for row in shown],
                [row[name] for row in shown],
                color=style.color,
                linestyle=style.line,
                marker=style.marker,
                label=system,
            )
        axes.set(xlabel="requests/s", ylabel=f"median {name.replace(' s', ' (s)').replace(' ms', ' (ms)')}")
    panels[0].set_yscale("log")
    panels[0].legend()
    return figure
