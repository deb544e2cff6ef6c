"""The harness's retries over a storage in memory that fails before or after a write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from harness.study import backoff
from harness.study.storage.retrying_storage import RetryingStorage, Unanswered
from tests.study.simulator.world import World

T = TypeVar("T")


class SimulatedStorage(RetryingStorage):
    """One life's connection to the storage, which outlives it.

    `occasion` is called before and after each write, and may raise. `fails` says whether the
    storage does not answer now.
    """

    def __init__(
        self,
        world: World,
        memory: InMemoryStorage,
        occasion: Callable[[], None],
        fails: Callable[[], bool],
    ) -> None:
        self.world, self.memory = world, memory
        self.occasion, self.fails = occasion, fails
        self.display_name = "the storage"
        self.notify = world.tell
        self.check_lock = lambda: None
        self.max_wait_s = backoff.MAX_WAIT_S
        self.clock = world
        self.checked_at = world.monotonic()

    def _read(self, action: Callable[[], T]) -> T:
        def ask() -> T:
            if self.fails():
                raise no_answer()
            return action()

        return self.retry(ask)

    def _write(self, what: str, action: Callable[[], T]) -> T:
        def ask() -> T:
            self.occasion()
            if self.fails():
                self.world.tell(f"no answer before {what}")
                raise no_answer()
            found = action()
            self.world.tell(what)
            self.occasion()
            if self.fails():
                self.world.tell(f"no answer after {what}")
                raise no_answer()
            return found

        return self.retry(ask)

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        """Create an Optuna study."""
        return self._write(
            f"create {study_name}", lambda: self.memory.create_new_study(directions, study_name)
        )

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Store an attribute of a study."""
        self._write(
            f"study {study_id}: {key}",
            lambda: self.memory.set_study_user_attr(study_id, key, value),
        )

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """The attributes of a study."""
        return self._read(lambda: self.memory.get_study_user_attrs(study_id))

    def get_study_id_from_name(self, study_name: str) -> int:
        """The id of a study."""
        return self._read(lambda: self.memory.get_study_id_from_name(study_name))

    def get_all_studies(self) -> list[FrozenStudy]:
        """Every study."""
        return self._read(self.memory.get_all_studies)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Create a trial."""
        attrs = template_trial.user_attrs if template_trial else {}
        return self._write(
            f"study {study_id}: a trial of {attrs.get('key')}",
            lambda: self.memory.create_new_trial(study_id, template_trial),
        )

    def set_trial_intermediate_values(self, trial_id: int, values: Mapping[int, float]) -> None:
        """Store a trial's curve."""

        def store() -> None:
            self.memory.check_trial_is_updatable(trial_id, self.memory.get_trial(trial_id).state)
            for step, value in values.items():
                self.memory.set_trial_intermediate_value(trial_id, step, value)

        self._write(f"trial {trial_id}: values at {[*values]}", store)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Store an attribute of a trial."""
        self._write(
            f"trial {trial_id}: {key}",
            lambda: self.memory.set_trial_user_attr(trial_id, key, value),
        )

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Store a system attribute of a trial."""
        self._write(
            f"trial {trial_id}: {key}",
            lambda: self.memory.set_trial_system_attr(trial_id, key, value),
        )

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """End a trial."""
        return self._write(
            f"trial {trial_id}: {state.name} {values}",
            lambda: self.memory.set_trial_state_values(trial_id, state, values),
        )

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """A trial."""
        return self._read(lambda: self.memory.get_trial(trial_id))

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """A trial's id."""
        find = self.memory.get_trial_id_from_study_id_trial_number
        return self._read(lambda: find(study_id, trial_number))

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Any = None
    ) -> list[FrozenTrial]:
        """The trials of a study."""
        return self._read(lambda: self.memory.get_all_trials(study_id, deepcopy, states))


def no_answer() -> Unanswered:
    """What a driver's error becomes where a server does not answer."""
    cause = ConnectionError("the server is away")
    return Unanswered(sqlalchemy.exc.OperationalError("", {}, cause))
