"""The result files of a study, written and read: what each column is, and that what is read is what was written.

It never computes a result, never renders one, and never runs what it reads: the files are CSV, JSON and TOML, no pickles.
Every file is written to a temporary name, flushed to the disk and renamed, so a reader sees the old file or the new one.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import math
import numbers
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import tomli_w

from harness import spec as specs
from harness.errors import InputError, Shown

SCHEMA = 1  # of the whole set of files; kept in machine.json, a later program refuses what it cannot read

ENDS = (
    "complete",
    "pruned",
    "diverged",
    "timeout",
    "out_of_memory",
    "error",
    "crashed",
    "interrupted",
)
_RESULT = (
    "seed",
    "num_parameters",
    "lag",
    "loss",
    "skill",
    "accuracy",
    "solved",
    "remembered_steps",
    "sequences_to_solve",
    "sequences_seen",
    "train_time_s",
    "sequences_per_second",
    "reason",
)
PARAMETERS = ("hidden_size", "num_layers", "learning_rate", "sequence_length", "initialization")
SLOT = ("task", "cell", "repeat", "number")
EVALUATION_COLUMNS = (
    "phase",
    "task",
    "cell",
    "repeat",
    "number",
    "sequence_length",
    "seed",
    "sequences_seen",
    "loss",
    "skill",
    "accuracy",
)
THROUGHPUT_COLUMNS = (
    "benchmark",
    "task",
    "cell",
    "device",
    "device_name",
    "origin",
    "hidden_size",
    "num_layers",
    "sequence_length",
    "batch_size",
    "num_parameters",
    "n_blocks",
    "step_time_s",
    "step_time_low_s",
    "step_time_high_s",
    "sequences_per_second",
    "tokens_per_second",
    "gflops_per_second",
    "fraction_of_peak",
    "peak_gflops_per_second",
    "peak_memory_bytes",
)
_TEXT = frozenset(
    (
        "task",
        "cell",
        "end",
        "initialization",
        "reason",
        "configuration",
        "phase",
        "benchmark",
        "device",
        "device_name",
        "origin",
    )
)
_COUNTS = frozenset(("repeat", "number"))  # always known


@dataclasses.dataclass(frozen=True)
class StudyRecords:
    """All that a finished study left on the disk, as read once. What was not written is None or empty.

    `trials`, `confirmation`, `evaluations` and `throughput` have the columns of the files of the same names: text columns
    hold "" where a cell is empty, number columns NaN, `solved` is a nullable boolean and `seed` a nullable integer.
    """

    directory: Path
    spec: specs.StudySpec
    machine: dict[str, Any]
    trials: pd.DataFrame
    confirmation: pd.DataFrame | None = None
    evaluations: pd.DataFrame | None = None
    throughput: pd.DataFrame | None = None
    diagnostics: dict[str, Any] | None = None
    winners: Mapping[tuple[str, str], dict[str, Any]] = dataclasses.field(default_factory=dict)


def trial_columns(searched_keys: Iterable[str] = ()) -> tuple[str, ...]:
    """Columns of trials.csv, in order; keys that are searched beyond the usual five stand after `initialization`."""
    return (*SLOT, "end", *PARAMETERS, *_others(searched_keys), *_RESULT)


def confirmation_columns(searched_keys: Iterable[str] = ()) -> tuple[str, ...]:
    """Columns of confirmation.csv: those of trials.csv, with the hash of the configuration before `end`."""
    columns = trial_columns(searched_keys)
    return (*SLOT, "configuration", *columns[len(SLOT) :])


def write_trials(
    directory: Path, rows: Sequence[Mapping[str, Any]], searched_keys: Iterable[str] = ()
) -> Path:
    """Write trials.csv, one row a slot. A key that a row lacks, None and NaN are written as an empty cell.

    Tasks and cells keep the order in which they first come in `rows`; within them rows are sorted by repeat and number.
    Raises ValueError for a key that is no column.
    """
    columns = trial_columns(searched_keys)
    return _write_csv(
        Path(directory) / "trials.csv", columns, _in_order(rows, ("repeat", "number"))
    )


def write_confirmation(
    directory: Path, rows: Sequence[Mapping[str, Any]], searched_keys: Iterable[str] = ()
) -> Path:
    """Write confirmation.csv, one row a (task, cell, repeat, sequence_length, seed); like `write_trials` otherwise."""
    known = set(confirmation_columns())
    others = [key for row in rows for key in row if key not in known and key in set(searched_keys)]
    columns = confirmation_columns(searched_keys or others)
    order = ("repeat", "sequence_length", "seed")
    return _write_csv(Path(directory) / "confirmation.csv", columns, _in_order(rows, order))


def write_evaluations(directory: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write evaluations.csv: the losses, skills and accuracies on the way, searches before confirmations."""
    order = ("phase", "repeat", "number", "sequence_length", "seed", "sequences_seen")
    ranked = _in_order(rows, order[1:])
    ranked.sort(key=lambda row: str(row.get("phase", "")) != "search")
    return _write_csv(Path(directory) / "evaluations.csv", EVALUATION_COLUMNS, ranked)


