"""Sweeps: engines, store, resuming after whatever happened, explorers that learn, and what is said of the result."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dse.store
import dse.sweep
from dse.evaluate import Shard, evaluate_shard, judged
from dse.explain import explain
from dse.findings import front_document, rejections, space_text, sweep_text
from dse.metrics import METRICS
from dse.space.file import load_space
from dse.store import Store
from dse.sweep import Plan, Progress, WorkerLostError, run_sweep
from simulator.core.errors import InputError

FILE = """\
schema: ridgeline/space/v1
name: tiny
base:
  model: opt-125m
  hardware: h200
  run: {input_tokens: 32, output_tokens: 3}
axes:
  hbm.bandwidth: {from: 2 TB/s, to: 4 TB/s, steps: 4}
  run.batch: [1, 4, 16]
  run.tp: [1, 5]
objectives: {tpot_s: min, tokens_per_s: max}
constraints:
  power: {metric: power_per_device_W, at_most: 400 W}
search: {shard: 4}
"""


def plan_of(folder: Path, text: str = FILE, **changes: object) -> Plan:
    source = folder.with_suffix(".yaml")
    source.write_text(text, encoding="utf-8")
    space = load_space(source)
    return Plan(space=space, source=text, folder=folder, search=space.search, **changes)  # type: ignore[arg-type]


def stored(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "shards").iterdir())}


def invented(space: object, indices: np.ndarray, level: str, tier: str, keep: str) -> Shard:
    """Evaluate by arithmetic: the machinery around it is what is under test."""
    numbers = space.numbers(space.codes(indices))  # type: ignore[attr-defined]
    batch, bandwidth = numbers["run.batch"], numbers["hbm.bandwidth"]
    metrics = {name: np.ones(len(indices)) for name in METRICS}
    metrics |= {"tpot_s": batch / bandwidth, "tokens_per_s": batch * np.sqrt(bandwidth), "memory_fill": batch / 20}
    metrics["power_per_device_W"] = bandwidth / 1e10
    for name, expression in space.metrics.items():  # type: ignore[attr-defined]
        metrics[name] = np.broadcast_to(expression({**numbers, **metrics}), (len(indices),)).copy()
    shard = judged(space, indices, metrics, {})  # type: ignore[arg-type]
    return shard if keep == "all" else shard.take(shard.front if keep == "front" else shard.feasible)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dse.sweep, "evaluate_shard", invented)


def test_a_sweep_and_what_it_says(tmp_path: Path) -> None:
    seen: list[Progress] = []
    plan = plan_of(tmp_path / "out")
    outcome = run_sweep(plan, seen.append)
    assert outcome.tally.points == 24
    assert sum(outcome.tally.refused.values()) == 12  # five does not divide the heads
    assert outcome.tally.feasible == 24 - 12 - outcome.tally.rejected["power"]
    assert seen[-1].done == 24
    text = sweep_text(outcome)
    assert "24 points" in text
    assert "refused 12: " in text
    document = front_document(outcome)
    (front,) = document["fronts"]
    assert {"best tpot_s", "best tokens_per_s"} <= {highlight["why"] for highlight in front["highlights"]}
    assert front["hypervolume"] > 0
    assert json.dumps(document, allow_nan=False)
    assert "hbm.bandwidth" in space_text(plan.space, "all")
    assert "24 points = 3 x 2 x 4" in space_text(plan.space, "all")
    # A row of the sweep is what simulate says of it.
    index = int(outcome.front.indices[0])
    found = explain(tmp_path / "out", str(index))
    assert found.report.tpot_s == outcome.front.metrics["tpot_s"][0]
    with pytest.raises(InputError, match="from 0 to 23"):
        explain(tmp_path / "out", "24")
    with pytest.raises(InputError, match="no design that can be simulated"):
        explain(tmp_path / "out", "4")


def test_when_nothing_is_feasible_the_closest_is_named(tmp_path: Path, quick: None) -> None:
    outcome = run_sweep(plan_of(tmp_path / "out", FILE.replace("at_most: 400 W", "at_most: 160 W")))
    assert outcome.tally.feasible == 0
    said = "\n".join(rejections(outcome.space, outcome.tally))
    assert "closest comes point 0: power is 200 W against power_per_device_W at most 160 W (25.0% past it)" in said
    assert "no point at all keeps power" in said
    assert outcome.tally.rejected == {"memory": 0, "power": 24}


@pytest.mark.parametrize("keep", ["all", "feasible", "front"])
def test_the_front_is_the_same_whatever_is_kept(keep: str, tmp_path: Path, quick: None) -> None:
    everything = run_sweep(plan_of(tmp_path / "everything"))
    plan = plan_of(tmp_path / keep)
    outcome = run_sweep(replace(plan, search=replace(plan.search, keep=keep)))
    assert outcome.front.indices.tolist() == everything.front.indices.tolist()
    assert outcome.tally == everything.tally


def test_conditions_have_fronts_of_their_own(tmp_path: Path, quick: None) -> None:
    outcome = run_sweep(plan_of(tmp_path / "out", FILE.replace("objectives:", "for_each: [run.batch]\nobjectives:")))
    codes = outcome.space.codes(outcome.front.indices)
    for code, batch in enumerate((1, 4, 16)):
        alone = FILE.replace("[1, 4, 16]", f"[{batch}]")
        single = run_sweep(plan_of(tmp_path / f"batch{batch}", alone))
        mine = outcome.front.metrics["tpot_s"][codes[:, 0] == code]
        assert sorted(mine) == sorted(single.front.metrics["tpot_s"])
    text = sweep_text(outcome)
    assert "for run.batch 4:" in text
    assert [front["for"] for front in front_document(outcome)["fronts"]] == [f"run.batch {b}" for b in (1, 4, 16)]


def test_killed_at_any_moment(tmp_path: Path, quick: None) -> None:
    text = FILE.replace("steps: 4}", "steps: 150}")
    undisturbed = tmp_path / "undisturbed"
    run_sweep(plan_of(undisturbed, text))
    generator = random.Random(6)
    context = multiprocessing.get_context("fork")
    folder = tmp_path / "killed"
    for kill in range(60):
        if kill >= 20 and (folder / "shards" / "00000000.parquet").exists():
            break
        process = context.Process(target=run_sweep, args=(plan_of(folder, text, resume=True),))
        process.start()
        time.sleep(generator.uniform(0.002, 0.04) * max(kill / 20, 1))  # a busy machine needs longer to begin
        process.kill()
        process.join()
    before = {name for name in stored(folder) if not name.endswith(".tmp")} if (folder / "shards").exists() else set()
    written: list[int] = []
    original = Store.write

    def noted(self: Store, number: int, *rest: object) -> None:
        written.append(number)
        original(self, number, *rest)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "write", noted)
        outcome = run_sweep(plan_of(folder, text, resume=True))
    assert stored(folder) == stored(undisturbed)
    assert len(written) == len(stored(folder)) - len(before)
    assert outcome.reused == 4 * len(before)
    assert (folder / "front.parquet").read_bytes() == (undisturbed / "front.parquet").read_bytes()


def test_disk_full(tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    original = dse.store._write_parquet

    def full(path: Path, table: object) -> None:
        if path.name == "00000002.parquet":
            path.with_name(path.name + ".tmp").write_bytes(b"half")
            raise_full(path)
        original(path, table)

    def raise_full(path: Path) -> None:
        def write(_: Path) -> None:
            raise OSError(28, os.strerror(28), str(path))

        dse.store._replace(path, write)

    monkeypatch.setattr(dse.store, "_write_parquet", full)
    with pytest.raises(InputError, match="No space left on device; make room and resume with --resume"):
        run_sweep(plan_of(tmp_path / "out"))
    monkeypatch.setattr(dse.store, "_write_parquet", original)
    assert sorted(stored(tmp_path / "out")) == ["00000000.parquet", "00000001.parquet"]
    run_sweep(plan_of(tmp_path / "out", resume=True))
    run_sweep(plan_of(tmp_path / "other"))
    assert stored(tmp_path / "out") == stored(tmp_path / "other")


def test_folders_of_other_sweeps_are_refused(tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    run_sweep(plan_of(folder))
    with pytest.raises(InputError, match="holds the sweep 'tiny': go on with it by --resume, or name another folder"):
        run_sweep(plan_of(folder))
    edited = FILE.replace("[1, 4, 16]", "[1, 4, 8]")
    with pytest.raises(InputError, match="cannot be resumed: the sweep file, or a specification it names, has changed"):
        run_sweep(plan_of(folder, edited, resume=True))
    with pytest.raises(InputError, match="it was run at another level"):
        run_sweep(plan_of(folder, resume=True, level="roofline"))
    monkeypatch.setattr(dse.sweep, "model_version", lambda: "another")
    with pytest.raises(InputError, match="the model has changed"):
        run_sweep(plan_of(folder, resume=True))
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="holds something else"):
        run_sweep(plan_of(strange))


def test_two_runs_at_once_are_refused(tmp_path: Path, quick: None) -> None:
    plan = plan_of(tmp_path / "out").settled()
    store = Store(plan.folder, plan.space)
    with (
        store.locked(plan.identity(), {}, plan.source, False),
        pytest.raises(InputError, match="another sweep is running"),
    ):
        run_sweep(replace(plan, resume=True))


def test_a_damaged_shard_is_named(tmp_path: Path, quick: None) -> None:
    folder = tmp_path / "out"
    run_sweep(plan_of(folder))
    (folder / "shards" / "00000001.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(InputError, match=r"00000001.parquet is damaged .* delete it and resume"):
        run_sweep(plan_of(folder, resume=True))


@pytest.mark.slow
def test_processes_and_a_lost_worker(tmp_path: Path) -> None:
    text = FILE.replace("steps: 4}", "steps: 8}")
    serial = tmp_path / "serial"
    run_sweep(plan_of(serial, text))

    def lose(progress: Progress) -> None:
        for worker in multiprocessing.active_children()[:1]:  # none is left where both are already lost
            worker.kill()

    folder = tmp_path / "processes"
    with pytest.raises(WorkerLostError, match="go on with --resume"):
        run_sweep(plan_of(folder, text, engine="processes", workers=2), lose)
    before = len(stored(folder))
    assert 0 < before < 12
    outcome = run_sweep(plan_of(folder, text, engine="processes", workers=2, resume=True))
    assert outcome.reused == 4 * before
    assert stored(folder) == stored(serial)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the libraries below Dask
def test_a_dask_cluster_of_two(tmp_path: Path) -> None:
    run_sweep(plan_of(tmp_path / "serial"))
    run_sweep(plan_of(tmp_path / "dask", engine="dask", workers=2))
    assert stored(tmp_path / "dask") == stored(tmp_path / "serial")


@pytest.mark.parametrize("explorer", ["grid", "random", "sobol", "lhs", "nsga2", "tpe"])
def test_explorers_resume_and_repeat(explorer: str, tmp_path: Path, quick: None) -> None:
    text = FILE.replace("steps: 4}", "steps: 50}").replace(
        "search: {shard: 4}", f"search: {{shard: 4, explorer: {explorer}, points: 40, population: 8, seed: 3}}"
    )
    whole = run_sweep(plan_of(tmp_path / "whole", text))
    assert 20 <= whole.tally.points <= 40
    indices = np.concatenate([Store(tmp_path / "whole", whole.space).read(n).indices for n in range(5)])
    assert len(set(indices.tolist())) == len(indices)

    def stop(progress: Progress) -> None:
        if progress.done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(plan_of(tmp_path / "parts", text), stop)
    assert len(stored(tmp_path / "parts")) < len(stored(tmp_path / "whole"))
    run_sweep(plan_of(tmp_path / "parts", text, resume=True))
    assert stored(tmp_path / "parts") == stored(tmp_path / "whole")


def test_interrupts_reach_only_the_parent() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        dse.engines._leave_interrupts()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_own_metrics_are_worked_out_from_those_of_reports(tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "out", FILE.replace("objectives:", "metrics: {edp: energy_J * latency_s}\nobjectives:"))
    shard = evaluate_shard(plan.space, np.array([0, 4]))
    assert shard.metrics["edp"][0] == shard.metrics["energy_J"][0] * shard.metrics["latency_s"][0]
    assert np.isnan(shard.metrics["edp"][1])
    assert not shard.feasible[1]


def test_paths_in_a_file_are_from_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text("base: h100\nname: Mine\nhbm: {bandwidth: 5 TB/s}\n", encoding="utf-8")
    text = FILE.replace("hardware: h200", "hardware: ./mine.yaml").replace(
        "run.tp: [1, 5]", "hardware: [./mine.yaml, h200]"
    )
    run_sweep(plan_of(tmp_path / "out", text))
    monkeypatch.chdir("/")
    assert explain(tmp_path / "out", "0").report.system.name == "Mine"
    assert run_sweep(plan_of(tmp_path / "out", text, resume=True)).reused == 24
    (tmp_path / "mine.yaml").write_text("base: h100\nname: Mine\nhbm: {bandwidth: 6 TB/s}\n", encoding="utf-8")
    with pytest.raises(InputError, match="or a specification it names, has changed"):
        run_sweep(plan_of(tmp_path / "out", text, resume=True))
