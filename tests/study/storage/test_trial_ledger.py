from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from harness.columns import TrialStatus
from harness.errors import StorageError
from harness.study.storage.open_storage import default_url, open_storage
from harness.study.storage.trial_ledger import RETRY, Ledger, Stored, TrialResult, state_of

SPACE = {"x": FloatDistribution(0.0, 1.0)}
FULL = TrialResult(
    TrialStatus.COMPLETE,
    seed=7,
    loss=math.nan,
    skill=0.5,
    accuracy=1.0,
    solved=True,
    sequences_to_solve=32,
    sequences_seen=64,
    train_time_s=0.25,
    evaluations=((0, math.inf, -1.0, 0.25), (32, math.nan, -1.0, 0.5)),
    predictions=(0.5, 0.25),
    traceback="Traceback\n  line",
)


CURVE = {0: math.inf, 32: math.nan, 64: 0.5}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger on a storage of its own."""
    with open_storage(default_url(tmp_path), "s") as storage:
        study_id = storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "s")
        yield Ledger(storage, study_id)


def start(ledger: Ledger, slot: int = 0, x: float = 0.5) -> int:
    """Start a trial."""
    return ledger.start(slot, str(slot), {"x": x}, SPACE)


def test_result_survives(tmp_path: Path) -> None:
    """What a trial found is read from the database as it was written, NaN and infinity too."""
    with open_storage(default_url(tmp_path), "s") as storage:
        study_id = storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "s")
        ledger = Ledger(storage, study_id)
        ledger.finish(start(ledger), 0.5, FULL)
    with open_storage(default_url(tmp_path), "s") as storage:
        stored = Ledger(storage, study_id).read()
    found = stored.finished["0"]
    assert repr(found.result) == repr(FULL)  # as text NaN equals NaN
    assert (found.slot, found.params, found.value) == (0, {"x": 0.5}, 0.5)
    assert stored.again == {}


@pytest.mark.parametrize("stored", ["{", "[]", '{"end": "won"}', '{"end": "complete", "x": 1}'])
def test_result_that_cannot_be_read(ledger: Ledger, stored: str) -> None:
    """What is damaged, or of a later version, is named by its trial."""
    trial_id = start(ledger)
    ledger.storage.set_trial_user_attr(trial_id, "result", stored)
    ledger.storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.5])
    with pytest.raises(StorageError, match="what is stored with trial 0 cannot be read"):
        ledger.read()


def report(ledger: Ledger, trial_id: int) -> None:
    """Report the whole curve."""
    for step, value in CURVE.items():
        ledger.report(trial_id, step, value)


def curve(ledger: Ledger, trial_id: int) -> str:
    """What Optuna reads of a trial's curve, as text, where NaN equals NaN."""
    return repr(dict(sorted(ledger.storage.get_trial(trial_id).intermediate_values.items())))


@pytest.mark.parametrize(("every_s", "seen"), [(0.0, CURVE), (math.inf, {0: math.inf})])
def test_curve_of_a_running_trial(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, every_s: float, seen: dict[int, float]
) -> None:
    """Whoever watches sees the first value at once, and further ones at intervals.

    Of a trial that is given up, all is stored.
    """
    monkeypatch.setattr("harness.study.storage.trial_ledger.WRITE_EVERY_S", every_s)
    trial_id = start(ledger)
    report(ledger, trial_id)
    assert curve(ledger, trial_id) == repr(seen)
    ledger.interrupt(trial_id)
    assert curve(ledger, trial_id) == repr(CURVE)


def test_curve_of_a_trial_that_another_program_ended(ledger: Ledger) -> None:
    """What is stored anew has the whole curve."""
    trial_id = start(ledger)
    ledger.report(trial_id, 0, math.inf)
    ledger.storage.set_trial_state_values(trial_id, TrialState.FAIL)
    report(ledger, trial_id)
    ledger.finish(trial_id, 0.5, FULL)
    (anew,) = ledger.read().finished
    assert (anew, curve(ledger, trial_id + 1)) == ("0", repr(CURVE))


def test_curve_of_a_trial_that_is_gone(ledger: Ledger) -> None:
    """A study that another program deleted is named when the curve is written."""
    trial_id = start(ledger)
    ledger.report(trial_id, 0, 0.5)
    ledger.storage.delete_study(ledger.study_id)
    with pytest.raises(StorageError, match="another program deleted it"):
        ledger.finish(trial_id, 0.5, FULL)


def test_attempts(ledger: Ledger) -> None:
    """What did not end its slot is listed with its reason; one begun twice is told FAIL.

    Others are not listed.
    """
    ledger.finish(
        start(ledger), None, TrialResult(TrialStatus.CRASHED, 0, RETRY + "killed by SIGKILL")
    )
    ledger.interrupt(start(ledger))
    ledger.storage.set_trial_state_values(start(ledger), TrialState.FAIL)
    ledger.finish(start(ledger), 0.5, FULL)
    twice = start(ledger)
    foreign = ledger.storage.create_new_trial(ledger.study_id)
    found = [(each.key, each.end, each.reason) for each in ledger.attempts()]
    assert found == [
        ("0", TrialStatus.CRASHED, "killed by SIGKILL"),
        ("0", TrialStatus.INTERRUPTED, "the study was interrupted"),
        ("0", TrialStatus.INTERRUPTED, "ended by another program"),
        ("0", TrialStatus.INTERRUPTED, "begun twice"),
    ]
    assert ledger.storage.get_trial(twice).state is TrialState.FAIL
    assert ledger.storage.get_trial(foreign).state is TrialState.RUNNING


