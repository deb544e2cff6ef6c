"""The temporary folder of a comparison: worktrees and environments, removed when it ends.

The folder has a marker that names the process which made it. The next comparison removes the
folders of processes that were killed, with the worktrees that git still lists.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from harness.errors import InputError, Shown
from harness.regress.sides.side import git

FOLDER_PREFIX: Final = "harness-regress-"
MARKER: Final = "owner.json"
UNMARKED_AGE_S: Final = 3600.0
"""A folder without a marker that is older belongs to a process killed before it wrote one."""


class BuildError(InputError):
    """An environment could not be built; `output` is what the command printed."""

    def __init__(self, label: str, command: str, output: str) -> None:
        self.output = output
        lines = [line for line in output.strip().splitlines() if line.strip()]
        got = Shown(lines[-1] if lines else "no output")
        super().__init__(label, command, expected="an environment that can be built", got=got)


@dataclass(frozen=True)
class Workspace:
    """A folder that lasts as long as a comparison."""

    folder: Path

    def worktree(self, repository: Path, commit: str, name: str) -> Path:
        """Check a commit out into a worktree of its own. Raises InputError where git can't."""
        self._claim(repository)
        path = self.folder / name
        if git(repository, "worktree", "add", "--detach", "--force", str(path), commit) is None:
            got = Shown(f"{commit[:9]}, which git can't check out")
            raise InputError(name, expected="a revision that is whole", got=got)
        return path

    def environment(self, name: str) -> Path:
        """A new virtual environment; returns its Python."""
        folder = self.folder / f"{name}-environment"
        run_shown(name, [sys.executable, "-m", "venv", str(folder)], self.folder)
        inside = "Scripts/python.exe" if sys.platform == "win32" else "bin/python"
        return folder / inside

    def _claim(self, repository: Path) -> None:
        _mark(self.folder, [*_read_marker(self.folder).get("repositories", []), str(repository)])


@contextmanager
def workspace(repository: Path | None = None) -> Iterator[Workspace]:
    """A new folder, removed at the end; first what killed comparisons have left is removed."""
    prune(repository)
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX)).resolve()
    _mark(folder, [])
    try:
        yield Workspace(folder)
    finally:
        _remove(folder)


def prune(repository: Path | None = None) -> tuple[Path, ...]:
    """Remove the folders of processes that no longer run; returns them."""
    root = Path(tempfile.gettempdir()).resolve()
    stale = tuple(folder for folder in sorted(root.glob(f"{FOLDER_PREFIX}*")) if _is_stale(folder))
    for folder in stale:
        _remove(folder)
    if repository is not None:  # worktrees whose folder was removed by something else
        listed = git(repository, "worktree", "list", "--porcelain") or ""
        for line in listed.splitlines():
            path = Path(line.removeprefix("worktree "))
            ours = line.startswith("worktree ") and path.parent.name.startswith(FOLDER_PREFIX)
            if ours and not path.exists():
                git(repository, "worktree", "remove", "--force", str(path))
    return stale


def run_shown(
    label: str,
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a command of the set-up; raises BuildError with what it printed where it fails."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment and dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise BuildError(label, " ".join(command), str(error)) from None
    if done.returncode != 0:
        raise BuildError(label, " ".join(command), done.stdout)


def _mark(folder: Path, repositories: Sequence[str]) -> None:
    own = {"pid": os.getpid(), "started": psutil.Process().create_time()}
    temporary = folder / f"{MARKER}.new"
    temporary.write_text(json.dumps({**own, "repositories": list(repositories)}), encoding="utf-8")
    temporary.replace(folder / MARKER)


def _read_marker(folder: Path) -> dict[str, list[str]]:
    try:
        plain = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return plain if isinstance(plain, dict) else {}


def _is_stale(folder: Path) -> bool:
    """Whether a folder is ours and its process no longer runs.

    Another process that has its number by chance started at another time.
    """
    try:
        found = folder.lstat()
    except OSError:
        return False
    if folder.is_symlink() or (hasattr(os, "getuid") and found.st_uid != os.getuid()):
        return False  # another user's marker could make us run git in any folder
    marker = _read_marker(folder)
    if "pid" not in marker:
        return time.time() - found.st_mtime > UNMARKED_AGE_S
    try:
        started = psutil.Process(int(str(marker["pid"]))).create_time()
    except (psutil.Error, ValueError):
        return True
    return abs(started - float(str(marker.get("started", 0)))) > 2.0


def _remove(folder: Path) -> None:
    """Remove a folder and tell git of the worktrees in it."""
    for repository in dict.fromkeys(_read_marker(folder).get("repositories", [])):
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if (path / ".git").is_file():
                git(Path(repository), "worktree", "remove", "--force", "--force", str(path))
    shutil.rmtree(folder, ignore_errors=True)
