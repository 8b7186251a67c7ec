"""`ridgeline map` and the machines that users write."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwmodels.spatial.architecture import load_architecture
from simulator.cli import main
from simulator.core.errors import SpecError

TREE = """
name: clustered
energy_pJ_per_mac: 1.0
levels:
  - name: DRAM
    read_words_per_cycle: 64
    write_words_per_cycle: 64
    energy_pJ_per_word: {read: 64, write: 64}
  - name: GB
    words: 16384
    energy_pJ_per_word: {read: 6.0, write: 6.6}
    below: {x: 4, y: 2}
  - name: cluster
    words: 512
    energy_pJ_per_word: {read: 1.0, write: 1.1}
    below: {x: 4}
  - name: RF
    words: 32
    energy_pJ_per_word: {read: 0.3, write: 0.33}
"""
EINSUM = "Z[m,n] += A[m,k] * W[k,n]"
BOUNDS = ("--bounds", "m=8", "n=16", "k=8")


@pytest.fixture
def tree(tmp_path: Path) -> str:
    path = tmp_path / "tree.yaml"
    path.write_text(TREE, encoding="utf-8")
    return str(path)


def test_a_tree_of_four_levels_is_mapped(tree: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", EINSUM, tree, *BOUNDS, "--budget", "300000", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [level["level"] for level in document["levels"]] == ["DRAM", "GB", "cluster", "RF"]
    assert document["cycles"] == 8 * 16 * 8 // 32
    assert document["energy_J"] == pytest.approx(
        8 * 16 * 8 * 1e-12 + sum(level["energy_J"] for level in document["levels"])
    )
    assert document["proven"] is (document["value"] == document["lower_bound"])


def test_constraints_and_progress(tree: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--fix", "GB.spatial.n=4", "RF.temporal.k=2", "--keep", "RF.W", "--bypass", "cluster.A"]
    asked += ["--spread", "GB=m", "cluster=", "--innermost", "DRAM=k", "--budget", "60000", "--progress"]
    assert main(["map", EINSUM, tree, *BOUNDS, *asked]) == 0
    said = capsys.readouterr()
    assert "evaluated" in said.err
    assert "cluster   passed by: A" in said.out
    assert "for k in 2" in said.out
    assert "25% of the units busy" in said.out  # 4-fold over n, 2-fold over m


def test_the_reason_is_printed_where_nothing_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    keep = ["--keep", "RF.A", "RF.W", "RF.Z"]
    command = ["map", EINSUM, "B8", *BOUNDS, "--fix", "RF.temporal.m=8", "RF.temporal.n=8", *keep]
    assert main(command) == 1
    assert "no valid mapping: RF holds 32 words" in capsys.readouterr().out
    assert main([*command, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["valid"] is False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["B8", "--bounds", "m=8"], "ranks without bound"),
        (["B8", "--bounds", "m=8", "m=9"], "m is given twice"),
        (["B8", "--bounds", "m:8"], "expected RANK=N"),
        (["none.yaml", *BOUNDS], "none.yaml"),
        (["B8", *BOUNDS, "--fix", "GB.m=2"], "expected LEVEL.temporal.RANK=N"),
        (["B8", *BOUNDS, "--fix", "L2.temporal.m=2"], "has levels DRAM, GB, RF"),
        (["B8", *BOUNDS, "--keep", "RF"], "expected LEVEL.TENSOR"),
        (["B8", *BOUNDS, "--objective", "speed"], "known: edp, energy, cycles"),
        (["B8", *BOUNDS, "--budget", "-1"], "must be at least 1"),
    ],
)
def test_what_is_refused(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", EINSUM, *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: GB", "name: RF", "names are unique"),
        ("name: GB", "name: mac", "not 'mac' or 'compute'"),
        ("words: 16384", "words: -1", "greater than or equal to 1"),
        ("words: 16384", "word: 16384", "did you mean 'words'"),
        ("  - name: DRAM\n", "  - name: DRAM\n    words: 5\n", "the outermost level holds everything"),
        ("below: {x: 4}", "below: {x: 100000}", "less than or equal to 65536"),
        ("energy_pJ_per_mac: 1.0", "", "energy_pJ_per_mac"),
        ("{read: 64, write: 64}", "{read: 64}", "write"),
        ("name: GB", "name: 'a b'", "levels.1.name"),
    ],
)
def test_a_bad_tree_is_shown_at_its_place(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "tree.yaml"
    path.write_text(TREE.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_architecture(path)
    assert message in str(caught.value)
    assert all(problem.file == str(path) for problem in caught.value.problems)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    at=st.integers(0, len(TREE)),
    cut=st.integers(0, 20),
    put=st.sampled_from(
        ["", "nan", "-1", "[", "{", "1e999", "null", "- ", "&a *a", "words: ", "x: 0", "\t", "levels: []\n"]
    ),
)
def test_whatever_a_tree_holds_ends_in_a_machine_or_an_error(
    at: int, cut: int, put: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_text(TREE[:at] + put + TREE[at + cut :], encoding="utf-8")
    try:
        machine = load_architecture(path)
    except SpecError as error:
        assert error.problems
    else:
        assert machine.units >= 1
