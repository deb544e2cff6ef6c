"""harness.timing.variant_worker: what a failure is called in the tables."""

from __future__ import annotations

import pytest

from harness.timing.variant_worker import failure_text


def test_a_failure_does_not_name_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path in an exception, which becomes a cell of throughput.csv, is shown from ~."""
    monkeypatch.setattr("harness.home_folder._homes", lambda: ["/home/planted"])
    error = FileNotFoundError(2, "No such file", "/home/planted/a.npy")
    assert failure_text(error) == "FileNotFoundError: [Errno 2] No such file: '~/a.npy'"
