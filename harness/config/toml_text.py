"""The text of a TOML file as plain values, within limits that keep a hostile one from taking minutes. Never runs code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from harness.errors import InputError, Shown

MOST_BYTES = 1_000_000  # of a file: a hundred times the longest study at hand
# Of a dotted key: Python's parser takes time as the square of them (100,000: half a minute)
MOST_PARTS = 32

_PART = r"(?:[\w-]++|\"[^\"\n]*+\"|'[^'\n]*+')[ \t]*+"
_DEEP = re.compile(rf"(?<![\w-])(?:{_PART}\.[ \t]*+){{{MOST_PARTS}}}")


def read_toml(path: Path) -> dict[str, Any]:
    """The plain values of a file. Raises InputError for one that cannot be read or is no TOML."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except (OSError, ValueError) as error:  # ValueError: also a path with a NUL
        reason = "text that is not UTF-8" if isinstance(error, UnicodeError) else None
        got = Shown(reason or getattr(error, "strerror", "") or type(error).__name__)
        raise InputError(str(path), expected="a readable text file", got=got) from error
    if len(content) > MOST_BYTES:
        raise InputError(
            str(path), expected=f"a text file of at most {MOST_BYTES:,} bytes", got=Shown("more")
        )
    return parse_toml(text, path.name)


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """The plain values of a text; `where` names it in errors.

    Raises InputError for what is no TOML.
    """
    if deep := _DEEP.search(text):
        raise InputError(
            where,
            f"line {text.count(chr(10), 0, deep.start()) + 1}",
            expected=f"keys of at most {MOST_PARTS} parts",
            got=Shown("more"),
        )
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of endless digits
        raise InputError(where, expected="TOML", got=Shown(_reason(error))) from error


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "brackets within brackets without end"
    text = str(error)
    return text if "int_max_str_digits" not in text else "a number of thousands of digits"
