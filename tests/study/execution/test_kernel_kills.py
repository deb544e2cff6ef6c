"""Which SIGKILLs came from the kernel."""

from __future__ import annotations

import time
from types import SimpleNamespace

from harness.study.execution.kernel_kills import KILLS_COUNT_S, KernelKills


def test_two_kills_between_two_looks() -> None:
    """Each memory kill that the kernel counted explains one SIGKILL, also a later one."""
    counted = 5
    kills = KernelKills(lambda: counted)
    assert not kills.explain_one()  # those before this study explain nothing
    counted = 7
    assert [kills.explain_one() for _ in range(3)] == [True, True, False]


def test_old_kills_explain_nothing() -> None:
    """A memory kill of another program does not explain a SIGKILL hours later."""
    counted, now_s = 0, 0.0
    clock = SimpleNamespace(monotonic=lambda: now_s, sleep=time.sleep)
    kills = KernelKills(lambda: counted, clock)
    counted = 2
    assert kills.explain_one()
    now_s = KILLS_COUNT_S + 1
    assert not kills.explain_one()
