"""The rules of a test run, tried on small runs of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

SKIPS = """
import pytest

def test_gpu(): pytest.skip("CUDA device needed")
def test_server(): pytest.skip("no server")
@pytest.mark.xfail(reason="known")
def test_known(): assert False
"""

TURNS = """
import time
from pathlib import Path
import pytest

def note(what):
    with Path({log!r}).open("a") as log:
        log.write(what)

@pytest.mark.parametrize("i", range(12))
def test_beside(i):
    note("(")
    time.sleep(0.02)
    note(")")

@pytest.mark.alone
@pytest.mark.parametrize("i", range(3))
def test_alone(i):
    note("<")
    time.sleep(0.1)
    note(">")
"""


def run_pytest(folder: Path, source: str, *arguments: str, **environment: str) -> str:
    """What pytest prints of one file of tests, under this repository's settings."""
    (folder / "conftest.py").write_bytes((ROOT / "tests" / "conftest.py").read_bytes())
    (folder / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    (folder / "test_it.py").write_text(source, encoding="utf-8")
    inherited = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTEST_", "HARNESS_NO_SKIPS"))
    }
    command = [sys.executable, "-m", "pytest", f"--basetemp={folder / 'temporary'}", *arguments]
    done = subprocess.run(
        [*command, "test_it.py"],
        cwd=folder,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_a_skip_is_a_failure_where_none_may_be(tmp_path: Path) -> None:
    """With HARNESS_NO_SKIPS only a test that lacks CUDA may be skipped."""
    output = run_pytest(tmp_path, SKIPS, HARNESS_NO_SKIPS="1")
    assert "1 failed, 1 skipped, 1 xfailed" in output
    assert "FAILED test_it.py::test_server" in output


def test_a_skip_is_a_skip_elsewhere(tmp_path: Path) -> None:
    """A developer without a server or a GPU gets a clean run."""
    assert "2 skipped, 1 xfailed" in run_pytest(tmp_path, SKIPS)


def test_a_test_that_measures_time_runs_alone(tmp_path: Path) -> None:
    """With several workers, nothing starts or ends while a test marked `alone` runs."""
    log = tmp_path / "log"
    output = run_pytest(tmp_path, TURNS.format(log=str(log)), "-n", "3")
    assert "15 passed" in output
    parts = log.read_text(encoding="utf-8").split("<")
    assert [part[0] for part in parts[1:]] == [">", ">", ">"]
    assert all(part.count("(") == part.count(")") for part in parts)
