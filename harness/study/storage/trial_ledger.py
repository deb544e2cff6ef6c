"""The trials of one Optuna study of the storage: parameters and end of each slot.

The coordinator alone writes it. A trial takes five transactions: create it, RUNNING, with its slot
and parameters; store the first value of its curve; store the other values, at most every half
second; store its result; end it. A trial that is RUNNING after a kill runs again. If another
program ended a trial of ours, its result is stored in a further trial.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import gc
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import pydantic
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from harness.columns import PENALIZED, TrialStatus
from harness.errors import StorageError
from harness.hyperparameters import Value
from harness.study.storage.retrying_storage import (
    Notify,
    RetryingStorage,
    first_line,
    ignore_notice,
)

SLOT, KEY, RESULT = "slot", "key", "result"
INSTEAD_OF = "instead_of"  # the number of a trial of ours that another program ended
WRITE_EVERY_S = 0.5  # so that other programs can show a running trial
RETRY = "killed, tried again: "  # how the reason of a crash that is retried begins
WITH_A_VALUE = PENALIZED | {TrialStatus.COMPLETE, TrialStatus.PRUNED}
VIOLATION = "constraints:ended"  # where Optuna 5 keeps Trial.set_constraint("ended", value)


_adapter: Callable[[type], pydantic.TypeAdapter[Any]] = functools.cache(pydantic.TypeAdapter)


@dataclasses.dataclass(frozen=True)
class TrialResult:
    """A trial's end and its numbers.

    `evaluations` are (sequences_seen, loss, skill, accuracy), `extrapolations` (factor,
    sequence_length, loss, skill, accuracy). `step_kind` is that of TrialOutcome.
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
    step_kind: str = ""

    def to_json(self) -> str:
        """The text that is stored with the trial; NaN is kept."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The result that `to_json` wrote. Raises ValueError, in one line, for any other text."""
        try:
            result: Self = _adapter(cls).validate_json(text, strict=True, extra="forbid")
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from None
        return result


@dataclasses.dataclass(frozen=True)
class SlotRecord:
    """A finished slot. `value` is the objective's; None where the trial has none."""

    slot: int
    key: str
    params: Mapping[str, Value]
    value: float | None
    result: TrialResult


@dataclasses.dataclass(frozen=True)
class Attempt:
    """A trial whose slot ran again, and the reason."""

    key: str
    params: Mapping[str, Value]
    end: TrialStatus
    reason: str


@dataclasses.dataclass(frozen=True)
class Stored:
    """All stored slots by key: the finished ones, and the parameters of those that run again."""

    finished: Mapping[str, SlotRecord]
    again: Mapping[str, Mapping[str, Value]]


@dataclasses.dataclass
class _Curve:
    """The values of a running trial that are not written yet, and the time of the last write."""

    unwritten: dict[int, float] = dataclasses.field(default_factory=dict)
    written_at: float = -math.inf  # the first value is written at once


