from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from harness.errors import InputError
from harness.regress.sides import workspace as rooms
from harness.regress.sides.workspace import (
    FOLDER_PREFIX,
    MARKER,
    BuildError,
    prune,
    run_shown,
    workspace,
)
from tests.regress.sided import git, repository

CONDUCTOR = """
import sys, time
from pathlib import Path
from harness.regress.sides.workspace import workspace
repository, commit = Path(sys.argv[1]), sys.argv[2]
with workspace(repository) as space:
    print(space.worktree(repository, commit, "base"), flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary folders of its own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository of one file."""
    folder = tmp_path / "repo"
    folder.mkdir()
    (folder / "file").write_text("first")
    return repository(folder)


def worktrees(repo: Path) -> int:
    """How many git knows of, the repository's own among them."""
    return git(repo, "worktree", "list", "--porcelain").count("worktree ")


def test_a_worktree_lasts_as_long_as_its_folder(repo: Path, temporary: Path) -> None:
    """It has the commit's files, runs no hook, and is gone afterwards, for git too."""
    hook = repo / ".git" / "hooks" / "post-checkout"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    commit = git(repo, "rev-parse", "HEAD")
    (repo / "file").write_text("second")
    with workspace(repo) as space:
        path = space.worktree(repo, commit, "base")
        assert (path / "file").read_text() == "first"
        assert worktrees(repo) == 2
    assert worktrees(repo) == 1
    assert list(temporary.iterdir()) == []


def test_an_error_inside_leaves_nothing(repo: Path, temporary: Path) -> None:
    """A revision that git can't check out is one line, and the folder goes."""
    with (
        pytest.raises(InputError, match="base: expected a revision that is whole"),
        workspace(repo) as space,
    ):
        space.worktree(repo, "0" * 40, "base")
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_what_a_killed_comparison_left_is_removed_at_the_next_start(
    repo: Path, temporary: Path
) -> None:
    """SIGKILL leaves a folder and a worktree; while the process lives nobody touches them."""
    commit = git(repo, "rev-parse", "HEAD")
    command = [sys.executable, "-c", CONDUCTOR, str(repo), commit]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as conductor:
        assert conductor.stdout is not None
        path = Path(conductor.stdout.readline().strip())
        assert path.is_dir()
        assert prune(repo) == ()
        os.kill(conductor.pid, signal.SIGKILL)
    assert path.is_dir()
    assert worktrees(repo) == 2
    with workspace(repo):
        assert not path.exists()
        assert worktrees(repo) == 1


def test_a_worktree_whose_folder_somebody_removed_is_forgotten(repo: Path, temporary: Path) -> None:
    """As a system does that empties /tmp."""
    folder = temporary / f"{FOLDER_PREFIX}gone"
    git(repo, "worktree", "add", "--detach", str(folder / "base"))
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    folder.rmdir()
    assert worktrees(repo) == 2
    prune(repo)
    assert worktrees(repo) == 1


def owned(temporary: Path, name: str, marker: object) -> Path:
    """A folder with a marker, or without one."""
    folder = temporary / f"{FOLDER_PREFIX}{name}"
    folder.mkdir()
    if marker is not None:
        (folder / MARKER).write_text(json.dumps(marker))
    return folder


def test_whose_a_folder_is(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept: of a living process. Removed: of another with its number, of none, an old one."""
    me = psutil.Process()
    living = {"pid": me.pid, "started": me.create_time(), "repositories": []}
    kept = [owned(temporary, "living", living), owned(temporary, "new", None)]
    gone = [
        owned(temporary, "number", {**living, "started": me.create_time() - 100}),
        owned(temporary, "dead", {**living, "pid": 2**22 + 1}),
        owned(temporary, "broken", {**living, "pid": "many"}),
        owned(temporary, "old", None),
    ]
    long_ago = time.time() - 2 * rooms.UNMARKED_AGE_S
    os.utime(gone[-1], (long_ago, long_ago))
    assert set(prune()) == set(gone)
    assert [path.exists() for path in kept] == [True, True]
    if hasattr(os, "getuid"):
        others = owned(temporary, "others", {**living, "pid": 2**22 + 1})
        monkeypatch.setattr(os, "getuid", lambda: 12345)
        assert prune() == ()
        assert others.exists()


def test_what_a_failed_command_printed_is_kept(tmp_path: Path) -> None:
    """One line for the error, the whole for who wants it; nothing where it succeeds."""
    run_shown("base", [sys.executable, "-c", "print('quiet')"], tmp_path)
    code = "print('first'); print('the last line'); raise SystemExit(3)"
    with pytest.raises(BuildError, match="got the last line") as caught:
        run_shown("base", [sys.executable, "-c", code], tmp_path)
    assert caught.value.output == "first\nthe last line\n"
    with pytest.raises(BuildError, match="head"):
        run_shown("head", [str(tmp_path / "none")], tmp_path)
