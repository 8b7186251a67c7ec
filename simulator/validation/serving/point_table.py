"""Rows of published serving points (AIConfigurator's table): which servers ran what, and how they were launched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.core.errors import UnsupportedError
from simulator.validation.public.devices import bundled_device
from simulator.validation.serving.comparison import cell_number
from workloads.catalog import model_names

if TYPE_CHECKING:
    from simulator.validation.table import Table

__all__ = ["NUMBERS", "Point", "Pool", "is_point_file", "read_point"]

#: Step limit of the bundled profiles of SGLang, which is doubled where the load asks for more at once.
_SEQUENCES = 512

NUMBERS = ("isl", "osl", "batch_size", "tp_size", "ttft_ms", "tpot_ms")

#: Checkpoints of the same dimensions as a bundled model.
_SAME = {
    "deepseek-r1": "deepseek-v3",
    "deepseek-v3.1": "deepseek-v3",
    "llama-3.1-8b-instruct": "llama-3.1-8b",
}
_TAILS = ("-nvfp4", "-fp8")
_WEIGHTS = {"fp8": "fp8", "fp8_block": "fp8", "nvfp4": "nvfp4", "fp4": "nvfp4", "bf16": "bf16", "bfloat16": "bf16"}
#: Why models that are not bundled cannot be added by their configuration alone.
_UNMODELLED = {
    "qwen3.5-397b-a17b": "gated linear attention (Qwen3.5) is not modelled",
    "glm-5": "learned sparse attention (GLM-5) is not modelled",
}
_PROFILES = {"vllm": "vllm-0.19", "sglang": "sglang-0.5", "trtllm": "tensorrt-llm-1.0"}
_LATER = ("1.2", "1.3")  # versions of TensorRT-LLM; those of Blackwell were later where no version is stated
#: Models whose launch scripts keep the cache in 8 bits (InferenceMAX: --kv-cache-dtype fp8).
_CACHE_FP8 = ("deepseek-v3", "llama-3.1-70b")
#: Devices on which a model's requests at once only fit with such a cache.
_CACHE_FP8_ON = {"minimax-m2.5": "b300"}


@dataclass(frozen=True, slots=True)
class Pool:
    """Servers of one kind: how many, and how each is spread over devices."""

    servers: int
    tp: int
    dp: int
    ep: int

    @property
    def devices(self) -> int:
        """Of one server."""
        return self.tp * self.dp

    @property
    def degrees(self) -> dict[str, int]:
        """As a pool of a deployment takes them."""
        return {"tp": self.tp, "dp": self.dp, "ep": self.ep}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One row: what ran, and what was measured."""

    line: int  # of the file
    model: str
    device: str
    backend: str
    profile: str
    weights: str | None
    experts: str | None  # weights of the experts, where they differ from the others and are not as published
    activations: str
    kv: str | None
    overrides: tuple[str, ...]
    pool: Pool  # of servers that do everything, or only generate
    prefill: Pool | None  # of servers that only do prompts
    concurrency: int
    inputs: int
    outputs: int
    ttft_ms: float
    tpot_ms: float
    budget: int | None = None

    @property
    def devices(self) -> int:
        """Of all servers."""
        return sum(pool.servers * pool.devices for pool in (self.pool, self.prefill) if pool is not None)

    @property
    def sequences(self) -> int:
        """Most sequences of a step, of one data-parallel replica; requests beyond twice 512 of them wait."""
        return _SEQUENCES if self.concurrency <= _SEQUENCES * self.pool.dp else 2 * _SEQUENCES

    @property
    def server(self) -> tuple[object, ...]:
        """What must be equal for two points to share servers."""
        return (
            self.model,
            self.device,
            self.profile,
            self.weights,
            self.experts,
            self.activations,
            self.kv,
            self.overrides,
            self.pool,
            self.prefill,
            self.budget,
            self.sequences,
        )


def is_point_file(header: tuple[str, ...] | list[str]) -> bool:
    """Tell the columns of such a file."""
    return {"model_path", "isl", "osl", "attention_dp_size", "ttft_ms", "tpot_ms"} <= set(header)


