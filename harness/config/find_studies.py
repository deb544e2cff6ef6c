"""Files of studies/: where they lie, of which kind one is, --set, and a table's first fault in one line. Never runs code.

A file with a table [study] is a study, one with [grid] a grid of benchmarks; each kind has a
command of its own.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

from harness.config.study_config import Table
from harness.config.toml_text import parse_toml, read_toml
from harness.errors import InputError, Shown, nearest


@dataclasses.dataclass(frozen=True)
class FileKind:
    """A kind of file: the table that tells it, and the command that runs it."""

    table: str
    command: str


STUDY = FileKind("study", "python -m harness.study")
GRID = FileKind("grid", "python -m harness.bench")
KINDS = (STUDY, GRID)
INSTEAD = (("confirm.sequence_lengths", "confirm.lags"),)
"""Keys of which a file has one or the other."""


def study_directory() -> Path:
    """Where the studies and grids lie.

    Beside the package in a clone, inside of it where a wheel was installed.
    """
    package = Path(__file__).parents[1]
    inside = package / "studies"
    return inside if inside.is_dir() else package.parent / "studies"


def list_files(kind: FileKind) -> dict[str, str]:
    """The names of the files of a kind, each with its question.

    One that cannot be read is of every kind.
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
        raise InputError(name, expected=f"a {what} file", got=Shown("no such file"))
    known = list_files(kind)
    if name in known:
        return study_directory() / f"{name}.toml"
    for other in KINDS:
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
    for other in KINDS:
        if other is not kind and other.table in raw and kind.table not in raw:
            raise _of_another_kind(where, kind, other, where)


def _of_another_kind(where: str, kind: FileKind, other: FileKind, name: str) -> InputError:
    return InputError(
        where,
        expected=f"a {kind.table}",
        got=Shown(f"a {other.table}"),
        remedy=f"run it by `{other.command} {name}`",
    )


def read_settings(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The plain values of a file, with `KEY=VALUE` overrides applied.

    Raises InputError for what is no TOML.
    """
    raw = read_toml(path)
    for each in overrides:
        override(raw, each)
    return raw


def check_tables(where: str, raw: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse a table that the kind of file does not have."""
    for name in raw:
        if name not in known:
            raise InputError(
                where, name, expected="a known table", got=name, remedy=nearest(name, known)
            )


def read_rows(where: str, name: str, model: type[Table], raw: object) -> tuple[Any, ...]:
    """The tables headed [[name]], each validated."""
    if not isinstance(raw, list):
        raise InputError(where, name, expected=f"tables headed [[{name}]]", got=raw)
    return tuple(read_table(where, f"{name}.{index}", model, row) for index, row in enumerate(raw))


def read_table(where: str, name: str, model: type[Table], raw: object) -> Any:
    """A table as its model, or InputError for the first thing that is wrong with it."""
    if not isinstance(raw, Mapping):
        raise InputError(where, name, expected="a table", got=raw)
    try:
        return model.model_validate(raw)
    except pydantic.ValidationError as error:
        raise _translate(where, name, model, raw, error) from None


def _translate(
    where: str,
    table: str,
    model: type[Table],
    raw: Mapping[str, Any],
    error: pydantic.ValidationError,
) -> InputError:
    """The first complaint of pydantic as one line of ours."""
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    key = ".".join([table, *path[:1], *(part for part in path[1:] if part.isdecimal())])
    got: object = raw
    for part in first["loc"]:
        if isinstance(got, Mapping) and part in got:
            got = got[part]
        elif isinstance(got, list | tuple) and isinstance(part, int) and part < len(got):
            got = got[part]
    if first["type"] == "extra_forbidden":
        return InputError(
            where,
            key,
            expected="a known key",
            got=path[0],
            remedy=nearest(path[0], model.model_fields),
        )
    if first["type"] == "missing":
        return InputError(
            where,
            key,
            expected="a value",
            got=Shown("nothing"),
            remedy=f"add {path[0]} to [{table}]",
        )
    expected = first["msg"].removeprefix("Input should be ").removeprefix("Input should ")
    if first["type"] == "too_short":
        expected = "at least one"
    if first["type"] == "too_long":
        expected = f"a list of at most {first['ctx']['max_length']:,}"
    if first["type"] == "tuple_type":
        expected = "a list"
    remedy = ""
    annotation = model.model_fields[path[0]].annotation
    if first["type"] == "literal_error" and isinstance(got, str):
        words = _words(annotation)
        expected, remedy = "one of " + ", ".join(words), nearest(got, words)
    return InputError(where, key, expected=expected, got=got, remedy=remedy)


def _words(annotation: object) -> list[str]:
    """The words of a Literal, wherever in the annotation it stands."""
    if isinstance(annotation, str):
        return [annotation]
    return [word for part in typing.get_args(annotation) for word in _words(part)]


def override(raw: dict[str, Any], setting: str) -> None:
    """Apply one `KEY=VALUE` of --set; VALUE is TOML."""
    key, separator, text = setting.partition("=")
    key = key.strip()
    if not separator or not key:
        raise InputError("--set", expected="KEY=VALUE", got=setting)
    try:
        (value,) = parse_toml(f"value = {text}", "--set").values()
    except (InputError, ValueError):  # ValueError: a line break, and another key behind it
        plain = text.isprintable() and not set(text) & {*"'\"\\"}
        raise InputError(
            "--set",
            key,
            expected="a TOML value",
            got=text,
            remedy=f"quote a text: {key}='\"{text}\"'" if plain else "",
        ) from None
    table: Any = raw
    *path, last = key.split(".")
    for part in path:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise InputError("--set", key, expected="a key of a table", got=part)
    for pair in INSTEAD:
        if key in pair:  # what was typed last takes the place of the other, wherever that came from
            table.pop(pair[1 - pair.index(key)].rpartition(".")[2], None)
    table[last] = value
