"""The history of a project's speed: one JSON line a recording, appended and synced.

Never draws and never prints.

Figures are comparable only within one machine fingerprint (processor, cores, torch, BLAS, threads,
Python, GPU), so series are made for one fingerprint each and never joined. Each block's figure is
divided by the canary's of the same block: what the machine does to both cancels.

A last line without a line break that is no whole JSON was torn by a crash or a full disk. Reading
leaves it out and says so; the next `append_entry` cuts it off. Whole lines are never changed. One
process at a time may append.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, NoReturn

from harness.errors import InputError, Shown, StorageError
from harness.records.jsonl import append_line

SCHEMA: Final = 1

FINGERPRINT_FIELDS: Final = (
    "cpu",
    "cpu_flags",
    "cores",
    "torch",
    "blas",
    "threads",
    "python",
    "gpu",
)
"""What decides speed here: issue 5. A machine without a GPU has "gpu" as None."""

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Entry:
    """One recording: seconds a step of each benchmark and of the canary, block by block, in the same order.

    None: not measured in that block; ValueError for seconds that are not above 0, and unless each
    benchmark has as many blocks as the canary. `machine` has FINGERPRINT_FIELDS and whatever else
    should be kept; `revision` and `recorded` (a date as text) are what the caller wishes to show.
    The order of the file is the order of the history.
    """

    machine: Mapping[str, Scalar]
    revision: str
    recorded: str
    canary_s: tuple[float | None, ...]
    figures_s: Mapping[str, tuple[float | None, ...]]

    def __post_init__(self) -> None:
        for name, own in {"canary_s": self.canary_s, **self.figures_s}.items():
            if len(own) != len(self.canary_s):
                raise ValueError(
                    f"{name}: {len(self.canary_s)} blocks expected, as the canary has (got {len(own)})"
                )
            for value in own:
                if value is not None and not 0 < value < math.inf:
                    raise ValueError(f"{name}: seconds above 0 or None expected (got {value!r})")

    @property
    def fingerprint(self) -> str:
        """The machine's fingerprint."""
        return fingerprint_of(self.machine)

    def relative(self, name: str) -> float:
        """Median over blocks of a benchmark's seconds over the canary's.

        NaN where no block has both.
        """
        own = self.figures_s.get(name, (None,) * len(self.canary_s))
        pairs = zip(own, self.canary_s, strict=True)
        ratios = [a / b for a, b in pairs if a is not None and b is not None]
        return median(ratios) if ratios else math.nan


@dataclass(frozen=True)
class History:
    """The entries of a file, oldest first, and how many bytes of a torn last line were left out.

    `is_ended`: the last whole line has its line break, which an editor may have taken away.
    """

    entries: tuple[Entry, ...]
    torn_bytes: int = 0
    is_ended: bool = True

    def fingerprints(self) -> tuple[str, ...]:
        """The machines' fingerprints, in the order of their first recordings."""
        return tuple(dict.fromkeys(entry.fingerprint for entry in self.entries))


@dataclass(frozen=True)
class Series:
    """One benchmark on one machine.

    Its figure over the canary's in each recording, NaN where it was not measured.

    `revisions` and `recorded` say which recording each is.
    """

    name: str
    fingerprint: str
    values: tuple[float, ...]
    revisions: tuple[str, ...]
    recorded: tuple[str, ...]


