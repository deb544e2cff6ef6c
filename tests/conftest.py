"""One thread each, turns for tests that measure time, and no silent skips."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext

import hypothesis
import pytest
from filelock import FileLock

from tests.kinds import NIGHTLY, mark_needs
from tests.tally import Tally

NO_SKIPS = "HARNESS_NO_SKIPS"  # set by .ci/run: there, only a test that needs CUDA may be skipped

# Tests run side by side, and torch reads this when it is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No deadline: on a busy machine the first example pays for imports. The same examples in each CI
# run.
hypothesis.settings.register_profile("harness", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("harness")


# -------------------------------------------------------------------------------------------- turns
# Under xdist, a test marked `alone` waits until every other worker has ended its test, and the
# others wait until it has ended. Each worker has a lock file and holds it during each of its tests;
# a test marked `alone` holds them all. Everybody passes the gate first, so it does not wait long.


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Wait for the test's turn."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        return (yield)
    # each worker's own folder lies in one that they share (as in the manual of pytest-xdist)
    folder = item.config._tmp_path_factory.getbasetemp().parent  # type: ignore[attr-defined]
    workers = [f"gw{i}" for i in range(int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))]
    alone = item.get_closest_marker("alone") is not None
    with ExitStack() as held:
        with FileLock(folder / "gate"):
            for name in workers if alone else [worker]:
                held.enter_context(FileLock(folder / name))
        return (yield)


# ------------------------------------------------------------------------------------------- faults


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """Counts the faults that a test injects, and what was lost by them, for docs/reliability.md."""
    kept = Tally(request.node.nodeid)
    yield kept
    kept.store()


# -------------------------------------------------------------------------------------- what is run


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests with what they need, and leave the nightly ones out of an everyday run.

    A test that is named by its own path, or by `-m`, runs whenever.
    """
    for item in items:
        mark_needs(item)
        if "tally" in getattr(item, "fixturenames", ()):
            item.add_marker("fault")
    if NIGHTLY or config.option.markexpr or any("::" in each for each in config.args):
        return
    kept = [item for item in items if item.get_closest_marker("nightly") is None]
    config.hook.pytest_deselected(
        items=[item for item in items if item.get_closest_marker("nightly")]
    )
    items[:] = kept


# ---------------------------------------------------------------------------------------- denormals


@pytest.fixture(autouse=True)
def denormals_as_found() -> Iterator[None]:
    """Give the next test its denormal numbers back, which a study in this process flushes.

    Hypothesis needs them.
    """
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


# ------------------------------------------------------------------------------------------ figures


@pytest.fixture
def no_png() -> Iterator[None]:
    """Reports of this test have no real PNG files; every night they do."""
    from tests.rendering.pages import empty_png

    with nullcontext() if NIGHTLY else empty_png():
        yield


@pytest.fixture
def no_figures() -> Iterator[None]:
    """Reports of this test have empty figures; every night they are drawn."""
    from tests.rendering.pages import empty_figures

    with nullcontext() if NIGHTLY else empty_figures():
        yield


# -------------------------------------------------------------------------------------------- skips


def unwelcome(report: pytest.TestReport | pytest.CollectReport) -> bool:
    """Whether the report is of a skip, for another reason than CUDA, where skips are failures."""
    if not os.environ.get(NO_SKIPS) or not report.skipped or hasattr(report, "wasxfail"):
        return False
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return not reason.removeprefix("Skipped: ").startswith("CUDA")


def refuse(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Make an unwelcome skip a failure."""
    if unwelcome(report):
        report.outcome = "failed"
        report.longrepr = (
            f"skipped, but {NO_SKIPS} is set and only CUDA may lack: {report.longrepr}"
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Skips inside a test."""
    report = yield
    refuse(report)  # type: ignore[arg-type]
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    """Skips of a whole file."""
    report = yield
    refuse(report)  # type: ignore[arg-type]
    return report
