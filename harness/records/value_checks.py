"""Checks of result files: what their cells and values may be.

A file may have been edited, torn or made up. One line names what is out of bounds. Never changes a
value.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import pandas as pd
import pydantic

from harness import config as specs
from harness.columns import COLUMNS, LARGEST_WHOLE
from harness.errors import InputError, Shown
from harness.records.validation_errors import refusal

DEEPEST = 16  # objects within objects of a JSON file
# Of a number of a JSON file: more bytes, or steps that a gate keeps a value, than there are
LARGEST = 1e18

_FREE: Any = None  # default of a key that a file may lack; null itself is refused


def check_numbers(path: str, table: pd.DataFrame, file: str) -> None:
    """Refuse a number that no study writes in its column, naming the line."""
    for name in table.columns:
        bounds = COLUMNS[name].bounds_in(file) if name in COLUMNS else None
        if bounds is None or table[name].dtype == object:
            continue
        for line, value in enumerate(table[name], start=2):
            if not bounds.accepts(float(value)):
                got = Shown("an empty cell") if math.isnan(value) else value
                where = f"{path}, line {line}"
                raise InputError(where, name, expected=bounds.describe(), got=got)


def check_names(path: str, table: pd.DataFrame, spec: specs.StudySpec) -> None:
    """Refuse a task or a cell that the study does not compare."""
    for column, known in (("task", spec.compare.tasks), ("cell", spec.compare.cells)):
        for name in table[column].unique():
            if name not in known:
                expected = f"one that spec.toml compares ({', '.join(known)})"
                raise InputError(path, column, expected=expected, got=name)


def check_tree(path: str, value: object, key: str = "", depth: int = 0) -> None:
    """Refuse numbers that are not finite or are absurd, and objects within objects without end."""
    if depth > DEEPEST:
        raise InputError(path, key, expected=f"at most {DEEPEST} levels", got=Shown("more"))
    if isinstance(value, int | float) and not abs(value) <= LARGEST:  # NaN included
        raise InputError(path, key, expected=f"a finite number up to {LARGEST:g}", got=value)
    items: Iterable[tuple[str, object]] = ()
    if isinstance(value, Mapping):
        items = ((f"{key}.{name}" if key else str(name), each) for name, each in value.items())
    elif isinstance(value, list):
        items = ((key, each) for each in value)
    for name, each in items:
        check_tree(path, each, name, depth + 1)


_Text = pydantic.StrictStr
_Count = Annotated[pydantic.StrictInt, pydantic.Field(ge=0, lt=LARGEST_WHOLE)]
# No axis can be drawn to a number beyond LARGEST
_Number = Annotated[pydantic.StrictFloat, pydantic.Field(ge=-LARGEST, le=LARGEST)]
_Numbers = list[_Number | None]


@dataclasses.dataclass(frozen=True)
class TraceSchema:
    """A gate's openness over time: mean, low and high of a layer's units."""

    gate: _Text
    layer: _Count
    mean: _Numbers = _FREE
    low: _Numbers = _FREE
    high: _Numbers = _FREE


@dataclasses.dataclass(frozen=True)
class DiagnosticsEntrySchema:
    """What an entry of diagnostics.json may hold. Other keys are free."""

    task: _Text = _FREE
    cell: _Text = _FREE
    state: Literal["initial", "trained"] = _FREE
    of: _Text = _FREE
    gate: _Text = _FREE
    memory_gate: _Text = _FREE
    layer: _Count = _FREE
    n_sequences: _Count = _FREE
    sequence_length: _Count = _FREE
    trained_length: _Count = _FREE
    task_lag: _Number | None = _FREE
    lag: list[_Count] = _FREE
    log10_gain: _Numbers = _FREE
    steps: _Numbers = _FREE
    informative: list[_Count] | None = _FREE
    traces: list[TraceSchema] = _FREE


@dataclasses.dataclass(frozen=True)
class DiagnosticsSchema:
    """What diagnostics.json may hold."""

    gradient_gain: list[DiagnosticsEntrySchema] | None = None
    gates: list[DiagnosticsEntrySchema] | None = None
    time_scales: list[DiagnosticsEntrySchema] | None = None


@dataclasses.dataclass(frozen=True)
class MachineSchema:
    """What machine.json may hold. Other keys are free."""

    cpu: _Text = _FREE
    cpu_capability: _Text = _FREE
    system: _Text = _FREE
    device: _Text = _FREE
    device_name: _Text = _FREE
    python: _Text = _FREE
    denormals: _Text = _FREE
    evaluation: _Text = _FREE
    freed_memory: _Text = _FREE
    recurrence: _Text = _FREE
    command: _Text = _FREE
    storage: _Text = _FREE
    cores: _Count = _FREE
    memory_bytes: _Count = _FREE
    workers: _Count = _FREE
    common_trials: _Count = _FREE
    startup_trials: _Count = _FREE
    versions: dict[str, _Text] = _FREE
    warnings: list[_Text] = _FREE
    notes: list[_Text] = _FREE
    runs: list[MachineSchema] = _FREE


@dataclasses.dataclass(frozen=True)
class WinnerSchema:
    """What a winner's file holds at least."""

    task: _Text
    cell: _Text
    solved: pydantic.StrictBool = _FREE


_adapter = functools.cache(pydantic.TypeAdapter)


def check_schema(path: str, value: Mapping[str, Any], schema: type) -> None:
    """Refuse an object whose known keys are not as the dataclass `schema` has them."""
    try:
        _adapter(schema).validate_python(value)
    except pydantic.ValidationError as error:
        raise refusal(error, path) from None
