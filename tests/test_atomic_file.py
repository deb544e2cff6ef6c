"""harness.atomic_file: the old file or the new one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.atomic_file import remove_temporary_files, replace_file
from tests.tally import Tally


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


@pytest.mark.parametrize("place", ["the file", "the temporary file"])
def test_nothing_is_written_through_a_link(tmp_path: Path, place: str, tally: Tally) -> None:
    """A link in place of the file, or of its temporary file, is replaced."""
    secret, path = tmp_path / "secret", tmp_path / "weights.pt"
    secret.write_bytes(b"kept")
    link = path if place == "the file" else tmp_path / f".weights.pt.{os.getpid()}.tmp"
    link.symlink_to(secret)
    fault = "a link in place of a result file, or of its temporary file"
    with tally.each(fault, "replaced; what it leads to stays") as count, count.one():
        replace_file(path, b"new")
        assert (secret.read_bytes(), path.read_bytes()) == (b"kept", b"new")
    assert not path.is_symlink()


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """The temporary file of a process that was killed goes; every other file stays."""
    (tmp_path / ".weights.pt.4711.tmp").write_bytes(b"half")
    for name in ("weights.pt", "notes.tmp", ".hidden"):
        (tmp_path / name).write_bytes(b"")
    remove_temporary_files(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"weights.pt", "notes.tmp", ".hidden"}
