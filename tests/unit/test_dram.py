"""DRAM parts by hand: energies per standard, streams, address mappings, controllers, specifications."""

import dataclasses
import math
from pathlib import Path

import pytest

from hwmodels.dram.controller import Controller
from hwmodels.dram.energy import command_energy, run_energy
from hwmodels.dram.requests import Stream, blocks, field_counts, parse_mapping
from hwmodels.dram.run import simulate
from hwmodels.dram.standard import load_dram, load_standard, standards
from hwmodels.dram.trace_file import read_requests
from simulator.core.errors import InputError, SpecError, UnknownNameError, UnsupportedError


def test_first_blocks_of_the_published_generator() -> None:
    """Seed 1 over 2**27 blocks, as the reference's README lists them."""
    stream = Stream("random", 5, 1 << 27, seed=1).generate()
    assert stream.block.tolist() == [103528406, 20202329, 50163916, 16886502, 97598298]


def test_patterns_by_hand() -> None:
    def walked(pattern: str, **settings: int) -> list[int]:
        return Stream(pattern, 6, 100, **settings).generate().block.tolist()

    assert walked("seq") == [0, 1, 2, 3, 4, 5]
    assert walked("stride", stride=30) == [0, 30, 60, 90, 20, 50]
    assert walked("copy", stride=40) == [0, 40, 1, 41, 2, 42]
    assert walked("multi", stride=10, chunk=3) == [0, 10, 20, 1, 11, 21]
    chunked = walked("chunk", chunk=3, seed=7)
    assert [b - chunked[i - i % 3] for i, b in enumerate(chunked)] == [0, 1, 2, 0, 1, 2]
    assert Stream("seq", 6, 100, writes="k2:1").generate().write.tolist() == [0, 0, 1, 0, 0, 1]
    assert Stream("copy", 4, 100, stride=9).generate().write.tolist() == [0, 1, 0, 1]
    assert Stream("seq", 3, 9, gap=5).generate().arrival.tolist() == [0, 5, 10]


def test_mapping_slices_from_the_right_and_joins_split_fields() -> None:
    import numpy as np

    mapping = parse_mapping("ro4-co2-ba2-bg2-co1")
    block = np.array([0b1011_10_01_11_1])
    fields = {name: int(mapping.field(name, block)[0]) for name in ("ro", "co", "ba", "bg", "ra")}
    assert fields == {"ro": 0b1011, "co": 0b101, "ba": 0b01, "bg": 0b11, "ra": 0}
    bank, row = mapping.banks_rows(load_dram("ddr4"), block)
    assert (int(bank[0]), int(row[0])) == (3 * 4 + 1, 0b1011)


@pytest.mark.parametrize("text", ["", "ro16-", "ro16-xx3", "16ro", "ro60-co60"])
def test_wrong_mappings_say_so(text: str) -> None:
    with pytest.raises(InputError, match="address mapping"):
        parse_mapping(text)


