"""Speed of the systolic array and of the mapper as ratios within one run."""

import pytest

from simulator.api.bench import BENCHES


@pytest.mark.slow
def test_units_are_stepped_and_layers_evaluated_by_compiled_code() -> None:
    figures = BENCHES["systolic"].measure()
    # Idle: 57 units stepped in the time of one addition in Python, and 84 layers in the time of one.
    assert float(figures["unit_cycles_per_plain_addition"]) > 5.0
    assert float(figures["layers_compiled_over_plain"]) > 10.0


@pytest.mark.slow
def test_mappings_are_evaluated_by_compiled_code() -> None:
    figures = BENCHES["mapper"].measure()
    # Busy machine: 220 times plain Python, and a mapping in the time of six additions in Python.
    assert float(figures["compiled_over_plain"]) > 50.0
    assert float(figures["valid_mappings_per_plain_addition"]) > 0.03
