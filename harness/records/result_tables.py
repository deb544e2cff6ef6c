"""Reader of the CSV tables of results: each column with its type, each number within its bounds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from harness.columns import COLUMNS, TrialStatus, columns_of
from harness.errors import InputError, Shown
from harness.records.csv_text import original_text
from harness.records.value_checks import check_numbers
from harness.regular_file import open_regular


def read_result_table(path: Path) -> pd.DataFrame | None:
    """One table, each number within what its column may hold; None where there is no such file."""
    if not path.is_file():
        return None
    table = _read_csv(path)
    check_numbers(str(path), table, path.name)
    return table


def _read_csv(path: Path) -> pd.DataFrame:
    """A CSV file of ours, each column with its type; what older files lack is empty.

    Raises InputError for a missing column or a cell that is no number.
    """
    try:
        with open_regular(path) as file:
            table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, ValueError) as error:  # pandas' own are ValueErrors
        raise InputError(str(path), expected="a CSV file", got=Shown(str(error))) from error
    if not isinstance(table.index, pd.RangeIndex) or table.isna().to_numpy().any():
        short = Shown("a line that has more, or fewer")
        raise InputError(str(path), expected="a cell for each column in each line", got=short)
    expected = columns_of(path.name)
    for column in expected:
        if path.name in COLUMNS[column].added_later and column not in table.columns:
            table[column] = ""
        if column not in table.columns:
            raise InputError(
                str(path),
                column,
                expected="this column",
                got=Shown(f"columns {', '.join(map(str, table.columns))}"),
            )
    for column in table.columns:
        table[column] = _typed(path, table[column], required=column in expected)
    statuses = tuple(TrialStatus)
    if "end" in table.columns and not table["end"].isin(statuses).all():
        wrong = table.loc[~table["end"].isin(statuses), "end"].iloc[0]
        raise InputError(str(path), "end", expected=f"one of {', '.join(statuses)}", got=wrong)
    return table


def _typed(path: Path, column: pd.Series[str], *, required: bool) -> pd.Series[Any]:
    name = str(column.name)
    kind = COLUMNS[name].kind if name in COLUMNS else "number"
    if kind == "text":
        return _texts(column)
    if kind == "truth":
        if wrong := {*column} - {"true", "false", ""}:
            raise InputError(str(path), name, expected="true, false or nothing", got=min(wrong))
        return column.map({"true": True, "false": False}).astype("boolean")
    numeric = float if kind == "number" else int
    empty = math.nan if numeric is float else None
    values: list[Any] = []
    for line, text in enumerate(column, start=2):
        try:
            values.append(numeric(text) if text else empty)
        except ValueError:
            if not required:  # a searched key of words, such as a list of names
                return _texts(column)
            where = f"{path}, line {line}"
            raise InputError(where, name, expected="a number", got=text) from None
    if kind == "integer" and None in values:
        raise InputError(
            str(path), name, expected="a number in each line", got=Shown("an empty cell")
        )
    if numeric is int and not all(value is None or 0 <= value < 2**63 for value in values):
        raise InputError(
            str(path), name, expected="whole numbers from 0 to 2^63", got=Shown("others")
        )
    dtype = {"integer": "int64", "seed": "Int64", "number": "float64"}[kind]
    return pd.Series(values, dtype=dtype, name=name)


def _texts(column: pd.Series[str]) -> pd.Series[Any]:
    return column.map(original_text).astype(object)
