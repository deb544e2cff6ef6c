"""trend.json: the series of a history with their change points. Its report shows nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.regress.json_files import Count, read_record, write_visible_record
from harness.regress.trend.trend_series import MachineTrend

TREND_SCHEMA: Final = 1
TREND_FILE: Final = "trend.json"


@dataclass(frozen=True)
class TrendRecord:
    """What trend.json holds: the machines, the newest first, and how the trend was made.

    `torn_bytes` are those of a torn last line that was left out, `n_left_out` the recordings of
    machines that were not wanted.
    """

    history: str
    command: str
    seed: Count
    torn_bytes: Count
    n_left_out: Count
    machines: tuple[MachineTrend, ...]

    def __post_init__(self) -> None:
        if not self.machines:
            raise ValueError("machines: a list of at least 1")


def write_trend(directory: Path, record: TrendRecord) -> TrendRecord:
    """Write trend.json; returns the record as it reads back, every text escaped."""
    write_visible_record(directory / TREND_FILE, record, TREND_SCHEMA)
    return read_trend(directory)


def read_trend(directory: Path) -> TrendRecord:
    """What trend.json of a folder holds. Raises InputError that names the file and the key."""
    return read_record(directory / TREND_FILE, TrendRecord, TREND_SCHEMA, "a trend")
