"""Peak memory of a training step. CUDA: what the allocator held.

CPU: the high-water mark of a fresh process.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import final

import torch

from harness.cells import get_cell, num_parameters_of_stack
from harness.tasks import get_task
from harness.tasks.base import Lengthened
from harness.timing.benchmark_request import Benchmark
from harness.timing.build_steps import N_BATCHES

MEMORY_STEPS = (
    2  # the first step makes the optimiser's state, the second one holds everything at once
)
PROBE_TIMEOUT_S = 120.0
CUDA_ALLOCATOR = "cuda_allocator"
PROCESS_HIGH_WATER = "process_high_water"


@final
@dataclasses.dataclass(frozen=True)
class PeakMemory:
    """The most memory that a benchmark needed at once, in bytes, and what `kind` of number that is.

    `cuda_allocator`: what the allocator held for the model, its optimiser, batches and activations,
    without the CUDA context. `process_high_water`: the resident memory of a fresh process that took
    two training steps, Python and torch included; `before_bytes` is its mark before the model was
    built. None: not measured here.
    """

    kind: str
    peak_bytes: int | None
    before_bytes: int | None = None


def step_bytes_needed(benchmark: Benchmark) -> int:
    """About how many bytes a training step holds at once, beside Python and torch.

    To see whether it can fit before it is built.

    Weights, gradients, two moments and the kept first weights; the batches; and what backward reads
    of each step: gates, states and inputs, with their gradients. A cell of unknown gates is taken
    to have four.
    """
    cell, task = get_cell(benchmark.cell), get_task(benchmark.task)
    gates, hidden = cell.gates or 4, benchmark.hidden_size
    length = benchmark.sequence_length
    steps = task.steps(length) if isinstance(task, Lengthened) else length
    weights = num_parameters_of_stack(gates, task.input_size, hidden, benchmark.num_layers)
    held = task.input_size * N_BATCHES + benchmark.num_layers * (gates + 2) * hidden
    outputs = 2 * task.output_size if task.dense else 0
    return 4 * (5 * weights + benchmark.batch_size * steps * (held + outputs))


def high_water_bytes() -> int | None:
    """The most resident memory that this process has held.

    None where the system does not say (Windows).

    Linux reads VmHWM, because ru_maxrss of a new process starts from that of the process which
    started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return None
    import resource  # Unix alone has it

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def cuda_peak(device: str) -> Iterator[list[PeakMemory]]:
    """Append to the list, at the end, what the CUDA allocator held for the block at most.

    Nothing for a CPU.
    """
    found: list[PeakMemory] = []
    if not device.startswith("cuda"):
        yield found
        return
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    yield found
    peak = torch.cuda.max_memory_allocated(device) - before
    found.append(PeakMemory(CUDA_ALLOCATOR, peak, 0))


def probe_in_fresh_process(request: str) -> PeakMemory:
    """The high-water mark of a new process after two training steps of the only benchmark.

    `request` is JSON. Raises RuntimeError where that process fails, naming its signal or its last
    line: what can't take two steps there must not be tried where others are timed.
    """
    command = [sys.executable, "-m", "harness.timing", "--memory"]
    try:
        done = subprocess.run(
            command,
            input=request,
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"two training steps took more than {PROBE_TIMEOUT_S:.0f} s") from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"ended with exit code {done.returncode}"]
        cause = f"killed by signal {-done.returncode}" if done.returncode < 0 else lines[-1]
        raise RuntimeError(f"two training steps in a process of their own failed: {cause}")
    return PeakMemory(**json.loads(done.stdout))
