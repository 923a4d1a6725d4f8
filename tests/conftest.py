"""What all tests share: the real handwriting, and how property tests run."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

from inktex.core.telemetry import disable_telemetry

REPOSITORY = Path(__file__).resolve().parent.parent

# What is computed here is small: two threads would wait for each other, and badly where another
# process is at work. Read before torch is imported; processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Some tests import ONNX Runtime before anything of ours does.
disable_telemetry()

# The same examples in every run, and no deadline: a busy machine is not a failure.
settings.register_profile("inktex", derandomize=True, deadline=None)
settings.load_profile("inktex")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The real handwriting: `INKTEX_DATA`, else `../shared/data` beside the checkout.

    Skips the test where there is none; with `INKTEX_REQUIRE_DATA=1` (continuous integration) the
    test fails instead.
    """
    named = os.environ.get("INKTEX_DATA")
    root = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not (root / "crohme").is_dir():
        reason = f"needs the CROHME data: no folder {root / 'crohme'}; set INKTEX_DATA to it"
        if os.environ.get("INKTEX_REQUIRE_DATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return root


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder that no other test and no user has, also for the processes of a test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("INKTEX_CACHE", str(folder))
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the reports of tests on real handwriting, so that the summary can count them."""
    for item in items:
        if "data_root" in getattr(item, "fixturenames", ()):
            item.user_properties.append(("real data", True))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests saw real handwriting, so that nobody takes a skip for a pass."""
    counts = Counter(
        outcome
        for outcome in ("passed", "failed", "error", "skipped")
        for report in terminalreporter.stats.get(outcome, [])
        if ("real data", True) in report.user_properties
    )
    if counts:
        told = ", ".join(f"{number} {outcome}" for outcome, number in counts.items())
        terminalreporter.write_sep("-", f"tests on real handwriting: {told}")
