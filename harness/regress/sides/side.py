"""What a side is: a revision, the working tree, an environment, requirements or a plug-in.

A text names the first of these that fits:
    git:REV, python:PATH, pip:REQUIREMENTS, plugin:FILE    as it says
    .                                                      the working tree
    ends in .py                                            a plug-in
    NAME==VERSION and the like, or a wheel                 requirements, separated by spaces
    a path                                                 a Python, or the folder of an environment
    else                                                   a git revision
A text that is a revision and a path at once is refused: a prefix must say which.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from harness.errors import InputError, Shown, nearest

SideKind = Literal["worktree", "revision", "environment", "requirement", "plugin"]

PREFIXES: Final[dict[str, SideKind]] = {
    "git:": "revision",
    "python:": "environment",
    "pip:": "requirement",
    "plugin:": "plugin",
}
EXPECTED: Final = "a git revision, a Python or its environment, a requirement as torch==2.12.1, or a plug-in's file"
_REQUIREMENT: Final = re.compile(
    r"[A-Za-z0-9][\w.-]*(\[[^\]]*\])?\s*(===|==|~=|!=|<=|>=|<|>|@\s)\s*\S+"
)
_ARCHIVES: Final = (".whl", ".tar.gz", ".zip")


@dataclass(frozen=True)
class Side:
    """A side as the user named it.

    `value` is the commit, the path of the Python or the plug-in, the requirements, or ".".
    """

    kind: SideKind
    text: str
    value: str

    @property
    def label(self) -> str:
        """The side in a table."""
        match self.kind:
            case "worktree":
                return "working tree"
            case "revision" if not self.value.startswith(self.text):
                return f"{self.text} ({self.value[:9]})"
            case "revision":
                return self.value[:9]
            case _:
                return self.text

    @property
    def slug(self) -> str:
        """The side as a part of a folder's name."""
        if self.kind == "worktree":
            return "worktree"
        text = Path(self.text).name if self.kind == "plugin" else self.text
        return re.sub(r"[^A-Za-z0-9.=_-]+", "-", text).strip("-.")[:60] or self.kind


def parse_side(option: str, text: str, here: Path) -> Side:
    """What the text of an option names, seen from a folder.

    Raises InputError where nothing fits, and where two things do.
    """
    given = text.strip()
    for prefix, kind in PREFIXES.items():
        if given.startswith(prefix):
            return _of_kind(option, kind, given.removeprefix(prefix).strip(), here)
    if given == ".":
        return Side("worktree", given, given)
    if given.endswith(".py"):
        return _of_kind(option, "plugin", given, here)
    if _are_requirements(given):
        return Side("requirement", given, given)
    python, commit = find_python(here / given) if given else None, find_commit(here, given)
    if python and commit:
        remedy = f"write git:{given} or python:{given}"
        raise InputError(option, expected="one side", got=Shown(f"{given}, two"), remedy=remedy)
    if python:
        return Side("environment", given, str(python))
    if commit:
        return Side("revision", given, commit)
    raise InputError(option, expected=EXPECTED, got=text, remedy=_hint(here, given))


def _of_kind(option: str, kind: SideKind, given: str, here: Path) -> Side:
    """A side of a kind that the text has named."""
    if kind == "requirement" and given:
        return Side(kind, given, given)
    if kind == "plugin":
        path = (here / given).absolute()
        if path.is_file():
            return Side(kind, given, str(path))
        got = Shown(f"{given}: {'a folder' if path.is_dir() else 'no such file'}")
        raise InputError(option, expected="a plug-in's file", got=got)
    if kind == "environment" and (python := find_python(here / given)):
        return Side(kind, given, str(python))
    if kind == "revision" and (commit := find_commit(here, given)):
        return Side(kind, given, commit)
    expected = {"revision": "a git revision", "environment": "a Python or its environment"}
    remedy = _hint(here, given) if kind == "revision" else ""
    raise InputError(option, expected=expected.get(kind, EXPECTED), got=given, remedy=remedy)


def _are_requirements(text: str) -> bool:
    return bool(text) and (
        _REQUIREMENT.fullmatch(text) is not None
        or all(_REQUIREMENT.fullmatch(each) or each.endswith(_ARCHIVES) for each in text.split())
    )


def requirements(text: str) -> list[str]:
    """The requirements of a side, as pip takes them."""
    parts = text.split()
    is_one = _REQUIREMENT.fullmatch(text) and not all(_are_requirements(each) for each in parts)
    return [text] if is_one else parts


def find_python(path: Path) -> Path | None:
    """The Python at a path, or that of the environment at a path; None where there is none.

    Links are not followed: an environment's Python is one.
    """
    if path.is_dir():
        inside = (path / "bin" / "python", path / "Scripts" / "python.exe")
        return next((each.absolute() for each in inside if each.exists()), None)
    return path.absolute() if path.is_file() and os.access(path, os.X_OK) else None


def find_commit(here: Path, text: str) -> str | None:
    """The commit that a text names in the repository around a folder; None where it names none."""
    if not text or text.startswith("-"):
        return None
    return git(here, "rev-parse", "--verify", "--quiet", f"{text}^{{commit}}")


def find_repository(here: Path) -> Path | None:
    """The top of the working tree around a folder; None outside of any."""
    top = git(here, "rev-parse", "--show-toplevel")
    return Path(top) if top else None


def git(here: Path, *arguments: str) -> str | None:
    """What git prints, without the last line break; None where it fails. No hook runs."""
    command = ["git", "-C", str(here), "-c", f"core.hooksPath={os.devnull}", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _hint(here: Path, text: str) -> str:
    """What may have been meant."""
    if find_repository(here) is None:
        return "no git repository is here"
    if git(here, "rev-parse", "--is-shallow-repository") == "true":
        return f"this clone is shallow: git fetch origin {text}, or fetch-depth: 0 in a workflow"
    names = git(here, "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags") or ""
    return nearest(text, names.split()[:1000]) if names else ""
