"""A study whose trials end in every way there is: each costs that trial alone, and is named with its reason."""

from __future__ import annotations

import sys
from pathlib import Path

import optuna
import pytest

from harness.pipeline import Outcome
from harness.search.local import LocalExecutor
from harness.search.storage import default_url
from tests.small import FAULTS, Watching, run_small, table

ENDS = {
    "none": ("complete", ""),
    "crash_once": ("complete", ""),
    "raise": ("error", "RuntimeError: no such luck"),
    "raise_in_factory": ("error", "RuntimeError: cannot be built"),
    "nan": ("diverged", "the loss was not finite after 0 training sequences"),
    "hang": ("timeout", "took longer than 2 s"),
    "kill": ("crashed", "killed by SIGKILL"),
    "segfault": ("crashed", "killed by SIGSEGV"),
    "exit": ("crashed", "exit code 7 without a result"),
}
if sys.platform == "linux":  # elsewhere a process' memory is not limited
    ENDS["memory"] = ("out_of_memory", "RuntimeError: [enforce fail")


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, executor: LocalExecutor | None) -> Outcome:
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
def study(outcome: Outcome) -> optuna.Study:
    """The search as plain Optuna reads it."""
    storage = optuna.storages.RDBStorage(default_url(outcome.directory))
    return optuna.load_study(study_name="small/temporal_order/faulty/r0", storage=storage)


@pytest.mark.parametrize("fault", ENDS)
def test_end_and_reason(outcome: Outcome, fault: str) -> None:
    """trials.csv has one row for the trial, with its end and its reason."""
    (row,) = [row for row in table(outcome.directory / "trials.csv") if row["fault"] == fault]
    end, reason = ENDS[fault]
    assert row["end"] == end
    assert row["reason"].startswith(reason)
    assert (row["reason"] == "") == (reason == "")
    assert (row["num_parameters"] == "") == (fault == "raise_in_factory")


def test_every_slot_once(outcome: Outcome) -> None:
    """No trial is lost or counted twice."""
    rows = table(outcome.directory / "trials.csv")
    assert [int(row["number"]) for row in rows] == list(range(len(ENDS)))
    assert {row["fault"] for row in rows} == set(ENDS)


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
    """What diverged or exceeded its limits has the worst value and a violated constraint, and is never Optuna's best."""
    infeasible = {
        trial.params["fault"]: trial.value
        for trial in study.trials
        if trial.constraints == {"ended": 1.0}
    }
    wanted = {"nan", "hang", "memory"} & set(ENDS)
    assert infeasible == dict.fromkeys(wanted, 0.0)
    assert study.best_trial.params["fault"] in ("none", "crash_once")


def test_traceback_is_kept(study: optuna.Study) -> None:
    """The whole traceback of a trial that raised is kept with the trial."""
    (trial,) = [trial for trial in study.trials if trial.params["fault"] == "raise"]
    assert "faulty.py" in trial.user_attrs["result"]
    assert "second line" in trial.user_attrs["result"]


def test_valid_trials_win(outcome: Outcome) -> None:
    """The winner is one that completed, so the cell has a result; a failure beside it does not take it away."""
    (row,) = table(outcome.directory / "confirmation.csv")
    assert row["fault"] in ("none", "crash_once")
    assert outcome.without_result == ()


@pytest.mark.parametrize("fault", ["raise", "nan", "kill"])
def test_without_result(tmp_path: Path, executor: LocalExecutor | None, fault: str) -> None:
    """A cell none of whose trials is valid is without a result; the other cell has one, and the study goes to its end."""
    watcher = Watching()
    found = run_small(
        tmp_path,
        'compare.cells=["rnn","faulty"]',
        f'space.faulty.fault="{fault}"',
        "search.trials=2",
        "confirm.seeds=1",
        watcher=watcher,
        executor=executor,
    )
    assert found.without_result == (("temporal_order", "faulty"),)
    assert {row["cell"] for row in table(found.directory / "confirmation.csv")} == {"rnn"}
    assert watcher.phases == ["search", "confirm", "keep", "report"]


def test_nothing_valid_at_all(tmp_path: Path, executor: LocalExecutor | None) -> None:
    """A study without any valid result goes to its end too."""
    settings = (*FAULTS, 'space.faulty.fault="raise"', "search.trials=1", "confirm.seeds=1")
    found = run_small(tmp_path, *settings, executor=executor)
    assert found.without_result == (("temporal_order", "faulty"),)
    assert [row["end"] for row in table(found.directory / "trials.csv")] == ["error"]


def test_cell_that_cannot_be_looked_into(tmp_path: Path, executor: LocalExecutor | None) -> None:
    """A cell that computes in float32 alone, so that its gradient gain cannot be measured, keeps all other results."""
    watcher = Watching()
    settings = (*FAULTS, 'space.faulty.fault="float32_only"', "search.trials=1")
    found = run_small(tmp_path, *settings, watcher=watcher, executor=executor)
    assert found.without_result == ()
    assert [note for note in watcher.notes if "gradient" in note and "faulty" in note]
