"""JSON Lines files: whole lines are appended and synced; a torn last line is written over.

Reading never changes a file. Knows nothing of what is in a line.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

from harness.regular_file import read_regular


@dataclasses.dataclass(frozen=True)
class JsonLines:
    """The whole lines of a file, without line breaks, and the bytes of a torn last line.

    A crash leaves a torn line: the start of an object, which is no JSON. `is_ended` is False where
    the last line is whole and lacks its line break, which an editor may have removed.
    """

    lines: tuple[bytes, ...] = ()
    torn_bytes: int = 0
    is_ended: bool = True


def read_lines(path: Path) -> JsonLines:
    """Read a file; one that does not exist has no lines. Raises OSError where it is unreadable."""
    try:
        *lines, last = read_regular(path).split(b"\n")
    except FileNotFoundError:
        return JsonLines()
    if not last:
        return JsonLines(tuple(lines))
    try:
        json.loads(last)
    except (ValueError, RecursionError):
        return JsonLines(tuple(lines), torn_bytes=len(last))
    return JsonLines((*lines, last), is_ended=False)


def append_line(path: Path, line: str) -> int:
    """Append a line and sync it; returns the bytes of the torn last line that it replaced.

    Raises OSError that names the file where the line can't be written whole, as on a full disk. The
    whole lines are then as they were.
    """
    before = read_lines(path)
    content = ("" if before.is_ended else "\n") + line + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    with path.open("ab", buffering=0) as file:
        length = file.seek(0, os.SEEK_END) - before.torn_bytes
        file.truncate(length)
        try:
            _write_whole(file.fileno(), content.encode())
        except OSError as error:
            file.truncate(length)
            error.filename = str(path)
            raise
    if is_new:
        _sync_folder(path.parent)
    return before.torn_bytes


def _write_whole(descriptor: int, content: bytes) -> None:
    """Write all of it and sync it; a full disk may take a part of it first."""
    written = 0
    while written < len(content):
        written += os.write(descriptor, content[written:])
    os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    """Sync a folder, so that a new file in it outlives a crash; not on Windows, which can't."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
