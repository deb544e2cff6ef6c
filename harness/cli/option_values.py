"""Values that no option takes: empty texts, NULs, numbers without end, names too long for a file.

Checked before a command sees them. Never makes or opens a file.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Iterable
from pathlib import Path

from harness.errors import InputError, Shown

LONGEST_NAME = 255  # bytes of a name in a path: NAME_MAX of Linux, macOS and Windows


def check_text(option: str, text: str, *, required: bool = False) -> None:
    """Refuse a text of blanks alone and one with a NUL, which no path can hold.

    The text itself is not shown: it may hold a password.
    """
    if not text.strip():
        remedy = "" if required else "leave the option out for its default"
        raise InputError(option, expected="a value", got=Shown("an empty text"), remedy=remedy)
    if "\0" in text:
        raise InputError(option, expected="a text without a NUL", got=Shown("one with a NUL"))


def check_finite(option: str, values: Iterable[object]) -> None:
    """Refuse NaN and infinity."""
    for value in values:
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(option, expected="a finite number", got=value)


def results_folder(path: Path | None) -> Path | None:
    """The value of --results, if it can be a folder; raises InputError."""
    return None if path is None else _checked("--results", path, "a folder")


def history_file(path: Path | None) -> Path | None:
    """The value of --history, if it can be a file; raises InputError."""
    return None if path is None else _checked("--history", path, "a file")


def _checked(option: str, path: Path, expected: str) -> Path:
    """The path, unless a name in it is too long or something else lies there."""
    for name in path.parts:
        if len(name.encode(errors="surrogatepass")) > LONGEST_NAME:
            most = f"names of at most {LONGEST_NAME} bytes in a path"
            raise InputError(option, expected=most, got=name, remedy="shorten it")
    for each in (path, *path.parents):
        try:
            is_folder = stat.S_ISDIR(each.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            got = Shown(f"{path} ({error.strerror})")
            raise InputError(option, expected="a path that can be read", got=got) from error
        wanted = expected if each == path else "a folder"
        if is_folder != (wanted == "a folder"):
            got = Shown(f"{each}, which is {'a folder' if is_folder else 'a file'}")
            raise InputError(option, expected=wanted, got=got, remedy="name another path")
        return path
    return path
