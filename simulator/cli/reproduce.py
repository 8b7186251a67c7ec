"""``ridgeline reproduce NAME``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.cli.progress import ProgressLine

if TYPE_CHECKING:
    from dse.studies import Study

__all__ = ["add_arguments", "run"]

_SHOWN_ROWS = 15  # of a table on a terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from dse.studies import STUDIES

    names = "; ".join(f"{name}: {summary}" for name, summary in STUDIES.items())
    parser.add_argument("name", choices=(*STUDIES, "all"), metavar="NAME", help=f"{names}; all: one after the other")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="folder with tables of other projects that a study compares with"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write the text, the document and the figures to DIR/NAME"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(arguments: argparse.Namespace) -> int:
    """Simulate what the paper reports and print both; 1 where a figure that is judged was missed."""
    from importlib import import_module

    from dse.studies import STUDIES
    from dse.studies.study import study_document, study_text
    from simulator.core.data import data_folders

    if arguments.out is not None:
        _make_folder(arguments.out)
    data_folders(arguments.data)  # a folder that is not there is said at once, whether or not a study reads from it
    studies: list[Study] = []
    for name in STUDIES if arguments.name == "all" else [arguments.name]:
        module = import_module(f"dse.studies.{name.replace('-', '_')}")
        with ProgressLine() as tell:
            study = module.run(arguments.data, tell)
        studies.append(study)
        if not arguments.json:
            print(study_text(study, _SHOWN_ROWS), flush=True)
        if arguments.out is not None:
            _write(study, arguments.out / name, arguments.name == "all")
    if arguments.json:
        documents = [study_document(study) for study in studies]
        print(json.dumps(documents[0] if len(documents) == 1 else documents, indent=2, allow_nan=False))
    missed = [f"{study.name}: {c.what}" for study in studies for c in study.missed]
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    return 1 if missed else 0


def _make_folder(folder: Path) -> None:
    from simulator.core.errors import InputError

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {folder}: {error.strerror}") from error


def _write(study: Study, folder: Path, of_all: bool) -> None:
    """Write README.md, study.json and every figure as PDF and PNG with its CSV and manifest."""
    from dse.plots.figure import paper_style, save_figure
    from dse.studies.study import study_document, study_text

    _make_folder(folder)
    pictures = "".join(f"\n![{figure.name}]({figure.name}.png)\n" for figure in study.figures)
    (folder / "README.md").write_text(study_text(study) + pictures, encoding="utf-8")
    document = json.dumps(study_document(study), indent=1, allow_nan=False)
    (folder / "study.json").write_text(document + "\n", encoding="utf-8")
    command = f"ridgeline reproduce {'all' if of_all else study.name} --out DIR"
    for figure in study.figures:
        with paper_style():
            drawn = figure.draw()
            for ending in (".pdf", ".png"):
                save_figure(drawn, folder / f"{figure.name}{ending}", figure.rows, {"command": command})
