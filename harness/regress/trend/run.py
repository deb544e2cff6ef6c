"""Makes a trend: history, series and change points, trend.json and report, in this order.

It times nothing and changes no history.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.errors import InputError, Shown
from harness.regress.history import HISTORY, SpeedHistory, read_history
from harness.regress.trend.report import render_trend
from harness.regress.trend.trend_file import TREND_FILE, TrendRecord, write_trend
from harness.regress.trend.trend_series import trends_of

RESULTS: Final = Path("results", "regress", "trend")


@dataclass(frozen=True)
class TrendOptions:
    """The options of the command; `fingerprint` is how those wanted begin, "" for all."""

    history: Path = HISTORY
    results: Path = RESULTS
    fingerprint: str = ""
    seed: int = 0
    command: str = ""


@dataclass(frozen=True)
class TrendOutcome:
    """What came out, as trend.json holds it, its sentences, and its files."""

    record: TrendRecord
    answer: str
    report: Path
    file: Path


def run_trend(options: TrendOptions) -> TrendOutcome:
    """Write the trend of a history and its report.

    Raises InputError for a history without recordings, or without those wanted.
    """
    whole = read_history(options.history)
    history = _wanted(whole, options)
    record = TrendRecord(
        history=options.history.name,
        command=options.command,
        seed=options.seed,
        torn_bytes=whole.torn_bytes,
        n_left_out=len(whole.entries) - len(history.entries),
        machines=trends_of(history, options.seed),
    )
    record = write_trend(options.results, record)
    answer = render_trend(options.results)
    return TrendOutcome(record, answer.text, answer.html, options.results / TREND_FILE)


def _wanted(whole: SpeedHistory, options: TrendOptions) -> SpeedHistory:
    """The recordings whose fingerprint begins as the user gave it."""
    if not whole.entries:
        raise InputError(
            str(options.history),
            expected="at least one recording",
            got=Shown("none"),
            remedy="python -m harness.regress record makes one",
        )
    wanted = options.fingerprint
    entries = tuple(each for each in whole.entries if each.fingerprint.startswith(wanted))
    if not entries:
        known = ", ".join(whole.fingerprints())
        expected = "the beginning of a fingerprint that the history has"
        raise InputError("--fingerprint", expected=expected, got=wanted, remedy=f"known: {known}")
    return SpeedHistory(entries)
