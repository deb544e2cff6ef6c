"""What pydantic refuses, as an error of one line. Validates nothing."""

from __future__ import annotations

from typing import Final

import pydantic

from harness.errors import InputError, Shown

_EXPECTED: Final = {
    "string_type": "a text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "an object",
    "dataclass_type": "an object",
    "tuple_type": "a list",
    "list_type": "a list",
}
"""What was expected, by the type of pydantic's error."""


def refusal(error: pydantic.ValidationError, where: str, key: str = "") -> InputError:
    """The first complaint of pydantic as an InputError: file, key, expected and got."""
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    expected = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    expected = _EXPECTED.get(first["type"], expected)
    got: object = first["input"]
    if len(error.errors()) > 1 and path and path[-1] in ("str", "int", "float", "bool"):
        path, expected = path[:-1], "a text, a number, true, false or null"
    if first["type"] == "missing":
        expected, got = "a value", Shown("nothing")
    return InputError(
        where, ": ".join(filter(None, (key, ".".join(path)))), expected=expected, got=got
    )
