"""From the records of a study to its numbers beside published ones, and which count as reproduced.

No words, no drawing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

from harness import stats
from harness.columns import TrialStatus
from harness.config import Published
from harness.study.report.importance_intervals import measure
from harness.study.report.study_summary import ABOUT, RUNS, Summary, outcome

Verdict = Literal["reproduced", "reproduced_by_value", "not_reproduced", "not_measured"]
WORST = {"accuracy": 0.0}  # of what should be large: as a run that diverged or met a limit counts


@dataclasses.dataclass(frozen=True)
class Check:
    """One published number beside ours."""

    row: Published
    ours: stats.Estimate
    verdict: Verdict


def checks(summary: Summary) -> tuple[Check, ...]:
    """Every published number of the study beside ours, in the study's order."""
    found = []
    for row in summary.records.spec.published:
        ours = _ours(summary, row)
        found.append(Check(row, ours, judge(row, ours)))
    return tuple(found)


def _ours(summary: Summary, row: Published) -> stats.Estimate:
    """Our value of a published number: the median over searches, or the share of all trials."""
    if row.metric == "importance":
        return _importance(summary, row)
    if row.metric == "diverged_share":
        return _diverged(summary, row)
    return confirmed(summary, row.task, row.cell, row.metric)


def confirmed(summary: Summary, task: str, cell: str, metric: str) -> stats.Estimate:
    """A number of the runs on the ladder's top rung.

    The median over searches of each one's median.
    """
    table = summary.records.confirmation
    if table is None or metric not in table.columns:
        return stats.Estimate(None, None, 0)
    own = table[(table["task"] == task) & (table["cell"] == cell)]
    own = own[own["sequence_length"] == own["sequence_length"].max()]
    by_search: dict[int, list[float]] = {}
    worst = WORST.get(metric, math.inf)
    for repeat, end, solved, value in zip(
        own["repeat"], own["end"], own["solved"], own[metric], strict=True
    ):
        if outcome(str(end), solved) is None:
            continue
        if end == TrialStatus.COMPLETE and math.isnan(value) and metric != "sequences_to_solve":
            continue  # a number that the task does not have, or that an older file lacks
        known = end == TrialStatus.COMPLETE and not math.isnan(value)
        by_search.setdefault(int(repeat), []).append(float(value) if known else worst)
    return stats.median_interval(
        _median(values, more_is_better=metric in WORST) for values in by_search.values()
    )


def _median(values: Sequence[float], *, more_is_better: bool) -> float:
    """The median, where infinities are values.

    Of two in the middle the worse one, so that none is a mean with infinity.
    """
    middle = (len(values) - 1) // 2 if more_is_better else len(values) // 2
    return sorted(values)[middle]


def _importance(summary: Summary, row: Published) -> stats.Estimate:
    measured = measure(summary, row.task, row.cell)
    if measured is None:
        return stats.Estimate(None, None, 0)
    share = measured.found.shares.get(row.parameter)
    interval = measured.intervals.get(row.parameter)
    return stats.Estimate(share, interval, measured.found.n_trials)


def _diverged(summary: Summary, row: Published) -> stats.Estimate:
    trials = summary.records.trials
    ends = trials.loc[(trials["task"] == row.task) & (trials["cell"] == row.cell), "end"]
    known = ends[ends.isin(RUNS)]
    n, diverged = len(known), int((known == TrialStatus.DIVERGED).sum())
    value = diverged / n if n else None
    return stats.Estimate(value, stats.binomial_interval(diverged, n), n, len(ends) - n)


def judge(row: Published, ours: stats.Estimate) -> Verdict:
    """Whether ours counts as reproduced.

    By the value, and by the whole interval where there is one.
    """
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
