"""`ridgeline replay mapping-search`: never worse than timeloop-mapper, and what is no such file."""

import json
from pathlib import Path

import pytest

from simulator.cli import main
from simulator.core.errors import SpecError
from simulator.validation.mapping_search import replay_mapping_search

GOLDEN = Path(__file__).parent / "spatial" / "mapping_search_golden.csv"
HEADER, *ROWS = GOLDEN.read_text(encoding="utf-8").splitlines()
NAMES = HEADER.split(",")


def altered(folder: Path, **cells: str) -> Path:
    """Write the header and the first row with some cells replaced."""
    values = dict(zip(NAMES, ROWS[0].split(","), strict=True)) | cells
    path = folder / "golden.csv"
    path.write_text("\n".join([HEADER, ",".join(values.values())]), encoding="utf-8")
    return path


def test_no_row_is_worse_and_all_are_proven() -> None:
    replay = replay_mapping_search(GOLDEN)
    assert len(replay.rows) == 16
    assert replay.worse == ()
    assert all(row.found.proven and row.ratio < 1.0 for row in replay.rows)


def test_a_bar_below_the_optimum_is_not_reached(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = altered(tmp_path, best_cycles="100")
    assert main(["replay", "mapping-search", str(path), "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["worse"] == ["golden.csv:2"]
    assert printed["rows"][0]["reached_s"] is None
    assert main(["replay", "mapping-search", str(path)]) == 1
    assert "worse than Timeloop: 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"arch": "A17"}, "known: A16, B8"),
        ({"metric": "speed"}, "expected one of edp, energy, delay"),
        ({"M": "0"}, "at least 1"),
        ({"M": "100000000", "N": "100000000", "K": "100000000"}, "2\\^53"),
    ],
)
def test_a_bad_cell_is_shown_at_its_place(cells: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        replay_mapping_search(altered(tmp_path, **cells))
    assert caught.value.problems[0].line == 2


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "mapping-search", str(altered(tmp_path))]) == 0
    assert "proven optimal: 1 of 1" in capsys.readouterr().out
    assert main(["replay", "mapping-search", str(altered(tmp_path)), "--budget", "0"]) == 2
    assert main(["replay", "mapping-search", str(tmp_path / "none.csv")]) == 2
    short = tmp_path / "short.csv"
    short.write_text("arch,layer\nA16,x\n", encoding="utf-8")
    assert main(["replay", "mapping-search", str(short)]) == 2
    assert "column 'metric' is missing" in capsys.readouterr().err
