"""Appending a line to a file so that it is there whole and for good, or not at all.

Knows nothing of what is in it.
"""

from __future__ import annotations

import os
from pathlib import Path


def append_line(path: Path, line: bytes, torn_bytes: int = 0) -> None:
    """Append a line and sync it, over the last `torn_bytes` of the file, which a crash left there.

    Raises OSError where it can't be written whole, as on a full disk; what was written of it is
    taken back.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    with path.open("ab", buffering=0) as file:
        length = file.seek(0, os.SEEK_END) - torn_bytes
        file.truncate(length)
        try:
            _write_whole(file.fileno(), line)
        except OSError:
            file.truncate(length)
            raise
    if is_new:
        _sync_folder(path.parent)


def _write_whole(descriptor: int, line: bytes) -> None:
    """Write all of a line and sync it; a full disk may take a part of it first."""
    written = 0
    while written < len(line):
        written += os.write(descriptor, line[written:])
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
