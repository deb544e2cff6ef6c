"""Time the benchmarks of a request: memory first, then warm-up, then interleaved blocks. Never prints.

What fails costs its own benchmark alone and is named in the answer. Raw times of every block are kept; what is derived
from them stands beside them.
"""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from harness.machine import cpu_model, describe_device, num_cores, resolve_device
from harness.timing.benchmarks import (
    SCHEMA,
    Subject,
    TimingRequest,
    prepare,
    prepare_peak,
)
from harness.timing.clocks import BlockTime, median_of, time_block
from harness.timing.memory import (
    PROCESS_HIGH_WATER,
    STEPS,
    PeakMemory,
    cuda_peak,
    high_water_bytes,
    probe_in_fresh_process,
)

AGREEMENT = 0.02  # warm-up ends when three blocks in a row differ by no more than this
WARM_UP_BLOCKS = 12  # and here at the latest
LEAST_ROUNDS = 5  # fewer give no interval


@dataclasses.dataclass(frozen=True)
class WarmUp:
    """Blocks before the timed ones; `steady` if the last three agreed within 2 %."""

    n_steps: int
    blocks: tuple[BlockTime, ...]
    steady: bool


@dataclasses.dataclass(frozen=True)
class Ready:
    """A subject and the warm-up that found how many steps make a block of it."""

    subject: Subject
    warm_up: WarmUp


def measure(
    request: TimingRequest, progress: Callable[[str], None] = lambda _text: None
) -> dict[str, Any]:
    """Time every benchmark of the request and give the answer as JSON takes it.

    Raises InputError for a device that is not there, before anything is timed. `progress` is told what begins. The
    calling process should have settled its threads and denormals (harness.machine.settle_process) before.
    """
    started = time.monotonic()
    request = _resolved(request)
    memory, failures = _probe_memory(request, progress)
    ready: dict[str, Ready] = {}
    for benchmark in request.benchmarks:
        if benchmark.name in failures:
            continue
        progress(f"warm-up of {benchmark.name}")
        try:
            with cuda_peak(benchmark.device) as found:
                subject = prepare(benchmark, request.seed)
                for _ in range(STEPS):
                    subject.step()
            ready[benchmark.name] = Ready(subject, warm_up(subject, request.block_s))
        except Exception as error:  # noqa: BLE001  # a plug-in may raise anything: it costs its benchmark alone
            failures[benchmark.name] = _one_line(error)
            continue
        memory.update((benchmark.name, peak) for peak in found)
    devices = sorted({each.subject.device for each in ready.values()})
    products = [prepare_peak(device) for device in devices]
    peaks = [Ready(product, warm_up(product, request.block_s)) for product in products]
    progress("interleaved blocks")
    deadline = started + (request.time_budget_s or math.inf)
    blocks = interleave([*ready.values(), *peaks], request.n_blocks, deadline)
    timed = dict(zip(ready, map(_times, ready.values(), blocks), strict=True))
    peak_times = dict(zip(devices, map(_times, peaks, blocks[len(ready) :]), strict=True))
    peak_rates = {
        device: _rate(each.subject.flops, peak_times[device]["step_time_s"])
        for device, each in zip(devices, peaks, strict=True)
    }
    return {
        "schema": SCHEMA,
        "machine": machine_facts(devices),
        "matrix_products": peak_times,
        "results": [
            benchmark.to_dict()
            | _result(ready.get(benchmark.name), timed.get(benchmark.name, {}), peak_rates)
            | _memory_result(memory.get(benchmark.name))
            | {"error": failures.get(benchmark.name)}
            for benchmark in request.benchmarks
        ],
        "wall_time_s": time.monotonic() - started,
    }


def measure_memory(request: TimingRequest) -> PeakMemory:
    """Take two training steps of the request's only benchmark and read this process's high-water mark."""
    (benchmark,) = request.benchmarks
    before = high_water_bytes()
    subject = prepare(benchmark, request.seed)
    for _ in range(STEPS):
        subject.step()
    return PeakMemory(PROCESS_HIGH_WATER, high_water_bytes(), before)


def warm_up(subject: Subject, block_s: float) -> WarmUp:
    """Run blocks of about `block_s` seconds until three in a row agree within 2 %, 12 at most.

    The number of steps in a block is found here, from the second step on (the first one allocates).
    """
    subject.step()
    once = time_block(subject.step, 1, subject.device)
    n_steps = max(1, math.ceil(block_s / max(once.wall_time_s, 1e-9)))
    blocks: list[BlockTime] = []
    while len(blocks) < WARM_UP_BLOCKS:
        blocks.append(_block(subject, n_steps))
        if len(blocks) == 1:  # One step is a poor guide to many: once more, from the whole block.
            n_steps = max(1, math.ceil(block_s / max(blocks[0].wall_time_s, 1e-9)))
        last = [block.step_time_s for block in blocks[-3:]]
        if len(last) == 3 and max(last) <= (1 + AGREEMENT) * min(last):
            return WarmUp(n_steps, tuple(blocks), steady=True)
    return WarmUp(n_steps, tuple(blocks), steady=False)


