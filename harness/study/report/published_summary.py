"""Published numbers compared with those of a study, and which of them count as reproduced.

This module has no texts and draws nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

from harness import stats
from harness.columns import TrialStatus
from harness.config import Published
from harness.study.report.importance_intervals import cell_importances
from harness.study.report.study_summary import ABOUT, COUNTED_STATUSES, Summary, outcome, rows_of

PublishedVerdict = Literal["reproduced", "reproduced_by_value", "not_reproduced", "not_measured"]
# The value of a run that diverged or reached a limit, for metrics that should be large.
WORST = {"accuracy": 0.0}


@dataclasses.dataclass(frozen=True)
class PublishedCheck:
    """One published number, our number, and the verdict."""

    row: Published
    ours: stats.Estimate
    verdict: PublishedVerdict


def published_checks(summary: Summary) -> tuple[PublishedCheck, ...]:
    """Every published number of the study with ours, in the order of the study file."""
    found = []
    for row in summary.records.spec.published:
        ours = _ours(summary, row)
        found.append(PublishedCheck(row, ours, published_verdict(row, ours)))
    return tuple(found)


def _ours(summary: Summary, row: Published) -> stats.Estimate:
    """Our value for a published number: the median over searches, or the share of all trials."""
    if row.metric == "importance":
        return _importance(summary, row)
    if row.metric == "diverged_share":
        return _diverged(summary, row)
    return confirmed(summary, row.task, row.cell, row.metric)


def confirmed(summary: Summary, task: str, cell: str, metric: str) -> stats.Estimate:
    """A metric at the longest lag of the ladder: median over searches of the median of each."""
    table = summary.records.confirmation
    if table is None or metric not in table.columns:
        return stats.Estimate(None, None, 0)
    own = rows_of(table, task, cell)
    own = own[own["sequence_length"] == own["sequence_length"].max()]
    by_search: dict[int, list[float]] = {}
    worst = WORST.get(metric, math.inf)
    for repeat, end, solved, value in zip(
        own["repeat"], own["end"], own["solved"], own[metric], strict=True
    ):
        if outcome(str(end), solved) is None:
            continue
        if end == TrialStatus.COMPLETE and math.isnan(value) and metric != "sequences_to_solve":
            continue  # The task does not have this number, or an older file lacks it.
        known = end == TrialStatus.COMPLETE and not math.isnan(value)
        by_search.setdefault(int(repeat), []).append(float(value) if known else worst)
    return stats.median_interval(
        _median(values, more_is_better=metric in WORST) for values in by_search.values()
    )


def _median(values: Sequence[float], *, more_is_better: bool) -> float:
    """The median; for an even number of values the worse of the two in the middle.

    A mean of the two could mix a number with infinity.
    """
    middle = (len(values) - 1) // 2 if more_is_better else len(values) // 2
    return sorted(values)[middle]


def _importance(summary: Summary, row: Published) -> stats.Estimate:
    measured = cell_importances(summary, row.task, row.cell)
    if measured is None:
        return stats.Estimate(None, None, 0)
    share = measured.importances.shares.get(row.parameter)
    interval = measured.intervals.get(row.parameter)
    return stats.Estimate(share, interval, measured.importances.n_trials)


def _diverged(summary: Summary, row: Published) -> stats.Estimate:
    trials = summary.records.trials
    ends = trials.loc[(trials["task"] == row.task) & (trials["cell"] == row.cell), "end"]
    known = ends[ends.isin(COUNTED_STATUSES)]
    n, diverged = len(known), int((known == TrialStatus.DIVERGED).sum())
    value = diverged / n if n else None
    return stats.Estimate(value, stats.binomial_interval(diverged, n), n, len(ends) - n)


def published_verdict(row: Published, ours: stats.Estimate) -> PublishedVerdict:
    """Verdict on our number: by its value, and by its whole interval if there is one."""
    if ours.value is None or math.isnan(ours.value):
        return "not_measured"

    def within(value: float) -> bool:
        return {
            "at_most": value <= row.limit,
            "at_least": value >= row.limit,
            "about": row.limit / ABOUT <= value <= row.limit * ABOUT,
        }[row.relation]

    if not within(ours.value):
        return "not_reproduced"
    if ours.interval and within(ours.interval.low) and within(ours.interval.high):
        return "reproduced"
    return "reproduced_by_value"
