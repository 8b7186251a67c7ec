"""Lamina (Chen et al., 2024): attention on memory-optimised GPUs behind a network, at equal cost.

Decode only, as in the paper: prompts are computed elsewhere, for nothing, and requests wait for room in the cache.
Several batches at once (rotational staggered pipelining, section 4.3) are parts of a step that take turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.plots.marks import mark
from dse.studies.study import Comparison, Progress, Study, StudyFigure
from hwmodels.catalog import load_hardware
from hwmodels.spec import SystemSpec
from hwmodels.system import build_system
from simulator.api.simulate import prepare as prepare_setup
from simulator.core.data import resolve_data
from simulator.engine.profile import load_profile
from simulator.serving import layout
from simulator.serving.arrivals import Stream
from simulator.serving.cluster import Cluster, Pool, Server
from simulator.serving.engine_server import engine_server
from simulator.serving.lengths import Pairs
from simulator.serving.requests import INPUT, OUTPUT
from simulator.serving.run import Prepared, prepare, run_cluster
from simulator.serving.surface import StepCost
from simulator.serving.trace_file import read_trace
from workloads.step import Step

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["ALONE", "BASELINE", "KERNELS", "TURNS", "Setting", "ready", "run", "serve_decode", "settings"]

_PAPER = (
    "Chen, Lin, Zhang, Wu, Ren, Zhai: Efficient Heterogeneous Large Language Model Decoding with Model-Attention "
    "Disaggregation (Lamina), arXiv 2405.01814"
)
_TRACES = {"Azure conversation": "azure_llm_conv_2023.csv", "Azure coding": "azure_llm_code_2023.csv"}
#: Mean tokens in and out of the traces that are not public (table 4): every request is taken to be like this.
_MEANS = {"Kimi conversation (means)": (12035, 343), "Kimi tool and agent (means)": (8560, 182)}

#: Model, fields that make LLaMA-33B and LLaMA-65B of Llama 2 (Touvron et al. 2023, table 2), and the H100 of the
#: baseline; half of these, and two H20 for each, are its rival (table 5).
_MODELS: Mapping[str, tuple[str, tuple[str, ...], int]] = {
    "LLaMA-33B": (
        "llama-2-70b",
        (
            *("model.num_hidden_layers=60", "model.hidden_size=6656", "model.num_attention_heads=52"),
            *("model.num_key_value_heads=52", "model.intermediate_size=17920"),
        ),
        2,
    ),
    "LLaMA-65B": ("llama-2-70b", ("model.num_key_value_heads=64", "model.intermediate_size=22016"), 4),
    "Llama-3-70B": ("llama-3-70b", (), 4),
}

Rows = Sequence[Mapping[str, Any]]

#: USD per hour of one GPU, out of the sums of the paper's table 5.
_PRICES = {"h100": 11.06, "h20": 4.63}
_CLOSE = 0.25
_REQUESTS = 4000
_WARM, _LONG = 0.1, 0.6  # shares of the requests done between which steps count: the cache is full, and others wait
_SEQUENCES = 1024
_VLLM_SEQUENCES = 256  # vLLM's default
_LOGGED = 400_000

#: What is compared: the kernels of H100 alone, the same under the host times of the paper's baseline, and half of the
#: H100 with attention on H20, one batch at a time and two in turns.
KERNELS, BASELINE, ALONE, TURNS = "H100", "H100, vLLM of 2024", "H100 + H20", "H100 + H20, two batches"


@dataclass(frozen=True, slots=True)
class Setting:
    """A model on a system under test, and what an hour of its devices costs."""

    model: str
    name: str  # of the four
    spec: SystemSpec
    tp: int
    hourly_USD: float
    sequences: int = _SEQUENCES
    host_step_s: float = 0.0
    host_sequence_s: float = 0.0


def settings(model: str) -> list[Setting]:
    """Return H100 alone, without and with the host's time, and half of them with two H20 behind each, in two ways."""
    gpus = _MODELS[model][2]
    half = gpus // 2
    host = load_profile("vllm-0.2").serving
    h100 = load_hardware("h100x8")
    alone = Setting(model, KERNELS, h100, gpus, gpus * _PRICES["h100"])
    hosted = replace(
        alone,
        name=BASELINE,
        sequences=_VLLM_SEQUENCES,
        host_step_s=host.step_s,
        host_sequence_s=host.sequence_s,
    )
    found = [alone, hosted]
    for name, batches in ((ALONE, 1), (TURNS, 2)):
        pair = load_hardware("h100-h20-offload", [f"placement.interleave={batches}"])
        compute, memory = pair.units
        units = (compute.model_copy(update={"count": half}), memory.model_copy(update={"count": gpus}))
        spec = pair.model_copy(update={"name": f"{half} H100 + {gpus} H20", "units": units})
        found.append(Setting(model, name, spec, half, half * _PRICES["h100"] + gpus * _PRICES["h20"]))
    return found


