"""DRAM channels against Ramulator 2.1: every number of every stream, and every command of twelve of them."""

import csv
import json
from pathlib import Path

import pytest

from hwmodels.dram.device import Dram
from hwmodels.dram.requests import parse_mapping
from hwmodels.dram.run import simulate
from hwmodels.dram.standard import load_dram
from hwmodels.dram.timings_file import read_timings
from simulator.cli import main
from simulator.core.errors import SpecError
from simulator.validation.dram_golden import golden_case, replay_dram
from simulator.validation.table import Kind, Row, parse_rows, read_table

GOLDEN = Path(__file__).parent / "dram"
STREAMS, TRACED = GOLDEN / "dram_golden.csv", GOLDEN / "dram_cmd_trace_cases.csv"
TIMINGS = GOLDEN / "dram_golden_timings.yaml"
DEVICES = read_timings(TIMINGS)
HEADER, *ROWS = STREAMS.read_text(encoding="utf-8").splitlines()


def bundled(device: Dram) -> Dram:
    ranks = device.nodes_per_parent("Rank") if "Rank" in device.levels else None
    return load_dram(device.standard, device.organisation, device.speed, ranks)


def pairs(device: Dram) -> set[tuple[object, ...]]:
    return {
        (c.scope, before, after, c.latency, c.window, c.sibling)
        for c in device.constraints
        for before in c.prev
        for after in c.next
    }


def test_every_number_of_every_stream_is_equal() -> None:
    replay = replay_dram(STREAMS)
    assert [(c.name, c.cycles, c.differences) for c in replay.cases if not replay.agrees(c)] == []
    assert len(replay.cases) == 42
    assert min(case.compared for case in replay.cases) >= 15
    assert replay.ok


def test_bundled_standards_give_the_same_without_a_file_of_timings() -> None:
    replay = replay_dram(TRACED)  # there is no dram_cmd_trace_cases_timings.yaml
    assert replay.ok
    assert len(replay.cases) == 12


@pytest.mark.parametrize("key", DEVICES)
def test_bundled_standards_resolve_to_the_golden_tables(key: str) -> None:
    golden, ours = DEVICES[key], bundled(DEVICES[key])
    assert pairs(ours) == pairs(golden)
    assert {name: ours.timings[name] for name in golden.timings} == dict(golden.timings)
    for field in ("levels", "counts", "rows", "bursts_per_row", "burst_B", "read_latency", "slots"):
        assert getattr(ours, field) == getattr(golden, field), field
    assert ours.tick_s == pytest.approx(golden.tick_s, rel=1e-12)


def _rows(path: Path) -> list[Row]:
    table = read_table(path)
    kinds = dict.fromkeys(table.header, Kind.FREE)
    return parse_rows(table, kinds | dict.fromkeys(("n_requests", "footprint_blocks", "cycles"), Kind.COUNT))


def _traced_rows() -> list[dict[str, str]]:
    with TRACED.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _commands(case: str) -> list[dict[str, str]]:
    with (GOLDEN / "dram_cmd_traces.csv").open(encoding="utf-8") as stream:
        return [row for row in csv.DictReader(stream) if row["case_id"] == case]


@pytest.mark.parametrize("number", range(12), ids=[row["case_id"] for row in _traced_rows()])
def test_every_command_is_issued_at_the_same_tick(number: int) -> None:
    row = _rows(TRACED)[number]
    dram, controller, requests = golden_case(row, DEVICES)
    mapping = parse_mapping(row.text("mapping"))
    run = simulate(dram, controller, requests, mapping, trace=True)
    columns, rows = mapping.field("co", requests.block), mapping.field("ro", requests.block)
    ours = []
    for command in run.trace:
        if command.request < 0:
            ours.append((command.tick, command.name, None, None, None))
        else:
            place = (command.node, int(rows[command.request]), int(columns[command.request]))
            ours.append((command.tick, command.name, *place))
    golden = []
    for c in _commands(row.text("case_id")):
        if c["cmd"] in ("PREab", "REFab"):
            golden.append((int(c["clk"]), c["cmd"], None, None, None))
            continue
        address = {field: int(c[field]) for field in ("pc", "sid", "ra", "bg", "ba") if c[field]}
        golden.append((int(c["clk"]), c["cmd"], dram.bank_index(address), int(c["ro"]), int(c["co"])))
    assert ours == golden


def altered(folder: Path, header: str = HEADER, timings: str | None = None, **cells: str) -> Path:
    values = ROWS[0].split(",")
    for name, value in cells.items():
        values[HEADER.split(",").index(name)] = value
    path = folder / "rows.csv"
    path.write_text("\n".join([header, ",".join(values)]), encoding="utf-8")
    text = TIMINGS.read_text(encoding="utf-8") if timings is None else timings
    (folder / "rows_timings.yaml").write_text(text, encoding="utf-8")
    return path