def fingerprint_of(machine: Mapping[str, Scalar]) -> str:
    """Twelve hexadecimal digits of what decides speed. ValueError where a field is not there."""
    absent = [name for name in FINGERPRINT_FIELDS if name not in machine]
    if absent:
        raise ValueError(f"'machine' must have {', '.join(FINGERPRINT_FIELDS)} (no {absent[0]})")
    plain = json.dumps({name: machine[name] for name in FINGERPRINT_FIELDS}, sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()[:12]


def series_of(history: History, fingerprint: str) -> tuple[Series, ...]:
    """A series for each benchmark ever recorded on this machine, by name.

    None for a fingerprint without recordings.
    """
    entries = [entry for entry in history.entries if entry.fingerprint == fingerprint]
    names = sorted({name for entry in entries for name in entry.figures_s})
    revisions = tuple(entry.revision for entry in entries)
    recorded = tuple(entry.recorded for entry in entries)
    return tuple(
        Series(
            name, fingerprint, tuple(entry.relative(name) for entry in entries), revisions, recorded
        )
        for name in names
    )


# --- The file ---------------------------------------------------------------------------------


def read_history(path: Path) -> History:
    """Read a history. InputError that names file and line for a line that is no entry, or of a newer schema.

    A file that is not there is an empty history. StorageError where it can't be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return History(())
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from None
    *lines, last = content.split(b"\n")
    entries = [_entry(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not last:
        return History(tuple(entries))
    try:
        json.loads(last)
    except ValueError:  # a part of an object is no JSON
        return History(tuple(entries), torn_bytes=len(last))
    return History((*entries, _entry(path, len(lines) + 1, last)), is_ended=False)


def append_entry(path: Path, entry: Entry) -> int:
    """Append an entry and sync it; returns how many bytes of a torn last line were cut off before.

    The lines that are there are read first, so that nothing is added to a history that can't be
    read: InputError. If the entry can't be written whole, as on a full disk, what was written of it
    is taken back, and StorageError says why. ValueError for a machine without its fingerprint,
    before the file is touched.
    """
    history = read_history(path)
    whole = f"{line_of(entry)}\n".encode()
    line = whole if history.is_ended else b"\n" + whole
    try:
        append_line(path, line, history.torn_bytes)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be appended to: {error.strerror}; its lines are as they were"
        ) from None
    return history.torn_bytes


def line_of(entry: Entry) -> str:
    """An entry as a line of the file, without its line break; ASCII."""
    plain = {
        "schema": SCHEMA,
        "fingerprint": entry.fingerprint,
        "machine": dict(entry.machine),
        "revision": entry.revision,
        "recorded": entry.recorded,
        "canary_s": list(entry.canary_s),
        "figures_s": {name: list(values) for name, values in entry.figures_s.items()},
    }
    return json.dumps(plain, allow_nan=False, ensure_ascii=True)


def _entry(path: Path, number: int, line: bytes) -> Entry:
    """One line as an entry."""

    def refuse(expected: str, got: object) -> NoReturn:
        remedy = "nothing was changed; mend or remove that line"
        raise InputError(str(path), f"line {number}", expected=expected, got=got, remedy=remedy)

    try:
        plain = json.loads(line.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError):  # also UnicodeDecodeError and JSONDecodeError
        refuse("a recording as JSON", Shown(repr(line[:40].decode(errors="replace"))))
    if not isinstance(plain, dict):
        refuse("a recording as a JSON object", plain)
    if plain.get("schema") != SCHEMA:
        refuse(f"schema {SCHEMA}", plain.get("schema"))
    try:
        entry = Entry(
            machine=_machine(plain["machine"]),
            revision=_text(plain["revision"]),
            recorded=_text(plain["recorded"]),
            canary_s=_seconds(plain["canary_s"]),
            figures_s={name: _seconds(own) for name, own in _object(plain["figures_s"]).items()},
        )
        fingerprint = entry.fingerprint
    except KeyError as error:
        refuse("a recording with all its keys", Shown(f"none named {error}"))
    except (TypeError, ValueError) as error:
        refuse("a recording", Shown(str(error)))
    if plain.get("fingerprint") != fingerprint:
        refuse(f"fingerprint {fingerprint!r}, that of its machine", plain.get("fingerprint"))
    return entry


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"an object expected, not {value!r:.60}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text expected, not {value!r:.60}")
    return value


def _machine(value: Any) -> Mapping[str, Scalar]:
    machine = _object(value)
    for name, own in machine.items():
        if not isinstance(own, str | int | float | bool | None):
            raise TypeError(f"machine: {name}: a plain value expected, not {own!r:.60}")
    return machine


def _seconds(value: Any) -> tuple[float | None, ...]:
    if not isinstance(value, list):
        raise TypeError(f"a list of seconds expected, not {value!r:.60}")
    for own in value:
        if own is not None and (not isinstance(own, int | float) or isinstance(own, bool)):
            raise TypeError(f"seconds or null expected, not {own!r:.60}")
    return tuple(None if own is None else float(own) for own in value)


def medians(rows: Iterable[Sequence[float]]) -> tuple[float | None, ...]:
    """Median of each block's rounds in seconds, None for a block without a known one.

    What an Entry holds.
    """
    found: list[float | None] = []
    for row in rows:
        known = [value for value in row if 0 < value < math.inf]
        found.append(median(known) if known else None)
    return tuple(found)
