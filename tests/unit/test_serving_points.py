"""Published serving points: what a row says of the servers, and what is drawn of the comparison."""

from __future__ import annotations

from pathlib import Path

import pytest

from dse.plots.serving import save_points
from simulator.core.errors import InputError, SpecError, UnsupportedError
from simulator.validation.serving.comparison import ServedPoint, ServingReplay, records
from simulator.validation.serving.point_table import Point, is_point_file, read_point

COLUMNS = (
    "model_path,device,backend,backend_version,precision,mode,gemm_quant_mode,isl,osl,batch_size,tp_size,attention_dp_size,"
    "moe_tp_size,moe_ep_size,prefill_num_workers,prefill_tp_size,prefill_attention_dp_size,prefill_moe_tp_size,"
    "prefill_moe_ep_size,decode_batch_size,decode_num_workers,decode_tp_size,decode_attention_dp_size,decode_moe_tp_size,"
    "decode_moe_ep_size,ttft_ms,tpot_ms"
)
ROW = {
    "model_path": "deepseek-ai/DeepSeek-R1",
    "device": "h200_sxm",
    "backend": "sglang",
    "precision": "fp8",
    "mode": "agg",
    "isl": "1024",
    "osl": "512",
    "batch_size": "16",
    "ttft_ms": "100",
    "tpot_ms": "10",
}


def point(tmp_path: Path, **cells: str) -> Point:
    row = ROW | cells
    file = tmp_path / "points.csv"
    file.write_text(COLUMNS + "\n" + ",".join(row.get(name, "") for name in COLUMNS.split(",")) + "\n", "utf-8")
    table, rows = records(file, ("model_path", "mode"))
    assert is_point_file(table.header)
    return read_point(table, 0, rows[0])


def sizes(tp: str, dp: str, expert_tp: str, ep: str) -> dict[str, str]:
    return {"tp_size": tp, "attention_dp_size": dp, "moe_tp_size": expert_tp, "moe_ep_size": ep}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (("8", "1", "8", "1"), (8, 1, 1)),
        (("8", "1", "1", "8"), (8, 1, 8)),
        (("64", "1", "8", "8"), (8, 1, 8)),  # eight devices, named twice
        (("1", "64", "8", "8"), (1, 8, 8)),
        (("4", "4", "1", "16"), (1, 4, 4)),
        (("1", "", "4", "1"), (1, 4, 4)),  # attention runs as replicas, though the row does not say so
        (("2", "", "2", "1"), (2, 1, 1)),
    ],
)
def test_sizes_of_a_row_name_devices(tmp_path: Path, written: tuple[str, ...], read: tuple[int, ...]) -> None:
    pool = point(tmp_path, **sizes(*written)).pool
    assert (pool.tp, pool.dp, pool.ep) == read


def test_engines_run_as_their_launch_scripts_say(tmp_path: Path) -> None:
    assert point(tmp_path).profile == "sglang-0.5"
    on_b200 = point(tmp_path, device="b200_sxm")
    assert "profile.serving.look_every=30" in on_b200.overrides
    assert not any("look_every" in text for text in point(tmp_path).overrides)
    versions = {"1.0.0rc3": "tensorrt-llm-1.0", "1.2.0rc2": "tensorrt-llm-1.2", "": "tensorrt-llm-1.0"}
    assert {v: point(tmp_path, backend="trtllm", backend_version=v).profile for v in versions} == versions


def test_four_bits_are_those_of_the_experts(tmp_path: Path) -> None:
    found = point(tmp_path, device="b200_sxm", precision="fp4")
    assert (found.weights, found.experts, found.activations) == ("bf16", "nvfp4", "nvfp4")
    gpt = point(tmp_path, model_path="openai/gpt-oss-120b", device="b200_sxm", precision="fp4")
    assert (gpt.weights, gpt.activations) == (None, "mxfp8")


def test_servers_apart_are_read_where_they_are_counted(tmp_path: Path) -> None:
    cells = {"mode": "disagg", "prefill_num_workers": "2", "prefill_tp_size": "8", "decode_batch_size": "16"}
    cells |= {"decode_num_workers": "3", "decode_tp_size": "4"}
    found = point(tmp_path, **cells)
    assert found.prefill is not None and (found.prefill.servers, found.prefill.tp) == (2, 8)
    assert (found.pool.servers, found.pool.tp, found.concurrency, found.devices) == (3, 4, 48, 28)
    with pytest.raises(UnsupportedError, match="without numbers of servers"):
        point(tmp_path, mode="disagg")


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ({"device": "gb300"}, "no specification of gb300"),
        ({"model_path": "zhipuai/GLM-5"}, "sparse attention"),
        ({"model_path": "nobody/knows"}, "not bundled"),
        ({"precision": "fp6"}, "fp6"),
    ],
)
def test_rows_that_cannot_be_served_say_why(tmp_path: Path, cells: dict[str, str], why: str) -> None:
    with pytest.raises(UnsupportedError, match=why):
        point(tmp_path, **cells)


def test_a_malformed_cell_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="ttft_ms"):
        point(tmp_path, ttft_ms="soon")


def test_points_are_drawn(tmp_path: Path) -> None:
    served = [
        ServedPoint(
            line=2 + i,
            model=f"model-{i % 3}",
            device="h200",
            engine="vllm",
            devices=1,
            concurrency=4,
            inputs=100,
            outputs=10,
            ttft_ms=10.0 * (i + 1),
            tpot_ms=5.0,
            simulated_ttft_ms=11.0 * (i + 1),
            simulated_tpot_ms=4.0,
        )
        for i in range(6)
    ]
    replay = ServingReplay(file="f", reference="r", rows=6, comparisons=(), points=served)
    written = save_points(replay, tmp_path / "points.svg")
    assert {path.suffix for path in written} >= {".svg", ".csv"}
    assert served[0].errors == pytest.approx({"TTFT": 0.1, "TPOT": -0.2})
    with pytest.raises(InputError, match="only published points"):
        save_points(ServingReplay(file="f", reference="r", rows=0, comparisons=()), tmp_path / "none.svg")
