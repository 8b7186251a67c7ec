"""What the FuseMax study runs, read from its file: machine, models, designs, figures reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from hwmodels.components import EnergyTable, load_energy_table
from hwmodels.parts import Area, Bytes, BytesPerSecond, Hertz
from hwmodels.spatial.binding import load_binding
from hwmodels.spatial.flat_dataflow import FlatDataflow, flat_traffic_B
from hwmodels.spatial.fused_attention import AttentionRun, AttentionWork, FusedMachine, run_attention
from simulator.core.quantity import Quantity
from simulator.core.specfile import SpecRecord, load_spec

__all__ = ["EndToEnd", "Setup", "area_mm2", "published_flat_dataflow", "run_design", "study_setup", "sweep_buffer_B"]

_Joule = Annotated[float, Quantity("J", zero=True)]
_Count = Annotated[int, Field(ge=1, le=2**40)]


class _Machine(SpecRecord):
    rows: _Count
    columns: _Count
    lanes: _Count
    clock_Hz: Hertz
    bandwidth_Bps: BytesPerSecond
    word_B: Bytes


class _Model(SpecRecord):
    heads: _Count
    width: _Count
    hidden: _Count
    inner: _Count


class _Storage(SpecRecord):
    score_J: _Joule
    width_J: _Joule
    linear_J: _Joule


class _Design(SpecRecord):
    binding: str
    buffer_B: Bytes
    exponential_macs: float
    storage: _Storage


class _Area(SpecRecord):
    unit_2d_mm2: Area
    lane_1d_mm2: Area
    buffer_per_B_mm2: Area


class Setup(SpecRecord):
    """The study's file."""

    machine: _Machine
    batch: _Count
    models: Mapping[str, _Model]
    lengths: list[_Count]
    energy_table: str
    designs: Mapping[str, _Design]
    weight_stationary_storage: _Storage
    area: _Area
    pareto_columns: list[_Count]
    reported: Mapping[str, float]


@cache
def study_setup() -> Setup:
    """Read the file."""
    return load_spec(Path(__file__).with_name("fusemax.yaml"), Setup, "dse/studies/fusemax.yaml")


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """Attention and the six products around it, of one model and length on one design."""

    attention: AttentionRun
    attention_J: float
    linear_s: float
    linear_J: float

    @property
    def time_s(self) -> float:
        """Attention, then products."""
        return self.attention.time_s + self.linear_s

    @property
    def energy_J(self) -> float:
        """Of both."""
        return self.attention_J + self.linear_J


def published_flat_dataflow(work: AttentionWork, machine: FusedMachine) -> FlatDataflow:
    """Return the dataflow that the artifact runs FLAT with, as its table of dataflows shows at the published lengths.

    Rows of a whole head where they fit; else those of up to four query tiles, at least one. Tensors stay only where a
    head is wider than 64: values beside a whole head, queries beside rows. Weight stationary where that moves less.
    """
    row_B = machine.word_B * work.keys
    head = row_B * work.queries <= machine.buffer_B
    tiles = max((t for t in (1, 2, 4) if t * machine.columns * row_B <= machine.buffer_B), default=1)
    wide = work.qk_width > 64
    output = FlatDataflow(False, 0 if head else tiles, queries_stay=wide and not head, values_stay=wide and head)
    weight = FlatDataflow(True, 4, queries_stay=True)
    return min((output, weight), key=lambda flow: sum(flat_traffic_B(work, machine, flow)))


def run_design(name: str, model: str, length: int) -> EndToEnd:
    """Run one design on one model at one length, as the paper does: all heads of the batch, no mask."""
    setup = study_setup()
    design, shape, machine = setup.designs[name], setup.models[model], setup.machine
    work = AttentionWork(setup.batch * shape.heads, length, length, length, shape.width, shape.width)
    fused = FusedMachine(
        machine.rows,
        machine.columns,
        machine.lanes,
        1,
        machine.clock_Hz,
        machine.bandwidth_Bps,
        design.buffer_B,
        machine.word_B,
        even_tiles=True,
    )
    binding = load_binding(design.binding)
    flow = published_flat_dataflow(work, fused) if binding.scores == "rows" else None
    run = run_attention(work, fused, binding, flow)
    table = load_energy_table(setup.energy_table)
    storage = design.storage
    if flow is not None and flow.weight_stationary:
        storage = setup.weight_stationary_storage
    linear_s, linear_J = _linear(shape, setup.batch * length, table, storage)
    return EndToEnd(run, _attention_J(run, work, design, table, storage), linear_s, linear_J)


def _attention_J(
    run: AttentionRun, work: AttentionWork, design: _Design, table: EnergyTable, storage: _Storage
) -> float:
    """Energy of operations, storage and memory; exponentials and divisions on the 1D array have their units."""
    scores = work.problems * work.queries * work.keys
    energy = sum(count * table.operation_J(op, "bf16", design.exponential_macs) for op, count in run.operations.items())
    return energy + run.traffic_B * table.memory + scores * (storage.score_J + storage.width_J * work.qk_width)


def _linear(shape: _Model, tokens: int, table: EnergyTable, storage: _Storage) -> tuple[float, float]:
    """Time and energy of Q, K, V, output and both feed-forward products.

    Each takes ``max(MACs / units / clock, its operands and result once / bandwidth)``.
    """
    machine = study_setup().machine
    d, inner = shape.hidden, shape.inner
    products = [(tokens, d, d)] * 4 + [(tokens, d, inner), (tokens, inner, d)]
    time_s = energy_J = 0.0
    for m, k, n in products:
        macs = float(m) * k * n
        moved_B = machine.word_B * (float(m) * k + k * n + float(m) * n)
        time_s += max(macs / (machine.rows * machine.columns) / machine.clock_Hz, moved_B / machine.bandwidth_Bps)
        energy_J += macs * (table.mac_J("bf16") + storage.linear_J) + moved_B * table.memory
    return time_s, energy_J


def sweep_buffer_B(columns: int, width: int) -> float:
    """Return the buffer of the area sweep: two query tiles (four at 512 columns) and a block, to a power of two."""
    machine = study_setup().machine
    tiles = 2 if columns < 512 else 4
    state_B = columns * machine.word_B * (2 * width + 2)
    need_B = tiles * state_B + columns * machine.word_B * 2 * width
    size_B = 1.0
    while size_B < need_B:
        size_B *= 2.0
    return size_B


def area_mm2(columns: int, buffer_B: float) -> dict[str, float]:
    """Return the area of a square array by component, at 45 nm."""
    area = study_setup().area
    return {
        "2D array": area.unit_2d_mm2 * columns * columns,
        "1D array": area.lane_1d_mm2 * columns,
        "buffer": area.buffer_per_B_mm2 * buffer_B,
    }
