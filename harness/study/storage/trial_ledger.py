"""One Optuna study of the storage: what each slot was given and how it ended.

The coordinator alone writes it.

A trial costs five transactions: one creates it, RUNNING, with its slot and its parameters; one
stores the first value of its curve and one the others, after some of them each half second; one
stores what it found; one ends it. Whatever lies between when the process is killed is RUNNING
afterwards, and runs again. Where another program ended a trial of ours, what it finds is stored in
a trial of its own.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import gc
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping

from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from harness.columns import PENALIZED, TrialStatus
from harness.errors import StorageError
from harness.parameters import Value
from harness.study.storage.retrying_storage import RetryingStorage, first_line

SLOT, KEY, RESULT = "slot", "key", "result"
INSTEAD_OF = "instead_of"  # the number of a trial of ours that another program ended
WRITE_EVERY_S = 0.5  # for who watches a trial while it runs
VIOLATION = "constraints:ended"  # where Optuna 5 keeps Trial.set_constraint("ended", value)


@dataclasses.dataclass(frozen=True)
class TrialResult:
    """How a trial ended and what it found.

    `evaluations` hold (sequences_seen, loss, skill, accuracy), `extrapolations` (factor,
    sequence_length, loss, skill, accuracy).
    """

    end: TrialStatus
    seed: int
    reason: str = ""
    loss: float | None = None
    skill: float | None = None
    accuracy: float | None = None
    solved: bool | None = None
    sequences_to_solve: int | None = None
    sequences_seen: int | None = None
    train_time_s: float | None = None
    evaluations: tuple[tuple[int, float, float, float], ...] = ()
    predictions: tuple[float, ...] = ()
    extrapolations: tuple[tuple[int, int, float, float, float], ...] = ()
    traceback: str = ""

    def to_json(self) -> str:
        """As it is stored with the trial; NaN is kept."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> TrialResult:
        """The result that `to_json` wrote."""
        plain = json.loads(text)
        plain["end"] = TrialStatus(plain["end"])
        for name in ("evaluations", "extrapolations"):
            plain[name] = tuple(tuple(each) for each in plain.get(name, ()))
        plain["predictions"] = tuple(plain["predictions"])
        return cls(**plain)


@dataclasses.dataclass(frozen=True)
class SlotRecord:
    """A finished slot: its key, its parameters, the objective's value (None where there is none) and its result."""

    slot: int
    key: str
    params: Mapping[str, Value]
    value: float | None
    result: TrialResult


@dataclasses.dataclass(frozen=True)
class Attempt:
    """A trial that did not end its slot, which ran again: why it was given up."""

    key: str
    params: Mapping[str, Value]
    end: TrialStatus
    reason: str


@dataclasses.dataclass(frozen=True)
class Stored:
    """What a ledger holds, by key.

    The finished slots, and the parameters of those to be run again.
    """

    finished: Mapping[str, SlotRecord]
    again: Mapping[str, Mapping[str, Value]]


@dataclasses.dataclass
class _Curve:
    """The values of a running trial that are not written yet, and when the last ones were."""

    unwritten: dict[int, float] = dataclasses.field(default_factory=dict)
    written_at: float = -math.inf  # the first one is written at once


