"""`python -m harness.processes.die_with_parent PARENT MODULE`.

Runs a module that dies with the process PARENT.

On Linux the kernel is asked to kill this process when PARENT ends, however it ends; elsewhere the
module just runs.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the process `parent` ends (Linux only).

    Exits at once where it has ended already.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit("the parent process is gone")


def outlive_parent() -> None:
    """Take back what `die_with_parent` has asked for."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, 0)


def main() -> None:
    """Ask for the signal, then run the module as the main program."""
    parent, module = sys.argv[1:3]
    del sys.argv[1:3]
    die_with_parent(int(parent))
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
