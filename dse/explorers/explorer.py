"""The protocol of explorers."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Explorer", "Indices"]

Indices = NDArray[np.int64]


class Explorer(Protocol):
    """Chooses points round by round; the same seed and results lead to the same points."""

    @property
    def adaptive(self) -> bool:
        """Whether a round depends on the results of those before."""

    @property
    def total(self) -> int:
        """Points of all rounds together, at most."""

    def ask(self) -> Indices | None:
        """Return the indices of the next round; None when there is none left."""

    def tell(self, indices: Indices, values: NDArray[np.float64], violation: NDArray[np.float64]) -> None:
        """Take the results of a round.

        Parameters
        ----------
        indices : (points,) int
        values : (points, objectives) float
            To be made small; NaN where a design was refused.
        violation : (points,) float
            By how much constraints are broken, added up; 0 where a design is feasible, infinite where it was refused.
        """
