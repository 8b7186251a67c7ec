"""Run a sweep: explorer, engine and store put together, resumable at any moment, the same for any number of workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.engines import Engine, open_engine
from dse.evaluate import Shard, Tally, comparable, evaluate_shard, judged, metric_names
from dse.explorers import Explorer, open_explorer
from dse.explorers.samplers import Listed
from dse.metrics import shown_metric
from dse.pareto import Front
from dse.space.identity import model_version, space_hash
from dse.space.space import Objective, Search, Space
from dse.store import Store
from simulator.core.errors import InputError, RidgelineError

__all__ = ["Outcome", "Plan", "Progress", "WorkerLostError", "run_sweep"]

#: Points of a shard by tier: a second or so of work, so that little is lost when a run ends; the slowest go one by one.
_SHARD = {"points": 16, "compiled": 1 << 18}
_FEW = 2000  # points that are simulated one by one sooner than a compiled model is loaded and made


class WorkerLostError(RidgelineError):
    """A process that computed a shard ended from outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run and where to keep it."""

    space: Space
    source: str  # text of the sweep file
    folder: Path
    search: Search
    level: str | None = None
    engine: str = "serial"
    workers: int | None = None
    address: str | None = None
    resume: bool = False
    run: Mapping[str, Any] = field(default_factory=dict)  # provenance of this run
    chosen: tuple[int, ...] | None = None  # points to look at, in place of what an explorer chooses

    def identity(self) -> dict[str, Any]:
        """Return what the shards depend on."""
        search = asdict(self.search)
        keep = search.pop("keep")
        shard = search.pop("shard")
        return {
            "name": self.space.name,
            "file": str(Path(self.space.file).resolve()),
            "space": space_hash(self.space),
            "model": model_version(),
            "level": self.level,
            "explorer": search if self.chosen is None else {"chosen": list(self.chosen)},
            "shard": shard,
            "keep": keep,
        }

    @property
    def tier(self) -> str:
        """The tier, once it is settled."""
        assert self.search.tier is not None
        return self.search.tier

    def settled(self) -> Plan:
        """Return the plan with what was left open filled in."""
        from dse.compiled import is_compilable

        search = self.search
        adaptive = search.explorer in ("nsga2", "tpe")
        level = self.level or self.space.run.get("level", "analytic")
        points = min(search.points or self.space.size, self.space.size)
        tier = search.tier or ("compiled" if points > _FEW and is_compilable(self.space, level) else "points")
        if tier == "compiled" and not is_compilable(self.space, level):
            raise InputError("the compiled tier knows GPUs of one kind at level analytic; leave search.tier out")
        # Adaptive explorers learn again from what is stored on resuming: all of it stays.
        keep = "all" if adaptive else search.keep
        slow = self.space.serve is not None or level == "cycle"
        settled = replace(search, shard=search.shard or (1 if slow else _SHARD[tier]), keep=keep, tier=tier)
        return replace(self, search=settled, level=level)


@dataclass(slots=True)
class Progress:
    """How far a sweep is."""

    total: int
    started_s: float
    objectives: tuple[Objective, ...]
    front: Front
    done: int = 0
    reused: int = 0
    tally: Tally = field(default_factory=Tally.empty)

    @property
    def best(self) -> str:
        """Say the best value so far of each objective."""
        if not len(self.front):
            return "nothing feasible yet"
        best = self.front.values.min(axis=0)[: len(self.objectives)]
        return ", ".join(
            f"{o.metric} {shown_metric(o.metric, float(-v if o.maximise else v))}"
            for o, v in zip(self.objectives, best, strict=True)
        )

    @property
    def rate(self) -> float:
        """Points computed per second so far."""
        return (self.done - self.reused) / max(time.monotonic() - self.started_s, 1e-9)

    @property
    def left_s(self) -> float | None:
        """Time left at that rate; None before there is one."""
        return (self.total - self.done) / self.rate if self.done > self.reused else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished sweep."""

    space: Space
    front: Shard
    tally: Tally
    reused: int
    seconds: float


def run_sweep(plan: Plan, report: Callable[[Progress], None] = lambda progress: None) -> Outcome:
    """Run or resume a sweep.

    Parameters
    ----------
    plan : Plan
    report : callable
        Called after every shard.

    Raises
    ------
    InputError
        If the folder cannot be used or written.
    WorkerLostError
        If a worker process was ended from outside; what is stored stays.
    """
    plan = plan.settled()
    assert plan.search.shard is not None
    if plan.chosen is None:
        explorer = open_explorer(plan.space, plan.search, plan.search.shard)
    else:
        explorer = Listed(np.array(plan.chosen, dtype=np.int64), plan.search.shard)
    store = Store(plan.folder, plan.space)
    started = time.monotonic()
    with store.locked(plan.identity(), plan.run, plan.source, plan.resume):
        objectives = plan.space.objectives
        progress = Progress(
            explorer.total, started, objectives, Front(len(objectives) + (2 if plan.space.for_each else 0))
        )
        with open_engine(plan.engine, plan.workers, plan.address) as engine:
            runner = _Runner(plan, store, engine, progress, report)
            try:
                runner.run(explorer)
            except BrokenProcessPool as error:
                raise WorkerLostError(
                    f"a worker process was ended from outside (out of memory?) after {progress.done} points; "
                    "they are stored: go on with --resume, with fewer --workers or a smaller search.shard"
                ) from error
        front = runner.front()
        store.write_front(front)
        return Outcome(plan.space, front, progress.tally, progress.reused, time.monotonic() - started)


