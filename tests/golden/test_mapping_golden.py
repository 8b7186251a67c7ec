"""`ridgeline replay mapping` on runs of Timeloop, on runs that were altered, and on files that are no such runs."""

import json
import shutil
from pathlib import Path

import pytest

from hwmodels.spatial.mapping_machines import BUNDLED_MACHINES
from simulator.cli import main
from simulator.core.errors import SpecError
from simulator.validation.mapping_golden import replay_mapping

GOLDEN = Path(__file__).parent / "spatial" / "mapping_golden.csv"
HEADER, *ROWS = GOLDEN.read_text(encoding="utf-8").splitlines()
NAMES = HEADER.split(",")


def altered(folder: Path, header: str = HEADER, **cells: str) -> Path:
    """Write the golden file with some cells of the first row replaced."""
    values = dict(zip(NAMES, ROWS[0].split(","), strict=True)) | cells
    path = folder / "golden.csv"
    path.write_text("\n".join([header, ",".join(values.values()), *ROWS[1:]]), encoding="utf-8")
    return path


def test_golden_runs_agree() -> None:
    replay = replay_mapping(GOLDEN)
    assert (replay.rows, replay.cells, replay.mismatches, replay.unfit) == (96, 96 * 36, (), ())


@pytest.mark.parametrize("column", NAMES[NAMES.index("cycles") : NAMES.index("wall_s")])
def test_every_column_is_compared(column: str, tmp_path: Path) -> None:
    cell = float(ROWS[0].split(",")[NAMES.index(column)])
    replay = replay_mapping(altered(tmp_path, **{column: repr(cell * 1.05 + 1.0)}))
    assert [(m.place, m.column) for m in replay.mismatches] == [("golden.csv:2", column)]


def test_machines_come_from_beside_the_file_or_from_the_command_line(tmp_path: Path) -> None:
    path = Path(shutil.copy(GOLDEN, tmp_path))
    beside = tmp_path / "mapping_arch.yaml"
    text = BUNDLED_MACHINES.read_text(encoding="utf-8")
    beside.write_text(text.replace("energy_pJ_per_mac: 1.10", "energy_pJ_per_mac: 2.20"), encoding="utf-8")
    assert {m.column for m in replay_mapping(path).mismatches} == {"e_mac_pJ", "energy_total_pJ_timeloop"}
    assert replay_mapping(path, BUNDLED_MACHINES).ok


@pytest.mark.parametrize(
    ("cells", "column", "message"),
    [
        ({"arch": "A17"}, "arch", "known: A16, B8"),
        ({"spatial_x": "Q4"}, "spatial_x", "a rank and a factor"),
        ({"spatial_x": "N32"}, "dram_factors", "spread 32-fold along x, there are 16"),
        ({"rf_factors": "B=1 M=2 N=1"}, "rf_perm_inner_to_outer", "each of B, M, N once"),
        ({"rf_factors": "B=1 M=2 N=1 K:8"}, "rf_factors", "expected factors"),
        ({"rf_perm_inner_to_outer": "MNBB"}, "rf_perm_inner_to_outer", "once"),
        ({"gb_factors": "B=1 M=17 N=1 K=1"}, "dram_factors", "rank M: factors multiply to"),
        ({"M": "0"}, "M", "at least 1"),
        ({"cycles": "many"}, "cycles", "at least 0"),
    ],
)
def test_a_bad_cell_is_shown_at_its_place(cells: dict[str, str], column: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        replay_mapping(altered(tmp_path, **cells))
    (problem,) = caught.value.problems
    values = dict(zip(NAMES, ROWS[0].split(","), strict=True)) | cells
    before = list(values.values())[: NAMES.index(column)]
    assert (problem.line, problem.column) == (2, len("".join(f"{cell}," for cell in before)) + 1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("x: 16", "x: 0", ":10:13: machines.A16.array.x: input should be greater"),
        ("multicast: free", "multicast: dear", "multicast: expected 'free'"),
        ("word_bits", "word_bitz", "did you mean 'word_bits'"),
        ("Z: [B, M, N]", "Y: [B, M, N]", "expected tensors A, W, Z"),
        ("read: 64.0", "read: much", "a number"),
        ("read: 64.0", "read: 1e300", "less than or equal"),
        ("read_words_per_cycle: 16", "read_words_per_cycle: 0", "greater than or equal"),
    ],
)
def test_bad_machines_are_shown_at_their_place(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "arch.yaml"
    path.write_text(BUNDLED_MACHINES.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        replay_mapping(GOLDEN, path)
    assert message in str(caught.value)
    assert all(problem.file == str(path) and problem.line >= 1 for problem in caught.value.problems)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "mapping", str(GOLDEN), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["agrees"] is True
    assert main(["replay", "mapping", str(GOLDEN), "--arch", str(BUNDLED_MACHINES)]) == 0
    assert capsys.readouterr().out.endswith("\nagrees\n")
    assert main(["replay", "mapping", str(altered(tmp_path, cycles="1"))]) == 1
    assert "golden.csv:2 cycles: golden 1, model 17408" in capsys.readouterr().out
    assert main(["replay", "mapping", str(tmp_path / "none.csv")]) == 2
    assert main(["replay", "mapping", str(GOLDEN), "--arch", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err
