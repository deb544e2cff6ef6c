"""Time the benchmarks of a request. Never prints.

What can't be had here and what fails is named in the answer. Raw times of every block are kept;
what is derived from them stands beside them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.machine import resolve_device
from harness.timing.benchmark_request import TimingRequest
from harness.timing.benchmark_results import answer_of
from harness.timing.benchmark_session import ProgressCallback, Session
from harness.timing.build_steps import prepare
from harness.timing.memory import MEMORY_STEPS, PROCESS_HIGH_WATER, PeakMemory, high_water_bytes
from harness.timing.timing_results import TrainingAnswer
from harness.timing.variants import parse_variant
from harness.timing.worker_pool import WorkerPool


def measure_throughput(
    request: TimingRequest,
    workers: WorkerPool | None = None,
    progress: ProgressCallback = lambda _text: None,
) -> TrainingAnswer:
    """Time every benchmark of the request.

    Raises InputError for a device that is not there, before anything is timed. `workers` are
    started here and ended unless they are given; what they have prepared is dropped at the end, and
    where this is interrupted they are ended at once. `progress` is told what begins.
    """
    request = _resolved(request)
    started = time.monotonic()
    with contextlib.ExitStack() as held:
        if workers is None:
            workers = held.enter_context(WorkerPool(request.plugins))
        held.push(workers.after_request)
        folder = Path(held.enter_context(TemporaryDirectory()))
        measured = Session(request, workers, progress, folder).measure()
        return answer_of(request, measured, time.monotonic() - started)


def measure_memory(request: TimingRequest) -> PeakMemory:
    """The high-water mark of this process after two training steps of the only benchmark."""
    (benchmark,) = request.benchmarks
    before = high_water_bytes()
    subject = prepare(benchmark, request.seed)
    for _ in range(MEMORY_STEPS):
        subject.step()
    return PeakMemory(PROCESS_HIGH_WATER, high_water_bytes(), before)


def _resolved(request: TimingRequest) -> TimingRequest:
    """The same request with each device as torch names it, and each variant by its own name."""
    benchmarks = tuple(
        dataclasses.replace(
            benchmark,
            device=resolve_device(benchmark.device),
            variant=parse_variant(benchmark.variant).name,
        )
        for benchmark in request.benchmarks
    )
    return dataclasses.replace(request, benchmarks=benchmarks)
