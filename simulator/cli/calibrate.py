"""``ridgeline calibrate HARDWARE FILE...``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from simulator.cli.progress import ProgressLine

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("hardware", metavar="HARDWARE", help="the GPU measured: bundled name (h200), or path of a file")
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="tables in the columns of hwmodels/measured/h200/README.md",
    )
    parser.add_argument(
        "--sections",
        type=_names,
        default=[],
        metavar="S,...",
        help="gemm, attention, vector, power (default: all that the files have rows for)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE.yaml", help="write the calibrated GPU as a specification")
    parser.add_argument("--models", type=Path, metavar="DIR", help="folder of NAME.json configurations")
    parser.add_argument("--profile", default="pytorch-sdpa", metavar="P", help="stack of whole-model rows")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="draws the sample of very many rows (0)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(arguments: argparse.Namespace) -> int:
    """Fit, print, and write the specification."""
    from simulator.calibration import calibrate
    from simulator.calibration.specification import specification, specification_text
    from simulator.core.errors import InputError

    out: Path | None = arguments.out
    if out is not None and out.suffix.lower() not in (".yaml", ".yml"):
        raise InputError(f"--out {out}: a specification is a .yaml file")
    if out is not None and not out.parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.parent}")
    with ProgressLine() as tell:
        report = calibrate(
            arguments.hardware,
            arguments.files,
            sections=arguments.sections,
            models_dir=arguments.models,
            profile=arguments.profile,
            seed=arguments.seed,
            progress=tell,
        )
    folder = out.parent if out is not None else Path.cwd()
    if out is not None:
        out.write_text(specification_text(report, folder), encoding="utf-8")
    if arguments.json:
        document = {**report.to_json(), "specification": specification(report, folder)}
        print(json.dumps(document, indent=2, allow_nan=False))
        return 0
    print(report.to_text())
    if out is None:
        print("\n--out FILE.yaml writes the calibrated GPU; `simulate` and `validate` take it as HARDWARE")
    else:
        print(f"\nwritten: {out}" + ("" if report.changed else " (no coefficient has changed)"))
    return 0


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
