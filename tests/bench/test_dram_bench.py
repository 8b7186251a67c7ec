"""Speed of the DRAM engine as ratios within one run."""

import pytest

from simulator.api.bench import BENCHES


@pytest.mark.slow
def test_ticks_are_skipped_and_the_rest_is_compiled() -> None:
    figures = {name: float(value) for name, value in BENCHES["dram"].measure().items()}
    standards = {name.removesuffix("_random_cycles_per_s") for name in figures if name.endswith("_random_cycles_per_s")}
    assert len(standards) == 8
    for name in standards:
        # Seen: 550 to 2100; 4 to 5; 13 to 21; 1.0 to 1.7.
        assert figures[f"{name}_random_over_plain_python"] > 150, name
        assert figures[f"{name}_stream_over_events"] > 1.5, name
        assert figures[f"{name}_low_load_over_every_tick"] > 5.0, name
        assert figures[f"{name}_random_over_every_tick"] > 0.8, name
        assert figures[f"{name}_stream_requests_per_s"] > figures[f"{name}_random_requests_per_s"], name
