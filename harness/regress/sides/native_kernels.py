"""The native kernels of a side: each side trains with a library of its own C sources.

Git keeps no compiled library, so a worktree has none: without this, a revision would be timed
without the kernels and compared with a working tree that has them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

NATIVE_SOURCES: Final = Path("harness", "cells", "native")
"""The C sources in a tree of the harness, with the program that compiles them."""


def compile_native_kernels(tree: Path) -> None:
    """Compile the C sources of a tree beside them, where its library does not fit them.

    Without a compiler the side runs without the library: its facts say so. Raises InputError for
    $HARNESS_NATIVE with a value that is none.
    """
    from harness.cells.native import build  # imports torch, which reports do without
    from harness.cells.native.library import native_status

    folder = tree / NATIVE_SOURCES
    if not (folder / "build.py").is_file():
        return
    native_status()
    own = build.library_path()
    if own.is_file() and not (folder / own.name).exists():
        shutil.copy(own, folder)  # mostly the sources are the same: nothing is compiled then
    subprocess.run(
        [sys.executable, str(folder / "build.py"), "--if-needed"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
