"""harness.atomic_file: the old file or the new one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.atomic_file import replace_file


def test_a_file_is_replaced(tmp_path: Path) -> None:
    """The new content is there, and no temporary file."""
    path = tmp_path / "weights.pt"
    path.write_bytes(b"old")
    replace_file(path, memoryview(b"new"))
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, call: str
) -> None:
    """Whatever ends the write before the rename."""
    path = tmp_path / "weights.pt"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(*((os, "fsync") if call == "fsync" else (Path, "replace")), fail)  # type: ignore[call-overload]
    with pytest.raises(type(error)):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
