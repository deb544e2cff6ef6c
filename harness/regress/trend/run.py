"""A trend, in order: history, series and change points, trend.json, report.

Times nothing and changes no history.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from harness.errors import InputError, Shown
from harness.regress.trend.history import History, read_history
from harness.regress.trend.record import HISTORY
from harness.regress.trend.records import TrendRecord, write_trend
from harness.regress.trend.report import render_trend
from harness.regress.trend.trend_series import trends_of

RESULTS: Final = Path("results", "regress", "trend")


@dataclasses.dataclass(frozen=True)
class TrendOptions:
    """What the command line said. `fingerprint`: how those that are asked for begin, "" for all."""

    history: Path = HISTORY
    results: Path = RESULTS
    fingerprint: str = ""
    seed: int = 0
    command: str = ""


@dataclasses.dataclass(frozen=True)
class TrendOutcome:
    """What came out, as trend.json has it, its sentences, and where its files are."""

    plain: Mapping[str, Any]
    answer: str
    directory: Path
    report: Path


def run_trend(options: TrendOptions) -> TrendOutcome:
    """Write the trend of a history and its report.

    Raises InputError for a history without recordings, or without these.
    """
    whole = read_history(options.history)
    history = _asked_for(whole, options)
    record = TrendRecord(
        history=options.history.name,
        command=options.command,
        seed=options.seed,
        torn_bytes=whole.torn_bytes,
        n_left_out=len(whole.entries) - len(history.entries),
        machines=trends_of(history, options.seed),
    )
    plain = write_trend(options.results, record)
    answer = render_trend(options.results)
    return TrendOutcome(plain, answer.text, options.results, answer.html)


def _asked_for(whole: History, options: TrendOptions) -> History:
    """The recordings whose fingerprint begins as asked."""
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
    return History(entries)
