"""TOML files as plain values, with --set applied, within limits on size and depth.

Never runs code.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import InputError, Shown
from harness.regular_file import open_regular

MOST_BYTES = 1_000_000  # of a file: a hundred times the longest file in studies/
# Of a dotted key: the time of Python's parser grows as their square (100,000: half a minute)
MOST_PARTS = 32

_PART = r"(?:[\w-]++|\"[^\"\n]*+\"|'[^'\n]*+')[ \t]*+"
_DEEP = re.compile(rf"(?<![\w-])(?:{_PART}\.[ \t]*+){{{MOST_PARTS}}}")
INSTEAD = (("confirm.sequence_lengths", "confirm.lags"),)
"""Pairs of keys of which a file has one: setting one with --set removes the other."""


def read_toml(path: Path) -> dict[str, Any]:
    """The plain values of a file. Raises InputError for one that cannot be read or is not TOML."""
    try:
        with open_regular(path) as file:
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


def visible_toml(text: str) -> str:
    r"""The same TOML with \u escapes for letters that a terminal would hide or obey.

    They can only stand in quoted strings of a text that tomli_w wrote.
    """
    return "".join(
        letter if letter.isprintable() or letter == "\n" else _escape(ord(letter))
        for letter in text
    )


def _escape(code: int) -> str:
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """The plain values of a text; `where` names it in errors.

    Raises InputError for what is not TOML.
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


def read_settings(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The plain values of a file, with `KEY=VALUE` overrides applied.

    Raises InputError for what is not TOML.
    """
    raw = read_toml(path)
    for each in overrides:
        override(raw, each)
    return raw


def override(raw: dict[str, Any], setting: str) -> None:
    """Apply one `KEY=VALUE` of --set; VALUE is TOML."""
    key, separator, text = setting.partition("=")
    key = key.strip()
    if not separator or not key:
        raise InputError("--set", expected="KEY=VALUE", got=setting)
    try:
        (value,) = parse_toml(f"value = {text}", "--set").values()
    except (InputError, ValueError):  # ValueError: a line break and another key
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
        if key in pair:
            table.pop(pair[1 - pair.index(key)].rpartition(".")[2], None)
    table[last] = value
