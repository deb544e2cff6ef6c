"""The command as it was typed, and how to type it again. Runs nothing."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from harness.errors import visible
from harness.home_folder import hide_home


def typed(
    command: str, *, whole_paths: bool = False, secrets: tuple[tuple[str, str], ...] = ()
) -> str:
    """The command line as it was typed, for the report; with `whole_paths`, the one that resumes.

    `--fresh` is left out, so that running it again keeps all results. `secrets` holds texts and
    what replaces them.
    """
    words = [word for word in sys.argv[1:] if word != "--fresh"]
    for secret, shown in secrets:
        words = [word.replace(secret, shown) for word in words]
    line = visible(shlex.join(words))
    if not whole_paths:
        line = hide_home(line)
    python = this_python() if whole_paths else "python"
    return f"{python} -m harness.{command} {line}".strip()


def this_python() -> str:
    """How to call this Python from the current folder: `python`, or its path."""
    found = shutil.which("python")
    if found and Path(found).absolute() == Path(sys.executable).absolute():
        return "python"
    try:
        return shlex.quote(str(Path(sys.executable).absolute().relative_to(Path.cwd())))
    except ValueError:
        return shlex.quote(sys.executable)
