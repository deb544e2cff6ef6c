"""harness.records.results_folder and file_lock: a folder is moved under its lock, links refused."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import nullcontext
from pathlib import Path

import pytest

from harness.errors import InputError, StorageError
from harness.records.file_lock import hold_file, lock_files
from harness.records.results_folder import check_folder, check_writable, putting_aside
from tests.tally import Tally
from tests.test_regular_file import needs_pipes

posix_only = pytest.mark.skipif(os.name == "nt", reason="Windows renames no folder that is in use")


@posix_only
def test_a_folder_is_locked_while_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    """A coordinator that starts just before the rename is refused, not robbed of its folder."""
    folder = tmp_path / "small"
    folder.mkdir()
    refused = []
    rename = Path.rename

    def start_then_rename(path: Path, target: Path) -> Path:
        try:
            with hold_file(folder / "study.db"):
                refused.append(False)
        except StorageError:
            refused.append(True)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", start_then_rename)
    fault = "a coordinator that starts while `--fresh` moves the folder away"
    with (
        tally.each(fault, "refused: the folder is locked until it has moved") as count,
        count.one(),
    ):
        with putting_aside(folder, "study.db"):
            pass
        assert refused == [True]
    assert [path.name for path in tmp_path.iterdir()] == ["small.old-1"]
    assert not lock_files(tmp_path / "small.old-1" / "study.db")[1].exists()


@posix_only
def test_a_lock_whose_folder_has_moved_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock file that was opened before its folder moved away locks nothing: refused."""
    folder = tmp_path / "small"
    with hold_file(folder / "study.db"):
        pass
    acquire = "filelock.FileLock.acquire"
    from filelock import FileLock

    original = FileLock.acquire

    def acquire_then_move(self: FileLock, *arguments: object, **options: object) -> object:
        held = original(self, *arguments, **options)  # type: ignore[arg-type]
        folder.rename(tmp_path / "small.old-1")
        return held

    monkeypatch.setattr(acquire, acquire_then_move)
    with (
        pytest.raises(StorageError, match="in use by another process"),
        hold_file(folder / "study.db"),
    ):
        pytest.fail("the lock of a folder elsewhere was taken for this one's")


@posix_only
def test_the_owner_of_the_next_folder_stays(tmp_path: Path) -> None:
    """Whoever starts right after the move keeps the file that names it."""
    folder = tmp_path / "small"
    _, owner = lock_files(folder / "study.db")
    with hold_file(folder / "study.db"):
        folder.rename(tmp_path / "elsewhere")
        folder.mkdir()
        owner.write_text("host, process 1\n")
    assert owner.read_text() == "host, process 1\n"


@pytest.mark.parametrize("name", ["study.db", "groups.jsonl", "winners", "figures"])
def test_links_are_refused(tmp_path: Path, name: str, tally: Tally) -> None:
    """What is written in place is no link to elsewhere: one line."""
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / name).symlink_to(tmp_path / "elsewhere")
    fault = "a results folder with a link in place of a file or folder that is written"
    with tally.each(fault, "refused in one line, nothing written through it") as count, count.one():
        with pytest.raises(InputError, match=rf"{name}: expected .*, got a link"):
            check_folder(folder, "study", "bench", "grid.toml")
        assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("which", [0, 1])
def test_no_lock_is_written_through_a_link(tmp_path: Path, which: int) -> None:
    """A link in place of the lock is refused; one in place of the owner's file is replaced."""
    secret = tmp_path / "secret"
    secret.write_text("kept")
    lock_files(tmp_path / "study.db")[which].symlink_to(secret)
    refused = pytest.raises(InputError, match="got a link") if which == 0 else nullcontext()
    with refused, hold_file(tmp_path / "study.db"):
        pass
    assert secret.read_text() == "kept"


@needs_pipes
@pytest.mark.timeout(10)
@pytest.mark.parametrize("name", ["study.db", "groups.jsonl"])
def test_a_pipe_in_place_of_a_file_is_refused(tmp_path: Path, name: str) -> None:
    """Named, in one line, before anything opens it."""
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}: expected a regular file"):
        check_folder(tmp_path, "study", "bench", "grid.toml")


@needs_pipes
@pytest.mark.timeout(10)
def test_an_owner_that_is_a_pipe_is_another_process(tmp_path: Path) -> None:
    """A pipe in place of the file that names the owner does not block the one who is refused."""
    with hold_file(tmp_path / "study.db"):
        _, owner = lock_files(tmp_path / "study.db")
        owner.unlink()
        os.mkfifo(owner)
        with (
            pytest.raises(StorageError, match="in use by another process"),
            hold_file(tmp_path / "study.db"),
        ):
            pytest.fail("two hold one lock")


def test_a_read_only_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is there and cannot be written is refused before anything is computed."""
    check_writable(tmp_path)

    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(InputError, match=r"a path that can be written, got Read-only file system"):
        check_writable(tmp_path)
