"""Reading the result files of a study or a bench back: typed tables, or one clear line about what is wrong. Runs nothing it reads."""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness import spec as specs
from harness.errors import InputError, Shown
from harness.records.columns import (
    COUNTS,
    ENDS,
    EVALUATION_COLUMNS,
    EXTRAPOLATION_COLUMNS,
    INFERENCE_COLUMNS,
    LATER,
    LATER_IN_THROUGHPUT,
    SCHEMA,
    TEXT,
    THROUGHPUT_COLUMNS,
    confirmation_columns,
    trial_columns,
)


@dataclasses.dataclass(frozen=True)
class StudyRecords:
    """All that a finished study left on the disk, as read once. What was not written is None or empty.

    `trials`, `confirmation`, `extrapolation`, `evaluations`, `throughput` and `inference` have the columns of the files of the same names: text columns
    hold "" where a cell is empty, number columns NaN, `solved` is a nullable boolean and `seed` a nullable integer.
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
    diagnostics: dict[str, Any] | None = None
    winners: Mapping[tuple[str, str], dict[str, Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class BenchRecords:
    """All that a bench left on the disk, as read once: columns as in StudyRecords; what was not measured is None."""

    directory: Path
    grid: specs.GridSpec
    machine: dict[str, Any]
    throughput: pd.DataFrame | None = None
    inference: pd.DataFrame | None = None


def read(directory: Path) -> StudyRecords:
    """Read all result files of one study. Files that a study may lack become None.

    Raises InputError, naming the file, where a required file (spec.toml, trials.csv, machine.json) is missing or any is broken.
    """
    directory = Path(directory)
    _require(directory, "study", ("spec.toml", "trials.csv", "machine.json"))
    spec = specs.load(directory / "spec.toml")
    machine = _read_machine(directory)
    trials = _read_csv(directory / "trials.csv", trial_columns())
    confirmation = _optional_csv(directory / "confirmation.csv", confirmation_columns())
    for name, table in (("trials.csv", trials), ("confirmation.csv", confirmation)):
        if table is not None:
            _check_names(directory / name, table, spec)
    diagnostics = directory / "diagnostics.json"
    return StudyRecords(
        directory=directory,
        spec=spec,
        machine=machine,
        trials=trials,
        confirmation=confirmation,
        extrapolation=_optional_csv(directory / "extrapolation.csv", EXTRAPOLATION_COLUMNS),
        evaluations=_optional_csv(directory / "evaluations.csv", EVALUATION_COLUMNS),
        throughput=_read_throughput(directory),
        inference=_optional_csv(directory / "inference.csv", INFERENCE_COLUMNS),
        diagnostics=_read_json(diagnostics) if diagnostics.is_file() else None,
        winners=_read_winners(directory / "winners"),
    )


def read_bench(directory: Path) -> BenchRecords:
    """Read the result files of one bench; one that has measured no inference, or nothing else, lacks that table.

    Raises InputError, naming the file, where grid.toml or machine.json is missing or any file is broken.
    """
    directory = Path(directory)
    _require(directory, "bench", ("grid.toml", "machine.json"))
    return BenchRecords(
        directory=directory,
        grid=specs.load_grid(directory / "grid.toml"),
        machine=_read_machine(directory),
        throughput=_read_throughput(directory),
        inference=_optional_csv(directory / "inference.csv", INFERENCE_COLUMNS),
    )


def _require(directory: Path, what: str, names: Sequence[str]) -> None:
    """Refuse a folder that lacks what every study, or every bench, leaves."""
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
    if machine.get("schema", SCHEMA) != SCHEMA:
        raise InputError(str(path), "schema", expected=str(SCHEMA), got=machine["schema"])
    return machine


def _read_throughput(directory: Path) -> pd.DataFrame | None:
    path = directory / "throughput.csv"
    return _optional_csv(path, THROUGHPUT_COLUMNS, LATER_IN_THROUGHPUT)


def _optional_csv(
    path: Path, columns: Sequence[str], later: frozenset[str] = LATER
) -> pd.DataFrame | None:
    return _read_csv(path, columns, later) if path.is_file() else None


def _read_csv(path: Path, columns: Sequence[str], later: frozenset[str] = LATER) -> pd.DataFrame:
    """A CSV file of ours, each column with its type; `later` ones may be missing. Raises InputError for a missing column or a cell that is no number."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(str(path), expected="a CSV file", got=Shown(str(error))) from error
    for column in columns:
        if column in later and column not in table.columns:
            table[column] = ""
        if column not in table.columns:
            raise InputError(
                str(path),
                column,
                expected="this column",
                got=Shown(f"columns {', '.join(map(str, table.columns))}"),
            )
    for column in table.columns:
        table[column] = _typed(path, table[column], required=column in columns)
    if "end" in table.columns and not table["end"].isin(ENDS).all():
        wrong = table.loc[~table["end"].isin(ENDS), "end"].iloc[0]
        raise InputError(str(path), "end", expected=f"one of {', '.join(ENDS)}", got=wrong)
    return table


def _typed(path: Path, column: pd.Series[str], *, required: bool) -> pd.Series[Any]:
    name = str(column.name)
    if name in TEXT:
        return column.astype(object)
    if name == "solved":
        return column.map({"true": True, "false": False}).astype("boolean")
    numeric = int if name in COUNTS or name == "seed" else float
    empty = math.nan if numeric is float else None
    values: list[Any] = []
    for line, text in enumerate(column, start=2):
        try:
            values.append(numeric(text) if text else empty)
        except ValueError:
            if not required:  # a searched key of words, such as a list of names
                return column.astype(object)
            place = f"{path}, line {line}"
            raise InputError(place, name, expected="a number", got=text) from None
    if name in COUNTS and None in values:
        raise InputError(
            str(path), name, expected="a number in each line", got=Shown("an empty cell")
        )
    kind = {"seed": "Int64"}.get(name, "int64" if name in COUNTS else "float64")
    return pd.Series(values, dtype=kind, name=name)


def _check_names(path: Path, table: pd.DataFrame, spec: specs.StudySpec) -> None:
    for column, known in (("task", spec.compare.tasks), ("cell", spec.compare.cells)):
        for name in table[column].unique():
            if name not in known:
                expected = f"one that spec.toml compares ({', '.join(known)})"
                raise InputError(str(path), column, expected=expected, got=name)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(str(path), expected="a JSON file", got=Shown(str(error))) from error
    if not isinstance(value, dict):
        raise InputError(str(path), expected="a JSON object", got=Shown(type(value).__name__))
    return value


def _read_winners(directory: Path) -> dict[tuple[str, str], dict[str, Any]]:
    winners = {}
    for path in sorted(directory.glob("*.toml")):
        try:
            winner = tomllib.loads(path.read_text(encoding="utf-8"))
            winners[winner["task"], winner["cell"]] = winner
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(str(path), expected="a TOML file", got=Shown(str(error))) from error
        except KeyError as error:
            raise InputError(
                str(path), str(error.args[0]), expected="this key", got=Shown("nothing")
            ) from error
    return winners
