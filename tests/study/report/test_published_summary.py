"""harness.study.report.published_summary.

Our numbers beside published ones, with values counted by hand.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness import records, stats
from harness.config import Published
from harness.records import StudyRecords
from harness.study.report.importance_intervals import cell_importances
from harness.study.report.published_summary import confirmed, published_checks, published_verdict
from harness.study.report.study_summary import Summary
from tests.study.report.synthetic import Wish, write


def row(metric: str = "sequences_to_solve", value: float = 100.0, **keys: Any) -> Published:
    """A published number of lstm on adding."""
    plain = {"task": "adding", "cell": "lstm", "metric": metric, "value": value, "source": "x"}
    return Published.model_validate({**plain, **keys})


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> StudyRecords:
    """A study at one length: six searches of one winner each, three runs of it."""
    wish = Wish(
        tasks=("adding",),
        cells=("lstm",),
        length=60,
        repeats=6,
        trials=8,
        confirm_seeds=3,
        objective="sequences_to_solve",
    )
    return records.read_study(write(tmp_path_factory.mktemp("published"), wish))


def summary(found: StudyRecords, *rows: Published, **columns: Any) -> Summary:
    """The study's numbers, with these columns of its confirmation exchanged."""
    spec = found.spec.model_copy(update={"published": rows})
    assert found.confirmation is not None
    confirmation = found.confirmation.assign(**columns)
    return Summary(dataclasses.replace(found, spec=spec, confirmation=confirmation))


SOLVED = [100.0, 200.0, 300.0]  # of one search: the median is 200


def test_the_median_of_the_medians_of_the_searches(found: StudyRecords) -> None:
    """Each search counts once, by the median of its runs, and six of them have an interval."""
    values = [v + 10 * search for search in range(6) for v in SOLVED]
    ours = confirmed(
        summary(found, sequences_to_solve=values, solved=True, end="complete"),
        *("adding", "lstm", "sequences_to_solve"),
    )
    assert ours.value == 225.0
    assert ours.interval is not None
    assert (ours.interval.low, ours.interval.high, ours.n) == (200.0, 250.0, 6)


def test_a_run_that_does_not_solve_its_task_never_does(found: StudyRecords) -> None:
    """It counts as infinity, and so does one that diverged; one that raised does not count."""
    never = [math.nan, math.nan, 100.0]
    values = [value for search in range(6) for value in (never if search < 4 else SOLVED)]
    study = summary(found, sequences_to_solve=values, solved=True, end="complete")
    assert confirmed(study, "adding", "lstm", "sequences_to_solve").value == math.inf
    ends = ["error", "error", "complete"] * 4 + ["complete"] * 6
    study = summary(found, sequences_to_solve=values, solved=True, end=ends)
    assert confirmed(study, "adding", "lstm", "sequences_to_solve").value == 100.0
    ends = ["diverged"] * 18
    study = summary(found, loss=1e-5, solved=False, end=ends)
    assert confirmed(study, "adding", "lstm", "loss").value == math.inf
    assert confirmed(study, "adding", "lstm", "accuracy").value == 0.0


def test_a_number_that_a_run_does_not_have_is_no_infinity(found: StudyRecords) -> None:
    """A complete run without a loss says nothing of it.

    Only one that does not solve its task never does.
    """
    study = summary(found, loss=math.nan, solved=False, end="complete")
    assert confirmed(study, "adding", "lstm", "loss").value is None
    study = summary(found, sequences_to_solve=math.nan, solved=False, end="complete")
    assert confirmed(study, "adding", "lstm", "sequences_to_solve").value == math.inf


def test_of_two_in_the_middle_the_worse_counts(found: StudyRecords) -> None:
    """With an even number of runs: the smaller accuracy, the larger loss."""
    keep = found.confirmation is not None and found.confirmation["number"].notna()
    pairs = dataclasses.replace(found, confirmation=found.confirmation[keep].iloc[:2])  # type: ignore[arg-type, index]
    study = summary(pairs, accuracy=[0.5, 0.9], loss=[0.1, 0.2], solved=False, end="complete")
    assert confirmed(study, "adding", "lstm", "accuracy").value == 0.5
    assert confirmed(study, "adding", "lstm", "loss").value == 0.2


