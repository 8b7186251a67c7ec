"""Speed of analytic sweeps as a ratio within one run, to a plain NumPy roofline over the same operators."""

import numpy as np
import pytest

from dse.batch import BatchModel
from dse.batch.bench import AXES, launches_and_candidates, numpy_roofline, sweep_rates
from simulator.api.simulate import prepare

pytestmark = pytest.mark.slow


def test_a_sweep_is_not_far_from_a_plain_roofline() -> None:
    figures = sweep_rates(points=200_000)
    print(figures)
    ratio = figures["rate_over_numpy_roofline"]
    assert isinstance(ratio, float)
    assert ratio > 0.1  # 0.3 when written: the full model, power limit included, at a third of the roofline's rate


def test_the_roofline_it_is_compared_with_is_one() -> None:
    """Never slower than the model, and near it where large products decide."""
    model = BatchModel(*prepare("llama-3-70b", "h100x8", batch=32), list(AXES))
    draw = np.random.default_rng(1)
    columns = {name: model.base(name) * draw.uniform(low, high, 300) for name, (low, high, _) in AXES.items()}
    columns["sms"] = np.floor(columns["sms"])
    prefill_s, decode_s = numpy_roofline(model, columns)
    found = model.evaluate(columns)
    assert (prefill_s <= found["ttft_s"]).all()
    assert (decode_s <= found["phases.decode.time_s"]).all()
    assert (prefill_s > 0.3 * found["ttft_s"]).all()


def test_launches_and_candidates_are_those_of_the_table() -> None:
    model = BatchModel(*prepare("llama-3-8b", "h200", batch=1, output_tokens=1))
    launches, candidates = launches_and_candidates(model.table)
    assert launches == len(model.table.runs.operator)
    products = sum(model.table.operators.codes[o, 0] == 0 for o in model.table.runs.operator)
    assert 4 * products < candidates <= 10 * products + 2
