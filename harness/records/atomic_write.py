"""Text, CSV and JSON files, each replaced at once. Knows nothing of what is in them."""

from __future__ import annotations

import csv
import io
import json
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness.atomic_file import replace_file
from harness.errors import unwritable
from harness.records.csv_text import harmless_cell


def write_text(path: Path, text: str) -> Path:
    """Write a text file as `write_bytes` does."""
    return write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file as `replace_file` does, making its folder if there is none.

    Raises FileError where the disk is full or fails, InputError where the path may not be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write rows as CSV; what a row lacks is an empty cell.

    Raises ValueError for a key that is no column.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    known = set(columns)
    for row in rows:
        if unknown := [key for key in row if key not in known]:
            raise ValueError(
                f"'{unknown[0]}' must be a column of {path.name} ({', '.join(columns)})"
            )
        writer.writerow([_cell(row.get(column)) for column in columns])
    return write_text(path, text.getvalue())


def _cell(value: object) -> str:
    """One value as CSV text that reads back exactly.

    Floats by repr, nothing for what is not known, text so that no spreadsheet evaluates it.
    """
    if value is None or value is pd.NA:
        return ""
    if isinstance(value, bool) or type(value).__name__ == "bool":  # also numpy's
        return "true" if value else "false"
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, numbers.Real):
        number = float(value)
        return "" if math.isnan(number) else repr(number)
    return harmless_cell(str(value))


def write_json(path: Path, value: Mapping[str, Any]) -> Path:
    """JSON that every parser reads: what is not finite becomes null."""
    text = json.dumps(_finite(value), indent=1, ensure_ascii=False, allow_nan=False)
    return write_text(path, text + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
