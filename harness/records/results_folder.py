"""The folder of a command's results: made, held by one process at a time, and moved aside.

Never writes a result.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from harness.errors import NO_ROOM, NOT_ALLOWED, InputError, Shown, unwritable


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Name the file if a disk is full (FileError) or a place is not writable (InputError)."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM | NOT_ALLOWED and error.filename:
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
    """Refuse a folder that holds results of the other kind, which `mark` tells.

    A study's and a bench's are told apart by it.
    """
    if (directory / mark).exists():
        raise InputError(
            str(directory),
            expected=f"the folder of a {what}",
            got=Shown(f"the results of a {other}"),
            remedy=f"give the {what} another name, or results another place with --results",
        )


def put_aside(directory: Path) -> None:
    """Rename the folder, if there is one, to <name>.old-1 or the next number that is free.

    Old results are never deleted.
    """
    number = 1
    while directory.with_name(f"{directory.name}.old-{number}").exists():
        number += 1
    if directory.exists():
        directory.rename(directory.with_name(f"{directory.name}.old-{number}"))
