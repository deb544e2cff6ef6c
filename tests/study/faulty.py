"""A plug-in with a cell that fails as its hyperparameter `fault` says.

`hang_once` and `crash_once` fail on the first try of a slot and then train; they leave a mark for
it in $FAULTY_MARKS. `nan_at_3` yields NaN in the third training step; `explode` makes states
greater by 20 orders of magnitude with each.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from harness.cells import Cell, keep_pytorch, register_cell


def is_first_time(fault: str) -> bool:
    """Whether this is the first process that asks; whoever asks leaves a mark."""
    try:
        (Path(os.environ["FAULTY_MARKS"]) / fault).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def leave_a_child() -> None:
    """Fork a process that holds every descriptor of this one for some seconds."""
    if os.fork() == 0:
        time.sleep(4)
        os._exit(0)


def start_processes() -> list[int]:
    """Start a process, and one in a session of its own, as a daemon would be."""
    command = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
    nothing = subprocess.DEVNULL
    return [
        subprocess.Popen(
            command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=new_session
        ).pid
        for new_session in (False, True)
    ]


def start_something(fault: str) -> None:
    """Start processes and hang, or raise an error that tells their numbers."""
    started = start_processes()
    if fault.endswith("and_hang"):
        time.sleep(600)
    raise RuntimeError(" ".join(map(str, started)))


def fail(fault: str) -> None:  # noqa: C901  # a list of faults
    """Fail as `fault` says, or return."""
    if fault.startswith("start_processes"):
        start_something(fault)
    once = fault.endswith("_once")
    if fault == "none" or (once and not is_first_time(fault)):
        return
    if fault == "raise":
        raise RuntimeError("no such luck\nsecond line")
    if fault == "exit":
        os._exit(7)
    if fault == "segfault":
        ctypes.string_at(0)
    if fault in ("kill", "crash_once"):
        os.kill(os.getpid(), signal.SIGKILL)
    if fault in ("hang", "hang_once"):
        time.sleep(600)
    if fault == "memory":
        torch.empty(2**28)  # 1 GiB in float32
    if fault == "cuda_memory":
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    if fault == "settings":
        product = torch.tensor(1e-310, dtype=torch.float64) * 1
        raise ValueError(f"{torch.get_num_threads()} threads, 1e-310 * 1 = {product.item()}")
    if fault == "noise":
        raise ValueError(f"{random.random()} {np.random.rand()} {torch.rand(1).item()}")  # noqa: NPY002
    if fault == "fork_and_crash":
        leave_a_child()
        os._exit(7)


class FaultyCell(nn.Module):
    """nn.RNN, but for its fault."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int, *, fault: str) -> None:
        if fault == "raise_in_factory":
            raise RuntimeError("cannot be built")
        super().__init__()
        self.module = nn.RNN(input_size, hidden_size, num_layers, batch_first=True)
        self.fault = fault
        self.n_steps = 0  # of training

    def forward(self, inputs: Tensor) -> Tensor:
        """The states of nn.RNN; NaN where that is the fault."""
        print("a plug-in may print")
        print("also here", file=sys.stderr)
        if len(inputs) > 2:  # not in the rehearsal before a study
            fail(self.fault)
        if self.fault == "float32_only" and inputs.dtype is not torch.float32:
            raise RuntimeError("my kernel takes float32 alone")
        states: Tensor = self.module(inputs)[0]
        self.n_steps += torch.is_grad_enabled()
        if self.fault == "explode":
            return states * 10.0 ** min(20 * self.n_steps, 300)
        hit = self.fault in ("nan", f"nan_at_{self.n_steps}")
        return states * float("nan") if hit else states


register_cell(Cell("faulty", FaultyCell, 1, {"pytorch": keep_pytorch}, {"fault": "none"}))
