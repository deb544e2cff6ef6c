"""Asks `python -m harness.timing`, in a process of its own, to time something.

Times nothing itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import overload

from harness.errors import WorkerError
from harness.timing.benchmark_request import TimingRequest
from harness.timing.inference_request import InferenceRequest
from harness.timing.timing_results import Answer, InferenceAnswer, TrainingAnswer

TIMEOUT_S = 1_800.0  # for one request: a step that hangs must not keep the report away


@overload
def ask(request: TimingRequest, timeout_s: float | None = ...) -> TrainingAnswer: ...
@overload
def ask(request: InferenceRequest, timeout_s: float | None = ...) -> InferenceAnswer: ...
def ask(request: TimingRequest | InferenceRequest, timeout_s: float | None = TIMEOUT_S) -> Answer:
    """Time what is asked for in a process of its own; `timeout_s` None is no limit.

    Raises WorkerError where it fails.
    """
    try:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "harness.processes.die_with_parent"),
                *(str(os.getpid()), "harness.timing"),
            ],
            input=json.dumps(request.to_dict()),
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
    plain = json.loads(done.stdout)
    if isinstance(request, InferenceRequest):
        return InferenceAnswer.from_json(plain)
    return TrainingAnswer.from_json(plain)
