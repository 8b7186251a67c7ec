"""What every test shares: the folder of shared data where there is one, and the rule that no test is skipped unseen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"

#: Reasons a test may be skipped for; any other skip fails the run. CI installs the browser.
EXPECTED_SKIPS = (re.compile(r"^shared data not found: "), re.compile(r"^browser not found: "))

# The same examples in every run and no time limit on one, which a busy machine would break;
# `pytest --hypothesis-profile default` searches with new ones.
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of data that may be read but not committed; skip, saying so, where it is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"shared data not found: {SHARED.name} beside the checkout")
    return SHARED


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Note skips whose reason is not expected."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        if not any(pattern.search(reason) for pattern in EXPECTED_SKIPS):
            report.outcome = "failed"
            report.longrepr = f"unexpected skip: {reason} (if it is right, add it to EXPECTED_SKIPS)"
    return report
