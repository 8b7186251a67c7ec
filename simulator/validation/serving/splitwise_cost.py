"""Step times that Splitwise measured, as a step cost.

Source: Patel et al., "Splitwise", ISCA 2024, and its simulator's table ``perf_model.csv``: time of a prompt by its
tokens, time of a token by the batch, medians of repeated runs; power as a share of the GPU's limit.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from simulator.core.data import resolve_data
from simulator.core.errors import InputError
from simulator.serving.surface import StepCost
from workloads.step import Step

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MIXED", "splitwise_cost"]

_FILE = "splitwise_perf.csv"
_MODELS = {"llama-2-70b": "llama2-70b", "bloom-176b": "bloom-176b"}
_LIMIT_W = {"a100-80gb": 400.0, "h100-80gb": 700.0, "h100-80gb-pcap": 700.0}  # datasheets: SXM boards

#: A step of prompts and generating sequences takes a prompt step's time and a tenth (Splitwise-sim's model).
MIXED = 1.1


def splitwise_cost(
    model: str, hardware: str, tp: int, data_dir: Path | None = None, *, by_tokens: bool = False
) -> StepCost:
    """Return the cost of a step on one machine by Splitwise's measurements, linear between them.

    A token's time was measured by the sequences in the batch and by the prompts before, and is looked up by sequences.

    Parameters
    ----------
    model
        ``llama-2-70b`` or ``bloom-176b``.
    hardware
        As the table names it: ``h100-80gb``, ``a100-80gb``, ``h100-80gb-pcap``.
    by_tokens
        As Splitwise-sim looks them up (``performance_model.py``): token times by the tokens of all *prompts* measured
        before, at the number of sequences that generate, so that 64 of them take as long as one; these also count among
        the tokens of a mixed step.

    Raises
    ------
    DataMissingError
        If the table is nowhere.
    InputError
        If it has no such rows.
    """
    import numpy as np
    import pandas as pd

    beside = [folder for folder in (data_dir, data_dir and data_dir.parent / "measured") if folder is not None]
    found = next((folder / _FILE for folder in beside if (folder / _FILE).is_file()), None)
    table = pd.read_csv(found if found is not None else resolve_data(_FILE, data_dir))
    rows = table[
        (table["model"] == _MODELS.get(model, model))
        & (table["hardware"] == hardware)
        & (table["tensor_parallel"] == tp)
        & table["plausible"]
    ]
    if rows.empty:
        raise InputError(f"{_FILE} has no rows of {model} on {hardware} with tensor parallelism {tp}")
    limit_W = _LIMIT_W[hardware] * tp

    def curve(by: str, column: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        known = rows[rows[column].notna()].assign(tokens=rows["prompt_size"] * rows["batch_size"])
        medians = known.groupby(by)[column].median().sort_index()
        return medians.index.to_numpy(dtype=np.float64), medians.to_numpy(dtype=np.float64)

    prompt = curve("tokens", "prompt_time_ms")
    token = curve("tokens" if by_tokens else "batch_size", "token_time_ms")
    peak, average = curve("tokens", "peak_power_frac"), curve("batch_size", "average_power_frac")

    def cost(step: Step) -> tuple[float, float]:
        prompt_tokens = sum(g.tokens for g in step.groups if g.new > 1)
        generating = sum(g.count for g in step.groups if g.new == 1)
        if prompt_tokens == 0:
            time_s = 1e-3 * _linear(token, float(generating))
            return time_s, time_s * limit_W * min(_linear(average, float(generating)), 1.0)
        tokens = prompt_tokens + (generating if by_tokens else 0)
        time_s = 1e-3 * _linear(prompt, float(tokens)) * (MIXED if generating else 1.0)
        return time_s, time_s * limit_W * min(_linear(peak, float(prompt_tokens)), 1.0)

    return cost


def _linear(curve: tuple[NDArray[np.float64], NDArray[np.float64]], at: float) -> float:
    """Return a curve between its points; beyond the last on the line of the last two, before the first level.

    A curve without points is 1: where power was not recorded, the limit is taken, as Splitwise-sim does.
    """
    import numpy as np

    x, y = curve
    if x.size == 0:
        return 1.0
    if at > x[-1] and x.size > 1:
        return float(max(y[-1] + (y[-1] - y[-2]) / (x[-1] - x[-2]) * (at - x[-1]), y[-1]))
    return float(np.interp(at, x, y))