class Ledger:
    """One Optuna study, by its id in the storage; `notify` is told what other programs did to it."""

    def __init__(
        self,
        storage: RetryingStorage,
        study_id: int,
        notify: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.storage, self.study_id, self.notify = storage, study_id, notify
        self.curves: dict[int, _Curve] = collections.defaultdict(_Curve)

    def start(
        self,
        slot: int,
        key: str,
        params: Mapping[str, Value],
        distributions: Mapping[str, BaseDistribution],
    ) -> int:
        """Create a RUNNING trial, whole, in one transaction. Returns its id."""
        template = create_trial(
            state=TrialState.RUNNING,
            params=dict(params),
            distributions=dict(distributions),
            user_attrs={SLOT: slot, KEY: key},
        )
        with _there():
            return self.storage.create_new_trial(self.study_id, template_trial=template)

    def report(self, trial_id: int, step: int, value: float) -> None:
        """Take the objective's value at an evaluation.

        Where they come fast it is stored with a later one, or at the end.
        """
        curve = self.curves[trial_id]
        curve.unwritten[step] = value
        if time.monotonic() - curve.written_at >= WRITE_EVERY_S:
            with _there(), contextlib.suppress(UpdateFinishedTrialError):  # `finish` sees to it
                self._write(trial_id)

    def _write(self, trial_id: int) -> None:
        curve = self.curves[trial_id]
        if curve.unwritten:
            self.storage.set_trial_intermediate_values(trial_id, curve.unwritten)
        self.curves[trial_id] = _Curve(written_at=time.monotonic())

    def finish(self, trial_id: int, value: float | None, result: TrialResult) -> None:
        """Store what a trial found, then end it.

        In a trial of its own where another program has ended it.
        """
        with _there():
            try:
                self._finish(trial_id, value, result)
            except UpdateFinishedTrialError:
                if not self._is_finished(trial_id, value, result):
                    self._finish_anew(trial_id, value, result)
        self.curves.pop(trial_id, None)

    def _finish(self, trial_id: int, value: float | None, result: TrialResult) -> None:
        self._write(trial_id)
        self.storage.set_trial_user_attr(trial_id, RESULT, result.to_json())
        if result.end in PENALIZED:
            self.storage.set_trial_system_attr(trial_id, VIOLATION, 1.0)
        values = None if value is None else [value]
        self.storage.set_trial_state_values(trial_id, state_of(result.end, value), values)

    def _is_finished(self, trial_id: int, value: float | None, result: TrialResult) -> bool:
        """Whether the trial ended as we wanted it to.

        Before a connection was lost, we may have written it.
        """
        trial = self.storage.get_trial(trial_id)
        same = trial.user_attrs.get(RESULT) == result.to_json()
        return same and trial.state is state_of(result.end, value)

    def _finish_anew(self, trial_id: int, value: float | None, result: TrialResult) -> None:
        """Store a trial that another program ended once more, whole, in one transaction."""
        old = self.storage.get_trial(trial_id)
        anew = create_trial(
            state=state_of(result.end, value),
            value=value,
            params=old.params,
            distributions=old.distributions,
            user_attrs={**old.user_attrs, RESULT: result.to_json(), INSTEAD_OF: old.number},
            system_attrs={VIOLATION: 1.0} if result.end in PENALIZED else {},
            intermediate_values={**old.intermediate_values, **self.curves[trial_id].unwritten},
        )
        new_id = self.storage.create_new_trial(self.study_id, template_trial=anew)
        number = self.storage.get_trial(new_id).number
        self.notify(
            f"another program ended trial {old.number} while it ran ({old.state.name}): what it found is "
            f"stored as trial {number}"
        )

    def read(self) -> Stored:
        """All that is stored; tells RUNNING trials FAIL first."""
        finished: dict[str, SlotRecord] = {}
        again: dict[str, Mapping[str, Value]] = {}
        for trial in self._trials():
            slot, key = trial.user_attrs.get(SLOT), trial.user_attrs.get(KEY)
            if slot is None or key is None:
                continue  # a trial that another program added
            if not trial.state.is_finished():
                self.interrupt(
                    self.storage.get_trial_id_from_study_id_trial_number(
                        self.study_id, trial.number
                    )
                )
                again[key] = trial.params
                continue
            stored = trial.user_attrs.get(RESULT)  # none where another program ended the trial
            result = self._result(trial.number, stored)
            if result is None or result.end is TrialStatus.INTERRUPTED or not _is_last(result):
                again[key] = trial.params
            elif trial.value is None and result.end in WITH_A_VALUE:
                again[key] = trial.params  # another program ended it before we could
            else:
                finished[key] = SlotRecord(slot, key, trial.params, trial.value, result)
        return Stored(finished, {key: again[key] for key in again if key not in finished})

    def _trials(self) -> list[FrozenTrial]:
        """All trials; garbage, of which there is none, would be looked for in two thirds of the time."""
        collects = gc.isenabled()
        gc.disable()
        try:
            return self.storage.get_all_trials(self.study_id, deepcopy=False)
        finally:
            if collects:
                gc.enable()

    @staticmethod
    def _result(number: int, stored: str | None) -> TrialResult | None:
        """What is stored with a trial; None where nothing is.

        Raises StorageError where it cannot be read.
        """
        if not stored:
            return None
        try:
            return TrialResult.from_json(stored)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StorageError(
                f"what is stored with trial {number} cannot be read ({first_line(error)}): it is damaged, or "
                "a later version of the harness wrote it; upgrade, or start over with --fresh"
            ) from error

    def interrupt(self, trial_id: int) -> None:
        """Tell a trial that was given up FAIL; its slot runs again.

        One whose end is written already keeps it.
        """
        result = TrialResult(TrialStatus.INTERRUPTED, seed=0, reason="the study was interrupted")
        with _there(), contextlib.suppress(UpdateFinishedTrialError):
            self._finish(trial_id, None, result)
        self.curves.pop(trial_id, None)

    def attempts(self) -> list[Attempt]:
        """The trials that did not end their slots, in the order in which they began.

        None may be running.

        One that is RUNNING all the same was begun twice, while the storage did not answer: it is
        told FAIL.
        """
        found = []
        trials = self._trials()
        stored_anew = {trial.user_attrs.get(INSTEAD_OF) for trial in trials}
        for trial in trials:
            key, stored = trial.user_attrs.get(KEY), trial.user_attrs.get(RESULT)
            if key is None or trial.number in stored_anew:
                continue
            if not trial.state.is_finished():
                self.interrupt(
                    self.storage.get_trial_id_from_study_id_trial_number(
                        self.study_id, trial.number
                    )
                )
            result = self._result(trial.number, stored)
            if result is None:
                lost = "ended by another program" if trial.state.is_finished() else "begun twice"
                found.append(Attempt(key, trial.params, TrialStatus.INTERRUPTED, lost))
            elif result.end is TrialStatus.INTERRUPTED or not _is_last(result):
                reason = result.reason.removeprefix(RETRY)
                found.append(Attempt(key, trial.params, result.end, reason))
        return found


@contextlib.contextmanager
def _there() -> Iterator[None]:
    """Raises StorageError for Optuna's KeyError: what we wrote is gone."""
    try:
        yield
    except KeyError as error:
        raise StorageError(
            "the study is gone from its storage: another program deleted it; run the same command again, "
            "which starts it over"
        ) from error


RETRY = "killed, tried again: "
WITH_A_VALUE = PENALIZED | {TrialStatus.COMPLETE, TrialStatus.PRUNED}


def _is_last(result: TrialResult) -> bool:
    """Whether a result ends its slot: a crash that was to be retried does not."""
    return not (result.end is TrialStatus.CRASHED and result.reason.startswith(RETRY))


def state_of(end: TrialStatus, value: float | None) -> TrialState:
    """The Optuna state of an end: complete or pruned where there is a value, else failed."""
    if value is None:
        return TrialState.FAIL
    return TrialState.PRUNED if end is TrialStatus.PRUNED else TrialState.COMPLETE
