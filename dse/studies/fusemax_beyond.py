"""What FuseMax's paper did not ask: masks, grouped queries and decode, other shapes of array, FLAT at its best."""

from __future__ import annotations

from typing import Any

from dse.studies.fusemax_setup import published_flat_dataflow, study_setup
from hwmodels.spatial.binding import load_binding
from hwmodels.spatial.fused_attention import AttentionRun, AttentionWork, FusedMachine, run_attention

__all__ = ["beyond_tables"]

_BINDINGS = ("flat", "architecture", "fusemax")


def _machine(binding: str, rows: int = 0, columns: int = 0) -> FusedMachine:
    machine = study_setup().machine
    buffer_B = next(d.buffer_B for d in study_setup().designs.values() if d.binding == binding)
    columns = columns or machine.columns
    return FusedMachine(
        rows or machine.rows,
        columns,
        columns,
        1,
        machine.clock_Hz,
        machine.bandwidth_Bps,
        buffer_B,
        machine.word_B,
    )


def _run(work: AttentionWork, binding: str, rows: int = 0, columns: int = 0) -> AttentionRun:
    return run_attention(work, _machine(binding, rows, columns), load_binding(binding))


def beyond_tables() -> dict[str, list[dict[str, Any]]]:
    """Return the tables by caption."""
    return {
        "Not asked: a causal mask (BERT's heads)": _causal(),
        "Not asked: one token of decode, grouped queries (64 sequences, 32 query heads of 128)": _decode(),
        "Not asked: shapes of 65536 units, FuseMax binding (BERT's heads)": _shapes(),
        "Not asked: FLAT with the dataflow of least traffic (BERT's heads)": _least_traffic(),
    }


def _bert(length: int, causal: bool = False) -> AttentionWork:
    shape = study_setup().models["BERT"]
    problems = study_setup().batch * shape.heads
    return AttentionWork(problems, length, length, length, shape.width, shape.width, causal)


def _causal() -> list[dict[str, Any]]:
    rows = []
    for length in study_setup().lengths:
        row: dict[str, Any] = {"length": length}
        for binding in _BINDINGS:
            row[f"{load_binding(binding).name}, s"] = _run(_bert(length, True), binding).time_s
        row["FuseMax, of the whole square"] = row["FuseMax, s"] / _run(_bert(length), "fusemax").time_s
        rows.append(row)
    return rows


def _decode() -> list[dict[str, Any]]:
    rows = []
    for kv_heads in (32, 8, 1):
        for keys in (4096, 32768, 262144):
            work = AttentionWork(64 * kv_heads, 32 // kv_heads, 1, keys, 128, 128)
            found = _run(work, "fusemax")
            rows.append(
                {
                    "KV heads": kv_heads,
                    "keys": keys,
                    "FLAT, s": _run(work, "flat").time_s,
                    "FuseMax, s": found.time_s,
                    "bound": "memory" if found.memory_s > found.compute_s else "compute",
                    "columns in use": min(1.0, work.queries / study_setup().machine.columns),
                    "memory use": found.memory_s / found.time_s,
                }
            )
    return rows


def _shapes() -> list[dict[str, Any]]:
    rows = []
    for array_rows, columns in ((64, 1024), (128, 512), (256, 256), (512, 128), (1024, 64)):
        for length in (4096, 65536):
            found = _run(_bert(length), "fusemax", array_rows, columns)
            rows.append(
                {
                    "rows": array_rows,
                    "columns": columns,
                    "length": length,
                    "attention_s": found.time_s,
                    "2D use": found.array_2d_s / found.time_s,
                    "1D use": found.array_1d_s / found.time_s,
                    "traffic_B": found.traffic_B,
                }
            )
    return rows


def _least_traffic() -> list[dict[str, Any]]:
    rows = []
    for length in study_setup().lengths:
        work, machine, binding = _bert(length), _machine("flat"), load_binding("flat")
        published = run_attention(work, machine, binding, published_flat_dataflow(work, machine))
        least = run_attention(work, machine, binding)
        assert least.dataflow is not None
        stay = [n for n in ("queries", "keys", "values") if getattr(least.dataflow, f"{n}_stay")]
        rows.append(
            {
                "length": length,
                "traffic over the published": least.traffic_B / published.traffic_B,
                "latency over the published": least.time_s / published.time_s,
                "stay in the buffer": " ".join(stay) or "nothing",
                "query tiles of rows": least.dataflow.row_tiles or "whole head",
            }
        )
    return rows
