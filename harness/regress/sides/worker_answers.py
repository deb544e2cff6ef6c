"""What side_worker.py answers, as frozen dataclasses: one for each answer that is passed on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.regress.json_files import Scalar


@dataclass(frozen=True)
class LoadedSteps:
    """The benchmarks of a file of steps, and the threads that its process uses."""

    names: tuple[str, ...]
    threads: int


@dataclass(frozen=True)
class StepMemory:
    """The most bytes of two steps, and what the process held before; None: not known."""

    kind: str
    peak_bytes: int | None
    before_bytes: int | None


@dataclass(frozen=True)
class StepProfile:
    """Seconds a step that each operator took itself, and those of the whole step."""

    operators: Mapping[str, float]
    step_time_s: float


@dataclass(frozen=True)
class SideFacts:
    """What decides speed in a process: the machine and its versions, variables and packages."""

    machine: Mapping[str, Scalar]
    settings: Mapping[str, str]
    packages: Mapping[str, str]

    def without_packages(self) -> dict[str, Scalar | Mapping[str, str]]:
        """The facts that a result file keeps."""
        return {**self.machine, "settings": dict(self.settings)}


def facts_of(answer: Mapping[str, Any]) -> SideFacts:
    """The answer to the command `facts`."""
    machine = {key: answer[key] for key in answer if key not in ("settings", "packages")}
    return SideFacts(machine, answer["settings"], answer["packages"])
