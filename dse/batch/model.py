"""A request on a system, evaluated for columns of hardware: what a simulation says of each of a million points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dse.batch.columns import (
    AREA_MM2,
    COLUMNS,
    HBM_B,
    IDLE_W,
    L2_RATE,
    LIMIT_W,
    MAX_HZ,
    MIN_HZ,
    PRICE_USD,
    Place,
    raw_numbers,
)
from dse.batch.metrics import METRICS, ROWS, Block
from dse.batch.table import build_table
from hwmodels.spec import SystemSpec, as_gpu
from hwmodels.system import build_gpu_of
from simulator.api.phases import Setup
from simulator.core.errors import InputError, UnsupportedError
from simulator.engine.memory import resident_B

if TYPE_CHECKING:
    from dse.batch.compiled import Family
    from dse.batch.loops import Scratch

__all__ = ["BatchModel", "compile_once"]

Loops = Any  # compiled functions have no type

Column = NDArray[np.float64]

#: Points evaluated at a time: their results stay in the cache of a core until metrics are made of them.
BLOCK = 8192


class BatchModel:
    """One request on one system whose hardware fields are columns.

    What cannot be a column (the model, its formats, parallelism, batch and context, families of devices, how many there
    are) needs a model each; a model holds nothing but its operator table and some hundred kB of scratch memory, and
    costs some ten milliseconds to make. It keeps what it worked out last: give each thread a model of its own.

    Parameters
    ----------
    setup, spec
        What :func:`simulator.api.simulate.prepare` returns.
    columns : sequence of str
        Names out of :data:`dse.batch.columns.COLUMNS` that :meth:`evaluate` is going to be given.

    Raises
    ------
    UnsupportedError
        If the devices of the system are no GPUs, or of several kinds.
    InputError
        If a column is none, or gives the base a rate that it does not have.

    Examples
    --------
    >>> import numpy as np
    >>> from simulator.api.simulate import prepare
    >>> batch = BatchModel(*prepare("llama-3-8b", "h200", batch=16), ["power.limit"])
    >>> found = batch.evaluate({"power.limit": np.array([500.0, 600.0, 700.0])})
    >>> bool(found["ttft_s"][0] > found["ttft_s"][2])
    True
    """

    def __init__(self, setup: Setup, spec: SystemSpec, columns: Sequence[str] = ()) -> None:
        if len(spec.units) > 1 or spec.placement is not None:
            raise UnsupportedError(f"{spec.name} has a placement on several units: simulate its points one by one")
        gpu = build_gpu_of(spec)
        self.columns = tuple(columns)
        self.table = build_table(setup, gpu)
        self._setup, self.gpu = setup, gpu
        self._raw = raw_numbers(spec)
        places = [(row, place) for row, name in enumerate(columns) for place in _places(name, spec, self._raw)]
        self._rows = [row for row, _ in places]
        self._slots = np.array([place.slot for _, place in places], np.int64)
        self._ranks = np.array([place.rank for _, place in places], np.int64)
        self._base = self._raw.copy()
        self._base_clock_Hz = as_gpu(spec.device).clock.base_Hz or 0.0
        residents = setup.request.residents(setup.parallel, not setup.model.is_decoder)
        parts_B = resident_B(setup.model, setup.precision, setup.parallel, residents, setup.profile)
        self._memory_B = sum(parts_B.values())

    def evaluate(self, columns: Mapping[str, Column], out: Mapping[str, Column] | None = None) -> Mapping[str, Column]:
        """Return metrics of every point.

        Parameters
        ----------
        columns : mapping of str to (points,) float
            Values in SI of the columns the model was made for. Points are quickest where columns of low rank
            (:data:`dse.batch.columns.COLUMNS`) change rarely from one to the next.
        out : mapping of str to (points,) float, optional
            Arrays to put the metrics named in them into; by default all of :data:`dse.batch.metrics.METRICS`.

        Returns
        -------
        mapping of str to (points,) float
            ``out``. NaN where the request has no such phase, the specification does not say (area, price), or fields
            contradict each other (a power limit below the idle power).

        Raises
        ------
        InputError
            If other columns are given than the model was made for, of unequal length, or a value no field may have.
        """
        points = self._check(columns)
        values = np.stack([columns[name] for name in self.columns]) if self.columns else np.empty((0, 1))
        if out is None:
            out = {name: np.empty(points) for name in METRICS}
        wanted = (any(name.startswith("energy_parts_J") for name in out), any(name.endswith(".bound") for name in out))
        for begin in range(0, points, BLOCK):
            block = self._block(values[:, begin : begin + BLOCK], *wanted)
            for name, target in out.items():
                target[begin : begin + BLOCK] = METRICS[name](block)
        return out

    def base(self, name: str) -> float:
        """Return what the system itself has in a column, SI; NaN where it does not say."""
        return float(self._base[COLUMNS[name].slot])

    def _check(self, columns: Mapping[str, Column]) -> int:
        """Return the number of points."""
        if set(columns) != set(self.columns):
            given, wanted = (", ".join(sorted(names)) or "none" for names in (columns, self.columns))
            raise InputError(f"columns given: {given}; the model was made for: {wanted}")
        lengths = {len(column) for column in columns.values()}
        if len(lengths) > 1:
            raise InputError(f"columns of unequal length: {', '.join(map(str, sorted(lengths)))}")
        for name, column in columns.items():
            least = 0.0 if name.endswith(("latency", "price")) else np.nextafter(0.0, 1.0)
            wrong = ~((column >= least) & (column < np.inf))
            if name == "sms":
                wrong |= column != np.floor(column)
            if wrong.any():
                raise InputError(f"{name}: {column[wrong][0]:g} is no value of this field")
        return lengths.pop() if lengths else 1

    @cached_property
    def _compiled(self) -> tuple[Loops, Family, Scratch]:
        """Loops, coefficients and scratch memory; compiling takes some seconds, the first time on a machine."""
        from dse.batch.compiled import Family
        from dse.batch.loops import evaluate, scratch

        return evaluate, Family.of(self.gpu.model, self.gpu.network), scratch(self.table)

    def _block(self, values: NDArray[np.float64], by_part: bool, by_bound: bool) -> Block:
        evaluate, family, scratch = self._compiled
        network = self.gpu.network
        points = values.shape[1]
        core = np.empty((ROWS, points))
        evaluate(
            values[self._rows], self._slots, self._ranks, self._raw, self.table, family, network.intra, network.inter,
            scratch, by_part, by_bound, core,
        )  # fmt: skip
        known = dict(zip(self._slots.tolist(), values[self._rows], strict=True))

        def column(slot: int) -> Column:
            return known[slot] if slot in known else np.full(points, self._raw[slot])

        contradictory = (column(IDLE_W) >= column(LIMIT_W)) | (column(MIN_HZ) > column(MAX_HZ))
        contradictory |= column(MAX_HZ) < self._base_clock_Hz
        core[:, contradictory] = np.nan
        setup = self._setup
        request = setup.request
        return Block(
            core=core,
            tokens=float(request.batch * (request.output_tokens or request.input_tokens)),
            decode_steps=float(request.decode_steps),
            has_prefill=self.table.steps.prefill > 0,
            devices=float(setup.parallel.devices),
            memory_B=self._memory_B,
            usable_B=column(HBM_B) * setup.profile.memory.utilization,
            area_mm2=column(AREA_MM2),
            price_USD=column(PRICE_USD),
        )


def compile_once(say: Callable[[str], None]) -> None:
    """Compile the loops of all models if this machine has not yet done so, saying that it will take its time."""
    from dse.batch.compiled import is_compiled
    from simulator.api.simulate import prepare

    if not is_compiled():
        say("compiling the model for sweeps: some 15 s, once for each version")
        BatchModel(*prepare("llama-3-8b", "h200", output_tokens=2)).evaluate({})


def _places(name: str, spec: SystemSpec, raw: Column) -> list[Place]:
    """Return where the values of a column go."""
    if name not in COLUMNS:
        raise InputError(f"{name!r} is no column of a batch: known are {', '.join(sorted(COLUMNS))}")
    place = COLUMNS[name]
    if name.startswith("network.") and spec.network is None:
        raise InputError(f"{name} cannot be a column: {spec.name} has no network between nodes")
    if place.slot >= L2_RATE:
        if np.isnan(raw[place.slot]):
            raise InputError(f"{name} cannot be a column: {spec.device.name} does not compute in that format")
        raw[place.slot + 1] = float(name.endswith("/clk"))
    places = [place]
    if name.startswith("link.") and spec.network is None:  # nodes are joined by the same links
        places.append(COLUMNS[name.replace("link", "network")])
    return places