def test_ddr4_energy_by_hand() -> None:
    """Eight x8 devices at 1.2 V, clock 0.625 ns: currents of the datasheet times clocks of DDR4-3200AA."""
    cost = command_energy(load_dram("ddr4"))
    clock, volts = 0.625e-9, 8 * 1.2
    assert cost.activate_J == pytest.approx(volts * clock * (0.057 * 74 - 0.052 * 52 - 0.037 * 22), rel=1e-12)
    assert cost.activate_J == pytest.approx(4.2e-9, rel=0.01)
    assert cost.read_J == pytest.approx(volts * clock * (0.168 - 0.052) * 4, rel=1e-12)
    assert cost.read_J == pytest.approx(2.8e-9, rel=0.01)
    assert cost.write_J == pytest.approx(volts * clock * (0.150 - 0.052) * 4, rel=1e-12)
    assert cost.refresh_J == pytest.approx(volts * clock * (0.250 - 0.052) * 576, rel=1e-12)
    assert (cost.open_W, cost.closed_W) == pytest.approx((volts * 0.052, volts * 0.037), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "activate_nJ", "read_nJ", "write_nJ", "refresh_nJ", "open_mW", "closed_mW", "interface_nJ"),
    [
        # VDD x devices x clock x (IDD0 tRC - IDD3N tRAS - IDD2N tRP), and so on, worked out on paper
        ("ddr5", 1.1 * 4 * 0.416 * (57 * 113 - 52 * 77 - 37 * 36) * 1e-3, 1.1 * 4 * 0.416 * 116 * 8e-3,
         1.1 * 4 * 0.416 * 98 * 8e-3, 1.1 * 4 * 0.416 * 198 * 710e-3, 1.1 * 4 * 52, 1.1 * 4 * 37, 0.0),
        ("gddr6", 1.35 * 0.57 * (71 * 79 - 61 * 53 - 60 * 27) * 1e-3, 1.35 * 0.57 * 187 * 2e-3,
         1.35 * 0.57 * 170 * 2e-3, 1.35 * 0.57 * 225 * 211e-3, 1.35 * 61, 1.35 * 60, 0.0),
        ("hbm2", 0.6 * 1.0 * (65 * 48 - 55 * 34 - 40 * 14) * 1e-3, 0.6 * 335 * 2e-3,
         0.6 * 445 * 2e-3, 0.6 * 195 * 350e-3, 0.6 * 55, 0.6 * 40, 0.8 * 256e-3),
        ("hbm2e", 0.6 * 0.625 * (65 * 76 - 55 * 54 - 40 * 23) * 1e-3, 0.6 * 0.625 * 335 * 2e-3,
         0.6 * 0.625 * 445 * 2e-3, 0.6 * 0.625 * 195 * 720e-3, 0.6 * 55, 0.6 * 40, 0.8 * 256e-3),
        # bits of 32 B x (cell + bank-group mux + channel mux); with TSV and interposer 3.48 pJ/bit = 0.891 nJ
        ("hbm3", 0.909, 256 * 2.68e-3, 256 * 2.68e-3, 41.0, 33.0, 24.0, 256 * 0.8e-3),
        ("hbm3e", 0.909, 256 * 2.68e-3, 256 * 2.68e-3, 41.0, 33.0, 24.0, 256 * 0.8e-3),
        ("lpddr5", 1.8, 256 * 5.5e-3, 256 * 5.5e-3, 60.0, 30.0, 20.0, 256 * 1.8e-3),
    ],
)  # fmt: skip
def test_energy_of_every_other_standard_by_hand(
    name: str,
    activate_nJ: float,
    read_nJ: float,
    write_nJ: float,
    refresh_nJ: float,
    open_mW: float,
    closed_mW: float,
    interface_nJ: float,
) -> None:
    cost = command_energy(load_dram(name))
    expected = [activate_nJ, read_nJ, write_nJ, refresh_nJ]
    assert [x * 1e9 for x in cost[:4]] == pytest.approx(expected, rel=1e-9)
    assert [cost.open_W * 1e3, cost.closed_W * 1e3] == pytest.approx([open_mW, closed_mW], rel=1e-9)
    assert cost.interface_J * 1e9 == pytest.approx(interface_nJ, rel=1e-9, abs=1e-15)


def test_hbm3_access_costs_what_its_authors_say() -> None:
    """0.891 nJ per 32 B on a GPU, from the same chain."""
    cost = command_energy(load_dram("hbm3"))
    assert cost.read_J + cost.interface_J == pytest.approx(0.891e-9, rel=1e-3)


@pytest.mark.parametrize("name", sorted(standards()))
def test_energy_parts_are_the_counters_times_the_costs(name: str) -> None:
    dram = load_dram(name)
    columns = dict(field_counts(dram))["co"].bit_length() - 1
    mapping = parse_mapping(f"ro8-co{columns}-ba1-bg2")
    run = simulate(dram, Controller(), Stream("random", 4000, blocks(dram), seed=2, writes="p25").generate(), mapping)
    cost, energy = command_energy(dram), run_energy(run)
    count = run.commands
    assert energy.activate_J == pytest.approx(count["ACT"] * cost.activate_J, rel=1e-12)
    assert energy.read_J + energy.write_J == pytest.approx(
        count["RD"] * cost.read_J + count["WR"] * cost.write_J, rel=1e-12
    )
    assert energy.interface_J == pytest.approx((count["RD"] + count["WR"]) * cost.interface_J, rel=1e-12)
    assert count["REFab"] > 0
    assert energy.refresh_J == pytest.approx(count["REFab"] * cost.refresh_J, rel=1e-12)
    background = energy.background_open_J + energy.background_closed_J
    least, most = (dram.refresh_units * watts * run.time_s for watts in (cost.closed_W, cost.open_W))
    assert least <= background <= most
    parts = [energy.activate_J, energy.read_J, energy.write_J, energy.refresh_J, background, energy.interface_J]
    assert energy.total_J == pytest.approx(math.fsum(parts), rel=1e-12)


