"""The error tree: every failure that a user can cause or repair, with its exit code.

Never prints.

HarnessError                 exit code 1
├── InputError               exit code 2: a file, key, option or name is not as expected
│   └── IdentityError        exit code 2: a study exists under that name and is another one
├── StorageError             exit code 2: the storage is locked, unreadable or of a newer schema
├── WorkerError              exit code 1: no worker process can be started
└── FileError                exit code 1: the disk is full or fails; the same command continues
                             after the repair
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from pathlib import Path

# Characters that an error message shows of a value, a file or a key
LONGEST_VALUE = 200
# Characters that it shows of what was expected, of a description and of a remedy
LONGEST_PHRASE = 1_000
MOST_NAMES = 40  # in the list of a remedy
DISK_ERRORS = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EMFILE, errno.ENFILE)
)
# Errors of a path itself: its permissions, what lies there, its length
PERMISSION_ERRORS = frozenset(
    (
        *(errno.EROFS, errno.EACCES, errno.EPERM),
        *(errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP),
    )
)


class HarnessError(Exception):
    """Base of every error that is shown to the user as one line, without a traceback.

    Control characters, as in a name of a study file, are shown as escapes.
    """

    exit_code = 1

    def __init__(self, line: str) -> None:
        super().__init__(printable(line))


class InputError(HarnessError):
    """An input that cannot be used: where, key, what was expected, what was got, and the remedy.

    Each part becomes one phrase of one line. `key` and `remedy` may be empty.
    """

    exit_code = 2

    def __init__(
        self, where: str, key: str = "", *, expected: str, got: object, remedy: str = ""
    ) -> None:
        self.where, self.key, self.expected = where, key, expected
        self.got, self.remedy = got, remedy
        subject = ": ".join(_cut(part, LONGEST_VALUE) for part in (where, key) if part)
        shown = _cut(got, LONGEST_PHRASE) if isinstance(got, Shown) else _shorten(got)
        line = f"{subject}: expected {_cut(expected, LONGEST_PHRASE)}, got {shown}"
        if remedy:
            line += f"; {_cut(remedy, LONGEST_PHRASE)}"
        super().__init__(line)


class IdentityError(InputError):
    """A study of that name exists, and its trials cannot be compared with those asked for."""


class StorageError(HarnessError):
    """A storage that is locked by another coordinator, unreadable, or of another program."""

    exit_code = 2


class WorkerError(HarnessError):
    """No worker process can be started, so no trial can run."""


class FileError(HarnessError):
    """A file that cannot be written: the disk is full or fails. Finished work is kept.

    `lacks` is what the system has not got.
    """

    def __init__(self, path: Path | str, reason: str, lacks: str = "disk space to write") -> None:
        super().__init__(
            f"{path}: expected {lacks}, got {reason}; free some and run the same command "
            "again: finished work is kept"
        )


def unwritable(path: Path | str, error: OSError) -> HarnessError:
    """The error for a file or folder that cannot be written.

    An InputError where the path or its permissions are wrong, else a FileError.
    """
    reason = error.strerror or str(error)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return FileError(path, reason, "a free place for one more open file")
    if error.errno not in PERMISSION_ERRORS:
        return FileError(path, reason)
    in_the_way = error.errno in (errno.EISDIR, errno.ENOTDIR)
    return InputError(
        str(path),
        expected="a path that can be written",
        got=Shown(reason),
        remedy="move it aside" if in_the_way else "allow writing there, or name another path",
    )


def unusable(path: Path | str, error: OSError) -> InputError:
    """The error for a path of the user's that the system refuses, as one with too long a name."""
    got = Shown(error.strerror or str(error))
    return InputError(str(path), expected="a path that can be used", got=got)


class Shown(str):
    """A description that an error message shows without quotes, instead of a value."""


def _shorten(value: object) -> str:
    """The value as Python writes it, cut where it is long; its type where it has no text."""
    try:
        text = repr(value)
    # RecursionError: deep nesting. ValueError: more digits than Python turns into text
    except (RecursionError, ValueError):
        return f"a value of type {type(value).__name__}, too large to show"
    return _cut(text, LONGEST_VALUE)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


def visible(text: str) -> str:
    """The text with escapes for characters that a terminal would hide or obey."""
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter.isprintable()
        else letter.encode("unicode_escape", "surrogatepass").decode("ascii")
        for letter in text
    )


def visible_lines(text: str) -> str:
    """The visible text, with its line breaks."""
    return "\n".join(map(visible, text.split("\n")))


def printable(text: str) -> str:
    """The visible text on one line, without line breaks and double blanks."""
    return visible(" ".join(text.split()))


def nearest(name: str, known: Iterable[str]) -> str:
    """A remedy: "did you mean 'lstm'?", or the list of `known` names where none is near."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    more = len(names) - MOST_NAMES
    return "known: " + ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
