"""The error tree: every failure that a user can cause or mend, with the exit code it ends in.

Never prints.

HarnessError                 exit code 1
├── InputError               exit code 2: a file, key, option or name is not as expected
│   └── IdentityError        exit code 2: a study exists under that name and is another one
├── StorageError             exit code 2: the storage is locked, unreadable or of a newer schema
├── WorkerError              exit code 1: no worker process can be started
└── FileError                exit code 1: the disk is full or fails; the same command goes on once
                             that is mended
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from pathlib import Path

LONGEST_SHOWN = 200  # characters of a value, a place or a key that an error message shows
LONGEST_TOLD = 1_000  # of what was expected, of a description, and of a remedy
MOST_NAMES = 40  # that a remedy lists
NO_ROOM = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EMFILE, errno.ENFILE)
)
NOT_ALLOWED = frozenset((errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR))


class HarnessError(Exception):
    """Base of every error that is shown to the user as one line, without a traceback.

    What no terminal may obey, such as a control character in a name of a study file, is shown as an
    escape.
    """

    exit_code = 1

    def __init__(self, line: str) -> None:
        super().__init__(printable(line))


class InputError(HarnessError):
    """What the user gave cannot be used.

    Names the place, the key, what was expected, what was got, and the remedy.

    Every part becomes one phrase of one line; `key` and `remedy` may be empty.
    """

    exit_code = 2

    def __init__(
        self, where: str, key: str = "", *, expected: str, got: object, remedy: str = ""
    ) -> None:
        self.where, self.key, self.expected, self.got, self.remedy = (
            where,
            key,
            expected,
            got,
            remedy,
        )
        place = ": ".join(_cut(part, LONGEST_SHOWN) for part in (where, key) if part)
        shown = _cut(got, LONGEST_TOLD) if isinstance(got, Shown) else _shorten(got)
        line = f"{place}: expected {_cut(expected, LONGEST_TOLD)}, got {shown}"
        if remedy:
            line += f"; {_cut(remedy, LONGEST_TOLD)}"
        super().__init__(line)


class IdentityError(InputError):
    """A study of that name exists and differs in what makes trials comparable."""


class StorageError(HarnessError):
    """The storage cannot be used.

    Locked by another coordinator, unreadable, or of another program.
    """

    exit_code = 2


class WorkerError(HarnessError):
    """No worker process can be started, so no trial can run."""


class FileError(HarnessError):
    """A file cannot be written for want of room or for a failing disk.

    What was finished before is kept.
    """

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(
            f"{path}: expected room to write, got {reason}; make space and run the same command "
            "again: what was finished is kept"
        )


def unwritable(path: Path | str, error: OSError) -> HarnessError:
    """The line for a file or folder that cannot be written.

    Whoever named the place, or the disk, must be mended.
    """
    reason = error.strerror or str(error)
    if error.errno not in NOT_ALLOWED:
        return FileError(path, reason)
    return InputError(
        str(path),
        expected="a place that can be written",
        got=Shown(reason),
        remedy="name another with --results, or allow it",
    )


class Shown(str):
    """Text that an error message shows as it is, without quotes.

    A description instead of a value.
    """


def _shorten(value: object) -> str:
    """The value as Python writes it, cut where it is long.

    A hostile one (deep nesting, endless digits) has no text.
    """
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # ValueError: more digits than Python turns into text
        return f"a value of type {type(value).__name__}, too large to show"
    return _cut(text, LONGEST_SHOWN)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


def visible(text: str) -> str:
    """The text with escapes for what would not be seen on a terminal or would be obeyed by it."""
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter.isprintable()
        else letter.encode("unicode_escape", "surrogatepass").decode("ascii")
        for letter in text
    )


def printable(text: str) -> str:
    """The same on one line, without line breaks and double blanks."""
    return visible(" ".join(text.split()))


def nearest(name: str, known: Iterable[str]) -> str:
    """Propose the nearest of the `known` names.

    "did you mean 'lstm'?", or list them when none is near.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    more = len(names) - MOST_NAMES
    return "known: " + ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