def test_unknown_names_suggest() -> None:
    with pytest.raises(UnknownNameError, match="hbm3"):
        load_dram("hbm33")
    with pytest.raises(UnknownNameError, match="DDR4_3200AA"):
        load_dram("ddr4", speed="DDR4_3200A")
    with pytest.raises(InputError, match="ranks"):
        load_dram("hbm2", ranks=2)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"scheduler": "random"}, "unknown scheduler"),
        ({"page": "ajar"}, "unknown page policy"),
        ({"refresh": "never"}, "unknown refresh"),
        ({"read_queue": 0}, "read_queue must be from 1"),
        ({"drain_below": 0.9}, "does not hold"),
    ],
)
def test_wrong_controllers_say_so(settings: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Controller(**settings)  # type: ignore[arg-type]


def test_per_bank_refresh_needs_a_device_that_has_it() -> None:
    stream = Stream("seq", 4, 64).generate()
    with pytest.raises(UnsupportedError, match="no per-bank refresh"):
        simulate(load_dram("ddr4"), Controller(refresh="per-bank"), stream, parse_mapping("ro8-co7"))


@pytest.mark.parametrize("interval", [0, 1, 650])
def test_refreshes_that_leave_no_time_for_requests_are_refused(interval: int) -> None:
    """DDR4-3200: 576 clocks for a refresh and 74 for a row; one tick more and requests are served, if slowly."""
    dram = load_dram("ddr4")
    stream, mapping = Stream("seq", 400, 64).generate(), parse_mapping("ro8-co7")
    storm = dataclasses.replace(dram, timings={**dram.timings, "nREFI": interval})
    with pytest.raises(InputError, match=f"every {interval} ticks leaves no time for requests: it takes 650"):
        simulate(storm, Controller(), stream, mapping)
    barely = dataclasses.replace(dram, timings={**dram.timings, "nREFI": 651})
    assert simulate(barely, Controller(), stream, mapping).cycles > simulate(dram, Controller(), stream, mapping).cycles


def test_more_refresh_units_than_the_engine_has_room_for_are_refused() -> None:
    dram = load_dram("ddr4")
    many = dataclasses.replace(dram, counts=(1, 257, 1, 1))
    with pytest.raises(InputError, match="257 banks in 257 refresh units, at most 4096 in 256"):
        simulate(many, Controller(refresh="off"), Stream("seq", 4, 64).generate(), parse_mapping("ro8-co7"))


def test_standards_are_data_with_sources() -> None:
    for name in standards():
        spec = load_standard(name)
        assert spec.default.organisation in spec.organisations
        assert spec.default.speed in spec.speeds
        assert all(p.source for p in spec.provenance.values()), name
    assert load_standard("hbm3e").provenance["speeds.HBM3E_8000Mbps.clock"].kind == "estimated"
    assert load_standard("ddr4").provenance["energy.currents.idd0"].kind == "datasheet"


def test_a_standard_in_a_file_of_your_own(tmp_path: Path) -> None:
    path = tmp_path / "fast.yaml"
    path.write_text(
        "base: hbm3\nname: FAST\nsource: mine\nkind: estimated\n"
        "default: {organisation: one, speed: quick}\n"
        "organisations:\n  one: {density_Mb: 4096, dq: 32, channel_width: 32, bank: 4, row: 64, column: 256}\n"
        "speeds:\n  quick: {clock: 400 ps, clocks: {nBL: two}}\n"
    )
    with pytest.raises(SpecError, match=r"fast\.yaml:9:\d+: speeds\.quick\.clocks\.nBL"):
        load_standard(str(path))


def test_trace_files_are_requests(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text("# reads, then a write\nR 7\nR 8 5\n\nW 9  # same tick\n")
    requests = read_requests(path)
    assert requests.block.tolist() == [7, 8, 9]
    assert requests.write.tolist() == [0, 0, 1]
    assert requests.arrival.tolist() == [0, 5, 5]
    run = simulate(load_dram("ddr4"), Controller(), requests, parse_mapping("ro16-ba2-bg2-co7"))
    assert (run.row_misses, run.row_hits) == (1, 2)
    path.write_text(f"R 7 9\nX 8\nR 9 3\nW -1\nR 1 {1 << 39}\n")
    with pytest.raises(SpecError, match=r"(?s)trace\.txt:2:1: .*trace\.txt:3:1: .*trace\.txt:4:1: .*trace\.txt:5:1: "):
        read_requests(path)
    with pytest.raises(SpecError, match="cannot be read"):
        read_requests(tmp_path / "none.txt")
