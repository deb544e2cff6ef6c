"""The folder of a command's results: made, checked and moved aside.

Never writes a result.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from harness.errors import DISK_ERRORS, PERMISSION_ERRORS, InputError, Shown, unwritable


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


def check_folder(directory: Path, what: str, other: str, mark: str) -> None:
    """Refuse a folder with the results of the other command, which the file `mark` shows."""
    if (directory / mark).exists():
        raise InputError(
            str(directory),
            expected=f"the folder of a {what}",
            got=Shown(f"the results of a {other}"),
            remedy=f"give the {what} another name, or its results another folder with --results",
        )


def put_aside(directory: Path) -> None:
    """Rename the folder, if there is one, to <name>.old-1 or the next free number.

    Old results are never deleted.
    """
    number = 1
    while directory.with_name(f"{directory.name}.old-{number}").exists():
        number += 1
    if directory.exists():
        directory.rename(directory.with_name(f"{directory.name}.old-{number}"))
