"""What coordinator and workers say to each other.

Plain data that travels as JSON, so that remote workers fit.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Any, Protocol

MESSAGE = struct.Struct("!cq")  # to the fork server: s(tart) or k(ill) and the request's id
ANSWER = struct.Struct("!cqi")  # from it: r(eady), or e(nded) with the id and os.waitpid's status
LENGTH = struct.Struct("!q")  # of the JSON list of plug-ins, which the fork server is told first


@dataclasses.dataclass(frozen=True)
class TrialRequest:
    """One trial to run. `training` is TrainingConfig.to_dict(); `memory_bytes` 0 sets no limit.

    `weights` names a file to which the trained weights go; with it the gradient gains are measured
    too.
    """

    request_id: int
    training: dict[str, Any]
    plugins: tuple[str, ...] = ()
    memory_bytes: int = 0
    weights: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Event:
    """What came back: `kind` is "evaluation", "outcome" or "ended" (the process is gone; `data["how"]` says how).

    `data["unwritten"]` of an outcome says why the weights could not be written, by errno and in
    words.
    """

    request_id: int
    kind: str
    data: dict[str, Any]


class Executor(Protocol):
    """Runs trials somewhere. Used by one thread only."""

    @property
    def num_workers(self) -> int:
        """Trials that may run at the same time."""
        ...

    def new_id(self) -> int:
        """A number for a request that no other request to this executor has had."""
        ...

    def submit(self, request: TrialRequest) -> None:
        """Start a trial."""
        ...

    def next_event(self, timeout_s: float | None) -> Event | None:
        """Wait for the next event; None when `timeout_s` seconds pass without one."""
        ...

    def cancel(self, request_id: int) -> None:
        """Kill a trial; nothing more is heard of it."""
        ...

    def close(self) -> None:
        """Kill what runs and give everything back."""
        ...
