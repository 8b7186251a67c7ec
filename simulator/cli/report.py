"""``ridgeline report RESULT``."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "result", type=Path, metavar="RESULT", help="folder of a sweep, or a `simulate --json` document"
    )
    parser.add_argument(
        "-o", "--out", "--output", dest="output", type=Path, metavar="FILE", help="where to (report.html in the folder)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write one HTML page that needs nothing else."""
    from dse.page.page import write_page

    source: Path = arguments.result
    if source.is_dir():
        from dse.page.sweep import sweep_page
        from dse.result import load_result

        page = sweep_page(load_result(source))
        default = source / "report.html"
    else:
        from dse.page.report import report_page
        from dse.plots.documents import read_document, whole

        document = read_document(source, "report")
        with whole(source):
            print(f"wrote {write_page(report_page(document), arguments.output or source.with_suffix('.html'))}")
        return 0
    print(f"wrote {write_page(page, arguments.output or default)}")
    return 0
