"""Finds out which SIGKILLs came from the kernel for lack of memory. Never kills."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from harness.study.backoff import Clock

KILLS_COUNT_S = 10.0  # a SIGKILL counts as the kernel's up to so long after the kernel counted it


def count_kills() -> int:
    """The kernel's count of kills for lack of memory: of this control group, or the machine."""
    for path in (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat")):
        with contextlib.suppress(OSError, ValueError):
            for line in path.read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return 0


class KernelKills:
    """Finds out which SIGKILLs came from the kernel for lack of memory.

    The kernel counts its kills but does not say which processes it killed. So each kill explains
    one SIGKILL that is noticed soon after.
    """

    def __init__(self, count: Callable[[], int] = count_kills, clock: Clock = time) -> None:
        self.count, self.clock = count, clock
        self.counted = count()
        self.unexplained, self.until = 0, 0.0

    def explain_one(self) -> bool:
        """Whether a SIGKILL that is noticed now was the kernel's."""
        now, counted = self.clock.monotonic(), self.count()
        if now > self.until:
            self.unexplained = 0
        if counted > self.counted:
            self.unexplained += counted - self.counted
            self.counted, self.until = counted, now + KILLS_COUNT_S
        if self.unexplained == 0:
            return False
        self.unexplained -= 1
        return True
