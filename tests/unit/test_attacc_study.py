"""AttAcc beside a DGX: batches by hand, what hiding the links buys, the study's own verdicts."""

from __future__ import annotations

import pytest

from dse.studies import attacc
from dse.studies.attacc import Case, run_case

_GPT3_KV_B = 96 * 2 * 12288 * 2.0  # per token in 16 bits
_GPT3_WEIGHTS_B = 2 * 175e9


def test_batches_are_what_memory_holds() -> None:
    for system, room_B in (("DGX", 8 * 80 * 2**30 - _GPT3_WEIGHTS_B), ("DGX+AttAcc", 8 * 80 * 2**30)):
        batch = run_case(Case(system, 2048, 2048)).batch
        assert batch == pytest.approx(room_B / (4096 * _GPT3_KV_B), abs=1.5)


def test_attention_in_memory_costs_what_nine_times_the_bandwidth_leaves() -> None:
    """At batch 16 the step loses the reading of the cache at 2.85 TB/s and gains next to nothing for AttAcc's."""
    alone = run_case(Case("DGX", 2048, 512, batch=16))
    beside = run_case(Case("DGX+AttAcc, pipelined", 2048, 512, batch=16))
    cache_s = 16 * 2304 * _GPT3_KV_B / 8 / (0.85 * 3352e9)
    assert alone.token_s - beside.token_s == pytest.approx(cache_s, rel=0.1)


def test_pipelining_hides_links_and_attention() -> None:
    serial = run_case(Case("DGX+AttAcc", 2048, 512, batch=16))
    pipelined = run_case(Case("DGX+AttAcc, pipelined", 2048, 512, batch=16))
    assert serial.hidden < 0.05
    assert pipelined.hidden > 0.9
    assert pipelined.token_s < 0.95 * serial.token_s
    assert pipelined.access_J == pytest.approx(serial.access_J, rel=0.01)


@pytest.mark.slow
def test_the_study_says_what_it_missed() -> None:
    study = attacc.run(None, lambda line: None)
    assert {comparison.what for comparison in study.missed} <= {"energy under a DGX with as much memory, most"}
    (throughput, *_) = study.comparisons
    assert throughput.verdict == "within"
    assert all(c.verdict == "shown" for c in study.comparisons if c.confidence != "retrieved")
