"""How a study is run, as opposed to what it is: options, and who is told how it goes.

Never runs anything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from harness.config import StudySpec
from harness.study.coordinator import Progress
from harness.study.execution.prewarmed_server import ServerProcess
from harness.study.search.trial_source import TrialSeries


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """What the command line says.

    `device` is resolved; `command` is shown in the report; `storage` "" is SQLite.

    `standby` is a fork server that loads torch already; whoever made it sees to its end.
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


class Watcher(Protocol):
    """Who is told how the study goes."""

    def phase(self, name: str, series: Sequence[TrialSeries], total: int) -> None:
        """A phase begins; `total` counts its trials or other pieces of work."""
        ...

    def progress(self, progress: Progress) -> None:
        """A trial started, was evaluated or ended."""
        ...

    def note(self, text: str) -> None:
        """Something worth a line."""
        ...


@dataclasses.dataclass(frozen=True)
class Course:
    """One run of one study."""

    spec: StudySpec
    options: RunOptions
    watcher: Watcher

    @property
    def directory(self) -> Path:
        """Where its results go."""
        return self.options.results / self.spec.study.name