def test_what_is_not_there_is_not_measured(found: StudyRecords) -> None:
    """No confirmation, no such column, no such cell: no value, and the verdict says so."""
    study = Summary(dataclasses.replace(found, confirmation=None))
    for ours in (
        confirmed(study, "adding", "lstm", "loss"),
        confirmed(summary(found), "adding", "lstm", "no_such"),
        confirmed(summary(found), "adding", "gru", "loss"),
    ):
        assert (ours.value, ours.interval, ours.n) == (None, None, 0)
        assert published_verdict(row(), ours) == "not_measured"


@pytest.mark.parametrize(
    ("relation", "value", "interval", "verdict"),
    [
        ("at_most", 99.0, (90.0, 100.0), "reproduced"),
        ("at_most", 99.0, (90.0, 101.0), "reproduced_by_value"),
        ("at_most", 99.0, None, "reproduced_by_value"),
        ("at_most", 101.0, (90.0, 110.0), "not_reproduced"),
        ("at_most", math.inf, None, "not_reproduced"),
        ("at_least", 101.0, (100.0, 110.0), "reproduced"),
        ("at_least", 99.0, (90.0, 110.0), "not_reproduced"),
        ("about", 50.0, (50.0, 200.0), "reproduced"),
        ("about", 60.0, (49.0, 200.0), "reproduced_by_value"),
        ("about", 201.0, None, "not_reproduced"),
        ("at_most", math.nan, None, "not_measured"),
        ("at_most", None, None, "not_measured"),
    ],
)
def test_what_counts_as_reproduced(
    relation: str, value: float | None, interval: tuple[float, float] | None, verdict: str
) -> None:
    """The value decides, and the whole interval says whether that could be luck."""
    known = stats.Interval(*interval, 0.95) if interval else None
    assert published_verdict(row(relation=relation), stats.Estimate(value, known, 6)) == verdict


def test_the_bound_decides_where_there_is_one() -> None:
    """The published value is shown; what is asked for may be stricter."""
    ours = stats.Estimate(60.0, None, 1)
    assert published_verdict(row(), ours) == "reproduced_by_value"
    assert published_verdict(row(bound=50.0), ours) == "not_reproduced"


def test_the_share_that_diverged_is_of_all_that_say_something(found: StudyRecords) -> None:
    """Trials that raised or were interrupted are no sample; those that met a limit are."""
    n = len(found.trials)
    ends = ["diverged"] * 6 + ["timeout"] * 2 + ["error"] * 3 + ["complete"] * (n - 11)
    study = summary(found, row("diverged_share", 0.12, relation="about"))
    trials = found.trials.assign(end=ends)
    records_ = dataclasses.replace(study.records, trials=trials)
    (check,) = published_checks(Summary(records_))
    assert check.ours.value == 6 / (n - 3)
    assert check.ours.interval == stats.binomial_interval(6, n - 3)
    assert (check.ours.n, check.ours.n_missing) == (n - 3, 3)


def test_an_importance_is_that_of_the_report(found: StudyRecords) -> None:
    """The share and its interval are those of the section on hyperparameters."""
    study = summary(found, row("importance", 0.66, parameter="learning_rate"))
    measured = cell_importances(study, "adding", "lstm")
    assert measured is not None
    assert measured.importances.missing is None
    (check,) = published_checks(study)
    assert check.ours.value == measured.importances.shares["learning_rate"]
    assert check.ours.interval == measured.intervals["learning_rate"]
    assert pd.notna(check.ours.value)


def test_a_study_without_published_numbers(tmp_path: Path) -> None:
    """Nothing is compared."""
    assert (
        published_checks(Summary(records.read_study(write(tmp_path, Wish(trials=2, repeats=1)))))
        == ()
    )
