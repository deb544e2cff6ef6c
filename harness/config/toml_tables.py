"""A table of a TOML file as a pydantic model, and its first error as one InputError.

Never reads a file.
"""

from __future__ import annotations

import typing
from collections.abc import Collection, Mapping
from typing import Any

import pydantic

from harness.errors import InputError, Shown, nearest


class ConfigTable(pydantic.BaseModel):
    """A table of a study or grid file: frozen; no unknown keys, NaN, infinity or conversions."""

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )


def check_tables(where: str, raw: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse a table that the kind of file does not have."""
    for name in raw:
        check_known(where, name, "table", name, known)


def check_known(where: str, key: str, what: str, name: str, known: Collection[str]) -> None:
    """Refuse a name that is not known, proposing the nearest."""
    if name not in known:
        raise InputError(
            where, key, expected=f"a known {what}", got=name, remedy=nearest(name, known)
        )


def read_rows(where: str, name: str, model: type[ConfigTable], raw: object) -> tuple[Any, ...]:
    """The tables headed [[name]], each validated."""
    if not isinstance(raw, list):
        raise InputError(where, name, expected=f"tables headed [[{name}]]", got=raw)
    return tuple(read_table(where, f"{name}.{index}", model, row) for index, row in enumerate(raw))


def read_table(where: str, name: str, model: type[ConfigTable], raw: object) -> Any:
    """A table as its model, or InputError for its first error."""
    if not isinstance(raw, Mapping):
        raise InputError(where, name, expected="a table", got=raw)
    try:
        return model.model_validate(raw)
    except pydantic.ValidationError as error:
        raise _translate(where, name, model, raw, error) from None


def _translate(
    where: str,
    table: str,
    model: type[ConfigTable],
    raw: Mapping[str, Any],
    error: pydantic.ValidationError,
) -> InputError:
    """The first error of pydantic as one InputError."""
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
    """The words of a Literal anywhere in the annotation."""
    if isinstance(annotation, str):
        return [annotation]
    return [word for part in typing.get_args(annotation) for word in _words(part)]
