"""Runs of the command until a simulated study is done, and what must hold after each step."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from harness.config import StudySpec
from harness.errors import HarnessError, InputError
from harness.study.execution.local_executor import LocalExecutor, ProcessLayer
from harness.study.phases.train_winners import best_of, common_trials
from harness.study.phases.write_tables import StudyTables, make_tables
from harness.study.run import run_confirmations, run_searches, search_keys
from harness.study.run_context import StudyOptions, StudyRun
from harness.study.search.optuna_trials import open_search
from harness.study.storage.trial_ledger import KEY, RESULT, RETRY
from tests.small import small_spec
from tests.study.simulator.plan import Faults, Life, Plan, draw_plan
from tests.study.simulator.processes import (
    STOP_S,
    Launches,
    Messages,
    SimulatedSystem,
)
from tests.study.simulator.storage import SimulatedStorage
from tests.study.simulator.world import BrokenPromise, World

MOST_LIVES = 12  # a study that is not done after so many never will be
OUTAGES_S = (0.0, 0.3, 30.0)


class CoordinatorKilled(BaseException):
    """SIGKILL of the coordinator: nothing is written after it."""


class FinishedTrials:
    """The finished slots of a storage: each stays as it is, once."""

    def __init__(self, memory: InMemoryStorage) -> None:
        self.memory = memory
        self.finished: dict[tuple[int, str], tuple[int, str]] = {}
        self.studies: dict[int, int] = {}

    def created(self, study_id: int, trial_id: int) -> None:
        """A trial was created."""
        self.studies[trial_id] = study_id
        key = (study_id, str(self.memory.get_trial(trial_id).user_attrs[KEY]))
        if key in self.finished:
            raise BrokenPromise(f"slot {key} was finished and runs again")

    def ended(self, trial_id: int) -> None:
        """A trial was ended."""
        trial = self.memory.get_trial(trial_id)
        if not ends_slot(trial):
            return
        key = (self.studies[trial_id], str(trial.user_attrs[KEY]))
        if key in self.finished:
            raise BrokenPromise(f"slot {key} was finished twice")
        self.finished[key] = (trial_id, trial.user_attrs[RESULT])

    def check(self) -> None:
        """Each is still there, as it was."""
        for key, (trial_id, result) in self.finished.items():
            if self.memory.get_trial(trial_id).user_attrs[RESULT] != result:
                raise BrokenPromise(f"slot {key} has another result")

    def check_none_runs(self) -> None:
        """No trial is RUNNING."""
        for trial_id in self.studies:
            if not self.memory.get_trial(trial_id).state.is_finished():
                raise BrokenPromise(f"trial {trial_id} is RUNNING after the end")


def ends_slot(trial: FrozenTrial) -> bool:
    """Whether a trial ended its slot, read from what is stored."""
    if trial.state is TrialState.RUNNING or RESULT not in trial.user_attrs:
        return False
    result = json.loads(trial.user_attrs[RESULT])
    retried = result["end"] == "crashed" and result["reason"].startswith(RETRY)
    return result["end"] != "interrupted" and not retried


@dataclasses.dataclass
class Stop:
    """Stops a life after a number of occasions."""

    world: World
    system: SimulatedSystem
    life: Life
    n_occasions: int = 0
    killed: bool = False
    no_storage_until: float = 0.0

    def occasion(self) -> None:
        """One more occasion, which may be the one."""
        if self.killed:
            raise CoordinatorKilled
        self.system.check_limits()
        self.n_occasions += 1
        if not self.life.stop or self.n_occasions != self.life.stop_after:
            return
        self.world.tell(f"stop: {self.life.stop}")
        if self.life.stop == "kill":
            self.killed = True
            raise CoordinatorKilled
        if self.life.stop == "interrupt":
            raise KeyboardInterrupt
        if self.life.stop == "no processes":
            self.system.no_forks_until = self.world.now_s + STOP_S
        else:
            self.no_storage_until = self.world.now_s + STOP_S

    def storage_fails(self) -> bool:
        """Whether the storage does not answer now."""
        if self.world.happens(self.system.faults.storage_fails):
            lasts_s = self.world.lots.choice(OUTAGES_S)
            self.no_storage_until = max(self.no_storage_until, self.world.now_s + lasts_s)
            return True
        return self.world.now_s < self.no_storage_until


class WatchedStorage(SimulatedStorage):
    """Tells `watch` of each trial that is created or ended."""

    watch: FinishedTrials

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Create a trial."""
        create = self.memory.create_new_trial

        def create_and_tell(study: int, template: FrozenTrial | None) -> int:
            trial_id = create(study, template)
            self.watch.created(study, trial_id)
            return trial_id

        attrs = template_trial.user_attrs if template_trial else {}
        return self._write(
            f"study {study_id}: a trial of {attrs.get('key')}",
            lambda: create_and_tell(study_id, template_trial),
        )

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """End a trial."""

        def end_and_tell() -> bool:
            changed = self.memory.set_trial_state_values(trial_id, state, values)
            self.watch.ended(trial_id)
            return changed

        return self._write(f"trial {trial_id}: {state.name} {values}", end_and_tell)


