"""The numbers of a study's report: memory spans, shares of runs, comparisons and ends.

They are derived from the stored rows on reading. A number that was not measured is None or absent,
never 0. This module has no texts and draws nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd

from harness import metric_definitions, stats
from harness.columns import PENALIZED, TrialStatus
from harness.config import Claim
from harness.hyperparameters import Fixed
from harness.records import StudyRecords
from harness.study.search.samplers import old_startup_trials

# A run with such an end counts: it solved its task, or it did not.
COUNTED_STATUSES = PENALIZED | {TrialStatus.COMPLETE, TrialStatus.PRUNED}
# A run with such an end says nothing about its cell. It is in no share.
NO_RESULT = frozenset(TrialStatus) - COUNTED_STATUSES

ClaimVerdict = Literal["agrees", "disagrees", "undecided", "not_measured"]


@dataclasses.dataclass(frozen=True)
class Memory:
    """Memory of one cell on one task: its runs along the ladder, and the spans from them."""

    task: str
    cell: str
    ladder: stats.RunLadder
    shares: tuple[stats.SolvedShare, ...]
    span: stats.Span
    reliable: stats.Span
    repeat_spans: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class ClaimCheck:
    """One claim compared with one label on one task.

    `runs` are those at the claimed lag. It is None if that lag is not on the ladder.
    """

    claim: Claim
    task: str
    cell: str
    memory: Memory | None
    runs: stats.SolvedShare | None
    verdict: ClaimVerdict


@dataclasses.dataclass(frozen=True)
class EndCount:
    """Trials or runs of a (task, cell) with one end; `reasons` has each reason with its number."""

    phase: str
    task: str
    cell: str
    end: str
    count: int
    reasons: tuple[tuple[str, int], ...]


@dataclasses.dataclass(frozen=True)
class RetryCount:
    """Attempts of a (task, cell) that were lost for one reason and made again."""

    phase: str
    task: str
    cell: str
    end: str
    reason: str
    count: int


@dataclasses.dataclass(frozen=True)
class Summary:
    """The numbers of a report, computed from the records of one study."""

    records: StudyRecords

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, in the study's order."""
        return self.records.spec.compare.tasks

    @property
    def cells(self) -> tuple[str, ...]:
        """The labels of the cells, in the study's order."""
        return self.records.spec.compare.cells

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Every (task, cell) of the study."""
        return self.records.spec.pairs

    @property
    def repeats(self) -> int:
        """Number of searches for each (task, cell) in the study file."""
        return self.records.spec.search.repeats

    @property
    def confirmed(self) -> bool:
        """Whether any confirmation run is stored."""
        return self.records.confirmation is not None and len(self.records.confirmation) > 0

    @functools.cached_property
    def has_ladder(self) -> bool:
        """Whether winners were confirmed at several lags, so that there is a memory span."""
        return any(len(memory.ladder.lags) > 1 for memory in self.memory.values())

    @property
    def startup_trials(self) -> int:
        """Random trials at the start of a search."""
        recorded = self.records.machine.get("startup_trials")
        if isinstance(recorded, int):
            return recorded
        return old_startup_trials(self.records.spec.search.trials)

    @functools.cached_property
    def common_trials(self) -> int:
        """Number of trials that every search has finished: fewer than asked for if time ran out."""
        recorded = self.records.machine.get("common_trials")
        if isinstance(recorded, int):
            return recorded
        trials = self.records.trials
        finished = trials[trials["end"] != TrialStatus.INTERRUPTED]
        counts = finished.groupby(["task", "cell", "repeat"]).size().to_dict()
        return min(
            int(counts.get((task, cell, repeat), 0))
            for task, cell in self.pairs
            for repeat in range(self.repeats)
        )

    @functools.cached_property
    def lags(self) -> Mapping[tuple[str, float], float]:
        """Lag by (task, sequence_length), from every row that has both."""
        known: dict[tuple[str, float], float] = {}
        for table in (self.records.trials, self.records.confirmation):
            if table is not None:
                for task, length, lag in zip(
                    table["task"], table["sequence_length"], table["lag"], strict=True
                ):
                    if not math.isnan(lag):
                        known[task, length] = lag
        return known

    @functools.cached_property
    def memory(self) -> Mapping[tuple[str, str], Memory]:
        """Spans and shares of each (task, cell) with a confirmation."""
        if self.records.confirmation is None:
            return {}
        groups = dict(list(self.records.confirmation.groupby(["task", "cell"])))
        return {
            pair: self._memory_of(pair[0], pair[1], groups[pair])
            for pair in self.pairs
            if pair in groups
        }

    def _memory_of(self, task: str, cell: str, rows: pd.DataFrame) -> Memory:
        columns = ("repeat", "sequence_length", "end", "solved")
        runs = []
        for repeat, length, end, solved in zip(*(rows[name] for name in columns), strict=True):
            lag = self.lags.get((task, float(length)))
            if lag is not None:
                runs.append((int(repeat), lag, outcome(str(end), solved)))
        ladder = stats.run_ladder(runs)
        return Memory(
            task,
            cell,
            ladder,
            stats.solved_shares(ladder),
            stats.memory_span(ladder),
            stats.reliable_span(ladder),
            stats.repeat_spans(ladder),
        )

    @functools.cached_property
    def comparisons(self) -> Mapping[str, tuple[stats.CellComparison, ...]]:
        """Comparisons of the pairs of cells, by task; only tasks with a confirmation."""
        found = {}
        for task in self.tasks:
            ladders = {
                cell: self.memory[task, cell].ladder
                for cell in self.cells
                if (task, cell) in self.memory
                and self.memory[task, cell].span.state != "not_measured"
            }
            if len(ladders) > 1:
                found[task] = stats.compare_cells(ladders)
        return found

    @functools.cached_property
    def missing(self) -> tuple[tuple[str, str], ...]:
        """Every (task, cell) without a valid result.

        That is a measured confirmation, or a finished trial if the study confirms nothing.
        """
        if self.records.spec.confirm.seeds:
            return tuple(
                pair
                for pair in self.pairs
                if pair not in self.memory or self.memory[pair].span.state == "not_measured"
            )
        complete = self.records.trials[self.records.trials["end"] == TrialStatus.COMPLETE]
        found = set(zip(complete["task"], complete["cell"], strict=True))
        return tuple(pair for pair in self.pairs if pair not in found)

    @property
    def objective(self) -> metric_definitions.Objective:
        """The objective that the searches optimised."""
        return metric_definitions.OBJECTIVES[self.records.spec.search.objective]

    @functools.cached_property
    def objectives(self) -> pd.Series[float]:
        """The objective of each row of trials; NaN where it is not known."""
        trials = self.records.trials
        values = trials[self.objective.name].astype(float).copy()
        if (
            self.objective.name == "sequences_to_solve"
        ):  # unsolved: the nearer to solved, the better
            unsolved = values.isna() & (trials["end"] == TrialStatus.COMPLETE)
            values[unsolved] = self.budgets[unsolved] * (2 - trials["skill"].clip(lower=0))
        failed = trials["end"].isin(tuple(PENALIZED))
        for task in self.tasks:
            for budget in self.budgets[failed & (trials["task"] == task)].unique():
                rows = failed & (trials["task"] == task) & (self.budgets == budget)
                values[rows] = self.objective.worst(self.chance_loss(task), int(budget))
        values[trials["end"].isin(NO_RESULT)] = math.nan
        return values

    def worst(self, task: str, cell: str) -> float:
        """The objective's worst value for a (task, cell); NaN if it is not known.

        The search gave this value to a trial that failed.
        """
        trials = self.records.trials
        own = self.budgets[(trials["task"] == task) & (trials["cell"] == cell)]
        return self.objective.worst(self.chance_loss(task), int(own.max()) if len(own) else 0)

    @functools.cached_property
    def budgets(self) -> pd.Series[float]:
        """The training budget of each row of trials, in sequences: as fixed, or as searched."""
        trials, spec = self.records.trials, self.records.spec
        if "sequences" in trials.columns:
            searched = trials["sequences"].astype(float)
        else:
            searched = pd.Series(math.nan, index=trials.index)
        budgets = searched.fillna(trials["sequences_seen"].max()).fillna(0.0)
        for task, cell in self.pairs:
            fixed = spec.parameters(task, cell)["sequences"]
            if isinstance(fixed, Fixed):
                rows = (trials["task"] == task) & (trials["cell"] == cell)
                budgets[rows] = float(fixed.value)
        return budgets

    def chance_loss(self, task: str) -> float:
        """The loss of the best constant prediction, from an unclipped skill; NaN without one."""
        trials = self.records.trials
        rows = trials[
            (trials["task"] == task) & (trials["skill"] < 0.99) & (trials["skill"] > -0.99)
        ]
        rows = rows[rows["loss"].notna()]
        if len(rows) == 0:
            return math.nan
        row = rows.iloc[(rows["skill"]).argmin()]
        return float(row["loss"] / (1 - row["skill"]))

    @functools.cached_property
    def best(self) -> pd.DataFrame:
        """The best trial of each search among the common trials, with the column `objective`."""
        trials = self.records.trials.assign(objective=self.objectives)
        usable = trials[(trials["end"] == TrialStatus.COMPLETE) & trials["objective"].notna()]
        usable = usable[usable["number"] < self.common_trials]
        ranked = usable.sort_values(
            ["objective", "number"],
            ascending=[self.objective.direction == "minimize", True],
            kind="stable",
        )
        return ranked.groupby(["task", "cell", "repeat"]).head(1).sort_index()

    @functools.cached_property
    def claims(self) -> tuple[ClaimCheck, ...]:
        """Each claim compared with each label that it is about, on each task."""
        checks = []
        for claim in self.records.spec.claims:
            labels = [
                cell for cell in self.cells if claim.cell in (cell, self.records.spec.base(cell))
            ]
            for task in self.tasks:
                for cell in labels:
                    memory = self.memory.get((task, cell))
                    runs = _near(memory.shares, claim.lag) if memory else None
                    verdict = (
                        claim_verdict(claim, memory.span, memory.ladder.lags)
                        if memory
                        else "not_measured"
                    )
                    checks.append(ClaimCheck(claim, task, cell, memory, runs, verdict))
        return tuple(checks)


def _near(shares: Sequence[stats.SolvedShare], lag: float) -> stats.SolvedShare | None:
    """The runs at that lag, or at the nearest lag within 5 % of it if the task lacks it."""
    nearest = min(shares, key=lambda share: abs(share.lag - lag), default=None)
    return nearest if nearest and abs(nearest.lag - lag) <= lag / 20 else None


# "About 30" means 15 to 60: the ladders in use have steps of about that size.
ABOUT = 2.0


def claim_verdict(claim: Claim, span: stats.Span, lags: Sequence[float]) -> ClaimVerdict:
    """Verdict on a claim: only an interval that is wholly on one side decides.

    A span is a lag of the ladder. The true limit is between it and the next lag. So a span below
    the claim disagrees only if that next lag is not above the claim.
    """
    if span.value is None:
        return "not_measured"
    if span.interval is None:
        return "undecided"
    low = span.interval.low
    high = math.inf if span.high_is_open else span.interval.high
    at_least, at_most = {
        "at_least": (float(claim.lag), math.inf),
        "at_most": (0.0, float(claim.lag)),
        "about": (claim.lag / ABOUT, claim.lag * ABOUT),
    }[claim.relation]
    if low >= at_least and high <= at_most:
        return "agrees"
    limit = next((lag for lag in lags if lag > high), high)
    if (limit <= at_least and high < at_least) or low > at_most:
        return "disagrees"
    return "undecided"


def outcome(end: str, solved: object) -> bool | None:
    """Whether a run solved its task; None for a run without a result."""
    if end in NO_RESULT or (end == TrialStatus.COMPLETE and pd.isna(solved)):  # type: ignore[call-overload]
        return None
    return end == TrialStatus.COMPLETE and bool(solved)


def retry_counts(records: StudyRecords) -> tuple[RetryCount, ...]:
    """Attempts that were lost and made again."""
    if records.retries is None or len(records.retries) == 0:
        return ()
    keys = ["phase", "task", "cell", "end", "reason"]
    found = []
    for values, rows in records.retries.groupby(keys, sort=False):
        phase, task, cell, end, reason = map(str, values)
        found.append(RetryCount(phase, task, cell, end, reason, len(rows)))
    return tuple(found)


def end_counts(records: StudyRecords) -> tuple[EndCount, ...]:
    """How the trials and the confirmation runs of each (task, cell) ended."""
    found = []
    for phase, table in (("search", records.trials), ("confirm", records.confirmation)):
        if table is None or len(table) == 0:
            continue
        for (task, cell, end), rows in table.groupby(["task", "cell", "end"], sort=False):
            counts = rows.loc[rows["reason"] != "", "reason"].value_counts()
            reasons = tuple((str(reason), int(count)) for reason, count in counts.items())
            found.append(EndCount(phase, str(task), str(cell), str(end), len(rows), reasons))
    return tuple(found)


def rows_of(table: pd.DataFrame, task: str, cell: str) -> pd.DataFrame:
    """The rows of one (task, cell)."""
    return table[(table["task"] == task) & (table["cell"] == cell)]
