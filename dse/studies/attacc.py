"""AttAcc (Park et al., ASPLOS 2024): eight GPUs and forty HBM stacks that do the attention of a 175 B model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dse.plots.bars import plot_speedups
from dse.studies.study import Comparison, Progress, Study, StudyFigure
from hwmodels.catalog import load_hardware
from hwmodels.system import System, build_system
from simulator.engine.memory import Residents, check_memory, pools_of
from simulator.engine.profile import load_profile
from simulator.engine.run import StepResult, run_step
from workloads.catalog import load_model
from workloads.parallel import Parallelism
from workloads.precision import Precision
from workloads.step import Step

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LENGTHS", "SYSTEMS", "Case", "run", "run_case"]

_PAPER = (
    "Park, Choi, Kyung, Kim, Kwon, Kim, Ahn: AttAcc! Unleashing the Power of PIM for Batched Transformer-based "
    "Generative Model Inference, ASPLOS 2024, doi 10.1145/3620665.3640422"
)
_MODEL = "gpt3-175b"

#: The A100 of its simulator: with HBM3. Source: scale-snu/attacc_simulator, src/config.py, A100a.
_HBM3 = ("hbm.bandwidth=3352 GB/s", "hbm.capacity=80 GiB")


class Built(NamedTuple):
    """A system of the study: one of ours, what is changed, over how many GPUs a layer is cut."""

    hardware: str
    changes: tuple[str, ...]
    gpus: int


#: The second and third have as much memory as those with AttAcc: in their stacks, or with twice the GPUs.
SYSTEMS: Mapping[str, Built] = {
    "DGX": Built("a100x8", _HBM3, 8),
    "DGX large": Built("a100x8", ("hbm.bandwidth=3352 GB/s", "hbm.capacity=160 GiB"), 8),
    "2xDGX": Built("a100x8", ("count=16", *_HBM3), 16),
    "DGX+AttAcc": Built("attacc-dgx", ("placement.head_groups=1",), 8),
    "DGX+AttAcc, pipelined": Built("attacc-dgx", (), 8),
}
_BEST = "DGX+AttAcc, pipelined"
_OURS = ((2048, 512),)  # lengths that are also run with our calibrated GPU

#: Tokens in and out.
LENGTHS = ((512, 512), (2048, 128), (2048, 512), (2048, 2048), (4096, 4096))

#: What its simulator lets a GPU reach of its datasheet. Source: src/config.py, SCALING_FACTOR.
_COMPUTE_USE, _MEMORY_USE = 0.80, 0.85

#: Energy of a byte: GPU memory 3.59 pJ/bit, a bank of AttAcc 0.55, a link 1.3. Source: src/config.py, ENERGY_TABLE.
_ACCESS_J_PER_B = {"gpu": 3.59e-12 * 8, "attacc": 0.55e-12 * 8}
_LINK_J_PER_B = 1.3e-12 * 8

_SAMPLES = 3  # contexts at which decoding is costed: first, middle, last


class Case(NamedTuple):
    """One request on one system, with the largest batch there is memory for (or one given)."""

    system: str
    prompt: int
    output: int
    published: bool = True  # on the terms of the paper's simulator; else with our calibrated GPU
    batch: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch takes from prompt to last token."""

    batch: int
    prompt_s: float
    token_s: float  # mean of the generation
    tokens_per_s: float  # of the whole batch, prompts included
    generated_per_s: float  # while generating
    energy_J: float  # per token, standing power included
    access_J: float  # per generated token: memory and links only, with the paper's energies
    hidden: float  # share of the time of AttAcc and links during which the GPUs also work


