"""A study whose trials end in every way there is.

Each costs that trial alone, and is named with its reason.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import optuna
import pytest

from harness.study import run
from harness.study.execution.local_executor import LocalExecutor
from harness.study.run import StudyOutcome
from harness.study.storage.open_storage import default_url
from tests.small import FAULTS, RecordingObserver, run_small, table
from tests.tally import Tally

ENDS = {
    "none": ("complete", ""),
    "crash_once": ("complete", ""),
    "raise": ("error", "RuntimeError: no such luck"),
    "raise_in_factory": ("error", "RuntimeError: cannot be built"),
    "nan": ("diverged", "the loss was not finite after 0 training sequences"),
    "nan_at_1": ("diverged", "the loss was not finite after "),
    "nan_at_2": ("diverged", "the loss was not finite after "),
    "nan_at_3": ("diverged", "the loss was not finite after "),
    "nan_at_4": ("diverged", "the loss was not finite after "),  # of 4 steps
    "explode": ("diverged", "the loss was not finite after "),
    "cuda_memory": ("out_of_memory", "OutOfMemoryError: CUDA out of memory"),
    "hang": ("timeout", "took longer than 2 s"),
    "kill": ("crashed", "killed by SIGKILL"),
    "segfault": ("crashed", "killed by SIGSEGV"),
    "exit": ("crashed", "exit code 7 without a result"),
}
if sys.platform == "linux":  # elsewhere a process' memory is not limited
    ENDS["memory"] = ("out_of_memory", "RuntimeError: [enforce fail")


@pytest.fixture(scope="module")
def outcome(
    tmp_path_factory: pytest.TempPathFactory, executor: LocalExecutor | None
) -> StudyOutcome:
    """A grid over the faults, run with two workers."""
    return run_small(
        tmp_path_factory.mktemp("ends"),
        *FAULTS,
        f"space.faulty.fault={list(ENDS)}".replace("'", '"'),
        f"search.trials={len(ENDS)}",
        "search.trial_timeout_s=2.0",
        f"search.trial_memory_bytes={2**28}",
        "confirm.seeds=1",
        "confirm.sequence_lengths=[10]",
        workers=2,
        executor=executor,
    )


@pytest.fixture(scope="module")
def study(outcome: StudyOutcome) -> optuna.Study:
    """The search as plain Optuna reads it."""
    storage = optuna.storages.RDBStorage(default_url(outcome.directory))
    return optuna.load_study(study_name="small/temporal_order/faulty/r0", storage=storage)


@pytest.mark.parametrize("fault", ENDS)
def test_end_and_reason(outcome: StudyOutcome, fault: str) -> None:
    """trials.csv has one row for the trial, with its end and its reason."""
    (row,) = [row for row in table(outcome.directory / "trials.csv") if row["fault"] == fault]
    end, reason = ENDS[fault]
    assert row["end"] == end
    assert row["reason"].startswith(reason)
    assert (row["reason"] == "") == (reason == "")
    assert (row["num_parameters"] == "") == (fault == "raise_in_factory")


FAULTS_SHOWN = {
    "raise": "an exception in a plug-in",
    "raise_in_factory": "a plug-in's cell that cannot be built",
    "nan": "a loss that is not finite from the start",
    "explode": "a loss that explodes",
    "hang": "a trial that hangs",
    "kill": "a trial that is killed",
    "crash_once": "a trial that is killed once",
    "segfault": "a segmentation fault",
    "exit": "a trial that calls os._exit",
    "memory": "a trial that takes more memory than it may",
    "cuda_memory": "no memory left on a GPU (simulated)",
    **{f"nan_at_{step}": "NaN at each step of training" for step in (1, 2, 3, 4)},
}


def test_every_slot_once(outcome: StudyOutcome, tally: Tally) -> None:
    """No trial is lost or counted twice, and each has the end that its fault has."""
    rows = table(outcome.directory / "trials.csv")
    for fault, shown in FAULTS_SHOWN.items():
        if fault in ENDS:
            ends = [row["end"] for row in rows if row["fault"] == fault]
            promise = f"costs that trial alone, which ends as `{ENDS[fault][0]}`"
            tally.add(shown, promise, lost=int(ends != [ENDS[fault][0]]))
    assert tally.lost == 0
    assert [int(row["number"]) for row in rows] == list(range(len(ENDS)))
    assert {row["fault"] for row in rows} == set(ENDS) == {*FAULTS_SHOWN, "none"} & set(ENDS)


RETRIED = {"crash_once": 1, "kill": 2, "segfault": 2, "exit": 2}


def test_retries_are_shown(outcome: StudyOutcome) -> None:
    """Each repeated attempt is in retries.csv with its reason, number and seed."""
    trials = {row["number"]: row for row in table(outcome.directory / "trials.csv")}
    retries = table(outcome.directory / "retries.csv")
    assert Counter(trials[row["number"]]["fault"] for row in retries) == RETRIED
    for row in retries:
        assert (row["phase"], row["end"]) == ("search", "crashed")
        assert row["seed"] == trials[row["number"]]["seed"]
        fault = trials[row["number"]]["fault"]
        assert row["reason"] == ("killed by SIGKILL" if fault == "crash_once" else ENDS[fault][1])


@pytest.mark.filterwarnings("ignore:constrained_layout")  # sixteen faults are too many for an axis
def test_report_counts_each_end(outcome: StudyOutcome) -> None:
    """The report has the number of trials of each status, and of the repeated attempts."""
    lines = run.render_report(outcome.directory).markdown.read_text().splitlines()
    begin = lines.index("## What failed or was pruned")
    rows = [
        [cell.strip() for cell in line.strip("| ").split("|")]
        for line in lines[begin:]
        if line.startswith("|")
    ]
    (search,) = [row for row in rows[:4] if row[0] == "Search"]
    counted = dict(zip(rows[0], search, strict=True))
    for end, count in Counter(end for end, _ in ENDS.values()).items():
        shown = {"timeout": "out of time", "out_of_memory": "out of memory"}.get(end, end)
        assert counted[shown] == str(count)
    assert any(line.startswith(f"{sum(RETRIED.values())} attempts were lost") for line in lines)


@pytest.mark.parametrize(
    ("fault", "states"),
    [
        ("none", ["COMPLETE"]),
        ("raise", ["FAIL"]),
        ("nan", ["COMPLETE"]),
        ("hang", ["COMPLETE"]),
        ("crash_once", ["FAIL", "COMPLETE"]),
        ("kill", ["FAIL"] * 3),
        ("segfault", ["FAIL"] * 3),
    ],
)
def test_attempts_in_the_storage(study: optuna.Study, fault: str, states: list[str]) -> None:
    """The storage shows each attempt: a crash is tried three times, an error once."""
    trials = [trial for trial in study.trials if trial.params["fault"] == fault]
    assert [trial.state.name for trial in trials] == states


def test_infeasible(study: optuna.Study) -> None:
    """A diverged or limited trial has the worst value and a constraint, and is never best."""
    infeasible = {
        trial.params["fault"]: trial.value
        for trial in study.trials
        if trial.constraints == {"ended": 1.0}
    }
    infeasible_ends = ("diverged", "timeout", "out_of_memory")
    wanted = {fault for fault, (end, _) in ENDS.items() if end in infeasible_ends}
    assert infeasible == dict.fromkeys(wanted, 0.0)
    assert study.best_trial.params["fault"] in ("none", "crash_once")


def test_traceback_is_kept(study: optuna.Study) -> None:
    """The whole traceback of a trial that raised is kept with the trial."""
    (trial,) = [trial for trial in study.trials if trial.params["fault"] == "raise"]
    assert "faulty.py" in trial.user_attrs["result"]
    assert "second line" in trial.user_attrs["result"]


def test_valid_trials_win(outcome: StudyOutcome) -> None:
    """The winner is one that completed, so the cell has a result.

    A failure beside it does not take it away.
    """
    (row,) = table(outcome.directory / "confirmation.csv")
    assert row["fault"] in ("none", "crash_once")
    assert outcome.without_result == ()


@pytest.mark.parametrize("fault", ["raise", "nan", "kill"])
def test_without_result(tmp_path: Path, executor: LocalExecutor | None, fault: str) -> None:
    """A cell none of whose trials is valid is without a result.

    The other cell has one, and the study goes to its end.
    """
    observer = RecordingObserver()
    found = run_small(
        tmp_path,
        'compare.cells=["rnn","faulty"]',
        f'space.faulty.fault="{fault}"',
        "search.trials=2",
        "confirm.seeds=1",
        observer=observer,
        executor=executor,
    )
    assert found.without_result == (("temporal_order", "faulty"),)
    assert {row["cell"] for row in table(found.directory / "confirmation.csv")} == {"rnn"}
    assert observer.phases == ["search", "confirm", "keep", "report"]


def test_nothing_valid_at_all(tmp_path: Path, executor: LocalExecutor | None) -> None:
    """A study without any valid result goes to its end too."""
    settings = (*FAULTS, 'space.faulty.fault="raise"', "search.trials=1", "confirm.seeds=1")
    found = run_small(tmp_path, *settings, executor=executor)
    assert found.without_result == (("temporal_order", "faulty"),)
    assert [row["end"] for row in table(found.directory / "trials.csv")] == ["error"]


def test_cell_that_cannot_be_looked_into(tmp_path: Path, executor: LocalExecutor | None) -> None:
    """A cell that needs float32 has no gradient gain, and keeps all other results."""
    observer = RecordingObserver()
    settings = (*FAULTS, 'space.faulty.fault="float32_only"', "search.trials=1")
    found = run_small(tmp_path, *settings, observer=observer, executor=executor)
    assert found.without_result == ()
    assert [note for note in observer.notes if "gradient" in note and "faulty" in note]
