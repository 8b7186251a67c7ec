"""The result of a simulation: totals, operators, memory, energy, elasticities, error band, provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hwmodels.device import RESOURCES
from hwmodels.spec import SystemSpec
from simulator.api.request import Request
from simulator.engine.memory import MemoryReport
from simulator.engine.run import OperatorResult, StepResult
from workloads.parallel import Parallelism

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Band", "Estimate", "OperatorShare", "Phase", "Report", "UnitShare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Prefill or decode: its steps, what they took together, and one of them in detail."""

    steps: int
    time_s: float
    energy_J: Mapping[str, float]
    sample: StepResult  # the largest prefill step; the decode step halfway through the output
    samples: tuple[tuple[StepResult, float], ...]  # every step that was run, with how many steps it stands for

    @property
    def total_energy_J(self) -> float:
        """Sum of the energy parts."""
        return sum(self.energy_J.values())

    @property
    def bound(self) -> str:
        """The resource that bounds the kernels which most of the time goes to."""
        times = dict.fromkeys(RESOURCES, 0.0)
        for step, weight in self.samples:
            for operator in step.operators:
                times[operator.cost.bound] += weight * operator.time_s
        return max(times, key=lambda name: times[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorShare:
    """One operator summed over the whole request."""

    phase: str
    name: str
    kind: str
    unit: str  # of the system; an operator split between units has a row for each
    launches: float
    time_s: float
    share: float  # of the latency of the devices that run it (one stage of a pipeline)
    bound: str  # the resource that bounds most of its time
    flops: float
    hbm_B: float
    energy_J: float  # dynamic, of one device of each stage
    how: str  # the mapping its device chose, in the last step run; empty where there was no choice

    @property
    def intensity(self) -> float:
        """Arithmetic intensity, FLOP per byte of device memory."""
        return self.flops / self.hbm_B if self.hbm_B else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitShare:
    """A unit of the system, or a link between memories, over the whole request."""

    name: str
    device: str  # empty for a link
    count: int  # devices in use
    busy_s: float  # of one rank of the model, all stages of a pipeline together
    share: float  # of the latency (of all stages)
    energy_J: Mapping[str, float]  # by part, waiting included, all devices together
    energy_basis: str  # what its joules rest on; empty for a link

    @property
    def total_energy_J(self) -> float:
        """Sum of the energy parts."""
        return sum(self.energy_J.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """How far off such predictions were when they were checked against measurements."""

    metric: str  # the key of the JSON document it speaks of
    family: str  # of `ridgeline validate`
    rows: int
    mape: float  # mean absolute error, fraction
    p90: float  # nine in ten were off by less, fraction
    source: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """An input that is no datasheet or measured value."""

    path: str
    kind: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything a simulation found out. Times in seconds, energy in joules of all devices in use together."""

    model: str
    system: SystemSpec
    profile: str
    level: str
    request: Request
    parallel: Parallelism
    formats: Mapping[str, str]
    memory: MemoryReport
    prefill: Phase | None
    decode: Phase | None
    elasticities: Mapping[str, Mapping[str, float]]
    bands: tuple[Band, ...]
    estimates: tuple[Estimate, ...]
    warnings: tuple[str, ...]
    provenance: Mapping[str, Any]

    def __str__(self) -> str:
        """Return the report as one screen of text."""
        from simulator.api.text import report_text

        return report_text(self)

    @property
    def hardware(self) -> str:
        """Name of the system."""
        return self.system.name

    @property
    def ttft_s(self) -> float | None:
        """Time to first token: until every sequence of the batch has one; None without a prefill."""
        return None if self.prefill is None else self.prefill.time_s

    @property
    def tpot_s(self) -> float | None:
        """Time per output token after the first, mean over the output; None where there are none."""
        return None if self.decode is None else self.decode.time_s / self.decode.steps

    @property
    def latency_s(self) -> float:
        """From the arrival of the batch to its last token."""
        return sum(phase.time_s for phase in self.phases.values())

    @property
    def phases(self) -> dict[str, Phase]:
        """The phases that took place, by name."""
        named = {"prefill": self.prefill, "decode": self.decode}
        return {name: phase for name, phase in named.items() if phase is not None}

    @property
    def energy_J(self) -> dict[str, float]:
        """Energy by part, all devices together."""
        total: dict[str, float] = {}
        for phase in self.phases.values():
            for part, joules in phase.energy_J.items():
                total[part] = total.get(part, 0.0) + joules
        return total

    @property
    def total_energy_J(self) -> float:
        """Sum of the energy parts."""
        return sum(self.energy_J.values())

    @property
    def tokens(self) -> int:
        """Tokens the energy and time are divided by: generated ones, or prompt tokens where none are generated."""
        return self.request.batch * (self.request.output_tokens or self.request.input_tokens)

    @property
    def tokens_per_s(self) -> float:
        """Throughput of the whole batch, tokens per second of latency."""
        return self.tokens / self.latency_s

    @property
    def power_W(self) -> float:
        """Mean power of all devices together."""
        return self.total_energy_J / self.latency_s

    def operators(self) -> list[OperatorShare]:
        """Sum the operators over the request, longest first.

        With pipeline stages an operator is summed over one device of each of them, and its share is of the latency of
        all stages: what is missing to 1 is time they wait.
        """
        rows: dict[tuple[str, str, str], list[tuple[OperatorResult, float]]] = {}
        for name, phase in self.phases.items():
            for step, weight in phase.samples:
                for operator in step.operators:
                    rows.setdefault((name, operator.name, operator.unit), []).append(
                        (operator, operator.count * weight)
                    )
        available_s = self.latency_s * self.parallel.pp
        shares = [_share(phase, name, launched, available_s) for (phase, name, _), launched in rows.items()]
        return sorted(shares, key=lambda row: -row.time_s)

    def units(self) -> list[UnitShare]:
        """Sum what each unit of the system, and each link between their memories, did over the request."""
        busy_s: dict[str, float] = {}
        energy_J: dict[str, dict[str, float]] = {}
        for phase in self.phases.values():
            for step, weight in phase.samples:
                for use in step.units:
                    busy_s[use.name] = busy_s.get(use.name, 0.0) + use.busy_s * weight
                    parts = energy_J.setdefault(use.name, {})
                    for part, joules in use.energy_J.items():
                        parts[part] = parts.get(part, 0.0) + joules * weight
        ranks, first = self.parallel.devices, self.system.units[0].count
        known = dict(zip(self.system.unit_names, self.system.units, strict=True))
        return [
            UnitShare(
                name=name,
                device=known[name].device.name if name in known else "",
                count=-(-ranks * known[name].count // first) if name in known else ranks,
                busy_s=time_s,
                share=time_s / (self.latency_s * self.parallel.pp),
                energy_J=energy_J[name],
                energy_basis=known[name].device.energy_basis if name in known else "",
            )
            for name, time_s in busy_s.items()
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the report as the documented JSON document."""
        from simulator.api.document import report_document

        return report_document(self)

    def to_frame(self) -> pd.DataFrame:
        """Return the operators as a pandas data frame, one row each."""
        import pandas as pd

        from simulator.api.document import operator_document

        return pd.DataFrame([operator_document(row) for row in self.operators()])


def _share(
    phase: str, name: str, launched: Sequence[tuple[OperatorResult, float]], available_s: float
) -> OperatorShare:
    """Sum one operator over its launches, each given with how often it stands for."""
    bounds: dict[str, float] = {}
    for operator, times in launched:
        bound = operator.cost.bound
        bounds[bound] = bounds.get(bound, 0.0) + times * operator.cost.time_s
    time_s = sum(bounds.values())
    return OperatorShare(
        phase=phase,
        name=name,
        kind=launched[0][0].kind,
        unit=launched[0][0].unit,
        launches=sum(times for _, times in launched),
        time_s=time_s,
        share=time_s / available_s,
        bound=max(bounds, key=lambda bound: bounds[bound]),
        flops=sum(times * operator.cost.flops for operator, times in launched),
        hbm_B=sum(times * operator.cost.hbm_B for operator, times in launched),
        energy_J=sum(times * sum(operator.cost.energy_J.values()) for operator, times in launched),
        how=launched[-1][0].cost.how,
    )