def run(data_dir: Path | None, progress: Progress) -> Study:
    """Run the study; there are no tables of the paper to be read from ``data_dir``."""
    cases = [Case(name, *lengths) for lengths in LENGTHS for name in SYSTEMS]
    cases += [Case(name, *lengths, published=False) for lengths in _OURS for name in SYSTEMS]
    for case in cases:
        if case.system == "DGX":
            progress(f"attacc: {case.prompt} in, {case.output} out")
        run_case(case)
    rows = [_row(case) for case in cases]
    published = [row for row in rows if row["terms"] == "paper"]
    return Study(
        name="attacc",
        paper=_PAPER,
        comparisons=list(_comparisons()),
        tables={
            "GPT-3 175B, largest batch that fits": rows,
            "One batch on all systems": list(_same_batch()),
        },
        notes=_NOTES,
        figures=[StudyFigure(name="throughput", rows=published, draw=partial(_draw, published))],
    )


_NOTES = (
    "Eight A100 with HBM3 (3352 GB/s), eight AttAcc of five stacks (as much each, nine-fold inside under the power "
    "limit), NVLink 3; 16-bit weights and cache. Weights lie with the GPUs, the cache with AttAcc.",
    "Terms of the paper's simulator: GPUs at 0.80 of their compute and 0.85 of their bandwidth, AttAcc by its "
    "commands; energy of memory and links only, without caches and arithmetic.",
    "The abstract compares with 'the conventional system with the same memory capacity'. Its simulator takes a "
    "capacity for each GPU, so we read that as eight GPUs with 160 GiB each ('DGX large'); sixteen are shown, too. "
    "Every system runs the largest batch it has memory for; 'up to' does not say at which lengths.",
    "Energy is gained less than reported: a larger memory lets the DGX spread its weights over more sequences. With a "
    "limit on the time of a token its batch, and that advantage, would be smaller; over the DGX as it is 2.9 results.",
    "Pipelining by heads: projections of one group of heads run while AttAcc works on another; it hides the links as "
    "well (a schedule of 12 groups, no formula).",
    "Left out: feed-forward layers shared with AttAcc, which needs their weights in both memories; at these batches "
    "its simulator adds bandwidth / batch, a few percent.",
)


@cache
def _system(name: str, published: bool) -> System:
    built = SYSTEMS[name]
    system = build_system(load_hardware(built.hardware, built.changes))
    if not published:
        return system
    bound = build_system(system.spec, "roofline").units[0]
    gpu = bound.device.scaled("hbm", _MEMORY_USE).scaled("compute", _COMPUTE_USE)
    return replace(system, units=(replace(bound, device=gpu), *system.units[1:]))


