"""Writes the result files of a study, except its throughput. Computes no result."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from harness.columns import RESULTS_SCHEMA, columns_of
from harness.records.atomic_write import write_csv, write_json, write_text


def write_trials(
    directory: Path, rows: Sequence[Mapping[str, Any]], searched_keys: Iterable[str] = ()
) -> Path:
    """Write trials.csv, one row a slot.

    A key that a row lacks, None and NaN are written as an empty cell.

    Tasks and cells keep the order in which they first come in `rows`; within them rows are sorted
    by repeat and number. Raises ValueError for a key that is no column.
    """
    columns = columns_of("trials.csv", searched_keys)
    return write_csv(Path(directory) / "trials.csv", columns, _in_order(rows, ("repeat", "number")))


def write_confirmation(
    directory: Path, rows: Sequence[Mapping[str, Any]], searched_keys: Iterable[str] = ()
) -> Path:
    """Write confirmation.csv, one row a (task, cell, repeat, sequence_length, seed).

    Like `write_trials` otherwise.
    """
    known = set(columns_of("confirmation.csv"))
    others = [key for row in rows for key in row if key not in known and key in set(searched_keys)]
    columns = columns_of("confirmation.csv", searched_keys or others)
    order = ("repeat", "sequence_length", "seed")
    return write_csv(Path(directory) / "confirmation.csv", columns, _in_order(rows, order))


def write_extrapolation(directory: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write extrapolation.csv, one row a solved confirmation run and factor of its length."""
    order = ("repeat", "sequence_length", "seed", "factor")
    path = Path(directory) / "extrapolation.csv"
    return write_csv(path, columns_of("extrapolation.csv"), _in_order(rows, order))


def write_retries(directory: Path, rows: Sequence[Mapping[str, Any]]) -> Path | None:
    """Write retries.csv, one row an attempt that crashed or was interrupted and ran again.

    Writes no file, and removes an old one, where there are no rows.
    """
    path = Path(directory) / "retries.csv"
    if not rows:
        path.unlink(missing_ok=True)
        return None
    ranked = _in_order(rows, ("repeat", "number", "sequence_length", "seed"))
    ranked.sort(key=lambda row: str(row.get("phase", "")) != "search")
    return write_csv(path, columns_of("retries.csv"), ranked)


def write_evaluations(directory: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write evaluations.csv: loss, skill and accuracy during training, searches first."""
    order = ("phase", "repeat", "number", "sequence_length", "seed", "sequences_seen")
    ranked = _in_order(rows, order[1:])
    ranked.sort(key=lambda row: str(row.get("phase", "")) != "search")
    return write_csv(Path(directory) / "evaluations.csv", columns_of("evaluations.csv"), ranked)


def write_diagnostics(directory: Path, diagnostics: Mapping[str, Any]) -> Path:
    """Write diagnostics.json.

    Each entry has task, cell, state (initial, trained) and sequence_length.

    `gradient_gain`: trained_length, of, n_sequences, lag and log10_gain (null: 0 or unknown), one
    number a lag. `gates`: memory_gate, informative (steps, or null where the task does not say) and
    traces: {gate, layer, mean, low, high}, one number a step. `time_scales`: gate, layer, task_lag,
    n_sequences and steps, one number a unit.
    """
    return write_json(
        Path(directory) / "diagnostics.json", {"schema": RESULTS_SCHEMA, **diagnostics}
    )


def write_winner(directory: Path, task: str, cell: str, winner: Mapping[str, Any]) -> Path:
    """Write winners/<task>-<cell>.toml.

    TOML knows no empty value, so keys that are None are left out.
    """
    path = winner_path(directory, task, cell, ".toml")
    return write_text(path, tomli_w.dumps({"task": task, "cell": cell, **_without_none(winner)}))


def winner_path(directory: Path, task: str, cell: str, suffix: str) -> Path:
    """Where a winner's file lies.

    A name that no file system takes as it is gets a short hash, so that none collide.
    """
    name = f"{task}-{cell}"
    safe = re.sub(r"[^\w.-]", "_", name).strip(".")
    if safe != name:
        safe += "-" + hashlib.sha256(name.encode()).hexdigest()[:8]
    return Path(directory) / "winners" / (safe + suffix)


def _in_order(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[Mapping[str, Any]]:
    """Rows by task and cell (as they first come) and then by `keys`.

    A missing value comes first.
    """
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


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_without_none(item) for item in value if item is not None]
    return value
