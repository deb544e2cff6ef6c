"""The history of a project's speed: a file to which each recording appends one JSON line.

Times are comparable only within one machine fingerprint (processor, cores, torch, BLAS, threads,
Python, GPU). So each series has one fingerprint. Each block's time is divided by the canary's in
the same block: what the machine does to both cancels.

A last line without a line break that is no whole JSON was torn by a crash or a full disk. Reading
leaves it out and reports it; the next `append_entry` cuts it off. Whole lines never change. One
process at a time may append.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from harness.errors import InputError, Shown, StorageError
from harness.records.jsonl import append_line, read_lines
from harness.regress.json_files import Scalar, parse_object, record_of

HISTORY_SCHEMA: Final = 1

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
"""The facts that decide speed. A machine without a GPU has "gpu" as None."""

HISTORY: Final = Path("results", "regress", "history.jsonl")
"""The history that record appends to and trend reads, where the user names no other."""


@dataclass(frozen=True)
class HistoryEntry:
    """One recording: seconds a step of each benchmark and of the canary, by block.

    None: not measured in that block. `machine` has FINGERPRINT_FIELDS and what else should be kept.
    `revision` and `recorded` (a date as text) are shown only: the order of the file counts.
    ValueError for seconds that are not above 0, and unless each benchmark has as many blocks as the
    canary.
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
                    f"{name}: {len(self.canary_s)} blocks, as the canary has (not {len(own)})"
                )
            for value in own:
                if value is not None and not 0 < value < math.inf:
                    raise ValueError(f"{name}: seconds above 0 or None (not {value!r})")

    @property
    def fingerprint(self) -> str:
        """The machine's fingerprint."""
        return fingerprint_of(self.machine)

    def relative(self, name: str) -> float:
        """Median over blocks of a benchmark's seconds over the canary's.

        NaN where no block has both.
        """
        ratios = ratios_to_canary(self, name)
        return median(ratios) if ratios else math.nan


def ratios_to_canary(entry: HistoryEntry, name: str) -> list[float]:
    """A benchmark's seconds over the canary's, of the blocks that have both."""
    pairs = zip(entry.figures_s.get(name, ()), entry.canary_s, strict=False)
    return [own / canary for own, canary in pairs if own is not None and canary is not None]


@dataclass(frozen=True)
class SpeedHistory:
    """The entries of a file, oldest first, and the bytes of a torn last line that was left out."""

    entries: tuple[HistoryEntry, ...]
    torn_bytes: int = 0

    def fingerprints(self) -> tuple[str, ...]:
        """The machines' fingerprints, in the order of their first recordings."""
        return tuple(dict.fromkeys(entry.fingerprint for entry in self.entries))


@dataclass(frozen=True)
class BenchmarkSeries:
    """One benchmark on one machine: its time over the canary's in each recording (NaN: none).

    `revisions` and `recorded` name the recordings.
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


def series_of(history: SpeedHistory, fingerprint: str) -> tuple[BenchmarkSeries, ...]:
    """A series for each benchmark ever recorded on this machine, sorted by name."""
    entries = [entry for entry in history.entries if entry.fingerprint == fingerprint]
    names = sorted({name for entry in entries for name in entry.figures_s})
    revisions = tuple(entry.revision for entry in entries)
    recorded = tuple(entry.recorded for entry in entries)
    return tuple(
        BenchmarkSeries(
            name, fingerprint, tuple(entry.relative(name) for entry in entries), revisions, recorded
        )
        for name in names
    )


@dataclass(frozen=True)
class FactDifference:
    """A fact in which two machines differ; "": that machine has none."""

    name: str
    before: str
    after: str


def differing(
    before: Mapping[str, Scalar], after: Mapping[str, Scalar]
) -> tuple[FactDifference, ...]:
    """The fields in which two fingerprints differ; of the processor flags only those that do."""
    found = []
    for name in FINGERPRINT_FIELDS:
        texts = ["" if each is None else str(each) for each in (before.get(name), after.get(name))]
        if name == "cpu_flags":
            old, new = (set(text.split()) for text in texts)
            texts = [" ".join(sorted(each)) for each in (old - new, new - old)]
        if texts[0] != texts[1]:
            found.append(FactDifference(name, *texts))
    return tuple(found)


# --- The file ---------------------------------------------------------------------------------


def read_history(path: Path) -> SpeedHistory:
    """Read a history; a file that does not exist is an empty one.

    InputError that names file and line for a line that is no entry or has another schema.
    StorageError where the file cannot be read.
    """
    try:
        found = read_lines(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from None
    lines = [(number, line) for number, line in enumerate(found.lines, 1) if line.strip()]
    return SpeedHistory(tuple(_entry(path, *each) for each in lines), found.torn_bytes)


def append_entry(path: Path, entry: HistoryEntry) -> int:
    """Append an entry and sync it; returns how many bytes of a torn last line were cut off.

    The file is read first: InputError where a line cannot be read, and nothing is added. An entry
    that cannot be written whole, as on a full disk, is taken back: StorageError. ValueError for a
    machine without its fingerprint, before the file is touched.
    """
    read_history(path)
    line = line_of(entry)
    try:
        return append_line(path, line)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be appended to: {error.strerror}; its lines are as they were"
        ) from None


def line_of(entry: HistoryEntry) -> str:
    """An entry as a line of the file, without its line break; ASCII."""
    first = {"schema": HISTORY_SCHEMA, "fingerprint": entry.fingerprint}
    return json.dumps({**first, **dataclasses.asdict(entry)}, allow_nan=False, ensure_ascii=True)


def _entry(path: Path, number: int, line: bytes) -> HistoryEntry:
    """One line as an entry."""
    where, key = str(path), f"line {number}"
    remedy = "nothing was changed; mend or remove that line"
    try:
        plain = parse_object(line, HISTORY_SCHEMA, "a recording", where, key)
        entry = record_of(plain, HistoryEntry, where, key)
        fingerprint = entry.fingerprint
    except InputError as error:
        got = error.got
        raise InputError(
            where, error.key, expected=error.expected, got=got, remedy=remedy
        ) from None
    except ValueError as error:
        expected = "a machine with its fingerprint"
        got = Shown(str(error))
        raise InputError(where, key, expected=expected, got=got, remedy=remedy) from None
    if plain.get("fingerprint") != fingerprint:
        expected = f"fingerprint {fingerprint!r}, that of its machine"
        got = plain.get("fingerprint")
        raise InputError(where, key, expected=expected, got=got, remedy=remedy)
    return entry


def medians(rows: Iterable[Sequence[float]]) -> tuple[float | None, ...]:
    """Median of each block's rounds in seconds, None for a block without a known one."""
    found: list[float | None] = []
    for row in rows:
        known = [value for value in row if 0 < value < math.inf]
        found.append(median(known) if known else None)
    return tuple(found)
