"""Where data files lie: one resolver for everything that reads measurements, traces or golden runs.

Looked for, in this order: the folder given (``--data DIR``), the folder in the environment variable ``RIDGELINE_DATA``,
the files bundled with the package. Data of other projects is read from where the user has it and never bundled.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from simulator.core.errors import DataMissingError, InputError
from simulator.core.names import suggest

__all__ = ["DATA_VARIABLE", "PUBLIC_DATA", "Origin", "bundled_data", "data_folders", "resolve_data"]

#: The environment variable that names a folder of data.
DATA_VARIABLE = "RIDGELINE_DATA"


class Origin(NamedTuple):
    """Where a public data set comes from and under which terms."""

    source: str
    licence: str


#: Data sets of other projects, by the first part of their files' names.
PUBLIC_DATA: dict[str, Origin] = {
    "aiconfigurator": Origin("GitHub repository ai-dynamo/aiconfigurator", "Apache-2.0"),
    "apex": Origin("GitHub repository microsoft/apex_plus", "MIT"),
    "fusemax": Origin("GitHub repository FPSG-UIUC/micro24-fusemax-artifact", "MIT"),
    "frontier": Origin("GitHub repository NetX-lab/Frontier", "MIT"),
    "infersim": Origin("GitHub repository alibaba/InferSim", "Apache-2.0"),
    "llmcompass": Origin("GitHub repository PrincetonUniversity/LLMCompass", "BSD-3-Clause"),
    "llmservingsim": Origin("GitHub repository casys-kaist/LLMServingSim", "MIT"),
    "neusight": Origin("GitHub repository sitar-lab/NeuSight", "MIT"),
    "azure": Origin("GitHub repository Azure/AzurePublicDataset", "CC-BY-4.0"),
    "splitwise": Origin("GitHub repository Mutinifni/splitwise-sim", "MIT"),
    "vidur": Origin("GitHub repository microsoft/vidur", "MIT"),
    "h200": Origin("measured for this project and bundled with it", "Apache-2.0"),
}

_UNKNOWN = Origin("not known to this version", "not known: ask whoever made it")


def bundled_data() -> Path:
    """Return the folder of the measurements that come with the package."""
    return Path(__file__).resolve().parents[2] / "hwmodels" / "measured"


def data_folders(data_dir: Path | str | None = None) -> list[Path]:
    """Return the folders to look in, best first.

    Raises
    ------
    InputError
        If a folder was named, as an argument or by the environment, that does not exist.
    """
    folders: list[Path] = []
    for named, by in ((data_dir, "--data"), (os.environ.get(DATA_VARIABLE) or None, DATA_VARIABLE)):
        if named is None:
            continue
        if not Path(named).is_dir():
            raise InputError(f"{by}: {str(named)!r} is not a folder")
        folders.append(Path(named))
    return [*folders, bundled_data()]


def _candidates(folder: Path, name: Path) -> Iterator[Path]:
    """Yield where in a folder a file may lie: as named, by its last part, or one level down."""
    yield folder / name
    yield folder / name.name
    for below in sorted(p for p in folder.iterdir() if p.is_dir()):
        yield below / name.name


def resolve_data(name: str, data_dir: Path | str | None = None) -> Path:
    """Return the path of a data file.

    Parameters
    ----------
    name
        The file, ``"h200_gemm.csv"``, or with its folder, ``"h200/h200_gemm.csv"``.
    data_dir
        A folder to look in first.

    Raises
    ------
    DataMissingError
        If it is nowhere; the message says the name, the source, the licence and where it was looked for.
    InputError
        If the name leads out of the folders, or a folder that was named does not exist.
    """
    wanted = Path(name)
    if wanted.is_absolute() or ".." in wanted.parts or not wanted.name:
        raise InputError(f"data file {name!r}: name it relative to the data folder")
    folders = data_folders(data_dir)
    for folder in folders:
        for candidate in _candidates(folder, wanted):
            if candidate.is_file():
                return candidate
    origin = next((o for k, o in PUBLIC_DATA.items() if wanted.name.lower().startswith(k)), _UNKNOWN)
    present = {p.name for f in folders for pattern in ("*", "*/*") for p in f.glob(pattern + wanted.suffix)}
    near = suggest(wanted.name, present, most=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    looked = ", ".join(str(f) for f in folders[:-1]) or "no folder of yours"
    raise DataMissingError(
        f"data file {name!r} is missing{hint}: source {origin.source}, licence {origin.licence}; looked in {looked} "
        f"and among the bundled data. Give its folder with --data DIR or in {DATA_VARIABLE}"
    )