def test_ended_by_another_program_before_it_was_told(ledger: Ledger) -> None:
    """A trial with a result but no value, ended by another program, runs again."""
    trial_id = start(ledger)
    ledger.storage.set_trial_user_attr(trial_id, "result", FULL.to_json())
    ledger.storage.set_trial_state_values(trial_id, TrialState.FAIL)
    assert ledger.read() == Stored({}, {"0": {"x": 0.5}})


def test_written_before_the_connection_was_lost(ledger: Ledger) -> None:
    """An end that is written twice, because the connection was lost, is stored once."""
    trial_id = start(ledger)
    ledger.finish(trial_id, 0.5, FULL)
    ledger.finish(trial_id, 0.5, FULL)
    assert len(ledger.storage.get_all_trials(ledger.study_id)) == 1


def test_started_whole(ledger: Ledger) -> None:
    """A trial appears in the storage RUNNING with its slot and its parameters.

    Nothing is added to it later.
    """
    trial = ledger.storage.get_trial(start(ledger, slot=3))
    assert trial.state is TrialState.RUNNING
    assert trial.params == {"x": 0.5}
    assert trial.user_attrs == {"slot": 3, "key": "3"}
    assert trial.distributions == SPACE


def test_running_is_told_fail(ledger: Ledger) -> None:
    """A RUNNING trial of a killed process ends with FAIL and runs again with its parameters."""
    trial_id = start(ledger)
    assert ledger.read() == Stored({}, {"0": {"x": 0.5}})
    trial = ledger.storage.get_trial(trial_id)
    assert trial.state is TrialState.FAIL
    assert TrialResult.from_json(trial.user_attrs["result"]).end is TrialStatus.INTERRUPTED


def test_read_twice(ledger: Ledger) -> None:
    """Reading again finds the same: no interrupted trial is lost or counted twice."""
    start(ledger)
    assert ledger.read() == ledger.read() == Stored({}, {"0": {"x": 0.5}})
    assert len(ledger.storage.get_all_trials(ledger.study_id)) == 1


def test_finished_after_an_interruption(ledger: Ledger) -> None:
    """A slot that was interrupted and then finished is finished."""
    ledger.interrupt(start(ledger))
    ledger.finish(start(ledger), 0.5, FULL)
    stored = ledger.read()
    assert (list(stored.finished), stored.again) == (["0"], {})


def test_crash_with_a_retry_left(ledger: Ledger) -> None:
    """A crash that was to be tried again is; the last one ends its slot."""
    ledger.finish(
        start(ledger), None, TrialResult(TrialStatus.CRASHED, 0, RETRY + "killed by SIGKILL")
    )
    assert list(ledger.read().again) == ["0"]
    ledger.finish(start(ledger), None, TrialResult(TrialStatus.CRASHED, 0, "killed by SIGKILL"))
    stored = ledger.read()
    assert (stored.finished["0"].result.end, stored.again) == (TrialStatus.CRASHED, {})


def test_end_is_written_once(ledger: Ledger) -> None:
    """A trial whose end is written keeps it when it is interrupted afterwards."""
    trial_id = start(ledger)
    ledger.finish(trial_id, 0.5, FULL)
    ledger.interrupt(trial_id)
    assert ledger.storage.get_trial(trial_id).state is TrialState.COMPLETE


def test_trials_of_others(ledger: Ledger) -> None:
    """A trial that another program added is left alone; one of ours that it ended runs again."""
    foreign = ledger.storage.create_new_trial(ledger.study_id)
    ours = start(ledger)
    ledger.storage.set_trial_state_values(ours, TrialState.FAIL)
    assert ledger.read() == Stored({}, {"0": {"x": 0.5}})
    assert ledger.storage.get_trial(foreign).state is TrialState.RUNNING


@pytest.mark.parametrize(
    ("end", "value", "state"),
    [
        (TrialStatus.COMPLETE, 1.0, TrialState.COMPLETE),
        (TrialStatus.PRUNED, 1.0, TrialState.PRUNED),
        (TrialStatus.DIVERGED, 0.0, TrialState.COMPLETE),
        (TrialStatus.TIMEOUT, 0.0, TrialState.COMPLETE),
        (TrialStatus.OUT_OF_MEMORY, 0.0, TrialState.COMPLETE),
        (TrialStatus.ERROR, None, TrialState.FAIL),
        (TrialStatus.CRASHED, None, TrialState.FAIL),
        (TrialStatus.INTERRUPTED, None, TrialState.FAIL),
    ],
)
def test_state(end: TrialStatus, value: float | None, state: TrialState) -> None:
    """Each end has its Optuna state: what has a value is complete or pruned, the rest failed."""
    assert state_of(end, value) is state
