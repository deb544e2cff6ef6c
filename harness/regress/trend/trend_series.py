"""The trend of a history: for each machine the series of its benchmarks, with changes and levels.

A series never joins two fingerprints. Its random numbers follow from the seed, the fingerprint and
the benchmark's name alone, so adding or removing a benchmark changes no p-value of another.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import numpy as np

from harness.regress.history import SpeedHistory, series_of
from harness.regress.json_files import Scalar
from harness.regress.trend.change_points import LEAST_SEGMENT, ChangePoint, change_points

LEAST_RECORDINGS = 2 * LEAST_SEGMENT
"""With fewer recordings no change can be found, whatever its size."""


@dataclass(frozen=True)
class TrendLevel:
    """The recordings between two change points, from `start` up to `end`, and their median."""

    start: int
    end: int
    value: float


@dataclass(frozen=True)
class BenchmarkTrend:
    """One benchmark on one machine: its time over the canary's in each recording, and its changes.

    A value is None where it was not measured. ValueError for a change without a level on each side.
    """

    name: str
    values: tuple[float | None, ...]
    changes: tuple[ChangePoint, ...]

    def __post_init__(self) -> None:
        if not all(value is None or is_known(value) for value in self.values):
            raise ValueError("values above 1e-50 and below 1e50, or null")
        positions = [change.position for change in self.changes]
        n = len(self.values)
        if positions != sorted(set(positions)) or not all(0 < each < n for each in positions):
            raise ValueError(f"changes at ascending positions from 1 to {n - 1}")
        if len(self.levels) != len(self.changes) + 1 and (self.changes or self.n_known):
            raise ValueError("changes with a value in each level")

    @property
    def n_known(self) -> int:
        """Recordings that measured it."""
        return sum(value is not None for value in self.values)

    @property
    def levels(self) -> tuple[TrendLevel, ...]:
        """The levels between its changes; none where nothing was measured."""
        edges = [0, *(change.position for change in self.changes), len(self.values)]
        found = []
        for start, end in pairwise(edges):
            known = [value for value in self.values[start:end] if value is not None]
            if known:
                found.append(TrendLevel(start, end, median(known)))
        return tuple(found)

    def relative(self) -> tuple[float, ...]:
        """The values over the first level: 1 is as at first. NaN where nothing was measured."""
        first = self.levels[0].value if self.levels else math.nan
        return tuple(math.nan if value is None else value / first for value in self.values)


@dataclass(frozen=True)
class MachineTrend:
    """All series of one fingerprint, with the revision and the date of each recording.

    ValueError unless there is a recording, and as many dates and values as revisions.
    """

    fingerprint: str
    machine: Mapping[str, Scalar]
    revisions: tuple[str, ...]
    recorded: tuple[str, ...]
    benchmarks: tuple[BenchmarkTrend, ...]

    def __post_init__(self) -> None:
        n = len(self.revisions)
        if n == 0:
            raise ValueError("revisions: a list of at least 1")
        lengths = {len(self.recorded), *(len(each.values) for each in self.benchmarks)}
        if lengths != {n}:
            raise ValueError(f"{n} dates, and {n} values of each benchmark, as many as revisions")

    @property
    def changes(self) -> tuple[tuple[BenchmarkTrend, ChangePoint], ...]:
        """Every change point with its benchmark, in the order in which they happened."""
        found = [(each, change) for each in self.benchmarks for change in each.changes]
        return tuple(sorted(found, key=lambda pair: (pair[1].position, pair[0].name)))


def trends_of(history: SpeedHistory, seed: int) -> tuple[MachineTrend, ...]:
    """The trend of each fingerprint, the one that was recorded last first."""
    last = {entry.fingerprint: i for i, entry in enumerate(history.entries)}
    newest = sorted(last, key=last.__getitem__, reverse=True)
    return tuple(_trend(history, fingerprint, seed) for fingerprint in newest)


def _trend(history: SpeedHistory, fingerprint: str, seed: int) -> MachineTrend:
    every = series_of(history, fingerprint)
    own = [entry for entry in history.entries if entry.fingerprint == fingerprint]
    benchmarks = []
    for series in every:
        generator = _generator(seed, fingerprint, series.name)
        changes = change_points(
            [value if is_known(value) else math.nan for value in series.values],
            generator,
            n_series=len(every),
        )
        values = tuple(value if is_known(value) else None for value in series.values)
        benchmarks.append(BenchmarkTrend(series.name, values, changes))
    return MachineTrend(
        fingerprint=fingerprint,
        machine=own[-1].machine,
        revisions=tuple(entry.revision for entry in own),
        recorded=tuple(entry.recorded for entry in own),
        benchmarks=tuple(benchmarks),
    )


def is_known(value: float) -> bool:
    """Whether a value was measured, and the quotient of two such values is a finite number."""
    return 1e-50 < value < 1e50


def _generator(seed: int, *words: str) -> np.random.Generator:
    digest = hashlib.sha256("\n".join(words).encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:16], "big")])
