"""From a history to its trend.

For each machine the series of its benchmarks, their change points and levels. Draws nothing.

Series of two fingerprints are never joined. The generator of a series follows from the seed, the
fingerprint and the benchmark's name alone, so that another benchmark more or less changes no
p-value of this one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import numpy as np

from harness.regress.trend.change_points import LEAST_SEGMENT, ChangePoint, change_points
from harness.regress.trend.history import FINGERPRINT_FIELDS, History, Scalar, series_of

LEAST_RECORDINGS = 2 * LEAST_SEGMENT
"""With fewer no change can be seen, whatever its size."""


@dataclass(frozen=True)
class Level:
    """A stretch between change points.

    Positions from `start` up to `end`, and the median of its known values.
    """

    start: int
    end: int
    value: float


@dataclass(frozen=True)
class Line:
    """One benchmark on one machine.

    Its figure over the canary's in each recording (NaN: not measured), and its changes.
    """

    name: str
    values: tuple[float, ...]
    changes: tuple[ChangePoint, ...]

    @property
    def n_known(self) -> int:
        """Recordings that measured it."""
        return sum(is_known(value) for value in self.values)

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels between its changes; none where nothing was measured."""
        edges = [0, *(change.position for change in self.changes), len(self.values)]
        found = []
        for start, end in pairwise(edges):
            known = [value for value in self.values[start:end] if is_known(value)]
            if known:
                found.append(Level(start, end, median(known)))
        return tuple(found)

    def relative(self) -> tuple[float, ...]:
        """The values over the first level: 1 is as it was at first. NaN where there is none."""
        first = self.levels[0].value if self.levels else math.nan
        return tuple(value / first if is_known(value) else math.nan for value in self.values)


@dataclass(frozen=True)
class MachineTrend:
    """All series of one fingerprint, by name, with the revision and the date of each recording, in the history's order."""

    fingerprint: str
    machine: Mapping[str, Scalar]
    revisions: tuple[str, ...]
    recorded: tuple[str, ...]
    lines: tuple[Line, ...]

    @property
    def changes(self) -> tuple[tuple[Line, ChangePoint], ...]:
        """Every change point with its benchmark, in the order in which they happened."""
        found = [(line, change) for line in self.lines for change in line.changes]
        return tuple(sorted(found, key=lambda pair: (pair[1].position, pair[0].name)))


def trends_of(history: History, seed: int) -> tuple[MachineTrend, ...]:
    """The trend of each fingerprint, the one that was recorded last first."""
    last = {entry.fingerprint: i for i, entry in enumerate(history.entries)}
    newest = sorted(last, key=last.__getitem__, reverse=True)
    return tuple(_trend(history, fingerprint, seed) for fingerprint in newest)


def _trend(history: History, fingerprint: str, seed: int) -> MachineTrend:
    every = series_of(history, fingerprint)
    own = [entry for entry in history.entries if entry.fingerprint == fingerprint]
    lines = []
    for series in every:
        values = tuple(value if is_known(value) else math.nan for value in series.values)
        drawn = _generator(seed, fingerprint, series.name)
        changes = change_points(values, drawn, n_series=len(every))
        lines.append(Line(series.name, values, changes))
    return MachineTrend(
        fingerprint=fingerprint,
        machine=own[-1].machine,
        revisions=tuple(entry.revision for entry in own),
        recorded=tuple(entry.recorded for entry in own),
        lines=tuple(lines),
    )


def differing(
    theirs: Mapping[str, Scalar], ours: Mapping[str, Scalar]
) -> tuple[tuple[str, str, str], ...]:
    """What sets two fingerprints apart: (field, theirs, ours), "" for none.

    Of processor flags only those that differ.
    """
    found = []
    for name in FINGERPRINT_FIELDS:
        before, after = (_text(machine.get(name)) for machine in (theirs, ours))
        if before == after:
            continue
        if name == "cpu_flags":
            lost, new = set(before.split()), set(after.split())
            before, after = (" ".join(sorted(each)) for each in (lost - new, new - lost))
        found.append((name, before, after))
    return tuple(found)


def is_known(value: float) -> bool:
    """Whether a figure was measured, and not so far from any training step that a quotient of two may be no number."""
    return 1e-50 < value < 1e50


def _generator(seed: int, *words: str) -> np.random.Generator:
    digest = hashlib.sha256("\n".join(words).encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:16], "big")])


def _text(value: object) -> str:
    return "" if value is None else str(value)
