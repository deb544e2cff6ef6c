"""The files of studies/: where they are, and which command a file is for. Never runs code.

A file with a table [study] is a study, one with [grid] a grid of benchmarks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.config.toml_file import read_toml
from harness.errors import InputError, Shown, nearest


@dataclasses.dataclass(frozen=True)
class FileKind:
    """A kind of file: the table that identifies it, and the command that runs it."""

    table: str
    command: str


STUDY = FileKind("study", "python -m harness.study")
GRID = FileKind("grid", "python -m harness.bench")
FILE_KINDS = (STUDY, GRID)


def study_directory() -> Path:
    """The folder of studies and grids: beside the package in a clone, inside it in a wheel."""
    package = Path(__file__).parents[1]
    inside = package / "studies"
    return inside if inside.is_dir() else package.parent / "studies"


def list_files(kind: FileKind) -> dict[str, str]:
    """The names of the files of a kind, each with its question.

    An unreadable file is listed for every kind.
    """
    found = {}
    for path in sorted(study_directory().glob("*.toml")):
        try:
            table = read_toml(path).get(kind.table)
        except InputError as error:
            found[path.stem] = f"cannot be read: {error}"
            continue
        if isinstance(table, dict) and "name" in table:
            found[path.stem] = str(table.get("question", ""))
    return found


def find_file(kind: FileKind, name: str) -> Path:
    """A path that ends in .toml, or a name in the studies folder.

    Raises InputError where there is none: with the nearest name, or with the command for a file of
    another kind.
    """
    what = kind.table
    if name.endswith(".toml"):
        path = Path(name)
        if path.is_file():
            return path
        got = Shown("a folder" if path.is_dir() else "no such file")
        raise InputError(name, expected=f"a {what} file", got=got)
    known = list_files(kind)
    if name in known:
        return study_directory() / f"{name}.toml"
    for other in FILE_KINDS:
        if other is not kind and name in list_files(other):
            raise _of_another_kind(what.upper(), kind, other, name)
    raise InputError(
        what.upper(),
        expected=f"a TOML file or a known {what}",
        got=name,
        remedy=nearest(name, known),
    )


def check_kind(kind: FileKind, raw: Mapping[str, Any], where: str) -> None:
    """Refuse a file of another kind, naming the command that takes it."""
    for other in FILE_KINDS:
        if other is not kind and other.table in raw and kind.table not in raw:
            raise _of_another_kind(where, kind, other, where)


def _of_another_kind(where: str, kind: FileKind, other: FileKind, name: str) -> InputError:
    return InputError(
        where,
        expected=f"a {kind.table}",
        got=Shown(f"a {other.table}"),
        remedy=f"run it by `{other.command} {name}`",
    )