def _generating(cost: StepCost) -> StepCost:
    """Return what steps cost that only generate; prompts are computed elsewhere."""

    def generating(step: Step) -> tuple[float, float]:
        return (1e-9, 0.0) if any(group.new > 1 for group in step.groups) else cost(step)

    return generating


def ready(setting: Setting, mean_tokens: float, longest_tokens: int) -> Prepared:
    """Return a setting with its step times, for generation only."""
    name, fields, _ = _MODELS[setting.model]
    setup, spec = prepare_setup(
        name, setting.spec, tp=setting.tp, weights="fp16", activations="fp16", profile="vllm", overrides=fields
    )
    system = build_system(spec)
    server = engine_server(setup, system, mean_tokens=mean_tokens, sequences=setting.sequences)
    server = replace(
        server,
        cost=_generating(server.cost),
        budget=setting.sequences,
        host_step_s=setting.host_step_s,
        host_sequence_s=setting.host_sequence_s,
    )
    free = Server(name="prompts", cost=_nothing, blocks=1 << 26, sequences=_SEQUENCES, budget=1 << 24)
    cluster = Cluster(pools=[Pool(free, 1, "prefill"), Pool(server, 1, "decode")])
    return prepare(cluster, longest_tokens)


def _nothing(step: Step) -> tuple[float, float]:
    """Prompts are computed elsewhere."""
    return 1e-9, 0.0


def serve_decode(setting: Setting, prepared: Prepared, lengths: Pairs, requests: int = _REQUESTS) -> dict[str, float]:
    """Generate for a backlog of requests whose prompts are there; return batch, throughput and step time.

    Counted are steps between the tenth of the requests done and six tenths: later ones run out of requests, and the
    longest outputs would be all that is left.
    """
    import numpy as np

    ends: list[NDArray[np.float64]] = []
    result = run_cluster(
        prepared,
        Stream(lengths=lengths, rate=1e6, count=requests),
        log_steps=_LOGGED,
        on_finished=lambda rows: ends.append(rows[:, layout.R_LAST].copy()),
    )
    first_s, last_s = np.quantile(np.concatenate(ends), [_WARM, _LONG])
    steps = result.log[result.log[:, layout.L_SERVER] == 1]
    steps = steps[(steps[:, layout.L_START] >= first_s) & (steps[:, layout.L_START] < last_s)]
    server = prepared.cluster.servers[1][0]
    made, taken_s = float(steps[:, layout.L_DECODING].sum()), float(steps[:, layout.L_TIME].sum())
    return {
        "mean_batch": made / len(steps),
        "tokens_per_s": made / taken_s,
        "step_ms": 1e3 * taken_s / len(steps),
        "tokens_per_USD": 3600.0 * made / taken_s / setting.hourly_USD,
        "cache_tokens": float(server.blocks * server.page_tokens),
    }


def _lengths(data_dir: Path | None) -> dict[str, Pairs]:
    """Return the lengths of every trace."""
    import numpy as np

    found = {}
    for trace, file in _TRACES.items():
        columns = read_trace(Path(resolve_data(file, data_dir))).columns
        found[trace] = Pairs(columns[:, INPUT], columns[:, OUTPUT])
    for trace, (tokens_in, tokens_out) in _MEANS.items():
        found[trace] = Pairs(np.array([tokens_in]), np.array([tokens_out]))
    return found


def run(data_dir: Path | None, progress: Progress) -> Study:
    """Run the study; ``data_dir`` holds the Azure traces.

    Raises
    ------
    DataMissingError
        If a trace is nowhere.
    """
    traces = _lengths(data_dir)
    longest = max(lengths.longest_tokens for lengths in traces.values())
    rows: list[dict[str, Any]] = []
    for model in _MODELS:
        for setting in settings(model):
            progress(f"lamina: {model}, {setting.name}")
            prepared = ready(setting, 1000.0, longest)
            for trace, lengths in traces.items():
                found = serve_decode(setting, prepared, lengths)
                rows.append({"trace": trace, "model": model, "system": setting.name, **found})
    return Study(
        name="lamina",
        paper=_PAPER,
        comparisons=list(_comparisons(rows)),
        tables={"Decode only, a backlog of requests": rows, "H100 + H20 over H100": list(_gains(rows))},
        notes=_NOTES,
        figures=[StudyFigure(name="lamina-throughput", rows=rows, draw=lambda: _draw(rows))],
    )


def _over(rows: Rows, system: str, baseline: str, figure: str) -> dict[tuple[str, str], float]:
    """Return the ratio of a figure by trace and model."""
    of = {(row["trace"], row["model"], row["system"]): row[figure] for row in rows}
    cases = dict.fromkeys((row["trace"], row["model"]) for row in rows)
    return {case: of[*case, system] / of[*case, baseline] for case in cases}


