"""FuseMax reproduced: figures of the text everywhere, every row of the artifact's tables where they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from dse.studies import fusemax
from dse.studies.fusemax_setup import published_flat_dataflow, run_design, study_setup
from dse.studies.study import Study, study_text
from hwmodels.spatial.binding import load_binding
from hwmodels.spatial.fused_attention import AttentionWork, FusedMachine, run_attention
from workloads.catalog import load_model

_PUBLIC = Path(__file__).parents[2] / "../shared/data/papers"


def _run(data_dir: Path | None) -> Study:
    return fusemax.run(data_dir, lambda line: None)


@pytest.fixture(scope="module")
def study() -> Study:
    return _run(None)


def test_headlines_are_within_tolerance(study: Study) -> None:
    judged = [c for c in study.comparisons if c.tolerance is not None]
    assert len(judged) >= 7
    assert study.missed == []


def test_text_says_what_was_not_compared(study: Study) -> None:
    assert "fusemax_results.csv" in study_text(study)


@pytest.mark.parametrize(
    ("design", "model", "length", "latency_s"),
    [
        ("FuseMax", "BERT", 1024, 0.0020131404),
        ("FuseMax", "BERT", 1 << 20, 1891.8274331),
        ("FuseMax", "XLM", 1 << 16, 19.0260768681),
        ("FLAT", "BERT", 1 << 16, 54.8293697362),
        ("FLAT", "BERT", 1 << 18, 1013.88),
        ("+ cascade", "BERT", 1024, 0.0153338553),
        ("+ architecture", "BERT", 1024, 0.0059871319),
    ],
)
def test_latency_of_the_text(design: str, model: str, length: int, latency_s: float) -> None:
    """Single figures of the artifact, printed to ten digits."""
    assert run_design(design, model, length).attention.time_s == pytest.approx(latency_s, rel=3e-8)


@pytest.mark.parametrize(
    ("name", "model"),
    [("BERT", "bert-base"), ("TrXL", "transformer-xl"), ("T5", "t5-small-encoder"), ("XLM", "xlm-mlm-en-2048")],
)
def test_shapes_are_those_of_the_bundled_models(name: str, model: str) -> None:
    shape, spec = study_setup().models[name], load_model(model)
    layer = spec.layers[0].layer
    assert layer.feed_forward is not None
    assert (shape.heads, shape.width) == (layer.attention.heads, layer.attention.head_dim)
    assert (shape.hidden, shape.inner) == (spec.hidden, layer.feed_forward.width)


def test_latency_is_the_published_closed_form() -> None:
    """T max(2E + 9, 2F + 10 + 256 F / N) cycles with T = B H N^2 / 65536 (the running maximum stays exposed: + 1)."""
    for length in study_setup().lengths:
        run = run_design("FuseMax", "BERT", length).attention
        tiles = 64 * 12 * (length / 256) ** 2
        assert run.compute_s * 940e6 / tiles == pytest.approx(2 * 64 + 10 + 256 * 64 / length, rel=1e-12)


@pytest.mark.shared_data
def test_every_row_of_the_artifact() -> None:
    if not _PUBLIC.is_dir():
        pytest.skip("shared data not found: papers beside the checkout")
    study = _run(_PUBLIC)
    assert study.missed == []
    exact = [c for c in study.comparisons if c.tolerance == 1e-9]
    assert len(exact) >= 4 * 6 + 2
    assert all(c.error is not None and abs(c.error) < 1e-12 for c in exact)


@pytest.mark.shared_data
def test_flat_dataflow_is_the_artifacts() -> None:
    """The rule for what FLAT keeps, against the table it was read from, at the lengths that are evaluated."""
    import csv

    if not _PUBLIC.is_dir():
        pytest.skip("shared data not found: papers beside the checkout")
    setup = study_setup()
    labels = {"1K": 1024, "4K": 4096, "16K": 16384, "64K": 65536, "256K": 262144, "1M": 1048576}
    with (_PUBLIC / "fusemax_flat_dataflow.csv").open(newline="") as stream:
        rows = [r for r in csv.DictReader(stream) if r["platform"] == "cloud" and r["seq_len"] in labels]
    assert len(rows) == 24
    for row in rows:
        length, shape = labels[row["seq_len"]], setup.models[row["models"]]
        machine = FusedMachine(256, 256, 256, 1, 940e6, 400 * 2**30, 32 * 2**20, 2.0, even_tiles=True)
        work = AttentionWork(64 * shape.heads, length, length, length, shape.width, shape.width)
        flow = published_flat_dataflow(work, machine)
        assert flow.weight_stationary == (row["QK_stationarity"] == "weight"), row
        assert flow.queries_stay == (row["Q_loc"] == "onchip"), row
        assert flow.values_stay == (row["V_loc"] == "onchip"), row
        if not flow.weight_stationary and row["fusion_granularity"] == "row":
            assert flow.row_tiles * 256 == int(row["P1"]), row


def test_own_flat_is_never_slower_than_the_published() -> None:
    machine = FusedMachine(256, 256, 256, 1, 940e6, 400 * 2**30, 32 * 2**20, 2.0)
    for length in study_setup().lengths:
        work = AttentionWork(768, length, length, length, 64, 64)
        binding = load_binding("flat")
        published = run_attention(work, machine, binding, published_flat_dataflow(work, machine))
        assert run_attention(work, machine, binding).traffic_B <= published.traffic_B
