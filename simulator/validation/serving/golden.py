"""Per-request output of other serving simulators beside this one's, on the same arrivals and settings.

Neither is a measurement: differences say how two models differ. Vidur's scenarios run on this project's A100; those of
Splitwise-sim on the step times that Splitwise measured, which are in its own performance model, where they are found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.core.errors import DataMissingError
from simulator.serving import layout
from simulator.serving.cluster import Cluster, Pool, Server
from simulator.serving.policy import POLICIES
from simulator.serving.requests import as_requests
from simulator.serving.run import Prepared, prepare, run_cluster
from simulator.serving.serve import Deployment, deploy
from simulator.serving.trace_file import Trace
from simulator.validation.serving.comparison import Comparison, ServingReplay, cell_number, records
from simulator.validation.serving.splitwise_cost import splitwise_cost

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from simulator.validation.table import Table

__all__ = ["compare_golden", "is_golden_file"]

_NUMBERS = ("arrival_s", "prefill_tokens", "decode_tokens", "ttft_s", "tpot_s", "e2e_s")


@dataclass(frozen=True, slots=True)
class _Scenario:
    """Settings of one scenario, from the README of the golden outputs."""

    model: str
    hardware: str
    tp: int
    pp: int = 1
    policy: str = "sarathi"
    budget: int | None = None
    measured: str = ""  # Splitwise's own step times of this machine


_SCENARIOS = {
    "V1": _Scenario("llama-2-7b", "a100", 1),
    "V2": _Scenario("llama-2-7b", "a100", 1, policy="prefill-first", budget=4096),
    "V3": _Scenario("llama-2-7b", "a100", 1),
    "V4": _Scenario("llama-2-7b", "a100", 1),
    "V5": _Scenario("llama-2-70b", "a100x8", 2, pp=2),
    "S1": _Scenario("llama-2-70b", "h100x8", 8, policy="orca", measured="h100-80gb"),
    "S2": _Scenario("llama-2-70b", "a100x8", 8, policy="orca", measured="a100-80gb"),
}


def is_golden_file(header: Sequence[str]) -> bool:
    """Tell the columns of such a file."""
    return {"scenario", *_NUMBERS} <= set(header)


def compare_golden(path: Path) -> ServingReplay:
    """Serve every scenario of a file and compare percentiles.

    Raises
    ------
    SpecError
        If a cell is malformed.
    """
    table, rows = records(path, ("scenario", *_NUMBERS))
    members: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        members.setdefault(row["scenario"], []).append(index)
    comparisons: list[Comparison] = []
    unusable: dict[str, int] = {}
    for name, indices in members.items():
        scenario = _SCENARIOS.get(name)
        if scenario is None:
            unusable[f"settings of scenario {name!r} are not known"] = len(indices)
            continue
        try:
            comparisons += _compare(name, scenario, table, rows, indices, path)
        except DataMissingError as error:
            unusable[f"{name}: {error}"] = len(indices)
    return ServingReplay(
        file=str(path),
        reference="another simulator's output",
        rows=len(rows),
        comparisons=comparisons,
        unusable=unusable,
        notes=("shown side by side: neither is a measurement",),
    )


def _compare(
    name: str,
    scenario: _Scenario,
    table: Table,
    rows: Sequence[Mapping[str, str]],
    indices: Sequence[int],
    path: Path,
) -> list[Comparison]:
    import numpy as np

    def column(field: str) -> NDArray[np.float64]:
        return np.array([cell_number(table, i, rows[i], field) for i in indices])

    values = {field: column(field) for field in _NUMBERS}
    order = np.argsort(values["arrival_s"], kind="stable")
    values = {field: cells[order] for field, cells in values.items()}
    source = Trace(
        as_requests(
            values["arrival_s"],
            values["prefill_tokens"].astype(np.int64),
            np.maximum(values["decode_tokens"], 1).astype(np.int64),
        )
    )
    finished: list[NDArray[np.float64]] = []
    run_cluster(_prepared(scenario, source, path), source, on_finished=lambda done: finished.append(done.copy()))
    result = np.concatenate(finished)
    ttft_s = result[:, layout.R_FIRST] - result[:, layout.R_ARRIVED]
    gaps = result[:, layout.R_OUTPUT] - 1.0
    more = gaps > 0.0
    simulated = {
        "TTFT": ttft_s,
        "TPOT": (result[:, layout.R_LAST] - result[:, layout.R_FIRST])[more] / gaps[more],
        "E2E": result[:, layout.R_LAST] - result[:, layout.R_ARRIVED],
    }
    golden = {"TTFT": values["ttft_s"], "TPOT": values["tpot_s"], "E2E": values["e2e_s"]}
    return [
        Comparison(
            run=f"{name} {scenario.model} on {scenario.hardware}, {scenario.policy}",
            figure=f"{metric} p{share}",
            reference=1e3 * float(np.percentile(golden[metric], share)),
            simulated=1e3 * float(np.percentile(simulated[metric], share)),
        )
        for metric in golden
        for share in (50, 90, 99)
    ]


def _prepared(scenario: _Scenario, source: Trace, path: Path) -> Prepared:
    """Return the cluster of a scenario."""
    if scenario.measured:
        cost = splitwise_cost(scenario.model, scenario.measured, scenario.tp, path.resolve().parent, by_tokens=True)
        server = Server(
            name=scenario.measured,
            cost=cost,
            blocks=1 << 20,
            sequences=512,
            policy=replace(POLICIES["orca"], reserve=False),
        )
        return prepare(Cluster(pools=[Pool(server)]), source.longest_tokens)
    how = Deployment(
        tp=scenario.tp,
        pp=scenario.pp,
        replicas=1,
        policy=scenario.policy,
        budget=scenario.budget,
        sequences=128,
        profile="vllm",  # which has no host time: Vidur's was off
    )
    return deploy(scenario.model, scenario.hardware, how, source).prepared
