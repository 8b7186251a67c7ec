"""Tree-structured Parzen estimators by Optuna, the extra ``[search]``: few points, each expensive."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.explorers.explorer import Indices
from dse.space.space import Space
from simulator.core.errors import InputError

__all__ = ["Tpe"]

_ROUND = 8  # points asked for before results are seen; more would learn less from each
_TRIES = 20


class Tpe:
    """Rounds of few points; the study lives in memory and is rebuilt from the store on resuming."""

    adaptive = True

    def __init__(self, space: Space, points: int, population: int, seed: int) -> None:
        try:
            import optuna
        except ImportError:
            raise InputError("the explorer tpe needs the extra: pip install 'ridgeline[search]'") from None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space = space
        self.total = points
        self._round = min(population, _ROUND)
        self._optuna = optuna
        self._study = optuna.create_study(
            directions=["minimize"] * len(space.objectives),
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(32, max(points // 4, 8))),
        )
        self._asked: dict[int, None] = {}
        self._open: list[Any] = []

    def ask(self) -> Indices | None:
        """Return the next few points, none of them asked for before."""
        wanted = min(self._round, self.total - len(self._asked))
        chosen: list[int] = []
        self._open = []
        for _ in range(_TRIES * max(wanted, 0)):
            if len(chosen) == wanted:
                break
            trial = self._study.ask()
            codes = [trial.suggest_int(axis.name, 0, len(axis) - 1) for axis in self.space.axes]
            index = int(self.space.indices(np.array([codes], dtype=np.int64))[0])
            if index in self._asked:
                self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
                continue
            self._asked[index] = None
            self._open.append(trial)
            chosen.append(index)
        return np.array(chosen, dtype=np.int64) if chosen else None

    def tell(self, indices: Indices, values: NDArray[np.float64], violation: NDArray[np.float64]) -> None:
        """Tell the study; a refused design is a failed trial."""
        for trial, row, broken in zip(self._open, values, violation, strict=True):
            if not np.isfinite(row).all():
                self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
                continue
            trial.set_constraint("broken", float(broken))
            self._study.tell(trial, row[: len(self.space.objectives)].tolist())
