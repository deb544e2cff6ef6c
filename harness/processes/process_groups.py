"""Kills a process with all that it has started. Uses the standard library alone.

A process that leads a group of its own is killed with its group. On Windows there are no groups:
only the process itself is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Collection
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def lead_group() -> None:
    """Make this process the leader of a group of its own, where the system has groups."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):  # it leads a group or a session already
            os.setpgid(0, 0)


def kill_group(leader: int) -> None:
    """Kill every process of a group. Nothing happens where there is none."""
    if sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)


def kill_session(leader: int) -> None:
    """Kill every process of the session that `leader` leads or has led (Linux only)."""
    if sys.platform != "linux":
        return
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getsid(int(folder.name)) == leader:
                os.kill(int(folder.name), signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of every orphan among this process's descendants (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def list_children() -> set[int]:
    """The children of this process, which has one thread.

    Empty elsewhere than on Linux, and with a kernel that does not list them.
    """
    with contextlib.suppress(OSError):
        listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
        return {int(word) for word in listed.split()}
    return set()


def kill_children(*, but: Collection[int] = ()) -> None:
    """Kill every child that `list_children` names, except some; returns when they have ended."""
    # One that ends may leave children of its own, which `adopt_orphans` makes ours
    while children := list_children() - {*but}:
        for child in children:
            kill_group(child)
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
