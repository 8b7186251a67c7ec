"""Serving: a rate that cannot hold is given up early, and what is said of it stays true."""

from __future__ import annotations

import pytest

from simulator.serving.arrivals import Stream
from simulator.serving.capacity import find_capacity, is_hopeless, wilson_interval
from simulator.serving.lengths import parse_lengths
from simulator.serving.serve import Deployed, Deployment, Load, deploy, try_rate
from simulator.serving.tally import parse_slo

COUNT = 30_000


def load(rate: float) -> Load:
    source = Stream(lengths=parse_lengths("200-600:2-4"), rate=rate, count=COUNT)
    return Load(source=source, slo=parse_slo("ttft=100ms,share=0.9"))


@pytest.fixture(scope="module")
def deployed() -> Deployed:
    return deploy("qwen3-0.6b", "h100", Deployment(level="roofline"), load(1.0).source)


def test_a_rate_far_too_high_is_given_up_and_would_have_failed(deployed: Deployed) -> None:
    lines: list[str] = []
    early, nothing = try_rate(deployed, load(1e5), COUNT, lines.append)
    whole, report = try_rate(deployed, load(1e5), None)
    assert nothing is None
    assert report is not None
    assert not early.whole
    assert whole.whole
    assert 0.9 > early.good_share >= whole.good_share
    assert early.requests == whole.requests == COUNT
    assert lines[-1].endswith("good")


def test_the_search_finds_the_same_with_and_without_giving_up(deployed: Deployed) -> None:
    found = [
        find_capacity(lambda rate, most=most: try_rate(deployed, load(rate), most)[0], 0.9, start=100.0, precision=0.1)
        for most in (None, COUNT)
    ]
    assert found[0].rate == found[1].rate
    assert [t.rate for t in found[0].trials] == [t.rate for t in found[1].trials]
    assert (found[0].low, found[0].high) == (found[1].low, found[1].high)
    assert not all(t.whole for t in found[1].trials)
    for full, cut in zip(found[0].trials, found[1].trials, strict=True):
        assert full.good_share == cut.good_share if cut.whole else full.good_share <= cut.good_share


def test_hopeless_is_what_the_interval_says() -> None:
    assert wilson_interval(0.89, 10_000)[1] < 0.9
    assert is_hopeless(1100, 10_000, 0.9)
    assert not is_hopeless(1000, 10_000, 0.9)
    assert not is_hopeless(1, 3, 0.9)