def _gains(rows: Rows) -> Iterator[dict[str, Any]]:
    columns = {
        "batch": _over(rows, TURNS, BASELINE, "mean_batch"),
        "throughput, one batch": _over(rows, ALONE, BASELINE, "tokens_per_s"),
        "throughput, two": _over(rows, TURNS, BASELINE, "tokens_per_s"),
        "per dollar, two": _over(rows, TURNS, BASELINE, "tokens_per_USD"),
        "throughput, two, over kernels alone": _over(rows, TURNS, KERNELS, "tokens_per_s"),
        "per dollar, two, over kernels alone": _over(rows, TURNS, KERNELS, "tokens_per_USD"),
    }
    for trace, model in columns["batch"]:
        yield {"trace": trace, "model": model, **{name: ratios[trace, model] for name, ratios in columns.items()}}


def _comparisons(rows: Rows) -> Iterator[Comparison]:
    def gains(system: str, baseline: str, figure: str) -> list[float]:
        return list(_over(rows, system, baseline, figure).values())

    batches = gains(TURNS, BASELINE, "mean_batch")
    yield Comparison(
        what="batch over that of H100 alone, mean over all",
        reported=2.39,
        simulated=sum(batches) / len(batches),
        source="section 6.1",
        tolerance=_CLOSE,
    )
    two = gains(TURNS, BASELINE, "tokens_per_s")
    for what, reported, simulated in (("least", 1.161, min(two)), ("most", 1.901, max(two))):
        yield Comparison(
            what=f"throughput at about equal cost, two batches, {what}",
            reported=reported,
            simulated=simulated,
            source="abstract; figure 10",
            tolerance=_CLOSE,
            note="over H100 under vLLM of 2024; two of the four traces are their means",
        )
    for what, system, baseline, figure in (
        ("throughput at about equal cost, one batch at a time", ALONE, BASELINE, "tokens_per_s"),
        ("throughput per dollar, two batches", TURNS, BASELINE, "tokens_per_USD"),
        ("throughput, two batches, over the kernels of H100 alone", TURNS, KERNELS, "tokens_per_s"),
    ):
        found = gains(system, baseline, figure)
        yield Comparison(
            what=what,
            reported=None if figure == "tokens_per_USD" else (1.161, 1.901),
            simulated=(min(found), max(found)),
            source="figure 10",
        )


_NOTES = (
    "Steps are this project's: attention over the network with its latency and bandwidth, H20 by its own "
    "coefficients. Two batches that take turns read the weights twice, but leave neither the H100 nor the network "
    "idle: a step of LLaMA-33B, 92 sequences, takes 51 ms, of which the H100 computes all the time, instead of 68 ms "
    "one batch after the other. With one replica of the model two batches are the most that pay, as in the paper (n - "
    "1 replicas for n batches).",
    "The cache of the H20 alone decides the batch: 2.2 times as many tokens as beside the weights on H100, 3.5 times "
    "as many sequences where vLLM stops at 256.",
    "The baseline of the paper is vLLM of 2024, its host times are those that Vidur measured then (8 ms a step and 44 "
    "us a sequence; profile vllm-0.2), its kernels today's. Lamina's own runtime is given no host time. Against the "
    "kernels alone the gain is a quarter for models without grouped queries and may be none with them, where a batch "
    "of 900 keeps two H100 busy computing.",
    "The least gain of the paper is below ours, its most is above. It does not say for which trace and model they "
    "are, nor whether two batches ran in figure 10; one batch at a time gains 2 to 38 % here.",
    "Not modelled: queries that are sent before keys and values are computed (section 4.2.2: 13 % of a step of "
    "LLaMA-65B at most, 3.5 % of Llama-3-70B), which two batches in turns hide as well.",
    "Kimi's traces are not public: every request is as long as their mean. Prices per GPU-hour are solved from the "
    "two totals of table 5.",
)


def _draw(rows: Rows) -> Figure:
    """Throughput and batch by trace: a row for each model, a bar for each system."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 5.0), layout="constrained")
    traces = list(dict.fromkeys(row["trace"] for row in rows))
    systems = list(dict.fromkeys(row["system"] for row in rows))
    panels = [(model, name) for model in _MODELS for name in ("tokens_per_s", "mean_batch")]
    for place, (model, name) in enumerate(panels, 1):
        axes = figure.add_subplot(len(_MODELS), 2, place)
        for number, system in enumerate(systems):
            style = mark(number)
            bars = [row for row in rows if row["model"] == model and row["system"] == system]
            axes.bar(
                [traces.index(row["trace"]) + 0.2 * (number - 1.5) for row in bars],
                [row[name] for row in bars],
                width=0.2,
                label=system,
                color=style.color,
                hatch=style.hatch,
                edgecolor="black",
                linewidth=0.4,
            )
        axes.set_xticks(range(len(traces)), [trace.replace(" (means)", "").replace(" ", "\n", 1) for trace in traces])
        axes.set(title=model, ylabel=_LABELS[name])
        if place == 1:
            figure.legend(loc="outside upper center", ncols=len(systems))
    return figure


_LABELS = {"tokens_per_s": "tokens/s", "mean_batch": "mean batch"}
