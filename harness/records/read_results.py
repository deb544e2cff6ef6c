"""Readers of the result files of a study or a bench: typed tables, or an error of one line.

Runs nothing that it reads.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness import config as specs
from harness.columns import RESULTS_SCHEMA
from harness.errors import InputError, Shown
from harness.records.result_tables import read_result_table
from harness.records.value_checks import (
    DiagnosticsSchema,
    MachineSchema,
    WinnerSchema,
    check_names,
    check_schema,
    check_tree,
)
from harness.regular_file import read_regular


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


def read_study(directory: Path) -> StudyRecords:
    """Read all result files of one study. Files that a study may lack become None.

    Raises InputError, naming the file, where a required file (spec.toml, trials.csv, machine.json)
    is missing or any is broken.
    """
    directory = Path(directory)
    _require(directory, "study", ("spec.toml", "trials.csv", "machine.json"))
    spec = specs.load_study(directory / "spec.toml")
    machine = _read_machine(directory)
    tables = {
        name: read_result_table(directory / f"{name}.csv")
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
        throughput=read_result_table(directory / "throughput.csv"),
        inference=read_result_table(directory / "inference.csv"),
    )


def read_machine_if_any(directory: Path) -> dict[str, Any]:
    """What machine.json holds; nothing where it is missing or damaged, as it is written anew."""
    if not (directory / "machine.json").is_file():
        return {}
    try:
        return _read_machine(directory)
    except InputError:
        return {}


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


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object without absurd numbers, NaN or endless nesting."""
    try:
        value = json.loads(read_regular(path).decode("utf-8"))
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
