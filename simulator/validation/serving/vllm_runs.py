"""Real runs of vLLM, request by request: the same arrivals served by a simulated engine on the same GPU.

Rows: LLMServingSim 2 (one run per device and model). The GPU's kernel coefficients are those fitted on its operator
tables (``transfer.yaml``), where it has any; everything else is its specification and the profile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hwmodels.catalog import load_hardware
from hwmodels.spec import SystemSpec, UnitSpec
from simulator.core.errors import RidgelineError
from simulator.serving import layout
from simulator.serving.requests import as_requests
from simulator.serving.serve import Deployment, Load, deploy, serve
from simulator.serving.trace_file import Trace
from simulator.validation.coefficient_fit import with_coefficients
from simulator.validation.models import ModelSource
from simulator.validation.public.devices import bundled_device
from simulator.validation.serving.comparison import Comparison, ServingReplay, cell_number, records
from simulator.validation.transfer import set_values

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from simulator.validation.table import Table

__all__ = ["LIMITS", "compare_runs", "is_run_file", "operator_calibrated"]

#: Largest error of the mean over a run's requests.
LIMITS = {"TTFT": 0.20, "TPOT": 0.05, "E2E": 0.06}

#: Sets of kernel coefficients that were fitted on a device's own operator tables.
_OWN_SETS = {
    "rtx4090": {"gemm": "gemm_4090", "attention": "attention_4090"},
    "rtx-pro-6000": {"gemm": "gemm_pro", "attention": "attention_pro"},
}
_SAME = {"qwen3-30b-a3b-instruct-2507": "qwen3-30b-a3b"}
_NUMBERS = (
    *("tp", "max_num_seqs", "max_num_batched_tokens", "input_tokens", "output_tokens"),
    *("arrival_s", "queued_s", "first_token_s", "last_token_s"),
)
_SHARES = ((50, "p50"), (90, "p90"), (99, "p99"))


def is_run_file(header: Sequence[str]) -> bool:
    """Tell the columns of such a file."""
    return {"device", "model", "max_num_seqs", "first_token_s", "last_token_s"} <= set(header)


def operator_calibrated(name: str) -> SystemSpec:
    """Return a bundled device with the coefficients that its operator tables gave, where it has such."""
    spec = load_hardware(name)
    for section, chosen in _OWN_SETS.get(name, {}).items():
        spec = with_coefficients(spec, section, set_values(chosen))
    return spec


def compare_runs(path: Path, models_dir: Path | None = None) -> ServingReplay:
    """Serve every run of a file again and compare means and percentiles.

    TTFT and E2E count from when the engine took the request up, as in the file.

    Raises
    ------
    SpecError
        If a cell is malformed.
    """
    table, rows = records(path, ("device", "model", *_NUMBERS))
    runs: dict[tuple[str, str], list[int]] = {}
    for index, row in enumerate(rows):
        runs.setdefault((row["device"], row["model"]), []).append(index)
    models = ModelSource(models_dir)
    comparisons: list[Comparison] = []
    unusable: dict[str, int] = {}
    for (device, model), members in runs.items():
        try:
            comparisons += _compare(table, rows, members, device, model, models)
        except RidgelineError as error:
            unusable[f"{model} on {device}: {error}"] = len(members)
    return ServingReplay(
        file=str(path),
        reference="vLLM, measured",
        rows=len(rows),
        comparisons=comparisons,
        unusable=unusable,
        notes=("means are judged, percentiles shown; kernels calibrated on the device's own operator tables",),
    )


def _compare(
    table: Table,
    rows: Sequence[Mapping[str, str]],
    members: Sequence[int],
    device: str,
    model: str,
    models: ModelSource,
) -> list[Comparison]:
    import numpy as np

    def column(name: str) -> NDArray[np.float64]:
        return np.array([cell_number(table, i, rows[i], name) for i in members])

    values = {name: column(name) for name in _NUMBERS}
    order = np.argsort(values["arrival_s"], kind="stable")
    values = {name: cells[order] for name, cells in values.items()}
    place = f"{path_name(table)}:{table.lines[members[0]]}"
    name = model.rpartition("/")[2].lower()
    tp = int(values["tp"][0])
    spec = operator_calibrated(bundled_device(device) or device)
    if tp > spec.devices:
        spec = spec.model_copy(update={"units": (UnitSpec(device=spec.units[0].device, count=tp),)})
    requests = as_requests(
        values["arrival_s"] - values["arrival_s"][0],
        values["input_tokens"].astype(np.int64),
        values["output_tokens"].astype(np.int64),
    )
    source = Trace(requests)
    how = Deployment(
        tp=tp,
        replicas=1,
        sequences=int(values["max_num_seqs"][0]),
        budget=int(values["max_num_batched_tokens"][0]),
    )
    finished: list[NDArray[np.float64]] = []
    deployed = deploy(models.find(_SAME.get(name, name), place), spec, how, source)
    serve(deployed, Load(source=source), on_finished=lambda done: finished.append(done.copy()))
    result = np.concatenate(finished)
    result = result[np.argsort(result[:, layout.R_NUMBER])]
    outputs = np.maximum(values["output_tokens"] - 1.0, 1.0)
    measured = {
        "TTFT": values["first_token_s"] - values["queued_s"],
        "TPOT": (values["last_token_s"] - values["first_token_s"]) / outputs,
        "E2E": values["last_token_s"] - values["queued_s"],
    }
    simulated = {
        "TTFT": result[:, layout.R_FIRST] - result[:, layout.R_QUEUED],
        "TPOT": (result[:, layout.R_LAST] - result[:, layout.R_FIRST]) / outputs,
        "E2E": result[:, layout.R_LAST] - result[:, layout.R_QUEUED],
    }
    run = f"{model} on {device}"
    comparisons = []
    for metric, limit in LIMITS.items():
        real, ours = 1e3 * measured[metric], 1e3 * simulated[metric]
        means = float(real.mean()), float(ours.mean())
        comparisons.append(
            Comparison(run=run, figure=f"{metric} mean", reference=means[0], simulated=means[1], limit=limit)
        )
        comparisons += [
            Comparison(
                run=run,
                figure=f"{metric} {label}",
                reference=float(np.percentile(real, share)),
                simulated=float(np.percentile(ours, share)),
            )
            for share, label in _SHARES
        ]
    return comparisons


def path_name(table: Table) -> str:
    """Return the name of a table's file without its folder."""
    return Path(table.file).name
