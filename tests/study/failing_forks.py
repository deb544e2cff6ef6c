"""A plug-in with which the process that loads it cannot fork for a while, as without memory."""

from __future__ import annotations

import errno
import os
import time

FAILS_FOR_S = 1.0
fork = os.fork
first_try: float | None = None


def fail_to_fork() -> int:
    """As os.fork, but not within FAILS_FOR_S of the first call."""
    global first_try  # noqa: PLW0603
    first_try = time.monotonic() if first_try is None else first_try
    if time.monotonic() - first_try < FAILS_FOR_S:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return fork()


os.fork = fail_to_fork
