"""Growing pauses while the database or the system does not answer. Never waits itself."""

from __future__ import annotations

import dataclasses
from typing import Protocol

MAX_WAIT_S = 600.0  # a server restarts in seconds, its machine in some minutes
PAUSES_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # the last one repeats


class Clock(Protocol):
    """What of the module `time` is used, so that a test can have its own time."""

    def monotonic(self) -> float:
        """Seconds since some moment."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Wait."""
        ...


@dataclasses.dataclass
class Backoff:
    """The pauses between tries since the first failure at `begin`, a reading of the clock."""

    begin: float
    max_wait_s: float = MAX_WAIT_S
    n_pauses: int = 0

    def next_pause_s(self, now: float) -> float | None:
        """Seconds until the next try; None where it would come after `max_wait_s`."""
        pause_s = PAUSES_S[min(self.n_pauses, len(PAUSES_S) - 1)]
        if self.left_s(now) <= pause_s:
            return None
        self.n_pauses += 1
        return pause_s

    def left_s(self, now: float) -> float:
        """Seconds until it gives up."""
        return self.begin + self.max_wait_s - now

    @property
    def is_announced(self) -> bool:
        """Whether the user is told of the pause that was asked for last: the first, the longest."""
        return self.n_pauses == 1 or self.n_pauses >= len(PAUSES_S)
