"""The folder of a command's results: made, checked and moved aside.

Never writes a result.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness.errors import DISK_ERRORS, PERMISSION_ERRORS, InputError, Shown, unwritable
from harness.records.file_lock import hold_file, lock_files, refuse_link

FILES_IN_PLACE, FOLDERS_IN_PLACE = ("study.db", "groups.jsonl"), ("winners", "figures")
"""What is not replaced as a whole, so that a link there would be written through."""


@contextlib.contextmanager
def name_unwritable_file() -> Iterator[None]:
    """Turn an OSError of the block into a FileError or InputError that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_ERRORS | PERMISSION_ERRORS and error.filename:
            raise unwritable(error.filename, error) from error
        raise


def make_folder(directory: Path) -> None:
    """Make the folder of the results. Raises InputError where none can be made."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            "--results",
            expected="a folder that can be written",
            got=Shown(f"{directory} ({error.strerror})"),
        ) from error


def check_writable(directory: Path) -> None:
    """Refuse a folder in which no file can be made, before something is computed for it."""
    try:
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        raise unwritable(directory, error) from error


def check_folder(directory: Path, what: str, other: str, mark: str) -> None:
    """Refuse a folder with the results of the other command, which the file `mark` shows.

    Also one in which a link, or a named pipe, stands where something is written in place.
    """
    if (directory / mark).exists():
        raise InputError(
            str(directory),
            expected=f"the folder of a {what}",
            got=Shown(f"the results of a {other}"),
            remedy=f"give the {what} another name, or its results another folder with --results",
        )
    for name in (*FILES_IN_PLACE, *FOLDERS_IN_PLACE):
        refuse_link(directory / name)
    for path in (directory / name for name in FILES_IN_PLACE):
        if path.exists() and not path.is_file():
            raise InputError(str(path), expected="a regular file", got=Shown("something else"))


@contextlib.contextmanager
def putting_aside(directory: Path, database: str) -> Iterator[None]:
    """Rename the folder, if there is one, to <name>.old-1 or the next free number after the block.

    Old results are never deleted. Holds the lock of the folder's `database` through the block and
    the renaming. Raises StorageError where another process has it.
    """
    if not directory.exists():
        yield
        return
    with hold_file(directory / database):
        yield
        if os.name != "nt":
            _rename(directory, database)
    if os.name == "nt":  # Windows renames no folder with an open file in it: nobody has the lock
        _rename(directory, database)


def _rename(directory: Path, database: str) -> None:
    number = 1
    while directory.with_name(f"{directory.name}.old-{number}").exists():
        number += 1
    aside = directory.rename(directory.with_name(f"{directory.name}.old-{number}"))
    _, owner = lock_files(aside / database)
    owner.unlink(missing_ok=True)