@cache
def run_case(case: Case) -> Outcome:
    """Run prompts, then decode steps at a few contexts (Simpson's rule over the generation)."""
    model, system = load_model(_MODEL), _system(case.system, case.published)
    parallel, profile = Parallelism(tp=SYSTEMS[case.system].gpus), load_profile("ideal")
    precision = Precision.of("fp16", "fp16", "fp16")
    total = case.prompt + case.output
    resident = Residents(sequences=1, tokens=total, new=1)
    room = check_memory(model, precision, parallel, resident, pools_of(system), profile).max_batch
    batch = room if case.batch is None else case.batch

    def step(new: int, cached: int) -> StepResult:
        return run_step(model, Step.of((batch, new, cached)), precision, system, profile, parallel)

    prompt = step(case.prompt, 0)
    decode = [step(1, case.prompt + case.output * i // (_SAMPLES - 1)) for i in range(_SAMPLES)]
    weights = (1 / 6, 4 / 6, 1 / 6)
    token_s = sum(w * result.interval_s for w, result in zip(weights, decode, strict=True))
    token_J = sum(w * result.total_energy_J for w, result in zip(weights, decode, strict=True))
    tokens = batch * case.output
    return Outcome(
        batch=batch,
        prompt_s=prompt.time_s,
        token_s=token_s,
        tokens_per_s=tokens / (prompt.time_s + case.output * token_s),
        generated_per_s=batch / token_s,
        energy_J=(prompt.total_energy_J + case.output * token_J) / tokens,
        access_J=sum(w * _access_J(r, system, parallel.tp) for w, r in zip(weights, decode, strict=True)) / batch,
        hidden=_hidden(decode[1]),
    )


def _access_J(result: StepResult, system: System, gpus: int) -> float:
    """Energy of memory and links in a step, all devices, with the paper's energies."""
    names = {unit.name: _ACCESS_J_PER_B[unit.name] for unit in system.units}
    per_rank = sum(op.count * op.cost.hbm_B * names[op.unit] for op in result.operators)
    per_rank += sum(op.count * op.cost.link_B * _LINK_J_PER_B for op in result.operators)
    per_rank += sum(s.cost.link_B * _LINK_J_PER_B for spans in result.timelines for s in spans if s.kind == "transfer")
    return per_rank * gpus


def _hidden(result: StepResult) -> float:
    """Return which share of AttAcc's and the links' time the GPUs also work in; 1 where there is nothing to hide."""
    others_s = sum(use.busy_s for use in result.units[1:])
    if others_s == 0.0:
        return 1.0
    waited_s = result.interval_s - result.units[0].busy_s
    return max(0.0, 1.0 - waited_s / others_s)


def _over(case: Case, system: str, figure: str) -> float:
    mine, other = run_case(case), run_case(case._replace(system=system))
    ratio = float(getattr(mine, figure)) / float(getattr(other, figure))
    return ratio if figure.endswith("per_s") else 1.0 / ratio


def _comparisons() -> Iterator[Comparison]:
    best = [Case(_BEST, *lengths) for lengths in LENGTHS]
    for what, reported, system, figure, tolerance, source in (
        ("throughput over a DGX with as much memory, most", 2.81, "DGX large", "generated_per_s", 0.25, "abstract"),
        ("energy under a DGX with as much memory, most", 2.67, "DGX large", "access_J", 0.25, "abstract"),
    ):
        yield Comparison(
            what=what,
            reported=reported,
            simulated=max(_over(case, system, figure) for case in best),
            source=source,
            tolerance=tolerance,
        )
    told: tuple[tuple[str, float | tuple[float, float], str], ...] = (
        ("throughput over the DGX, most", (3.49, 5.93), "generated_per_s"),
        ("energy under the DGX, most", 1.0 / 0.34, "access_J"),
    )
    for what, figures, figure in told:
        yield Comparison(
            what=what,
            reported=figures,
            simulated=max(_over(case, "DGX", figure) for case in best),
            source="told by others; the settings of the two figures are not known",
            confidence="secondary",
        )


def _row(case: Case) -> dict[str, Any]:
    outcome = run_case(case)
    return {
        "in": case.prompt,
        "out": case.output,
        "system": case.system,
        "terms": "paper" if case.published else "ours",
        "batch": outcome.batch,
        "prompt s": outcome.prompt_s,
        "token ms": 1e3 * outcome.token_s,
        "tokens/s": outcome.tokens_per_s,
        "generated/s": outcome.generated_per_s,
        "over DGX large": _over(case, "DGX large", "generated_per_s"),
        "J/token": outcome.energy_J,
        "access J/token": outcome.access_J,
        "hidden": outcome.hidden,
    }


def _same_batch() -> Iterator[dict[str, Any]]:
    """One batch on every system: what is faster, capacity left aside."""
    for batch in (1, 8, 16):
        for name in SYSTEMS:
            outcome = run_case(Case(name, 2048, 512, batch=batch))
            base = run_case(Case("DGX", 2048, 512, batch=batch))
            yield {
                "batch": batch,
                "system": name,
                "token ms": 1e3 * outcome.token_s,
                "over DGX": base.token_s / outcome.token_s,
                "access J/token": outcome.access_J,
            }


def _draw(rows: Sequence[Mapping[str, Any]]) -> Figure:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.0, 2.8), layout="constrained")
    groups: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["system"] != "DGX large":
            groups.setdefault(f"{row['in']}, {row['out']}", {})[row["system"]] = row["over DGX large"]
    plot_speedups(axes, groups, "throughput over DGX large")
    axes.set_xlabel("tokens in, out")
    return figure