@dataclasses.dataclass
class Simulation:
    """One simulated study: its world, its storage, and what is known of it."""

    plan: Plan
    world: World
    memory: InMemoryStorage = dataclasses.field(default_factory=InMemoryStorage)

    def __post_init__(self) -> None:
        self.watch = FinishedTrials(self.memory)

    def run(self) -> StudyTables:
        """Live every life, the last one until the study is done. Returns the tables."""
        lives = [*self.plan.lives]
        for _ in range(MOST_LIVES):
            life = lives.pop(0) if len(lives) > 1 else lives[0]
            tables = self._live(life)
            self.watch.check()
            if tables is not None and life is self.plan.lives[-1]:
                self.watch.check_none_runs()
                return tables
        raise BrokenPromise(f"not done after {MOST_LIVES} lives")

    def _live(self, life: Life) -> StudyTables | None:
        """One life; None where it was stopped."""
        spec = spec_of(life.settings)
        limit_s = None if self.plan.deterministic else spec.search.trial_timeout_s
        system = SimulatedSystem(self.world, self.plan.workers, self.plan.faults, limit_s)
        stop = Stop(self.world, system, life)
        self.world.tell(f"a life begins: {' '.join(life.settings)}")
        messages = Messages(self.world, self.plan.faults, stop.occasion)
        try:
            return self._phases(spec, system, stop, messages)
        except CoordinatorKilled:
            system.crash_all()
        except InputError as error:
            raise BrokenPromise(f"refused: {error}") from error
        except HarnessError as error:
            self.world.tell(f"ends with 1: {error}")
        except KeyboardInterrupt:
            self.world.tell("ends with 130")
        finally:
            left = system.alive()
            self.world.forget()
        if left:
            raise BrokenPromise(f"{len(left)} processes are left")
        return None

    def _phases(
        self, spec: StudySpec, system: SimulatedSystem, stop: Stop, messages: Messages
    ) -> StudyTables:
        storage = WatchedStorage(self.world, self.memory, stop.occasion, stop.storage_fails)
        storage.watch = self.watch
        options = StudyOptions(
            Path("results"), "cpu", self.plan.workers, deterministic=self.plan.deterministic
        )
        study = StudyRun(spec, options, storage, spec.identity())
        searches = [open_search(study, key) for key in search_keys(spec)]
        layer = ProcessLayer(Launches(self.world, system), messages, self.world, lambda: 0)
        executor = LocalExecutor(self.plan.workers, layer, self.world.tell)
        try:
            run_searches(study, executor, searches, self.world.now_s)
            common = common_trials(searches)
            winners = [winner for each in searches if (winner := best_of(each, common))]
            confirmations = run_confirmations(study, executor, winners)
            tables = make_tables(spec, searches, confirmations)
        finally:
            if not stop.killed:
                executor.close()
        return tables


@functools.lru_cache(maxsize=4096)
def spec_of(settings: tuple[str, ...]) -> StudySpec:
    """The small study with these settings."""
    with tempfile.TemporaryDirectory() as folder:
        return small_spec(Path(folder), *settings)


def simulate(seed: int, trace: list[str] | None = None) -> None:
    """Run the study of a seed with its faults, and compare its tables with an undisturbed run's.

    `trace` gets a line for each thing that happens. Raises BrokenPromise.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    plan = draw_plan(seed)
    world = World(seed)
    try:
        disturbed = Simulation(plan, world).run()
        calm = dataclasses.replace(plan, lives=plan.lives[-1:], faults=Faults())
        undisturbed = Simulation(calm, World(seed)).run()
        compare(undisturbed, disturbed)
    finally:
        if trace is not None:
            trace.append(repr(plan))
            trace.extend(world.trace)


def compare(undisturbed: StudyTables, disturbed: StudyTables) -> None:
    """Raise BrokenPromise for the first row that differs."""
    for field in dataclasses.fields(StudyTables):
        if field.name == "retries":  # they tell what happened
            continue
        wanted, got = (
            [comparable(row) for row in getattr(tables, field.name)]
            for tables in (undisturbed, disturbed)
        )
        for expected, row in zip(wanted, got, strict=False):
            if expected != row:
                what = {
                    key: (expected[key], row.get(key))
                    for key in expected
                    if expected[key] != row.get(key)
                }
                raise BrokenPromise(
                    f"{field.name}: {row} differs in {what} (undisturbed, disturbed)"
                )
        if len(wanted) != len(got):
            raise BrokenPromise(f"{field.name}: {len(got)} rows instead of {len(wanted)}")


def comparable(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without its times and its reason; NaN is equal to NaN."""
    return {
        key: "nan" if isinstance(value, float) and math.isnan(value) else value
        for key, value in row.items()
        if not key.endswith(("_s", "_per_second")) and key != "reason"
    }
