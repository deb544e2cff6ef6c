"""A lock on a database file or a results folder, for one process at a time.

Knows nothing of what is in it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import filelock

from harness.atomic_file import replace_file
from harness.errors import (
    PERMISSION_ERRORS,
    HarnessError,
    InputError,
    Shown,
    StorageError,
    unwritable,
)
from harness.regular_file import read_regular


@contextlib.contextmanager
def hold_file(database: Path) -> Iterator[None]:
    """An exclusive lock beside the database, and a file that names the owner's host and process.

    The folder may be renamed in the block. Raises StorageError that names the owner where another
    process has the lock, InputError where its file is a link.
    """
    lock, owner = lock_files(database)
    refuse_link(lock)
    try:
        held = filelock.FileLock(lock)
        if not lock.exists():
            with held.acquire(timeout=0):
                pass  # makes the file, whose inode then says whether its folder has moved
        before = _inode(lock)
        held.acquire(timeout=0)
    except (filelock.Timeout, FileNotFoundError):  # its folder was renamed a moment ago
        raise _in_use(database, owner) from None
    except OSError as error:
        raise _unwritable(database, error) from error
    try:
        after = _inode(lock)
        if after is None or before not in (None, after):
            raise _in_use(database, owner)  # its folder was renamed before we had the lock
        try:
            replace_file(owner, f"{whoami()}\n".encode())
        except OSError as error:
            raise _unwritable(database, error) from error
        yield
    finally:
        if _read_owner(owner) == whoami():  # another one's, where the folder was renamed
            with contextlib.suppress(OSError):
                owner.unlink(missing_ok=True)
        held.release()


def lock_files(database: Path) -> tuple[Path, Path]:
    """The file that is locked, and the one that names the owner."""
    name = database.name
    return database.with_name(f"{name}.lock"), database.with_name(f"{name}.owner")


def refuse_link(path: Path) -> None:
    """Raise InputError for a link, through which a file or folder elsewhere would be written."""
    if path.is_symlink() or (hasattr(path, "is_junction") and path.is_junction()):
        raise InputError(
            str(path),
            expected="a file or folder of its own",
            got=Shown("a link"),
            remedy="remove the link; what it leads to would be written",
        )


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _in_use(database: Path, owner: Path) -> StorageError:
    who = _read_owner(owner) or "another process"
    return StorageError(f"{database}: in use by {who}; wait until it is done, or stop it")


def _read_owner(owner: Path) -> str:
    """Who holds the lock; empty where it is not known."""
    try:
        return read_regular(owner).decode(errors="replace").strip()
    except OSError:
        return ""


def _unwritable(database: Path, error: OSError) -> HarnessError:
    if error.errno in PERMISSION_ERRORS:
        return StorageError(f"{database}: cannot be written ({error.strerror})")
    return unwritable(database, error)


def whoami() -> str:
    """This process, as `host, process 123`."""
    return f"{socket.gethostname()}, process {os.getpid()}"
