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

from harness.errors import PERMISSION_ERRORS, HarnessError, StorageError, unwritable


@contextlib.contextmanager
def hold_file(database: Path) -> Iterator[None]:
    """An exclusive lock beside the database, and a file that names the owner's host and process.

    Raises StorageError that names the owner where another process has the lock.
    """
    lock, owner = (
        database.with_name(database.name + ".lock"),
        database.with_name(database.name + ".owner"),
    )
    try:
        held = filelock.FileLock(lock)
        held.acquire(timeout=0)
    except filelock.Timeout:
        try:
            who = owner.read_text(encoding="utf-8").strip()
        except OSError:
            who = "another process"
        raise StorageError(
            f"{database}: in use by {who}; wait until it is done, or stop it"
        ) from None
    except OSError as error:
        raise _unwritable(database, error) from error
    try:
        try:
            owner.write_text(whoami() + "\n", encoding="utf-8")
        except OSError as error:
            raise _unwritable(database, error) from error
        yield
    finally:
        with contextlib.suppress(OSError):
            owner.unlink(missing_ok=True)
        held.release()


def _unwritable(database: Path, error: OSError) -> HarnessError:
    if error.errno in PERMISSION_ERRORS:
        return StorageError(f"{database}: cannot be written ({error.strerror})")
    return unwritable(database, error)


def whoami() -> str:
    """This process, as `host, process 123`."""
    return f"{socket.gethostname()}, process {os.getpid()}"