def interleave(
    ready: Sequence[Ready], n_blocks: int, deadline: float = math.inf
) -> list[tuple[BlockTime, ...]]:
    """Rounds of one block of each subject (A B C A B C ...): whole rounds only, so all have equally many.

    After `deadline` (of time.monotonic) no round begins, except that the first five always do.
    """
    rounds: list[list[BlockTime]] = []
    while len(rounds) < n_blocks:
        if len(rounds) >= LEAST_ROUNDS and time.monotonic() > deadline:
            break
        rounds.append([_block(each.subject, each.warm_up.n_steps) for each in ready])
    return list(zip(*rounds, strict=True))


def use_full_float32() -> None:
    """Turn TF32 off, for the calling process, for matrix products and for cuDNN's recurrent layers alike: torch's defaults differ between them."""
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.cudnn.rnn.fp32_precision = "ieee"  # type: ignore[attr-defined]


def machine_facts(devices: Iterable[str]) -> dict[str, Any]:
    """What decides speed here, and can be told where only torch is installed."""
    return {
        "cpu": cpu_model(),
        "cores": num_cores(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "devices": {device: describe_device(device) for device in devices},
        "threads": torch.get_num_threads(),
        "denormals_flushed": denormals_flushed(),
        "tf32": tf32_allowed(),
        "regime": "weights of the initialisation at the start of each block",
    }


def tf32_allowed() -> bool:
    """Whether CUDA may round float32 to TF32 in matrix products or in cuDNN's recurrent layers."""
    settings = (torch.backends.cuda.matmul, torch.backends.cudnn.rnn)
    return any(setting.fp32_precision == "tf32" for setting in settings)


def denormals_flushed() -> bool:
    """Whether this thread's arithmetic flushes denormal floats to zero; found by trying."""
    smallest_normal = torch.full((16,), torch.finfo(torch.float32).tiny)
    return not bool((smallest_normal / 2).any())


def _resolved(request: TimingRequest) -> TimingRequest:
    """The same request with each device as torch names it."""
    benchmarks = tuple(
        dataclasses.replace(benchmark, device=resolve_device(benchmark.device))
        for benchmark in request.benchmarks
    )
    return dataclasses.replace(request, benchmarks=benchmarks)


def _probe_memory(
    request: TimingRequest, progress: Callable[[str], None]
) -> tuple[dict[str, PeakMemory], dict[str, str]]:
    """Peak memory of each CPU benchmark, in a fresh process; a benchmark that fails there is not timed."""
    memory: dict[str, PeakMemory] = {}
    failures: dict[str, str] = {}
    for benchmark in request.benchmarks:
        if not request.memory or benchmark.device != "cpu":
            continue
        progress(f"memory of {benchmark.name}")
        alone = dataclasses.replace(request, benchmarks=(benchmark,))
        try:
            memory[benchmark.name] = probe_in_fresh_process(json.dumps(alone.to_dict()))
        except (RuntimeError, OSError) as error:
            failures[benchmark.name] = _one_line(error)
    return memory, failures


def _block(subject: Subject, n_steps: int) -> BlockTime:
    subject.reset()
    return time_block(subject.step, n_steps, subject.device)


def _times(ready: Ready, blocks: Sequence[BlockTime]) -> dict[str, Any]:
    """Raw times of the blocks, their median and its interval."""
    median = median_of([block.step_time_s for block in blocks])
    return {
        "n_blocks": median.n,
        "n_steps_per_block": ready.warm_up.n_steps,
        "steady": ready.warm_up.steady,
        "step_times_s": [block.step_time_s for block in blocks],
        "wall_times_s": [block.wall_time_s for block in blocks],
        "warm_up_times_s": [block.step_time_s for block in ready.warm_up.blocks],
        "step_time_s": median.value,
        "step_time_low_s": median.low,
        "step_time_high_s": median.high,
        "interval_level": median.level,
    }


def _rate(flops: int | None, time_s: float) -> float | None:
    return None if flops is None else flops / time_s / 1e9


def _result(
    ready: Ready | None, times: Mapping[str, Any], peak_rates: Mapping[str, float | None]
) -> dict[str, Any]:
    """The numbers of one benchmark; none for one that failed."""
    if ready is None:
        return {}
    subject, time_s = ready.subject, times["step_time_s"]
    rate, peak = _rate(subject.flops, time_s), peak_rates[subject.device]
    return {
        "device_name": describe_device(subject.device),
        "num_parameters": subject.num_parameters,
        "flops_per_step": subject.flops,
        **times,
        "sequences_per_second": subject.num_sequences / time_s,
        "tokens_per_second": subject.num_tokens / time_s,
        "gflops_per_second": rate,
        "peak_gflops_per_second": peak,
        "fraction_of_peak": None if rate is None or peak is None else rate / peak,
    }


def _memory_result(memory: PeakMemory | None) -> dict[str, Any]:
    if memory is None:
        return {"peak_memory_bytes": None, "memory_before_bytes": None, "memory_kind": None}
    return {
        "peak_memory_bytes": memory.peak_bytes,
        "memory_before_bytes": memory.before_bytes,
        "memory_kind": memory.kind,
    }


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
