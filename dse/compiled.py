"""The fast tier: points whose hardware numbers differ are columns of one compiled model (:mod:`dse.batch`).

A model knows one request on one system; points are evaluated in runs that share one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.metrics import METRICS
from dse.points import reason_of
from dse.space.order import columns_of, needs_model
from dse.space.paths import arguments_of
from dse.space.space import Space, located
from hwmodels.gpu.silicon import (
    DieInputs,
    Silicon,
    die_area_mm2,
    die_inputs,
    manufacturing_cost_USD,
    silicon_of,
)
from hwmodels.spec import SystemSpec, as_gpu
from simulator.core.errors import RidgelineError, UnsupportedError

__all__ = ["compiled_metrics", "compiled_points", "is_compilable"]

Column = NDArray[np.float64]

#: Metrics that follow from what is on the die.
_SILICON = {"die_area_mm2", "area_mm2", "cost_USD"}

#: What a design is called whose numbers contradict each other, which a compiled model marks and does not explain.
_CONTRADICTORY = "its fields contradict each other or have no value that a field may have"


def is_compilable(space: Space, level: str) -> bool:
    """Tell whether all hardware of a space is what compiled models know: GPUs of one kind, at level analytic."""
    from hwmodels.catalog import load_hardware

    names = {space.hardware}
    for axis in space.axes:
        names.update(str(name) for path in axis.paths if path == "hardware" for name in axis.column(path))
    if level != "analytic" or space.serve is not None:
        return False
    try:
        specs = [load_hardware(located(name, space.folder)) for name in sorted(names)]
        every = all(len(spec.units) == 1 and as_gpu(spec.device) is not None for spec in specs)
        _model(_Key(_Layout(space), 0))  # what else a compiled model may not know
    except UnsupportedError:
        return False
    except RidgelineError:
        return every  # the first point is refused, others need not be
    return every


@dataclass(frozen=True, slots=True)
class _Model:
    """A compiled model and what its system states of its die."""

    batch: Any
    columns: Mapping[str, str]  # path -> column
    spec: SystemSpec
    silicon: Silicon | None
    devices: int


def compiled_points(
    space: Space, indices: NDArray[np.int64], wanted: list[str]
) -> tuple[dict[str, Column], Counter[str]]:
    """Evaluate points, run by run.

    Parameters
    ----------
    space : Space
        Its axes in compiled order (:mod:`dse.space.order`).
    indices : (points,) int
        Ascending order is quickest.
    wanted : list of str
        Metrics to work out.
    """
    order = None
    if len(indices) > 1 and (np.diff(indices) < 0).any():
        order = np.argsort(indices, kind="stable")
        indices = indices[order]
    metrics = {name: np.full(len(indices), np.nan) for name in wanted}
    refused: Counter[str] = Counter()
    layout = _Layout(space)
    codes = space.codes(indices)
    numbers = space.numbers(codes)
    for begin, end in layout.runs(codes):
        try:
            model = _model(_Key(layout, int(indices[begin])))
        except RidgelineError as error:
            refused[reason_of(error)] += end - begin
            continue
        values = {path: numbers[path][begin:end] for path in model.columns}
        out = {name: column[begin:end] for name, column in metrics.items()}
        refused.update(_evaluate(model, values, out))
    if order is not None:
        back = np.argsort(order, kind="stable")
        metrics = {name: column[back] for name, column in metrics.items()}
    return metrics, refused


class _Layout:
    """Which paths of a space are columns of a model, and which axes need a model per position."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.columns = columns_of(space)
        self.slow = [i for i, axis in enumerate(space.axes) if needs_model(space, axis, self.columns)]

    def runs(self, codes: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """Yield ranges of rows that share a model."""
        changed = np.flatnonzero((np.diff(codes[:, self.slow], axis=0) != 0).any(axis=1)) + 1
        edges = [0, *changed.tolist(), len(codes)]
        yield from pairwise(edges)


class _Key:
    """A run of points, to look its model up by: the space and what is set for all of the run."""

    def __init__(self, layout: _Layout, index: int) -> None:
        self.space, self.columns = layout.space, layout.columns
        settings = self.space.settings(index)
        self.settings = {path: value for path, value in settings.items() if path not in layout.columns}

    def __hash__(self) -> int:
        return hash((self.space.name, tuple(self.settings.items())))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.settings == other.settings and self.space == other.space


@lru_cache(maxsize=256)
def _model(key: _Key) -> _Model:
    """Make the compiled model of a run of points."""
    from dse.batch import BatchModel
    from simulator.api.simulate import prepare

    arguments = arguments_of(key.space, key.settings)
    arguments.pop("level", None)
    setup, spec = prepare(**arguments)
    batch = BatchModel(setup, spec, list(key.columns.values()))
    return _Model(batch, key.columns, spec, silicon_of(as_gpu(spec.device)), setup.parallel.devices)


def _evaluate(model: _Model, values: Mapping[str, Column], out: Mapping[str, Column]) -> Counter[str]:
    """Fill the metrics of one run in; return why points of it were refused."""
    points = len(next(iter(out.values())))
    columns = {model.columns[path]: np.ascontiguousarray(column) for path, column in values.items()}
    allowed = np.ones(points, dtype=np.bool_)
    for name, column in columns.items():
        allowed &= (column > 0.0) & (column < 1e30)
        if name == "sms":
            allowed &= column == np.floor(column)
    if not allowed.any():
        return Counter({_CONTRADICTORY: points})
    if not allowed.all():
        columns = {name: column[allowed] for name, column in columns.items()}
    from dse.batch import METRICS as COMPILED

    names = {name for name in out if name in COMPILED and name not in _SILICON} | {"latency_s"}
    direct = {name: np.empty(int(allowed.sum())) for name in names}
    found = (
        dict(model.batch.evaluate(columns, direct)) if columns else _repeated(model.batch.evaluate({}, None), direct)
    )
    found |= _die_metrics(model, columns, out)
    contradictory = np.isnan(found["latency_s"])
    allowed[allowed] = ~contradictory
    for name, target in out.items():
        if name in found:
            target[allowed] = np.broadcast_to(found[name], contradictory.shape)[~contradictory]
    broken = points - int(allowed.sum())
    return Counter({_CONTRADICTORY: broken}) if broken else Counter()


def _repeated(found: Mapping[str, Column], wanted: Mapping[str, Column]) -> dict[str, Column]:
    """Return the metrics of the one point that a model without columns has, for every point."""
    return {name: np.full(len(column), found[name][0]) for name, column in wanted.items()}


def _die_metrics(model: _Model, columns: Mapping[str, Column], out: Mapping[str, Column]) -> dict[str, Any]:
    """Work out area and cost of the dies, from columns where they vary and from the specification where not."""
    gpu = as_gpu(model.spec.device)
    if not _SILICON & out.keys():
        return {}
    if model.silicon is None:
        area = columns.get("die_area", gpu.die_area_mm2)
        return {} if area is None else {"die_area_mm2": area, "area_mm2": area * model.devices}
    stated = die_inputs(gpu)
    sms = columns.get("sms", stated.sms)
    rate = gpu.tensor.bf16 or gpu.tensor.fp16
    flop_per_clock: Any = stated.flop_per_clock
    if "tensor.bf16" in columns:
        flop_per_clock = columns["tensor.bf16"] / (sms * columns.get("clock.peak_quoted_at", gpu.peak_clock_Hz))
    elif "tensor.bf16/clk" in columns:
        flop_per_clock = columns["tensor.bf16/clk"]
    elif rate is not None and not rate.per_clock:
        flop_per_clock = rate.value / (sms * columns.get("clock.peak_quoted_at", gpu.peak_clock_Hz))
    capacity_B = columns.get("hbm.capacity", stated.capacity_B)
    die = DieInputs(
        sms,
        flop_per_clock,
        columns.get("l2.capacity", stated.l2_B),
        columns.get("hbm.bandwidth", stated.bandwidth_Bps),
        capacity_B,
    )
    area_mm2 = die_area_mm2(die, model.silicon)
    return {
        "die_area_mm2": area_mm2,
        "area_mm2": area_mm2 * model.devices,
        "cost_USD": manufacturing_cost_USD(area_mm2, capacity_B, model.silicon) * model.devices,
    }


def compiled_metrics() -> list[str]:
    """Return the names of the metrics that this tier can work out."""
    from dse.batch import METRICS as COMPILED

    return [name for name in METRICS if name in COMPILED or name in _SILICON]
