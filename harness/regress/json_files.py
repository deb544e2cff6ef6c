"""The result files of regress: frozen dataclasses, written as JSON, read back and validated.

The keys of a file are the fields of its dataclass, after the file's schema. Nothing is measured.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import pydantic

from harness.errors import InputError, Shown, visible
from harness.records.atomic_write import write_json
from harness.records.validation_errors import refusal
from harness.regular_file import read_regular
from harness.stats import Estimate

Record = TypeVar("Record")

Scalar = str | int | float | bool | None

Count = Annotated[int, pydantic.Field(ge=0, lt=2**63)]
"""A whole number from 0 on."""


@dataclasses.dataclass(frozen=True)
class EstimateRecord:
    """An estimate as a file holds it: its value, the ends and the level of its interval, and n."""

    value: float | None
    low: float | None
    high: float | None
    level: float | None
    n: int


def estimate_record(found: Estimate) -> EstimateRecord:
    """An estimate as a file holds it."""
    if found.interval is None:
        return EstimateRecord(found.value, None, None, None, found.n)
    interval = found.interval
    return EstimateRecord(found.value, interval.low, interval.high, interval.level, found.n)


# --- Writing ----------------------------------------------------------------------------------


def to_json(record: Any, schema: int) -> dict[str, Any]:
    """The object that a file holds: the schema, then the record's fields."""
    return {"schema": schema, **dataclasses.asdict(record)}


def write_record(path: Path, record: Any, schema: int) -> None:
    """Write a record as a JSON file; what is not finite becomes null."""
    write_json(path, to_json(record, schema))


def write_visible_record(path: Path, record: Any, schema: int) -> None:
    """The same, with the letters escaped that a terminal or a page would obey."""
    write_json(path, _visible(to_json(record, schema)))


# --- Reading ----------------------------------------------------------------------------------


def read_record(path: Path, kind: type[Record], schema: int, what: str) -> Record:
    """Read a file that `write_record` has written.

    `what` describes it in messages ("a trend"). Raises InputError that names the file and the key.
    """
    plain = read_object(path, schema, what)
    return record_of(plain, kind, str(path))


def read_object(path: Path, schema: int, what: str) -> dict[str, Any]:
    """The JSON object of a file, of that schema. Raises InputError that names the file."""
    try:
        text = read_regular(path).decode("utf-8")
    except (OSError, ValueError) as error:
        got = Shown(str(error))
        raise InputError(str(path), expected=f"{what} as JSON", got=got) from error
    return parse_object(text, schema, what, str(path))


def parse_object(
    text: str | bytes, schema: int, what: str, where: str, key: str = ""
) -> dict[str, Any]:
    """A JSON object of that schema. Raises InputError that names `where` and `key`.

    Letters that a terminal or a page would obey are escaped.
    """
    try:
        plain = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # also UnicodeDecodeError
        start = text[:40] if isinstance(text, str) else text[:40].decode(errors="replace")
        got = Shown(repr(start))
        raise InputError(where, key, expected=f"{what} as JSON", got=got) from None
    if not isinstance(plain, dict):
        raise InputError(where, key, expected=f"{what} as a JSON object", got=plain)
    if plain.get("schema") != schema:
        place = f"{key}: schema" if key else "schema"
        raise InputError(where, place, expected=str(schema), got=plain.get("schema"))
    found: dict[str, Any] = _visible(plain)
    return found


def record_of(plain: Mapping[str, Any], kind: type[Record], where: str, key: str = "") -> Record:
    """A JSON object as its dataclass. Raises InputError that names the key, expected and got."""
    try:
        text = json.dumps(plain, allow_nan=False)
        record: Record = pydantic.TypeAdapter(kind).validate_json(text, strict=True)
    except pydantic.ValidationError as error:
        raise refusal(error, where, key) from None
    except (ValueError, RecursionError) as error:  # 1e999 is infinite
        raise InputError(where, key, expected="finite numbers", got=Shown(str(error))) from None
    return record


def _visible(value: Any) -> Any:
    """The same JSON with the letters escaped that a terminal or a page would obey."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(name): _visible(each) for name, each in value.items()}
    return [_visible(each) for each in value] if isinstance(value, list | tuple) else value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
