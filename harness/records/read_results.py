"""Readers of the result files of a study or a bench: typed tables, or an error of one line.

Runs nothing that it reads.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness import config as specs
from harness.columns import COLUMNS, RESULTS_SCHEMA, TrialStatus, columns_of
from harness.errors import InputError, Shown
from harness.records.value_checks import (
    DiagnosticsSchema,
    MachineSchema,
    WinnerSchema,
    check_names,
    check_numbers,
    check_schema,
    check_tree,
)


@dataclasses.dataclass(frozen=True)
class StudyRecords:
    """All result files of a study. What was not written is None or empty.

    `trials`, `confirmation`, `extrapolation`, `evaluations`, `retries`, `throughput` and
    `inference` have the columns of the files of the same names: text columns hold "" where a cell
    is empty, number columns NaN, `solved` and `steady` are nullable booleans and `seed` a nullable
    integer.
    """

    directory: Path
    spec: specs.StudySpec
    machine: dict[str, Any]
    trials: pd.DataFrame
    confirmation: pd.DataFrame | None = None
    extrapolation: pd.DataFrame | None = None
    evaluations: pd.DataFrame | None = None
    throughput: pd.DataFrame | None = None
    inference: pd.DataFrame | None = None
    retries: pd.DataFrame | None = None
    diagnostics: dict[str, Any] | None = None
    winners: Mapping[tuple[str, str], dict[str, Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class BenchRecords:
    """All result files of a bench, with columns as in StudyRecords; None: not measured."""

    directory: Path
    grid: specs.GridSpec
    machine: dict[str, Any]
    throughput: pd.DataFrame | None = None
    inference: pd.DataFrame | None = None


def read(directory: Path) -> StudyRecords:
    """Read all result files of one study. Files that a study may lack become None.

    Raises InputError, naming the file, where a required file (spec.toml, trials.csv, machine.json)
    is missing or any is broken.
    """
    directory = Path(directory)
    _require(directory, "study", ("spec.toml", "trials.csv", "machine.json"))
    spec = specs.load_study(directory / "spec.toml")
    machine = _read_machine(directory)
    tables = {
        name: _read_table(directory / f"{name}.csv")
        for name in (
            *("trials", "confirmation", "extrapolation", "evaluations", "retries"),
            *("throughput", "inference"),
        )
    }
    for name, table in tables.items():
        if table is not None:
            check_names(str(directory / f"{name}.csv"), table, spec)
    trials = tables.pop("trials")
    assert trials is not None, "looked for above"
    diagnostics = directory / "diagnostics.json"
    return StudyRecords(
        directory=directory,
        spec=spec,
        machine=machine,
        trials=trials,
        diagnostics=_read_diagnostics(diagnostics) if diagnostics.is_file() else None,
        winners=_read_winners(directory / "winners"),
        **tables,
    )


def read_bench(directory: Path) -> BenchRecords:
    """Read the result files of one bench. A table without measurements is None.

    Raises InputError, naming the file, where grid.toml or machine.json is missing or any file is
    broken.
    """
    directory = Path(directory)
    _require(directory, "bench", ("grid.toml", "machine.json"))
    return BenchRecords(
        directory=directory,
        grid=specs.load_grid(directory / "grid.toml"),
        machine=_read_machine(directory),
        throughput=_read_table(directory / "throughput.csv"),
        inference=_read_table(directory / "inference.csv"),
    )


def _require(directory: Path, what: str, names: Sequence[str]) -> None:
    """Refuse a folder without the files that every study, or every bench, writes."""
    if not directory.is_dir():
        raise InputError(
            str(directory),
            expected=f"the folder of a {what}'s results",
            got=Shown("no such folder" if not directory.exists() else "a file"),
            remedy=f"run `python -m harness.{what}` first, or name a folder in results/",
        )
    for name in names:
        if not (directory / name).is_file():
            raise InputError(
                str(directory),
                name,
                expected=f"this file of a {what}'s results",
                got=Shown("no such file"),
                remedy=f"run the {what} again: what it had finished is kept",
            )


def _read_machine(directory: Path) -> dict[str, Any]:
    path = directory / "machine.json"
    machine = _read_json(path)
    if machine.get("schema", RESULTS_SCHEMA) != RESULTS_SCHEMA:
        raise InputError(
            str(path),
            "schema",
            expected=str(RESULTS_SCHEMA),
            got=machine["schema"],
            remedy="upgrade the harness: a later version wrote these results",
        )
    check_schema(str(path), machine, MachineSchema)
    return machine


def _read_table(path: Path) -> pd.DataFrame | None:
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
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
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
        return column.astype(object)
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
                return column.astype(object)
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


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object without absurd numbers, NaN or endless nesting."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: also endless digits
        raise InputError(str(path), expected="a JSON file", got=Shown(str(error))) from error
    if not isinstance(value, dict):
        raise InputError(str(path), expected="a JSON object", got=Shown(type(value).__name__))
    check_tree(str(path), value)
    return value


def _read_diagnostics(path: Path) -> dict[str, Any]:
    found = _read_json(path)
    check_schema(str(path), found, DiagnosticsSchema)
    return found


def _read_winners(directory: Path) -> dict[tuple[str, str], dict[str, Any]]:
    winners = {}
    for path in sorted(directory.glob("*.toml")):
        winner = specs.read_toml(path)
        check_schema(str(path), winner, WinnerSchema)
        winners[winner["task"], winner["cell"]] = winner
    return winners
