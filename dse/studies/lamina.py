"""Lamina (Chen et al., 2024): attention on memory-optimised GPUs behind a network, at equal cost.

Decode only, as in the paper: prompts are computed elsewhere, for nothing, and requests wait for room in the cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.studies.study import Comparison, Progress, Study, StudyFigure
from hwmodels.catalog import load_hardware
from hwmodels.spec import SystemSpec
from hwmodels.system import build_system
from simulator.api.simulate import prepare as prepare_setup
from simulator.core.data import resolve_data
from simulator.serving import layout
from simulator.serving.arrivals import Stream
from simulator.serving.cluster import Cluster, Pool, Server
from simulator.serving.engine_server import engine_server
from simulator.serving.lengths import Pairs
from simulator.serving.requests import INPUT, OUTPUT
from simulator.serving.run import Prepared, prepare, run_cluster
from simulator.serving.trace_file import read_trace
from workloads.step import Step

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Setting", "ready", "run", "serve_decode", "settings"]

_PAPER = (
    "Chen, Lin, Zhang, Wu, Ren, Zhai: Efficient Heterogeneous Large Language Model Decoding with Model-Attention "
    "Disaggregation (Lamina), arXiv 2405.01814"
)
_TRACES = {"Azure conversation": "azure_llm_conv_2023.csv", "Azure coding": "azure_llm_code_2023.csv"}

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

#: USD per hour of one GPU, out of the sums of the paper's table 5.
_PRICES = {"h100": 11.06, "h20": 4.63}
_CLOSE = 0.25
_REQUESTS = 1500
_SEQUENCES = 512


@dataclass(frozen=True, slots=True)
class Setting:
    """A model on a system under test, and what an hour of its devices costs."""

    model: str
    name: str
    spec: SystemSpec
    tp: int
    hourly_USD: float


def settings(model: str) -> tuple[Setting, Setting]:
    """Return H100 alone, and half of them with two H20 behind each."""
    gpus = _MODELS[model][2]
    half = gpus // 2
    pair = load_hardware("h100-h20-offload")
    compute, memory = pair.units
    name = f"{half} H100 + {gpus} H20"
    units = (compute.model_copy(update={"count": half}), memory.model_copy(update={"count": gpus}))
    return (
        Setting(model, f"{gpus} H100", load_hardware("h100x8"), gpus, gpus * _PRICES["h100"]),
        Setting(
            model,
            name,
            pair.model_copy(update={"name": name, "units": units}),
            half,
            half * _PRICES["h100"] + gpus * _PRICES["h20"],
        ),
    )


def _nothing(step: Step) -> tuple[float, float]:
    """Prompts are computed elsewhere."""
    return 1e-9, 0.0


def ready(setting: Setting, mean_tokens: float, longest_tokens: int) -> Prepared:
    """Return a setting with its step times, for generation only."""
    name, fields, _ = _MODELS[setting.model]
    setup, spec = prepare_setup(
        name, setting.spec, tp=setting.tp, weights="fp16", activations="fp16", profile="vllm", overrides=fields
    )
    system = build_system(spec)
    server = engine_server(setup, system, mean_tokens=mean_tokens, sequences=_SEQUENCES)
    server = replace(server, budget=_SEQUENCES)  # nothing but generation is ever in a step
    free = Server(name="prompts", cost=_nothing, blocks=1 << 26, sequences=_SEQUENCES, budget=1 << 24)
    cluster = Cluster(pools=[Pool(free, 1, "prefill"), Pool(server, 1, "decode")])
    return prepare(cluster, longest_tokens)


def serve_decode(setting: Setting, prepared: Prepared, lengths: Pairs, requests: int = _REQUESTS) -> dict[str, float]:
    """Generate for a backlog of requests whose prompts are there; return batch, throughput and step time."""
    result = run_cluster(prepared, Stream(lengths=lengths, rate=1e6, count=requests))
    server = prepared.cluster.servers[1][0]
    counts, amounts = result.counts[1], result.amounts[1]
    steps = float(counts[layout.STEPS])
    return {
        "mean_batch": float(counts[layout.SEQUENCE_STEPS]) / steps,
        "tokens_per_s": float(counts[layout.MADE_TOKENS]) / float(amounts[layout.BUSY_S]),
        "step_ms": 1e3 * float(amounts[layout.BUSY_S]) / steps,
        "cache_tokens": float(server.blocks * server.page_tokens),
        "hourly_USD": setting.hourly_USD,
    }


def run(data_dir: Path | None, progress: Progress) -> Study:
    """Run the study; ``data_dir`` holds the Azure traces.

    Raises
    ------
    DataMissingError
        If a trace is nowhere.
    """
    rows: list[dict[str, Any]] = []
    gains: list[float] = []
    batches: list[float] = []
    traces = {}
    for trace, file in _TRACES.items():
        columns = read_trace(Path(resolve_data(file, data_dir))).columns
        traces[trace] = Pairs(columns[:, INPUT], columns[:, OUTPUT])
    longest = max(lengths.longest_tokens for lengths in traces.values())
    for model in _MODELS:
        systems = []
        for setting in settings(model):
            progress(f"lamina: {model}, {setting.name}")
            systems.append((setting, ready(setting, 1000.0, longest)))
        for trace, lengths in traces.items():
            found = []
            for setting, prepared in systems:
                found.append(serve_decode(setting, prepared, lengths))
                rows.append({"trace": trace, "model": model, "system": setting.name, **found[-1]})
            base, offload = found
            per_dollar = [each["tokens_per_s"] / each["hourly_USD"] for each in found]
            gains.append(per_dollar[1] / per_dollar[0] - 1.0)
            batches.append(offload["mean_batch"] / base["mean_batch"])
    return Study(
        name="lamina",
        paper=_PAPER,
        comparisons=[
            Comparison(
                what="throughput per dollar of offloaded attention, gain",
                reported=(0.161, 0.901),
                simulated=(min(gains), max(gains)),
                unit="",
                source="abstract; four traces and three models, of which two traces are here",
                tolerance=_CLOSE,
                note="the traces with long inputs, which need memory most, are not public",
            ),
            Comparison(
                what="mean batch over that of H100 alone",
                reported=2.39,
                simulated=(min(batches), max(batches)),
                source="section 6",
                note="mean over all models and traces of the paper",
            ),
        ],
        tables={"Decode only, a backlog of requests": rows},
        notes=_NOTES,
        figures=[StudyFigure(name="lamina-throughput", rows=rows, draw=lambda: _draw(rows))],
    )


_NOTES = (
    "missed: the batch doubles, as in the paper, but a step of LLaMA-33B alternates between the H100 (25 ms), the H20 "
    "(29 ms) and the network (11 ms) and takes 64 ms, where two H100 take 28 ms for half the batch; the paper overlaps "
    "several batches in a staggered pipeline, and the placement's interleaving of two parts reads weights twice",
    "steps are this project's: attention over the network with its latency and bandwidth, H20 by its own coefficients; "
    "the baseline runs the same kernels, where the paper's ran vLLM of 2024",
    "the batch is what fits the memory that holds the cache, at most 512 sequences",
    "prices per GPU-hour are solved from the two totals of table 5 and weigh on the result as such",
)


def _draw(rows: Sequence[Mapping[str, Any]]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 2.4), layout="constrained")
    for place, (name, label) in enumerate((("mean_batch", "mean batch"), ("tokens_per_s", "tokens/s")), 1):
        axes = figure.add_subplot(1, 2, place)
        axes.bar(range(len(rows)), [row[name] for row in rows])
        names = [f"{row['model']}, {row['system']}, {row['trace']}" for row in rows]
        axes.set_xticks(range(len(rows)), names, fontsize=4, rotation=60, ha="right")
        axes.set_ylabel(label)
    return figure
