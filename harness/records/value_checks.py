"""What the cells and values of the result files may be, so that a report is never drawn from what no study writes.

A file may have been edited, torn or made up: whatever is out of bounds is named in one line. It
never mends a value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from harness import config as specs
from harness.columns import COLUMNS, LARGEST_WHOLE
from harness.errors import InputError, Shown

DEEPEST = 16  # objects within objects of a JSON file
# Of a number of a JSON file: more bytes, or steps that a gate keeps a value, than there are
LARGEST = 1e18


def check_numbers(path: str, table: pd.DataFrame, file: str) -> None:
    """Refuse a number that no study writes in its column, naming the line."""
    for name in table.columns:
        bounds = COLUMNS[name].bounds_in(file) if name in COLUMNS else None
        if bounds is None or table[name].dtype == object:
            continue
        for line, value in enumerate(table[name], start=2):
            if not bounds.accepts(float(value)):
                got = Shown("an empty cell") if math.isnan(value) else value
                place = f"{path}, line {line}"
                raise InputError(place, name, expected=bounds.describe(), got=got)


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


Check = Callable[[Any], bool]


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST_WHOLE


def _is_number(value: object) -> bool:
    """A number that may be drawn: not a huge one, of which no axis can be made."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= LARGEST  # type: ignore[arg-type]  # a number, as just said


def _or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _trace(value: object) -> bool:
    return isinstance(value, Mapping) and _first_wrong(value, TRACE, ("gate", "layer")) is None


Shape = Mapping[str, tuple[str, Check]]
"""What the values of an object's keys are: in words, and as a check."""

_COUNT = ("a whole number", _is_count)
UNKNOWN_NUMBERS = ("a list of numbers and nulls", _list_of(_or_null(_is_number)))
TEXT = ("a text", _is_text)
TRACE: Shape = {
    "gate": TEXT,
    "layer": _COUNT,
    "mean": UNKNOWN_NUMBERS,
    "low": UNKNOWN_NUMBERS,
    "high": UNKNOWN_NUMBERS,
}
ENTRY: Shape = {
    "task": TEXT,
    "cell": TEXT,
    "state": ("initial or trained", lambda value: value in ("initial", "trained")),
    "of": TEXT,
    "gate": TEXT,
    "memory_gate": TEXT,
    "layer": _COUNT,
    "n_sequences": _COUNT,
    "sequence_length": _COUNT,
    "trained_length": _COUNT,
    "task_lag": ("a number or null", _or_null(_is_number)),
    "lag": ("a list of whole numbers", _list_of(_is_count)),
    "log10_gain": UNKNOWN_NUMBERS,
    "steps": UNKNOWN_NUMBERS,
    "informative": ("a list of whole numbers, or null", _or_null(_list_of(_is_count))),
    "traces": ("a list of traces, each with gate, layer, mean, low and high", _list_of(_trace)),
}
MACHINE: Shape = {
    **dict.fromkeys(
        (
            *("cpu", "cpu_capability", "system", "device", "device_name", "python"),
            *("denormals", "evaluation", "freed_memory", "recurrence", "command", "storage"),
        ),
        TEXT,
    ),
    **dict.fromkeys(("cores", "memory_bytes", "workers", "common_trials"), _COUNT),
    "versions": (
        "an object of texts",
        lambda value: isinstance(value, Mapping) and all(map(_is_text, value.values())),
    ),
    "warnings": ("a list of texts", _list_of(_is_text)),
    "notes": ("a list of texts", _list_of(_is_text)),
}
WINNER: Shape = {
    "task": TEXT,
    "cell": TEXT,
    "solved": ("true or false", lambda value: isinstance(value, bool)),
}


def check_shape(path: str, value: Mapping[str, Any], shape: Shape, key: str = "") -> None:
    """Refuse an object of which a known key holds something else.

    Keys that are not known are free.
    """
    if (name := _first_wrong(value, shape)) is not None:
        place = f"{key}.{name}" if key else name
        raise InputError(path, place, expected=shape[name][0], got=value[name])


def check_diagnostics(path: str, found: Mapping[str, Any]) -> None:
    """Refuse a diagnostics.json of which a part is no list of entries."""
    for key in ("gradient_gain", "gates", "time_scales"):
        entries = found.get(key) or []
        if not isinstance(entries, Sequence) or not all(isinstance(e, Mapping) for e in entries):
            raise InputError(path, key, expected="a list of objects", got=entries)
        for index, entry in enumerate(entries):
            check_shape(path, entry, ENTRY, f"{key}.{index}")


def _first_wrong(value: Mapping[str, Any], shape: Shape, needed: Sequence[str] = ()) -> str | None:
    for name, (_, check) in shape.items():
        if name in value and not check(value[name]):
            return name
        if name in needed and name not in value:
            return name
    return None
