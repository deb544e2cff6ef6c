"""What the phases of a study share: options, storage and observer. Runs nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.config import StudySpec
from harness.metric_definitions import OBJECTIVES
from harness.study.backoff import Clock
from harness.study.coordinator import TrialProgress
from harness.study.execution.prewarmed_server import ServerProcess
from harness.study.storage.retrying_storage import RetryingStorage
from harness.study.storage.study_identity import open_study
from harness.study.storage.trial_ledger import Ledger
from harness.study.trials_to_run import SearchKey, TrialSource


@dataclasses.dataclass(frozen=True)
class StudyOptions:
    """The options of the command line.

    `device` is resolved ("cpu", "cuda:0"). `storage` "" is SQLite in the results. The report shows
    `command`; errors name the study file `where`. `standby` is a fork server that loads torch
    already; its maker closes it.
    """

    results: Path
    device: str
    workers: int
    storage: str = ""
    timeout_s: float | None = None
    plugins: tuple[str, ...] = ()
    deterministic: bool = False
    fresh: bool = False
    spawn: bool | None = None
    command: str = ""
    where: str = "study file"
    standby: ServerProcess | None = None


class StudyObserver:
    """Gets the progress of a study. This one ignores it."""

    def phase(self, name: str, sources: Sequence[TrialSource], total: int) -> None:
        """A phase begins; `total` counts its trials or other pieces of work."""

    def progress(self, progress: TrialProgress) -> None:
        """A trial started, was evaluated or ended."""

    def note(self, text: str) -> None:
        """Something that the user should know, in one line."""


@dataclasses.dataclass(frozen=True)
class StudyRun:
    """One run of one study. `identity` is what may not change between its sessions."""

    spec: StudySpec
    options: StudyOptions
    storage: RetryingStorage
    identity: Mapping[str, Any]
    observer: StudyObserver = dataclasses.field(default_factory=StudyObserver)

    @property
    def clock(self) -> Clock:
        """The clock of its limits: the storage's."""
        return self.storage.clock

    @property
    def directory(self) -> Path:
        """The folder of its results."""
        return results_of(self.spec, self.options)

    def name_of(self, key: SearchKey, suffix: str = "") -> str:
        """The name of a search's Optuna study."""
        return f"{self.spec.study.name}/{key.task}/{key.cell}/r{key.repeat}{suffix}"

    def open(self, key: SearchKey, suffix: str = "") -> Ledger:
        """The Optuna study of a search: created, or opened after checking its identity."""
        direction = OBJECTIVES[self.spec.search.objective].direction
        name, where = self.name_of(key, suffix), self.options.where
        study_id = open_study(self.storage, name, direction, self.identity, where=where)
        return Ledger(self.storage, study_id, self.observer.note)


def results_of(spec: StudySpec, options: StudyOptions) -> Path:
    """The folder of a study's results."""
    return options.results / spec.study.name