class Ledger:
    """The trials of one Optuna study. `notify` gets a line about changes by other programs."""

    def __init__(
        self,
        storage: RetryingStorage,
        study_id: int,
        notify: Notify = ignore_notice,
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
        """Create a RUNNING trial in one transaction. Returns its id."""
        template = create_trial(
            state=TrialState.RUNNING,
            params=dict(params),
            distributions=dict(distributions),
            user_attrs={SLOT: slot, KEY: key},
        )
        with _study_exists():
            return self.storage.create_new_trial(self.study_id, template_trial=template)

    def report(self, trial_id: int, step: int, value: float) -> None:
        """Take the objective's value at an evaluation.

        Fast evaluations are stored together, at the latest at the end.
        """
        curve = self.curves[trial_id]
        curve.unwritten[step] = value
        if self.storage.clock.monotonic() - curve.written_at >= WRITE_EVERY_S:
            with (
                _study_exists(),
                contextlib.suppress(UpdateFinishedTrialError),
            ):  # `finish` handles it
                self._write(trial_id)

    def _write(self, trial_id: int) -> None:
        curve = self.curves[trial_id]
        if curve.unwritten:
            self.storage.set_trial_intermediate_values(trial_id, curve.unwritten)
        self.curves[trial_id] = _Curve(written_at=self.storage.clock.monotonic())

    def finish(self, trial_id: int, value: float | None, result: TrialResult) -> None:
        """Store a trial's result, then end it.

        If another program has ended it, both go to a further trial.
        """
        with _study_exists():
            try:
                self._finish(trial_id, value, result)
            except UpdateFinishedTrialError:
                if not self._is_finished(trial_id, value, result):
                    self._finish_in_further_trial(trial_id, value, result)
        self.curves.pop(trial_id, None)

    def _finish(self, trial_id: int, value: float | None, result: TrialResult) -> None:
        self._write(trial_id)
        self.storage.set_trial_user_attr(trial_id, RESULT, result.to_json())
        if result.end in PENALIZED:
            self.storage.set_trial_system_attr(trial_id, VIOLATION, 1.0)
        values = None if value is None else [value]
        self.storage.set_trial_state_values(trial_id, state_of(result.end, value), values)

    def _is_finished(self, trial_id: int, value: float | None, result: TrialResult) -> bool:
        """Whether we have written this end already, before a connection was lost."""
        trial = self.storage.get_trial(trial_id)
        same = trial.user_attrs.get(RESULT) == result.to_json()
        return same and trial.state is state_of(result.end, value)

    def _finish_in_further_trial(
        self, trial_id: int, value: float | None, result: TrialResult
    ) -> None:
        """Store a trial that another program ended as a further trial, in one transaction."""
        old = self.storage.get_trial(trial_id)
        further = create_trial(
            state=state_of(result.end, value),
            value=value,
            params=old.params,
            distributions=old.distributions,
            user_attrs={**old.user_attrs, RESULT: result.to_json(), INSTEAD_OF: old.number},
            system_attrs={VIOLATION: 1.0} if result.end in PENALIZED else {},
            intermediate_values={**old.intermediate_values, **self.curves[trial_id].unwritten},
        )
        new_id = self.storage.create_new_trial(self.study_id, template_trial=further)
        number = self.storage.get_trial(new_id).number
        self.notify(
            f"another program ended trial {old.number} while it ran ({old.state.name}): what it found is "
            f"stored as trial {number}"
        )

    def read(self) -> Stored:
        """All stored slots. Ends RUNNING trials with FAIL first."""
        finished: dict[str, SlotRecord] = {}
        again: dict[str, Mapping[str, Value]] = {}
        for trial in self._trials():
            slot, key = trial.user_attrs.get(SLOT), trial.user_attrs.get(KEY)
            if slot is None or key is None:
                continue  # a trial that another program added
            _check_edited(trial, slot, key)
            if not trial.state.is_finished():
                self._interrupt_unfinished(trial)
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
        """All trials."""
        # Pause the GC: it found nothing and took two thirds of the time
        collects = gc.isenabled()
        gc.disable()
        try:
            return self.storage.get_all_trials(self.study_id, deepcopy=False)
        finally:
            if collects:
                gc.enable()

    @staticmethod
    def _result(number: int, stored: str | None) -> TrialResult | None:
        """The result that is stored with a trial, or None; StorageError if it is unreadable."""
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
        """End a trial with FAIL, so that its slot runs again. A finished one keeps its end."""
        result = TrialResult(TrialStatus.INTERRUPTED, seed=0, reason="the study was interrupted")
        with _study_exists(), contextlib.suppress(UpdateFinishedTrialError):
            self._finish(trial_id, None, result)
        self.curves.pop(trial_id, None)

    def _interrupt_unfinished(self, trial: FrozenTrial) -> None:
        get_id = self.storage.get_trial_id_from_study_id_trial_number
        self.interrupt(get_id(self.study_id, trial.number))

    def attempts(self) -> list[Attempt]:
        """The trials that did not end their slots, in the order of their start.

        Call it when no trial runs. A RUNNING one was created twice while the storage did not
        answer; it is ended with FAIL.
        """
        found = []
        trials = self._trials()
        others = [trial.user_attrs.get(INSTEAD_OF) for trial in trials]
        stored_anew = {number for number in others if isinstance(number, int)}
        for trial in trials:
            key, stored = trial.user_attrs.get(KEY), trial.user_attrs.get(RESULT)
            if key is None or trial.number in stored_anew:
                continue
            if not trial.state.is_finished():
                self._interrupt_unfinished(trial)
            result = self._result(trial.number, stored)
            if result is None:
                lost = "ended by another program" if trial.state.is_finished() else "begun twice"
                found.append(Attempt(key, trial.params, TrialStatus.INTERRUPTED, lost))
            elif result.end is TrialStatus.INTERRUPTED or not _is_last(result):
                reason = result.reason.removeprefix(RETRY)
                found.append(Attempt(key, trial.params, result.end, reason))
        return found


@contextlib.contextmanager
def _study_exists() -> Iterator[None]:
    """Raise StorageError for Optuna's KeyError: the study is gone."""
    try:
        yield
    except KeyError as error:
        raise StorageError(
            "the study is gone from its storage: another program deleted it; run the same command again, "
            "which starts it over"
        ) from error


def _check_edited(trial: FrozenTrial, slot: object, key: object) -> None:
    """Refuse a trial whose slot, key or value another program has changed to another type."""
    is_number = isinstance(slot, int) and not isinstance(slot, bool) and slot >= 0
    for name, expected, got, is_right in (
        (SLOT, "a whole number", slot, is_number),
        (KEY, "a text", key, isinstance(key, str)),
        ("value", "a number", trial.values, isinstance(trial.value, float | int | None)),
    ):
        if not is_right:
            raise StorageError(
                f"trial {trial.number}: {name}: expected {expected}, got {got!r:.200}: another program "
                "changed it; start over with --fresh"
            )


def _is_last(result: TrialResult) -> bool:
    """Whether a result ends its slot: a crash that is retried does not."""
    return not (result.end is TrialStatus.CRASHED and result.reason.startswith(RETRY))


def state_of(end: TrialStatus, value: float | None) -> TrialState:
    """The Optuna state of an end: COMPLETE or PRUNED with a value, FAIL without."""
    if value is None:
        return TrialState.FAIL
    return TrialState.PRUNED if end is TrialStatus.PRUNED else TrialState.COMPLETE
