"""Command programs on memory that computes against AttAcc's and AiM's own simulators: every row to the cycle."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from hwmodels.dram.standard import load_dram
from hwmodels.pim.aim import parse_instructions, run_aim
from hwmodels.pim.attacc import attention_entries, program_entries, reference_controller, reference_table
from hwmodels.pim.channel import PimTable, run_stream, stream
from hwmodels.pim.checker import check_pim_trace
from hwmodels.pim.table import tables
from simulator.cli import main
from simulator.core.errors import InputError, SpecError
from simulator.validation.pim_golden import replay_pim

GOLDEN = Path(__file__).parent / "pim" / "pim_golden.csv"
HEADER, *ROWS = GOLDEN.read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def replay():
    return replay_pim(GOLDEN)


def test_every_row_is_equal(replay):
    assert [(c.name, c.golden, c.simulated, c.differences) for c in replay.cases if not c.agrees] == []
    assert [c.name for c in replay.cases if c.tolerance != 0.0 or c.relative != 0.0] == []
    assert len(replay.cases) == 41
    assert sum(case.compared for case in replay.cases) >= 200


def test_refresh_that_the_reference_leaves_out_is_shown(replay):
    cases = {case.name: case for case in replay.cases}
    hidden = cases["aim_mac64x64_ref"]
    assert hidden.with_refresh - hidden.simulated == pytest.approx(420, abs=130)  # one refresh, and reopening
    assert cases["aim_mac64x1"].with_refresh == cases["aim_mac64x1"].simulated  # too short for one
    assert cases["att_mac4096_ref"].with_refresh is None


def test_command_line_prints_and_judges(capsys, tmp_path):
    file = tmp_path / "few.csv"
    file.write_text("\n".join([HEADER, *ROWS[:3], ROWS[-6]]), encoding="utf-8")
    assert main(["replay", "pim", str(file), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["agrees"]
    assert document["exact_cases"] == 4
    wrong = next(csv.reader([ROWS[0]]))
    wrong[HEADER.split(",").index("cycles")] = "21"
    file.write_text("\n".join([HEADER, ",".join(wrong)]), encoding="utf-8")
    assert main(["replay", "pim", str(file)]) == 1
    assert "-4.76%" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("sim", "other", "expected one of attacc_ramulator2"),
        ("program", "MAC*", "expected a comma at character 4"),
        ("program", "MAC*99999999", "more than 20000000 commands"),
        ("program", "(MAC*2", "expected ')' at character 7"),
        ("program", "MOC*2", "expected MAC, WRGB"),
        ("kind", "gemm", "expected micro or attention"),
        ("tick_ps", "500", "expected 769"),
        ("channels", "99", "expected 1 to 16"),
        ("power_limit", "x", "expected a whole number"),
    ],
)
def test_bad_rows_are_reported(tmp_path, column, value, says):
    row = next(csv.reader([ROWS[0]]))
    row[HEADER.split(",").index(column)] = value
    file = tmp_path / "bad.csv"
    file.write_text("\n".join([HEADER, ",".join(row)]), encoding="utf-8")
    with pytest.raises(SpecError, match=":2:") as caught:
        replay_pim(file)
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["MAC_ABK 64 bank 99", "NOPE 3", "MAC_ABK x2 x", "MAC_ABK 0", ""])
def test_bad_instructions_are_reported(text):
    with pytest.raises(InputError, match="program"):
        parse_instructions(text)


@pytest.mark.parametrize("level", ["bank", "bg", "buffer"])
@pytest.mark.parametrize("heads", [5, 20])
def test_no_command_of_attention_breaks_a_constraint(level, heads):
    table = reference_table(load_dram(str(tables()["hbm3-pim"])))
    entries = attention_entries(level, 200, heads, 128, 2)
    controller = replace(reference_controller(level, refresh=True), refreshes=1)
    units = 1 if level == "bank" else table.dram.banks
    run = run_stream(table, stream(table, entries), controller, 16, units, traced=200_000)
    assert len(run.trace) == run.issued > 400
    assert check_pim_trace(table, entries, run.trace, controller) == []


def test_checker_finds_what_is_wrong():
    table = reference_table(load_dram(str(tables()["hbm3-pim"])))
    entries = program_entries("MAC*40", 1)
    controller = reference_controller("bank", refresh=False)
    trace = run_stream(table, stream(table, entries), controller, traced=100).trace
    early = [command._replace(tick=command.tick - (command.name == "PREA")) for command in trace]
    assert "7 ticks after MACAB, 8 due" in check_pim_trace(table, entries, early, controller)[0].reason
    unopened = [command for command in trace if command.name != "ACTAB"]
    assert any("row 0 is not open" in v.reason for v in check_pim_trace(table, entries, unopened, controller))
    twice = sorted([*trace, trace[5]])
    assert any("same bus" in v.reason for v in check_pim_trace(table, entries, twice, controller))


def test_aim_keeps_its_table():
    table = PimTable(load_dram(str(tables()["gddr6-aim"])))
    program = "WR_GB 40 ; MAC_ABK 64 rows 0-9 ; RD_MAC ; COPY_BKGB 8 bank 3 row 5 ; EWMUL 16 row 2 ; AF ; RD_AF"
    for refresh in (False, True):
        run = run_aim(table, parse_instructions(program), refresh, traced=2000)
        assert run.commands["MAC16"] == 640
        assert run.commands["TMOD"] >= 4
        assert run.ticks > 10 * 226


@pytest.mark.shared_data
def test_rows_that_are_not_ours(shared_data, tmp_path):
    """HBM-PIM within 5 %; the table in AttAcc's repository is shown and not judged."""
    lines = (shared_data / "golden" / "pim_golden.csv").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines[1:] if "hbmpim" in line or "cache_BA_L2048_h130" in line]
    file = tmp_path / "others.csv"
    file.write_text("\n".join([lines[0], *kept]), encoding="utf-8")
    cases = {case.name: case for case in replay_pim(file).cases}
    hbm = [case for case in cases.values() if case.sim == "pimsimulator_hbmpim"]
    assert len(hbm) == 7
    assert [(case.name, case.relative) for case in hbm if abs(case.relative) > 0.05] == []
    cached = cases["cache_BA_L2048_h130_d128_npc"]
    assert cached.simulated == 26768  # what its own code gives today, where its table says 28176
    assert cached.tolerance is None
    assert cached.agrees
