"""Serving: servers that do not hear of each other give the same apart as side by side."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from simulator.core.errors import InputError
from simulator.serving import quantiles
from simulator.serving.arrivals import Stream
from simulator.serving.cluster import Fault, Speculation
from simulator.serving.lengths import parse_lengths
from simulator.serving.output import RequestWriter
from simulator.serving.quantiles import Quantiles
from simulator.serving.serve import Deployed, Deployment, Load, deploy, serve
from simulator.serving.shards import serve_apart
from simulator.serving.tally import parse_slo

LENGTHS = parse_lengths("20-9000:2-90")
LOAD = Load(source=Stream(lengths=LENGTHS, rate=30.0, count=400, seed=2), slo=parse_slo("ttft=100ms,tpot=20ms"), seed=5)


@pytest.fixture(scope="module")
def deployed() -> Deployed:
    """Five servers with drafts, whose luck depends on the number of the request; some requests are too long."""
    how = Deployment(
        tp=1,
        replicas=5,
        level="roofline",
        sequences=16,
        prefix_cache=False,  # of no use here, and dear to check
        router="round-robin",
        speculation=Speculation(2, 0.6),
    )
    ready = deploy("llama-3-8b", "h100", how, LOAD.source)
    cluster = replace(ready.prepared.cluster, max_context=8000)
    return replace(ready, prepared=replace(ready.prepared, cluster=cluster))


def rows_of(path: Path) -> list[dict[str, float]]:
    return pq.read_table(path).sort_by("request").to_pylist()


@pytest.mark.parametrize("shards", [2, 3, 50])
def test_apart_comes_to_the_same(deployed: Deployed, tmp_path: Path, shards: int) -> None:
    with RequestWriter(tmp_path / "one.parquet") as writer:
        one = serve(deployed, LOAD, on_finished=writer.add)
    with ThreadPoolExecutor(2) as executor:
        many = serve_apart(deployed, LOAD, executor, shards, debug=True, requests_out=tmp_path / "many.parquet")
    assert one.report.requests["rejected"] > 0
    assert len(rows_of(tmp_path / "one.parquet")) == 400
    assert rows_of(tmp_path / "one.parquet") == rows_of(tmp_path / "many.parquet")
    assert not list(tmp_path.glob(".shards-*"))
    assert one.report.servers == many.report.servers
    assert one.report.requests == many.report.requests
    assert one.report.rejected == many.report.rejected
    a, b = one.report.to_json(), many.report.to_json()
    del a["provenance"], b["provenance"]
    assert flat(a) == pytest.approx(flat(b), rel=1e-9, abs=1e-9)


def flat(tree: object, path: str = "") -> dict[str, float]:
    """Return the numbers of a document by where they lie."""
    if isinstance(tree, dict):
        return {k: v for name, below in tree.items() for k, v in flat(below, f"{path}/{name}").items()}
    if isinstance(tree, list | tuple):
        return {k: v for i, below in enumerate(tree) for k, v in flat(below, f"{path}/{i}").items()}
    return {path: float(tree)} if isinstance(tree, int | float) else {}


@pytest.mark.parametrize(
    ("cluster", "load", "says"),
    [
        ({"router": "shortest-queue"}, {}, "choose --router round-robin"),
        ({"faults": [Fault(1.0, 0, 0.0)]}, {}, "leave --fault out"),
        ({}, {"concurrency": 4}, "give --rate or --trace"),
        ({}, {"source": Stream(lengths=LENGTHS, rate=30.0, count=400, turns=3.0)}, "leave --turns out"),
    ],
)
def test_servers_that_hear_of_each_other_are_refused(deployed: Deployed, cluster, load, says: str) -> None:
    prepared = replace(deployed.prepared, cluster=replace(deployed.prepared.cluster, **cluster))
    with ThreadPoolExecutor(2) as executor, pytest.raises(InputError, match=says):
        serve_apart(replace(deployed, prepared=prepared), replace(LOAD, **load), executor, 2)


@pytest.mark.parametrize("room", [1 << 18, 150, 50])
def test_quantiles_of_parts_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    monkeypatch.setattr(quantiles, "_EXACT", room)
    values = np.random.default_rng(0).exponential(1.0, 300)
    whole, parts = Quantiles(), Quantiles()
    for piece in np.array_split(values, 5):
        whole.add(piece)
    for first, last in ((0, 100), (100, 100), (100, 300)):
        part = Quantiles()
        part.add(values[first:last])
        parts.merge(part)
    assert parts.at(0.1, 0.5, 0.99) == whole.at(0.1, 0.5, 0.99)
    assert (parts.count, parts.largest) == (whole.count, whole.largest)
    assert parts.mean == pytest.approx(whole.mean)