def test_a_wrong_number_is_found_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = altered(tmp_path, cycles="126000")
    assert main(["replay", "dram", str(path)]) == 1
    assert "795" in capsys.readouterr().out
    assert main(["replay", "dram", str(path), "--tolerance", "0.01", "--json"]) == 0
    case = json.loads(capsys.readouterr().out)["cases"][0]
    assert (case["expected_cycles"], case["simulated_cycles"], case["difference_cycles"]) == (126000, 126795, 795)
    assert main(["replay", "dram", str(altered(tmp_path, n_ACT="158"))]) == 1
    assert "n_ACT: expected 158, simulated 157" in capsys.readouterr().out


def test_a_row_may_take_its_requests_from_a_trace_file(tmp_path: Path) -> None:
    """The blocks of the row's pattern, written out, give the same run; a wrong number of them is an error."""
    requests = golden_case(_rows(STREAMS)[0], DEVICES)[2]
    lines = [f"{'RW'[write]} {block}" for block, write in zip(requests.block, requests.write, strict=True)]
    (tmp_path / "own.trace").write_text("\n".join(lines), encoding="utf-8")
    assert replay_dram(altered(tmp_path, pattern="trace:own.trace")).ok
    (tmp_path / "own.trace").write_text("\n".join(lines[1:]), encoding="utf-8")
    with pytest.raises(SpecError, match=r"rows\.csv:2:\d+: n_requests: 20000 requests, the trace holds 19999"):
        replay_dram(altered(tmp_path, pattern="trace:own.trace"))
    with pytest.raises(SpecError, match="cannot be read"):
        replay_dram(altered(tmp_path, pattern="trace:none.trace"))


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"pattern": "zigzag"}, "unknown request pattern"),
        ({"mapping": "ro16-xx2"}, "address mapping"),
        ({"mapping": "ro16-ba4-bg2-co7"}, "4 bits of ba, the device has 4"),
        ({"standard": "DDR9"}, "unknown DRAM standard 'DDR9'"),
        ({"timing": "DDR4_9999Z"}, "DDR4_9999Z"),
        ({"scheduler": "LIFO"}, "expected one of FRFCFS"),
        ({"row_policy": "Ajar"}, "expected one of Open"),
        ({"read_queue": "0"}, "read_queue must be from 1"),
        ({"write_spec": "p"}, "write mix"),
        ({"write_spec": "k0:0"}, "no reads and no writes"),
        ({"write_spec": "k99999999999999999999:1"}, "write mix"),
        ({"gap": "100000000000000000"}, "the last would arrive after tick 274877906944"),
        ({"pattern": "stride", "stride": "100000000000000000"}, "stride must be from 0 to below"),
        ({"footprint_blocks": "9000000000000000000"}, "footprint_blocks"),
        ({"n_requests": "-3"}, "expected a whole number of at least 1"),
        ({"n_requests": "999999999999"}, "requests, at most"),
        ({"seed": "1.5"}, "expected a whole number of at least 0"),
        ({"cycles": "many"}, "expected a whole number of at least 1"),
        ({"req_sha1_16": "0123456789abcdef"}, "not those of its pattern"),
        ({"n_RD": "few"}, "expected a number"),
    ],
)
def test_malformed_rows_name_their_place(tmp_path: Path, cells: dict[str, str], said: str) -> None:
    with pytest.raises(SpecError, match=r"rows\.csv:2:\d+: ") as caught:
        replay_dram(altered(tmp_path, **cells))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("latency: 4}", "latency: four}", "expected a whole number"),
        ("scope: Rank", "scope: Lane", "expected one of Channel, Rank"),
        ("prev: [RD, RDA]", "prev: RD", "expected a list of names"),
        ("levels: [Channel, Rank", "levels: [Rank", "expected Channel ... Bank"),
        ("tick_ps: 625.0", "tick_ps: fast", "expected picoseconds"),
        ("window: 4", "window: 0", "expected a whole number from 1"),
        ("DDR4|DDR4_8Gb_x8|DDR4_3200AA|rank=1", "DDR4", "expected the key as"),
        ("nREFI: 12480", "nREFX: 12480", "the timing nREFI is missing"),
        ("bankgroup: 4, bank: 4, row: 65536", "bankgroup: 4000, bank: 4000, row: 65536", "banks, at most"),
        ("DDR4", "DDR4: [", "is not valid YAML"),
    ],
)
def test_malformed_timings_name_their_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = TIMINGS.read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(SpecError, match=r"rows_timings\.yaml:\d+:\d+: ") as caught:
        replay_dram(altered(tmp_path, timings=text.replace(old, new, 1)))
    assert said in str(caught.value)


def test_a_missing_file_or_column_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "dram", str(tmp_path / "none.csv")]) == 2
    path = altered(tmp_path, header=HEADER.replace(",mapping,", ",maping,"))
    assert main(["replay", "dram", str(path)]) == 2
    error = capsys.readouterr().err
    assert "column 'mapping' is missing (there is 'maping')" in error
    assert "Traceback" not in error
