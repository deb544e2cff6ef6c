"""The simulated clock and what happens at which moment. Knows nothing of trials."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable

from harness.study.coordinator import MOST_WAIT_S


class BrokenPromise(AssertionError):  # noqa: N818  # what was promised, not an error of the code
    """Something that must hold does not."""


class World:
    """Time passes when somebody waits, and only then. `trace` tells what has happened."""

    def __init__(self, seed: int) -> None:
        self.lots = random.Random(seed)
        self.now_s = 0.0
        self.deaf_s = (
            0.0  # how long nobody could hear the trials: in `sleep`, and while all stood still
        )
        self.due: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.trace: list[str] = []

    def monotonic(self) -> float:
        """The time."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Let time pass, with all that happens meanwhile."""
        self.deaf_s += seconds
        until = self.now_s + seconds
        while self.next_at() <= until:
            self.step()
        self.now_s = max(self.now_s, until)

    def at(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something later."""
        heapq.heappush(self.due, (self.now_s + delay_s, next(self.order), action))

    def next_at(self) -> float:
        """When something happens next."""
        return self.due[0][0] if self.due else float("inf")

    def step(self) -> None:
        """Go to what happens next, and let it happen."""
        at, _, action = heapq.heappop(self.due)
        self.now_s = max(self.now_s, at)
        action()

    def jump(self, seconds: float) -> None:
        """The clock goes forward while everything stands still, as when the machine sleeps."""
        self.tell(f"the clock jumps by {seconds:.0f} s")
        self.now_s += seconds
        self.deaf_s += seconds + MOST_WAIT_S  # the wait in which it happens counts for no trial
        self.due = [(at + seconds, order, action) for at, order, action in self.due]

    def forget(self) -> None:
        """Nothing that was to happen does."""
        self.due.clear()

    def happens(self, probability: float) -> bool:
        """Draw a lot."""
        return self.lots.random() < probability

    def tell(self, line: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.now_s:10.3f} {line}")
