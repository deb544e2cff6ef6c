"""Replacing a file at once: a reader sees the old file or the new one, never a part of one.

Uses the standard library alone and knows nothing of what is in the file.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Write a file by temporary file, fsync and rename.

    Whatever is raised, such as an OSError on a full disk, the old file is as it was and no
    temporary file is left. A link at `path` is replaced: its target is never written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:  # never through a link that stands there
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def remove_temporary_files(folder: Path) -> None:
    """Remove what processes that were killed while they replaced files have left in a folder.

    Call it where no other process writes there.
    """
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            path.unlink()
