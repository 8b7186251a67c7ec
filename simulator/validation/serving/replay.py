"""Which comparison a file asks for, told from its columns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from simulator.core.errors import InputError, SpecError, SpecProblem
from simulator.validation.serving.comparison import ServingReplay
from simulator.validation.serving.golden import compare_golden, is_golden_file
from simulator.validation.serving.point_table import is_point_file
from simulator.validation.serving.points import compare_points
from simulator.validation.serving.vllm_runs import compare_runs, is_run_file
from simulator.validation.table import read_table

__all__ = ["replay_serving"]


def replay_serving(
    path: Path,
    models_dir: Path | None = None,
    most: int | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> ServingReplay:
    """Serve what a file describes and compare.

    Parameters
    ----------
    path
        Requests of vLLM runs, serving points, or per-request output of Vidur or Splitwise-sim.
    models_dir
        Folder of further models, for requests of servers.
    most
        Points to take of each family.
    progress
        Told what is being served.

    Raises
    ------
    SpecError
        If the file is none of these, or malformed.
    """
    if most is not None and most < 1:
        raise InputError(f"--most must be at least 1, got {most}")
    header = read_table(path).header
    if models_dir is not None and not is_run_file(header):
        raise InputError(
            f"--models {models_dir}: only requests of servers name models of yours; leave it out for {path}"
        )
    if most is not None and not is_point_file(header):
        raise InputError(f"--most {most}: only serving points are left out; every row of {path} is needed")
    if is_run_file(header):
        return compare_runs(path, models_dir)
    if is_point_file(header):
        return compare_points(path, most, progress)
    if is_golden_file(header):
        return compare_golden(path)
    raise SpecError(
        [
            SpecProblem(
                str(path),
                1,
                1,
                "",
                "neither requests of servers (device, model, max_num_seqs, first_token_s, ...), nor serving points "
                "(model_path, isl, osl, ...), nor another simulator's requests (scenario, ttft_s, tpot_s, ...)",
            )
        ]
    )