@dataclass(slots=True)
class _Runner:
    plan: Plan
    store: Store
    engine: Engine
    progress: Progress
    report: Callable[[Progress], None]
    pending: dict[Future[Shard], tuple[int, NDArray[np.int64]]] = field(default_factory=dict)
    results: dict[int, Shard] = field(default_factory=dict)  # of the round, where the explorer learns from them
    fronts: dict[int, int] = field(default_factory=dict)  # index on the front -> its shard

    def run(self, explorer: Explorer) -> None:
        """Go through the rounds of an explorer."""
        number = 0
        while (indices := explorer.ask()) is not None:
            for part in self._parts(indices):
                self._start(number, part, explorer.adaptive)
                number += 1
            if explorer.adaptive:
                self._finish(0, keep_results=True)
                shards = [self.results[n] for n in sorted(self.results)]
                values = np.concatenate([comparable(self.plan.space, s.indices, s.metrics) for s in shards])
                explorer.tell(indices, values, np.concatenate([_violation(shard) for shard in shards]))
                self.results.clear()
        self._finish(0, keep_results=False)

    def _parts(self, indices: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        size = self.plan.search.shard
        assert size is not None
        for start in range(0, len(indices), size):
            yield indices[start : start + size]

    def _start(self, number: int, indices: NDArray[np.int64], keep_results: bool) -> None:
        """Take a shard from the store, or hand it to the engine."""
        if self.store.has(number):
            self._done(number, self.store.read(number, indices), keep_results, stored=True)
            return
        self._finish(self.engine.width - 1, keep_results)
        plan = self.plan
        task = self.engine.executor.submit(
            evaluate_shard, plan.space, indices, str(plan.level), plan.tier, plan.search.keep
        )
        self.pending[task] = (number, indices)

    def _finish(self, most: int, keep_results: bool) -> None:
        """Wait until at most ``most`` shards are being computed."""
        while len(self.pending) > most:
            finished, _ = wait(self.pending, return_when=FIRST_COMPLETED)
            for task in finished:
                number, indices = self.pending.pop(task)
                shard = task.result()
                self.store.write(number, shard, indices)
                self._done(number, shard, keep_results, stored=False)

    def _done(self, number: int, shard: Shard, keep_results: bool, stored: bool) -> None:
        progress = self.progress
        progress.tally = progress.tally + shard.tally
        progress.done += shard.tally.points
        progress.reused += shard.tally.points if stored else 0
        if keep_results:
            self.results[number] = shard
        best = shard.take(shard.front)
        progress.front.add(best.indices, comparable(self.plan.space, best.indices, best.metrics))
        self.fronts |= dict.fromkeys(best.indices.tolist(), number)
        self.fronts = {index: self.fronts[index] for index in progress.front.indices.tolist()}
        self.report(progress)

    def front(self) -> Shard:
        """Return the points of the final front, read back from their shards."""
        wanted = self.progress.front.indices
        parts = []
        for number in sorted(set(self.fronts.values())):
            shard = self.store.read(number)
            parts.append(shard.take(np.isin(shard.indices, wanted)))
        return _joined(parts, self.progress.tally, self.plan.space)


def _violation(shard: Shard) -> NDArray[np.float64]:
    """Add up by how much constraints are broken; infinite where a design was refused."""
    table = np.stack(list(shard.margins.values()), axis=1)
    broken: NDArray[np.float64] = np.where(np.isnan(table), np.inf, np.maximum(-table, 0.0)).sum(axis=1)
    return broken


def _joined(parts: list[Shard], tally: Tally, space: Space) -> Shard:
    """Put shards together, in order of their indices."""
    if not parts:
        nothing = {name: np.empty(0) for name in metric_names(space)}
        return replace(judged(space, np.empty(0, dtype=np.int64), nothing, {}), tally=tally)
    indices = np.concatenate([part.indices for part in parts])
    order = np.argsort(indices, kind="stable")
    return Shard(
        indices[order],
        {name: np.concatenate([part.metrics[name] for part in parts])[order] for name in parts[0].metrics},
        {name: np.concatenate([part.margins[name] for part in parts])[order] for name in parts[0].margins},
        np.concatenate([part.feasible for part in parts])[order],
        np.concatenate([part.front for part in parts])[order],
        tally,
    )
