"""The kernel cache: machine code of kernels whose callees were edited is never run again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.core.jit import kernel_cache, source_hash

CALLEE = "from {decorator}\n@jit\ndef factor(x):\n    return {factor} * x\n"
CALLER = "from {decorator}\nfrom callee import factor\n@jit\ndef run(x):\n    return factor(x) + 1\n"
HOUSE = (
    "from pathlib import Path\nfrom simulator.core.jit import kernel_jit\n"
    "jit = kernel_jit(Path(__file__).parent.glob('*.py'))\n"
)
STOCK = "import numba\njit = numba.njit(cache=True)\n"


def run_twice(folder: Path, house: str) -> list[int]:
    """Run the caller, edit its callee, run it again; each in a process of its own."""
    results = []
    (folder / "decorate.py").write_text(house, encoding="utf-8")
    (folder / "caller.py").write_text(CALLER.format(decorator="decorate import jit"), encoding="utf-8")
    for factor in (2, 3):
        (folder / "callee.py").write_text(
            CALLEE.format(decorator="decorate import jit", factor=factor), encoding="utf-8"
        )
        out = subprocess.run(
            [sys.executable, "-c", "import caller; print(caller.run(10))"],
            cwd=folder,
            env={**os.environ, "RIDGELINE_CACHE": str(folder / "cache"), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        results.append(int(out.stdout))
    return results


@pytest.mark.slow
def test_editing_a_callee_recompiles_its_callers(tmp_path: Path) -> None:
    (tmp_path / "house").mkdir()
    (tmp_path / "stock").mkdir()
    assert run_twice(tmp_path / "house", HOUSE) == [21, 31]
    # Numba's own cache is why: were this to give 31, the house cache would have nothing left to do.
    assert run_twice(tmp_path / "stock", STOCK) == [21, 21]
    kept = sorted(path.name for path in (tmp_path / "house" / "cache" / "kernels").iterdir())
    assert len(kept) == 2


def test_hash_follows_contents_and_names_not_order(tmp_path: Path) -> None:
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text("a = 1\n", encoding="utf-8")
    two.write_text("b = 2\n", encoding="utf-8")
    first = source_hash([one, two])
    assert source_hash([two, one]) == first
    two.write_text("b = 3\n", encoding="utf-8")
    assert source_hash([one, two]) != first
    assert source_hash([one]) != first


def test_a_folder_that_cannot_be_written_means_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    monkeypatch.setenv("RIDGELINE_CACHE", str(blocked))
    assert kernel_cache([blocked]) is None
    monkeypatch.setenv("RIDGELINE_CACHE", str(tmp_path / "new"))
    folder = kernel_cache([blocked])
    assert folder is not None
    assert folder.is_relative_to(tmp_path / "new")


def test_compiling_a_named_kernel_is_said_once_and_not_when_its_code_is_kept(tmp_path: Path) -> None:
    """On the first run two lines on stderr, on the second none; stdout is the program's own both times."""
    (tmp_path / "kernel.py").write_text(
        "from pathlib import Path\nfrom simulator.core.jit import kernel_jit\n"
        "@kernel_jit([Path(__file__)], name='a thing')\ndef run(x):\n    return x + 1\n",
        encoding="utf-8",
    )
    said = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", "import kernel; print(kernel.run(10))"],
            cwd=tmp_path,
            env={**os.environ, "RIDGELINE_CACHE": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "11\n"
        said.append(done.stderr.splitlines())
    assert said[0][0] == "compiling a thing, once: the machine code is kept"
    assert said[0][1].startswith("compiled a thing in ")
    assert said[1] == []
