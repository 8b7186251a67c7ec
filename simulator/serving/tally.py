"""What is added up over the requests of a run as they finish."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.core.errors import InputError
from simulator.core.units import parse_quantity
from simulator.serving import layout
from simulator.serving.quantiles import Quantiles

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["METRICS", "REASONS", "Slo", "Tally", "metrics_of", "parse_slo"]

#: Metrics of a request, seconds each.
METRICS = ("ttft", "tpot", "e2e", "queue")

#: Why requests were turned away, by their status.
REASONS = {
    layout.TOO_LONG_FOR_MEMORY: "longer than the cache of any server for prompts, or for generation",
    layout.TOO_LONG_FOR_MODEL: "longer than the model's context",
    layout.QUEUE_FULL: "queue full",
}


@dataclass(frozen=True, slots=True)
class Slo:
    """Service level objectives of one request, seconds; and the share of requests that must meet them."""

    ttft_s: float = float("inf")
    tpot_s: float = float("inf")
    e2e_s: float = float("inf")
    share: float = 0.9

    @property
    def stated(self) -> dict[str, float]:
        """Those that bind."""
        named = {"ttft": self.ttft_s, "tpot": self.tpot_s, "e2e": self.e2e_s}
        return {name: limit for name, limit in named.items() if limit != float("inf")}


def parse_slo(text: str) -> Slo:
    """Read ``ttft=500ms,tpot=50ms,share=0.95``.

    Raises
    ------
    InputError
        If an item is not one of ttft, tpot, e2e, share with a time, or a share between 0 and 1.
    """
    values: dict[str, float] = {}
    for item in text.split(","):
        name, equals, value = item.partition("=")
        name = name.strip()
        if not equals or name not in ("ttft", "tpot", "e2e", "share"):
            raise InputError(f"--slo {text!r}: expected ttft=TIME,tpot=TIME,e2e=TIME,share=SHARE, got {item!r}")
        try:
            if name == "share":
                values[name] = parse_quantity(value.strip(), "1")
            else:
                values[f"{name}_s"] = parse_quantity(value.strip(), "s")
        except InputError as error:
            raise InputError(f"--slo {text!r}: {name}: {error}") from None
    if not 0.0 < values.get("share", 0.9) <= 1.0:
        raise InputError(f"--slo {text!r}: a share lies above 0 and at most at 1")
    return Slo(**values)


def metrics_of(rows: Floats) -> dict[str, Floats]:
    """Return the metrics of completed requests, seconds, one array each.

    TTFT and E2E count from arrival; TPOT is the mean gap between output tokens, of requests that have a gap.
    """
    import numpy as np

    first, last, arrived = rows[:, layout.R_FIRST], rows[:, layout.R_LAST], rows[:, layout.R_ARRIVED]
    gaps = rows[:, layout.R_OUTPUT] - 1.0
    return {
        "ttft": first - arrived,
        "tpot": np.where(gaps > 0.0, (last - first) / np.maximum(gaps, 1.0), np.nan),
        "e2e": last - arrived,
        "queue": rows[:, layout.R_SCHEDULED] - arrived,
    }


class Tally:
    """Adds requests up; memory does not grow with their number."""

    def __init__(self, slo: Slo) -> None:
        self.slo = slo
        self.metrics = {name: Quantiles() for name in METRICS}
        self.worst_gap = Quantiles()
        self.good = 0
        self.input_tokens = self.output_tokens = self.good_tokens = 0
        self.preempted = 0
        self.hit_tokens = 0
        self.rejected = dict.fromkeys(REASONS, 0)
        self.first_arrival_s = float("inf")

    def merge(self, other: Tally) -> None:
        """Add what another has added up, under the same objectives."""
        for name, quantiles in self.metrics.items():
            quantiles.merge(other.metrics[name])
        self.worst_gap.merge(other.worst_gap)
        for name in ("good", "input_tokens", "output_tokens", "good_tokens", "preempted", "hit_tokens"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for reason, count in other.rejected.items():
            self.rejected[reason] += count
        self.first_arrival_s = min(self.first_arrival_s, other.first_arrival_s)

    def add(self, rows: Floats) -> None:
        """Take rows of results in."""
        import numpy as np

        self.first_arrival_s = min(self.first_arrival_s, float(rows[:, layout.R_ARRIVED].min()))
        status = rows[:, layout.R_STATUS]
        for reason in self.rejected:
            self.rejected[reason] += int((status == reason).sum())
        rows = rows[status == layout.COMPLETED_OK]
        values = metrics_of(rows)
        for name, quantiles in self.metrics.items():
            quantiles.add(values[name][~np.isnan(values[name])])
        self.worst_gap.add(rows[:, layout.R_GAP_MAX])
        good = (
            (values["ttft"] <= self.slo.ttft_s)
            & ~(values["tpot"] > self.slo.tpot_s)
            & (values["e2e"] <= self.slo.e2e_s)
        )
        self.good += int(good.sum())
        self.input_tokens += int(rows[:, layout.R_INPUT].sum())
        self.output_tokens += int(rows[:, layout.R_OUTPUT].sum())
        self.good_tokens += int(rows[good, layout.R_OUTPUT].sum())
        self.preempted += int((rows[:, layout.R_PREEMPTED] > 0).sum())
        self.hit_tokens += int(rows[:, layout.R_HITS].sum())
