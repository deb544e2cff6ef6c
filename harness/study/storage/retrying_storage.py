"""An Optuna storage that retries while its database does not answer, for ten minutes at most.

A server that restarts and a file that another program locks recover by themselves, so it waits for
them. A full disk, a file that is not writable and a damaged one do not: it raises at once.

Every write is idempotent except `create_new_trial`. A trial that was created twice stays RUNNING
and is found later.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import (
    NOT_FOUND_MSG,
    TrialIntermediateValueModel,
    TrialModel,
)
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from harness.errors import LONGEST_PHRASE, FileError, HarnessError, StorageError
from harness.study import backoff
from harness.study.backoff import Backoff, Clock

CHECK_LOCK_EVERY_S = 60.0
FULL = ("SQLITE_FULL", "SQLITE_IOERR")
LOCKED = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")
# What Optuna raises for attributes, parameters or states that it did not write
EDITED = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RecursionError,
)
T = TypeVar("T")
Notify = Callable[[str], None]


def ignore_notice(text: str) -> None:
    """Ignore the text."""


class Unanswered(Exception):  # noqa: N818  # never leaves this package: `retry` handles it
    """The database did not answer, or refused.

    Unlike the driver's error, Optuna does not catch it and retry in silence.
    """

    def __init__(self, error: sqlalchemy.exc.DBAPIError) -> None:
        super().__init__(first_line(error.orig))
        self.error = error


def _let_pass(context: sqlalchemy.engine.ExceptionContext) -> None:
    error = context.sqlalchemy_exception
    if isinstance(error, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError) or (
        isinstance(error, sqlalchemy.exc.DBAPIError) and context.is_disconnect
    ):
        raise Unanswered(error) from context.original_exception


class RetryingStorage(RDBStorage):
    """Optuna's storage, each of whose calls retries while the database does not answer.

    Messages and errors call it `display_name`. `check_lock` is called when the database answers
    again, before anything is written. It is also called once a minute, because a server may end the
    lock's connection alone. Raises StorageError after `max_wait_s`, FileError where the disk is
    full.
    """

    def __init__(self, url: str, display_name: str) -> None:
        super().__init__(url)
        sqlalchemy.event.listen(self.engine, "handle_error", _let_pass)
        self.display_name = display_name
        self.notify: Notify = ignore_notice
        self.check_lock: Callable[[], None] = lambda: None
        self.max_wait_s = backoff.MAX_WAIT_S
        self.clock: Clock = time
        self.checked_at = self.clock.monotonic()

    def retry(self, action: Callable[[], T]) -> T:
        """The action's result, retried until the database answers."""
        pauses, trouble = Backoff(self.clock.monotonic(), self.max_wait_s), ""
        while True:
            try:
                if trouble or self.clock.monotonic() - self.checked_at >= CHECK_LOCK_EVERY_S:
                    self.check_lock()
                    self.checked_at = self.clock.monotonic()
                found = action()
            except Unanswered as error:
                if problem := permanent_error(self.display_name, error.error.orig):
                    raise problem from error
                trouble = str(error)
            except (StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
                cause = error.__cause__ if isinstance(error, StorageInternalError) else error
                raise StorageError(f"{self.display_name}: refused ({first_line(cause)})") from error
            else:
                if trouble:
                    waited_s = self.clock.monotonic() - pauses.begin
                    self.notify(f"{self.display_name} answers again after {waited_s:.0f} s")
                return found
            now = self.clock.monotonic()
            pause_s = pauses.next_pause_s(now)
            if pause_s is None:
                self.max_wait_s = 0.0  # the clean-up that follows does not wait again
                raise StorageError(
                    f"{self.display_name}: no answer for {now - pauses.begin:.0f} s ({trouble}); run the "
                    "same command again when it is back: what was finished is kept"
                )
            if pauses.is_announced:
                self.notify(
                    f"{self.display_name} does not answer ({trouble}): waiting, {pauses.left_s(now):.0f} s at most"
                )
            self._pause(pause_s)

    def _read(self, action: Callable[[], T]) -> T:
        """The same for an action that reads attributes, parameters or states.

        Raises StorageError for those that Optuna did not write. Its KeyError passes: no such study
        or trial.
        """
        try:
            return self.retry(action)
        except EDITED as error:
            if error.args == (NOT_FOUND_MSG,):
                raise
            raise StorageError(
                f"{self.display_name}: what is stored cannot be read ({first_line(error)}): another "
                "program changed it; start over with --fresh"
            ) from error

    def _pause(self, pause_s: float) -> None:
        try:
            self.clock.sleep(pause_s)
        except BaseException:  # after Ctrl-C nothing waits
            self.max_wait_s = 0.0
            raise

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        return self.retry(lambda: RDBStorage.create_new_study(self, directions, study_name))

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self.retry(lambda: RDBStorage.set_study_user_attr(self, study_id, key, value))

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._read(lambda: RDBStorage.get_study_user_attrs(self, study_id))

    def get_study_id_from_name(self, study_name: str) -> int:
        return self.retry(lambda: RDBStorage.get_study_id_from_name(self, study_name))

    def get_all_studies(self) -> list[FrozenStudy]:
        return self._read(lambda: RDBStorage.get_all_studies(self))

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        return self._read(lambda: RDBStorage.create_new_trial(self, study_id, template_trial))

    def set_trial_intermediate_values(self, trial_id: int, values: Mapping[int, float]) -> None:
        """Store values at steps that have none, in one transaction.

        Ten values take a thirtieth of the time of ten calls of Optuna. Raises KeyError for an
        unknown trial and UpdateFinishedTrialError for a finished one, as Optuna does.
        """
        self.retry(lambda: self._insert_intermediate_values(trial_id, values))

    def _insert_intermediate_values(self, trial_id: int, values: Mapping[int, float]) -> None:
        query = sqlalchemy.select(TrialModel.state).where(TrialModel.trial_id == trial_id)
        stored = TrialIntermediateValueModel.intermediate_value_to_stored_repr
        columns = ("trial_id", "step", "intermediate_value", "intermediate_value_type")
        rows = [
            dict(zip(columns, (trial_id, step, *stored(value)), strict=True))
            for step, value in values.items()
        ]
        # IntegrityError: all were written before the connection was lost
        with contextlib.suppress(sqlalchemy.exc.IntegrityError), self.engine.begin() as connection:
            state = connection.execute(query).scalar_one_or_none()
            if state is None:
                raise KeyError(trial_id)
            self.check_trial_is_updatable(trial_id, state)
            connection.execute(sqlalchemy.insert(TrialIntermediateValueModel), rows)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.retry(lambda: RDBStorage.set_trial_user_attr(self, trial_id, key, value))

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.retry(lambda: RDBStorage.set_trial_system_attr(self, trial_id, key, value))

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        return self.retry(lambda: RDBStorage.set_trial_state_values(self, trial_id, state, values))

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self._read(lambda: RDBStorage.get_trial(self, trial_id))

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        return self.retry(
            lambda: RDBStorage.get_trial_id_from_study_id_trial_number(self, study_id, trial_number)
        )

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Any = None,
    ) -> list[FrozenTrial]:
        return self._read(lambda: RDBStorage.get_all_trials(self, study_id, deepcopy, states))


def permanent_error(display_name: str, error: BaseException | None) -> HarnessError | None:
    """The error of a SQLite file that does not recover by itself.

    None for a lock, and for every error of a server.
    """
    if not isinstance(error, sqlite3.Error):
        return None
    name = getattr(error, "sqlite_errorname", "")  # absent for errors of Python's own module
    if name.startswith(LOCKED):
        return None
    if name.startswith(FULL):
        return FileError(display_name, first_line(error))
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return StorageError(f"{display_name}: cannot be written ({first_line(error)})")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StorageError(
            f"{display_name}: not a storage that can be read ({first_line(error)}); "
            "name another with --storage, or move it aside"
        )
    return StorageError(f"{display_name}: refused ({first_line(error)})")


def first_line(error: BaseException | None) -> str:
    """An error's first line, cut where it is long, or its type where it has no text."""
    lines = str(error).strip().splitlines()
    return lines[0][:LONGEST_PHRASE] if lines else type(error).__name__
