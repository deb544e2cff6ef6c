from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pandas as pd
import pytest

from harness import records, stats
from harness.config import Claim
from harness.records import StudyRecords
from harness.study.report.study_summary import Summary, claim_verdict, end_counts, outcome
from tests.study.report.synthetic import CHANCE, Wish, write


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> StudyRecords:
    """The quickstart's results, drawn at random."""
    return records.read_study(write(tmp_path_factory.mktemp("quick")))


def changed(found: StudyRecords, **tables: object) -> StudyRecords:
    """The same records with some parts exchanged."""
    return dataclasses.replace(found, **tables)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("end", "solved", "says"),
    [
        ("complete", True, True),
        ("complete", False, False),
        ("complete", pd.NA, None),
        ("diverged", pd.NA, False),
        ("timeout", pd.NA, False),
        ("out_of_memory", pd.NA, False),
        ("error", pd.NA, None),
        ("crashed", pd.NA, None),
        ("interrupted", pd.NA, None),
    ],
)
def test_what_an_end_says_about_a_cell(end: str, solved: object, says: bool | None) -> None:
    """A run that met a limit did not solve its task; one that broke says nothing."""
    assert outcome(end, solved) is says


def test_spans_are_those_of_the_runs(quick: StudyRecords) -> None:
    """Span and shares agree with counting solved runs by hand."""
    memory = Summary(quick).memory["temporal_order", "lstm"]
    rows = quick.confirmation
    assert rows is not None
    own = rows[rows["cell"] == "lstm"]
    counted = own.groupby("lag")["solved"].sum().to_dict()
    assert {share.lag: share.n_solved for share in memory.shares} == counted
    reached = [
        lag
        for lag in sorted(counted)  # type: ignore[type-var]
        if all(counted[k] >= 2.5 for k in counted if k <= lag)  # type: ignore[operator]
    ]
    assert memory.span.value == max(reached, default=0)  # type: ignore[type-var]


def test_a_broken_run_is_left_out_of_the_share(quick: StudyRecords) -> None:
    """A crash lowers n, a divergence lowers the share."""
    rows = quick.confirmation
    assert rows is not None
    first = (rows["cell"] == "lstm") & (rows["repeat"] == 0) & (rows["sequence_length"] == 10)

    def share(end: str) -> stats.SolvedShare:
        table = rows.copy()
        table.loc[first, "end"] = end
        table.loc[first, "solved"] = pd.NA
        return (
            Summary(changed(quick, confirmation=table)).memory["temporal_order", "lstm"].shares[0]
        )

    assert (share("crashed").n_solved, share("crashed").n_runs) == (4, 4)
    assert (share("diverged").n_solved, share("diverged").n_runs) == (4, 5)


def test_a_lag_that_a_failed_run_lacks_is_known_from_others(quick: StudyRecords) -> None:
    """A run that ended before it knew its lag still counts at the lag of its length."""
    rows = quick.confirmation
    assert rows is not None
    table = rows.copy()
    first = (table["cell"] == "rnn") & (table["repeat"] == 0)
    table.loc[first, ["lag", "loss"]] = math.nan
    table.loc[first, "end"] = "timeout"
    shares = Summary(changed(quick, confirmation=table)).memory["temporal_order", "rnn"].shares
    assert {share.n_runs for share in shares} == {5}


def test_common_trials_are_what_every_search_finished(quick: StudyRecords) -> None:
    """An interrupted slot is not finished; what the study recorded goes first."""
    trials = quick.trials.copy()
    last = (trials["cell"] == "gru") & (trials["repeat"] == 2) & (trials["number"] >= 9)
    trials.loc[last, "end"] = "interrupted"
    assert Summary(quick).common_trials == 12
    assert Summary(changed(quick, trials=trials)).common_trials == 9
    assert Summary(changed(quick, machine={"common_trials": 7})).common_trials == 7


def test_the_best_are_looked_for_among_the_common_trials(quick: StudyRecords) -> None:
    """A trial beyond the common number does not win, however good."""
    found = Summary(changed(quick, machine={"common_trials": 4})).best
    assert found["number"].max() < 4
    assert len(found) == 15


def test_a_failed_trial_has_the_worst_objective(quick: StudyRecords) -> None:
    """Divergence counts as 0 remembered steps; an error counts as nothing."""
    trials = quick.trials.copy()
    trials.loc[0, ["end", "remembered_steps"]] = ["diverged", math.nan]  # type: ignore[assignment, index]
    trials.loc[1, ["end", "remembered_steps"]] = ["error", math.nan]  # type: ignore[assignment, index]
    objectives = Summary(changed(quick, trials=trials)).objectives
    assert objectives[0] == 0
    assert math.isnan(objectives[1])


def test_the_chance_loss_is_told_from_the_rows(quick: StudyRecords) -> None:
    """Loss and skill of one row give the loss of the best constant prediction."""
    assert Summary(quick).chance_loss("temporal_order") == pytest.approx(CHANCE["temporal_order"])


def test_a_cell_without_a_confirmation_is_missing(tmp_path: Path) -> None:
    """Where every trial diverged there is no winner, no span, and the pair is named."""
    wish = Wish(ends={"rnn": {"diverged": 1.0}}, trials=3)
    summary = Summary(records.read_study(write(tmp_path, wish)))
    assert summary.missing == (("temporal_order", "rnn"),)
    assert ("temporal_order", "rnn") not in summary.memory


def test_without_a_confirmation_a_finished_trial_is_a_result(tmp_path: Path) -> None:
    """A study that confirms nothing misses only cells without any finished trial."""
    wish = Wish(confirm_seeds=0, ends={"rnn": {"diverged": 1.0}}, trials=3)
    assert Summary(records.read_study(write(tmp_path, wish))).missing == (
        ("temporal_order", "rnn"),
    )