class _Cells:
    """Numbers of one row, by column."""

    def __init__(self, table: Table, index: int, row: Mapping[str, str]) -> None:
        self.table, self.index, self.row = table, index, row

    def whole(self, column: str) -> int:
        """Return a whole number of at least 1; 1 where the cell is empty or 0."""
        return max(int(cell_number(self.table, self.index, self.row, column, empty=1.0)), 1)

    def time_ms(self, column: str) -> float:
        return max(cell_number(self.table, self.index, self.row, column), 1e-9)

    def stated(self, column: str) -> bool:
        return bool(self.row.get(column, "").strip())

    def pool(self, prefix: str, servers: int) -> Pool:
        """Return servers spread as the columns that begin with ``prefix`` say.

        The experts' sizes multiply to the devices of a server. Where they exceed the attention's, the attention runs
        as replicas (their number is often left out); where one size repeats another (8 and 8 on eight devices), both
        name the same devices.
        """
        tp, dp = self.whole(f"{prefix}tp_size"), self.whole(f"{prefix}attention_dp_size")
        expert_tp, ep = self.whole(f"{prefix}moe_tp_size"), self.whole(f"{prefix}moe_ep_size")
        if expert_tp == ep > 1 and self.stated(f"{prefix}attention_dp_size"):
            tp, dp = (tp, dp // ep) if dp > 1 else (tp // ep, dp)
            return Pool(servers, max(tp, 1), max(dp, 1), ep)
        if tp == dp > 1 and expert_tp * ep == tp * dp:
            return Pool(servers, 1, dp, dp)
        if tp * dp < expert_tp * ep:
            dp = expert_tp * ep // tp
        if ep == 1 and dp > 1:  # slices of each expert on all devices: as many bytes as whole experts on each
            ep = tp * dp if expert_tp > 1 else 1
        return Pool(servers, tp, dp, ep)


def read_point(table: Table, index: int, row: Mapping[str, str]) -> Point:
    """Read a row.

    Raises
    ------
    UnsupportedError
        If it cannot be served, with the reason.
    SpecError
        If a cell is malformed.
    """
    cells = _Cells(table, index, row)
    device = bundled_device(row["device"])
    if device is None:
        raise UnsupportedError(f"no specification of {row['device']}")
    model = _model(row["model_path"])
    split = row["mode"] != "agg"
    if split and not (cells.stated("prefill_num_workers") and cells.stated("decode_batch_size")):
        raise UnsupportedError("disaggregated without numbers of servers and requests")
    prefill = None
    if split:
        prefill = cells.pool("prefill_", cells.whole("prefill_num_workers"))
        pool = cells.pool("decode_", cells.whole("decode_num_workers"))
        concurrency = cells.whole("decode_batch_size") * pool.servers
    else:
        pool = cells.pool("", 1)
        concurrency = cells.whole("batch_size") * (cells.whole("attention_dp_size"))
    backend = row["backend"]
    weights, experts, activations = _formats(model, device, row)
    habits, budget = _launch(backend, model, device, pool.dp, concurrency, cells.whole("isl"))
    return Point(
        line=table.lines[index],
        model=model,
        device=device,
        backend=f"{backend} split" if split else backend,
        profile=_profile(backend, row["backend_version"], device),
        weights=weights,
        experts=experts,
        activations=activations,
        kv="fp8" if model in _CACHE_FP8 or _CACHE_FP8_ON.get(model) == device else None,
        overrides=habits,
        pool=pool,
        prefill=prefill,
        concurrency=concurrency,
        inputs=cells.whole("isl"),
        outputs=cells.whole("osl"),
        ttft_ms=cells.time_ms("ttft_ms"),
        tpot_ms=cells.time_ms("tpot_ms"),
        budget=budget,
    )


def _profile(backend: str, version: str, device: str) -> str:
    if backend == "trtllm" and (version.startswith(_LATER) or (not version.strip() and device.startswith("b"))):
        return "tensorrt-llm-1.2"
    return _PROFILES.get(backend, "vllm-0.19")


def _model(path: str) -> str:
    name = path.rpartition("/")[2].lower()
    for tail in _TAILS:
        name = name.removesuffix(tail)
    name = _SAME.get(name, name)
    if name not in model_names():
        raise UnsupportedError(_UNMODELLED.get(name, f"model {path} is not bundled"))
    return name


def _formats(model: str, device: str, row: Mapping[str, str]) -> tuple[str | None, str | None, str]:
    """Return weights and those of the experts (None: as published, or as the weights), and activations."""
    blackwell = device.startswith(("b", "gb", "rtx-pro"))
    if model.startswith("gpt-oss"):  # published with 4-bit experts, whose inputs are 8 bits where units take both
        return None, None, "mxfp8" if blackwell else "bf16"
    quantised = row.get("gemm_quant_mode", "").strip() or row["precision"].strip() or "bf16"
    if model.startswith("kimi") and quantised.startswith("int4"):  # as published: 4-bit experts
        return None, None, "bf16"
    weights = _WEIGHTS.get(quantised)
    if weights is None:
        raise UnsupportedError(f"weights in {quantised} of {model} are not known")
    if weights == "nvfp4" and model in ("deepseek-v3", "kimi-k2.5"):  # NVIDIA's checkpoints leave attention in 16 bits
        return "bf16", "nvfp4", "nvfp4"
    return weights, None, weights


def _launch(
    backend: str, model: str, device: str, dp: int, concurrency: int, inputs: int
) -> tuple[tuple[str, ...], int | None]:
    """Return profile overrides and the token budget, as the launch scripts of InferenceMAX set them.

    Prompts are random and prefix caches off in all of them.
    """
    habits = ["profile.serving.prefix_cache=false"]
    budget = None
    if backend == "sglang" and model == "deepseek-v3":
        if device.startswith("b"):
            habits.append(f"profile.serving.look_every={30 if concurrency >= 16 else 10}")  # --scheduler-recv-interval
        budget = 32768  # --chunked-prefill-size
    if backend == "trtllm" and model == "deepseek-v3" and dp > 1:
        habits.append("profile.serving.look_every=60")  # attention_dp_config.timeout_iters: prompts wait for each other
    if backend == "trtllm" and model == "deepseek-v3":
        budget = inputs + 256 + 64  # --max_num_tokens: requests at once, one prompt and a margin
    if backend == "trtllm" and model.startswith("gpt-oss"):
        budget = 20000
    return tuple(habits), budget
