"""How much the load of the fullest rank of a mixture of experts varies from one batch of tokens to the next."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from workloads.moe import Routing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["rank_spread"]

_POOL = 4096  # tokens whose experts are drawn
_DRAWS = 1024  # batches of them
_NORMAL_TOKENS = 256  # from here on rows of ranks are taken as normal, with the covariance of the pool


@lru_cache(maxsize=1024)
def rank_spread(tokens: int, experts: int, top_k: int, routing: Routing, ep: int, seed: int = 0) -> float:
    """Return the standard deviation of the rows of the fullest of ``ep`` ranks, over their mean.

    Parameters
    ----------
    tokens, experts, top_k, routing, ep
        As of :func:`workloads.moe.expert_load`, whose ``rows`` is the mean: tokens are routed independently of each
        other, and experts dealt to the ranks round-robin by popularity.

    Notes
    -----
    Sampled: each token of a batch is one of a pool, whose picks are drawn without replacement (Gumbel top-k). Its own
    error is about 3 % (tests/unit/test_moe.py).

    Examples
    --------
    >>> rank_spread(64, 128, 8, Routing(), ep=1)
    0.0
    >>> rank_spread(16, 128, 8, Routing(), 8) > 3.0 * rank_spread(1024, 128, 8, Routing(), 8)
    True
    """
    import numpy as np

    if ep == 1 or routing.kind == "balanced":
        return 0.0
    chances = routing.inclusion(experts, top_k)
    mean = np.array([sum(chances[rank::ep]) for rank in range(ep)])
    pool = _picks(chances, top_k, ep)
    random = np.random.default_rng(seed)
    if tokens < _NORMAL_TOKENS:
        chosen = random.integers(0, _POOL, (_DRAWS, tokens))
        rows = pool[chosen].sum(axis=1) + tokens * (mean - pool.mean(axis=0))
    else:
        covariance = tokens * np.cov(pool, rowvar=False)
        rows = random.multivariate_normal(tokens * mean, covariance, _DRAWS, method="svd")
    fullest = rows.max(axis=1)
    return float(fullest.std() / fullest.mean())


@lru_cache(maxsize=16)
def _picks(chances: tuple[float, ...], top_k: int, ep: int) -> NDArray[np.float64]:
    """Return how many experts of each rank each token of the pool picks.

    Weights of drawing without replacement follow from the chances of being picked (Rosen 1972): w = -log(1 - p).
    """
    import numpy as np

    with np.errstate(divide="ignore"):
        weights = np.minimum(-np.log1p(-np.array(chances)), 1e300)
        keys = np.log(weights) + np.random.default_rng(0).gumbel(size=(_POOL, len(chances)))
    chosen = np.argpartition(-keys, top_k - 1, axis=1)[:, :top_k]
    picks = np.zeros((_POOL, ep))
    np.add.at(picks, (np.arange(_POOL)[:, None], chosen % ep), 1.0)
    return picks