def span(
    value: float, interval: tuple[float, float] | None, *, is_open: bool = False
) -> stats.Span:
    """A span as stats gives it."""
    ends_of = None if interval is None else stats.Interval(*interval, 0.9375)
    return stats.Span(value, "measured", ends_of, is_open, 0.5, 5, 25)


LADDER = (10.0, 20.0, 30.0, 60.0, 100.0)


@pytest.mark.parametrize(
    ("relation", "lag", "found", "verdict"),
    [
        ("at_least", 100, span(100, (100, 100), is_open=True), "agrees"),
        ("at_least", 100, span(60, (30, 100), is_open=True), "undecided"),
        ("at_least", 100, span(30, (20, 60)), "disagrees"),
        ("at_least", 61, span(60, (20, 60)), "undecided"),  # the limit may be 99
        ("at_most", 30, span(20, (10, 30)), "agrees"),
        ("at_most", 30, span(100, (60, 100), is_open=True), "disagrees"),
        ("at_most", 30, span(30, (20, 60)), "undecided"),
        ("about", 30, span(30, (20, 60)), "agrees"),
        ("about", 30, span(10, (0, 10)), "undecided"),  # the limit may be 19
        ("about", 60, span(10, (0, 10)), "disagrees"),
        ("about", 30, span(100, (100, 100), is_open=True), "disagrees"),
        ("about", 30, span(30, None), "undecided"),
    ],
)
def test_a_claim_is_judged_by_the_whole_interval(
    relation: str, lag: int, found: stats.Span, verdict: str
) -> None:
    """Only an interval wholly on one side decides, and the gaps of the ladder decide nothing."""
    claim = Claim(cell="rnn", text="", lag=lag, relation=relation)  # type: ignore[arg-type]
    assert claim_verdict(claim, found, LADDER) == verdict


def test_a_claim_is_about_every_variant_of_its_cell(tmp_path: Path) -> None:
    """A claim about lstm is compared with lstm and with its variants, on each task."""
    claims = '[[claims]]\ncell = "lstm"\ntext = "keeps 100"\nlag = 95\nrelation = "at_least"'
    wish = Wish(
        tasks=("temporal_order", "adding"),
        cells=("rnn", "lstm", "lstm_default"),
        variants={"lstm_default": "lstm"},
        claims=claims,
        trials=2,
    )
    checks = Summary(records.read_study(write(tmp_path, wish))).claims
    assert [(check.task, check.cell) for check in checks] == [
        (task, cell) for task in wish.tasks for cell in ("lstm", "lstm_default")
    ]
    on_ladder = [check.runs is not None for check in checks]
    assert on_ladder == [True, True, False, False]


def test_timeouts_are_counted_by_their_limit(quick: StudyRecords) -> None:
    """Trials that timed out under different limits are counted for each limit."""
    trials = quick.trials.copy()
    first = trials[trials["cell"] == "rnn"].index[:3]
    trials.loc[first, "end"] = "timeout"
    trials.loc[first, "reason"] = [f"took longer than {limit_s} s" for limit_s in (300, 10, 300)]
    (counted,) = [one for one in end_counts(changed(quick, trials=trials)) if one.end == "timeout"]
    assert counted.reasons == (("took longer than 300 s", 2), ("took longer than 10 s", 1))


def test_startup_trials_are_those_of_the_search(quick: StudyRecords) -> None:
    """The recorded count is told; results of an older version had max(4, trials // 4)."""
    assert Summary(changed(quick, machine={"startup_trials": 5})).startup_trials == 5
    spec = quick.spec.model_copy(
        update={"search": quick.spec.search.model_copy(update={"trials": 40})}
    )
    assert Summary(dataclasses.replace(quick, spec=spec, machine={})).startup_trials == 10


def test_ends_are_counted_with_their_reasons(tmp_path: Path) -> None:
    """Counts by end add up to the rows, and each reason is there with its number."""
    found = records.read_study(write(tmp_path, Wish(ends={"rnn": {"diverged": 0.5}}, trials=20)))
    counted = end_counts(found)
    assert found.confirmation is not None
    total = len(found.trials) + len(found.confirmation)
    assert sum(one.count for one in counted) == total
    for one in counted:
        if one.end == "diverged":
            assert one.reasons == (("loss is nan after 3,200 sequences", one.count),)


def test_a_budget_of_a_task_of_its_own(tmp_path: Path) -> None:
    """The value of an unsolved or failed trial depends on the budget of its own task."""
    claims = "[space.adding]\nsequences = 50_000\n[space.rnn]\nsequences = 4_000"
    wish = Wish(
        tasks=("adding", "delayed_recall"), cells=("rnn", "lstm"), objective="sequences_to_solve"
    )
    found = records.read_study(write(tmp_path, dataclasses.replace(wish, claims=claims)))
    trials = found.trials.assign(
        end="complete", solved=False, sequences_to_solve=math.nan, skill=0.5
    )
    trials.loc[trials["repeat"] == 0, "end"] = "diverged"
    summary = Summary(changed(found, trials=trials))
    for (task, cell), budget in {
        ("adding", "rnn"): 4_000,
        ("adding", "lstm"): 50_000,
        ("delayed_recall", "lstm"): 20_000,
    }.items():
        own = (trials["task"] == task) & (trials["cell"] == cell)
        assert set(summary.budgets[own]) == {budget}
        unsolved = own & (trials["end"] == "complete")
        assert set(summary.objectives[unsolved]) == {1.5 * budget}
        assert set(summary.objectives[own & (trials["end"] == "diverged")]) == {2.0 * budget}
        assert summary.worst(task, cell) == 2 * budget
