"""A plug-in with which the process that loads it starts no process for a while.

Forks fail for $FORKS_FAIL_FOR_S seconds after the import, and the first $SERVERS_FAIL fork servers
are not started, as without memory.
"""

from __future__ import annotations

import errno
import os
import subprocess
import time
from typing import Any

forks_from = time.monotonic() + float(os.environ.get("FORKS_FAIL_FOR_S", "0"))
servers_to_fail = int(os.environ.get("SERVERS_FAIL", "0"))
fork, popen = os.fork, subprocess.Popen


def fail_to_fork() -> int:
    """As os.fork, but not for a while."""
    if time.monotonic() < forks_from:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return fork()


def fail_to_spawn(command: Any, *arguments: Any, **options: Any) -> subprocess.Popen[Any]:
    """As subprocess.Popen, but for the first fork servers."""
    global servers_to_fail  # noqa: PLW0603  # it counts
    if servers_to_fail > 0 and "harness.study.execution.fork_server" in command:
        servers_to_fail -= 1
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return popen(command, *arguments, **options)


os.fork = fail_to_fork
subprocess.Popen = fail_to_spawn  # type: ignore[assignment,misc]
