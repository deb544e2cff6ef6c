"""What the coordinator and a worker send each other: frozen data, one line of JSON each.

Nothing here depends on how a process is started, so a remote worker can send the same.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from harness.columns import TrialStatus
from harness.plugin_sources import Source
from harness.training.training_loop import Evaluation, Extrapolation, TrainingConfig

# How the reason of a complete trial begins that could not finish its longer sequences
NOT_EXTRAPOLATED = "not evaluated on longer sequences: "


@dataclasses.dataclass(frozen=True)
class TrialRequest:
    """One trial to run.

    `memory_bytes` 0 sets no limit. `weights` is the file to which the trained weights go, or empty;
    the initial weights go beside it. `sources` is what the coordinator has loaded of the plug-ins
    and of what they import: a worker that has loaded other source must not train. `deterministic`
    asks CUDA for the same numbers each time.
    """

    request_id: int
    config: TrainingConfig
    plugins: tuple[str, ...] = ()
    memory_bytes: int = 0
    weights: str = ""
    sources: Mapping[str, list[Source]] = dataclasses.field(default_factory=dict)
    deterministic: bool = False

    def to_line(self) -> str:
        """One line of JSON; `from_line` is the inverse."""
        return json.dumps({**vars(self), "config": self.config.to_dict()}) + "\n"

    @classmethod
    def from_line(cls, line: str) -> TrialRequest:
        """The request that `to_line` wrote."""
        plain = json.loads(line)
        config, plugins = TrainingConfig.from_dict(plain["config"]), tuple(plain["plugins"])
        return cls(**{**plain, "config": config, "plugins": plugins})


@dataclasses.dataclass(frozen=True)
class TrialOutcome:
    """How a trial ended and what it found after its last evaluation.

    `unwritten` says why the weights could not be written: the errno and its text. `other_source`
    names the plug-in, or the module, of which the worker has other source than the coordinator.
    `step_kind` is "captured" where a CUDA device replayed the steps, or why not; empty on a CPU.
    """

    end: TrialStatus
    reason: str = ""
    predictions: tuple[float, ...] = ()
    extrapolations: tuple[Extrapolation, ...] = ()
    traceback: str = ""
    unwritten: tuple[int, str] | None = None
    other_source: str = ""
    step_kind: str = ""


@dataclasses.dataclass(frozen=True)
class TrialStarted:
    """The first message of a trial: its process is ready to train. Time limits begin here."""


@dataclasses.dataclass(frozen=True)
class TrialTrained:
    """A trial has sent its last evaluation and goes on with longer sequences.

    `outcome` counts where it cannot finish them.
    """

    outcome: TrialOutcome


TrialMessage = TrialStarted | Evaluation | TrialTrained | TrialOutcome


@dataclasses.dataclass(frozen=True)
class ProcessEnded:
    """A trial's process is gone: as what its trial counts if it sent no outcome, and why."""

    end: TrialStatus
    how: str


@dataclasses.dataclass(frozen=True)
class Event:
    """A message of one trial, or the end of its process."""

    request_id: int
    message: TrialMessage | ProcessEnded


MESSAGES = {
    "started": TrialStarted,
    "evaluation": Evaluation,
    "trained": TrialTrained,
    "outcome": TrialOutcome,
}
"""The classes of messages by the names that they have on the line."""


def message_to_line(message: TrialMessage) -> str:
    """One line of JSON; `message_from_line` is the inverse."""
    (kind,) = (name for name, each in MESSAGES.items() if type(message) is each)
    return json.dumps({"kind": kind, **dataclasses.asdict(message)}) + "\n"


def message_from_line(line: str | bytes) -> TrialMessage:
    """The message that `message_to_line` wrote. Raises ValueError where the line is cut short."""
    plain: dict[str, Any] = json.loads(line)
    kind = plain.pop("kind")
    if kind == "evaluation":
        return Evaluation(**{**plain, "predictions": tuple(plain["predictions"])})
    if kind == "started":
        return TrialStarted()
    if kind == "trained":
        return TrialTrained(_outcome(plain["outcome"]))
    return _outcome(plain)


def _outcome(plain: dict[str, Any]) -> TrialOutcome:
    return TrialOutcome(
        **{
            **plain,
            "end": TrialStatus(plain["end"]),
            "predictions": tuple(plain["predictions"]),
            "extrapolations": tuple(Extrapolation(**each) for each in plain["extrapolations"]),
            "unwritten": plain["unwritten"] and tuple(plain["unwritten"]),
        }
    )