def write_diagnostics(directory: Path, diagnostics: Mapping[str, Any]) -> Path:
    """Write diagnostics.json: {"gradient_gain": [{task, cell, state, sequence_length, lag, log10_gain}, ...]}."""
    return _write_json(Path(directory) / "diagnostics.json", {"schema": SCHEMA, **diagnostics})


def write_machine(directory: Path, machine: Mapping[str, Any]) -> Path:
    """Write machine.json: fingerprint, versions, threads, command, budget notes, warnings."""
    return _write_json(Path(directory) / "machine.json", {"schema": SCHEMA, **machine})


def write_spec(directory: Path, text: str) -> Path:
    """Write spec.toml, the resolved study."""
    return write_text(Path(directory) / "spec.toml", text)


def write_winner(directory: Path, task: str, cell: str, winner: Mapping[str, Any]) -> Path:
    """Write winners/<task>-<cell>.toml; TOML knows no empty value, so keys that are None are left out."""
    path = winner_path(directory, task, cell, ".toml")
    return write_text(path, tomli_w.dumps({"task": task, "cell": cell, **_without_none(winner)}))


def winner_path(directory: Path, task: str, cell: str, suffix: str) -> Path:
    """Where a winner's file lies. A name that no file system takes as it is gets a short hash, so that none collide."""
    name = f"{task}-{cell}"
    safe = re.sub(r"[^\w.-]", "_", name).strip(".")
    if safe != name:
        safe += "-" + hashlib.sha256(name.encode()).hexdigest()[:8]
    return Path(directory) / "winners" / (safe + suffix)


def write_text(path: Path, text: str) -> Path:
    """Write a text file by temporary file, fsync and rename, making its folder if there is none."""
    return write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file by temporary file, fsync and rename, making its folder if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def read(directory: Path) -> StudyRecords:
    """Read all result files of one study. Files that a study may lack become None.

    Raises InputError, naming the file, where a required file (spec.toml, trials.csv, machine.json) is missing or any is broken.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError(
            str(directory),
            expected="the folder of a study's results",
            got=Shown("no such folder" if not directory.exists() else "a file"),
            remedy="run `python -m harness.study` first, or name a folder in results/",
        )
    for name in ("spec.toml", "trials.csv", "machine.json"):
        if not (directory / name).is_file():
            raise InputError(
                str(directory),
                name,
                expected="this file of a study's results",
                got=Shown("no such file"),
                remedy="run the study again: finished trials are kept",
            )
    spec = specs.load(directory / "spec.toml")
    machine = _read_json(directory / "machine.json")
    if machine.get("schema", SCHEMA) != SCHEMA:
        raise InputError(
            str(directory / "machine.json"), "schema", expected=str(SCHEMA), got=machine["schema"]
        )
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
        evaluations=_optional_csv(directory / "evaluations.csv", EVALUATION_COLUMNS),
        throughput=_optional_csv(directory / "throughput.csv", THROUGHPUT_COLUMNS),
        diagnostics=_read_json(diagnostics) if diagnostics.is_file() else None,
        winners=_read_winners(directory / "winners"),
    )


def _others(searched_keys: Iterable[str]) -> tuple[str, ...]:
    usual = {*SLOT, "end", *PARAMETERS, *_RESULT}
    return tuple(dict.fromkeys(key for key in searched_keys if key not in usual))


def _in_order(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[Mapping[str, Any]]:
    """Rows by task and cell (as they first come) and then by `keys`; a missing value comes first."""
    tasks = {task: i for i, task in enumerate(dict.fromkeys(row["task"] for row in rows))}
    cells = {cell: i for i, cell in enumerate(dict.fromkeys(row["cell"] for row in rows))}

    def place(row: Mapping[str, Any]) -> tuple[Any, ...]:
        values = (row.get(key) for key in keys)
        return (
            tasks[row["task"]],
            cells[row["cell"]],
            *((value is not None, value if value is not None else 0) for value in values),
        )

    return sorted(rows, key=place)


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Path:
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
    """One value as CSV text that reads back exactly: floats by repr, nothing for what is not known."""
    if value is None or value is pd.NA:
        return ""
    if isinstance(value, bool) or type(value).__name__ == "bool":  # also numpy's
        return "true" if value else "false"
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, numbers.Real):
        number = float(value)
        return "" if math.isnan(number) else repr(number)
    return str(value)


def _write_json(path: Path, value: Mapping[str, Any]) -> Path:
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


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_without_none(item) for item in value if item is not None]
    return value


def _optional_csv(path: Path, columns: Sequence[str]) -> pd.DataFrame | None:
    return _read_csv(path, columns) if path.is_file() else None


def _read_csv(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A CSV file of ours, each column with its type. Raises InputError for a missing column or a cell that is no number."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(str(path), expected="a CSV file", got=Shown(str(error))) from error
    for column in columns:
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
    if name in _TEXT:
        return column.astype(object)
    if name == "solved":
        return column.map({"true": True, "false": False}).astype("boolean")
    numeric = int if name in _COUNTS or name == "seed" else float
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
    if name in _COUNTS and None in values:
        raise InputError(
            str(path), name, expected="a number in each line", got=Shown("an empty cell")
        )
    kind = {"seed": "Int64"}.get(name, "int64" if name in _COUNTS else "float64")
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
