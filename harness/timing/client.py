"""Asks `python -m harness.timing`, in a process of its own, to time something.

Times nothing itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from harness.errors import WorkerError

TIMEOUT_S = 1_800.0  # for one request: a step that hangs must not keep the report away


def ask(request: Mapping[str, Any], timeout_s: float | None = TIMEOUT_S) -> dict[str, Any]:
    """Run `python -m harness.timing` in a process of its own; None: however long it takes.

    Raises WorkerError where it fails.
    """
    try:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "harness.processes.die_with_parent"),
                *(str(os.getpid()), "harness.timing"),
            ],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise WorkerError(f"timing took longer than {timeout_s:g} s") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise WorkerError(f"timing failed: {lines[-1]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
