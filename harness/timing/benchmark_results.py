"""From what a session measured to its answer: raw times, and what follows from them.

Times nothing.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping, Sequence

import torch

from harness.machine import cpu_model, describe_device, num_cores
from harness.order_statistics import median_of
from harness.timing.benchmark_request import Benchmark, TimingRequest
from harness.timing.benchmark_session import (
    PreparedStep,
    ReferenceFacts,
    SessionResult,
    same_gradients,
)
from harness.timing.clocks import BlockTime
from harness.timing.hardware_limits import (
    LONG,
    SHORT,
    copy_name,
    latency_bound_s,
    latency_name,
    product_names,
)
from harness.timing.timing_results import (
    BenchmarkResult,
    LimitResult,
    MachineFacts,
    StepTimes,
    TimedStep,
    TrainingAnswer,
    VariantSettings,
)
from harness.timing.variants import parse_variant

TRAINING_REGIME = "weights of the initialisation at the start of each block"


def answer_of(request: TimingRequest, found: SessionResult, wall_time_s: float) -> TrainingAnswer:
    """The answer to a request, with a result for each of its benchmarks in their order."""
    limits = MeasuredLimits(found)
    timed = {each.name: each for each in found.timed}
    plain = {
        _same_work(each): [block.step_time_s for block in found.blocks[each.name]]
        for each in request.benchmarks
        if each.variant == "plain" and each.name in timed
    }
    results = []
    for benchmark in request.benchmarks:
        name, numbers = benchmark.name, None
        if name in timed:
            base = plain.get(_same_work(benchmark))
            numbers = _numbers(benchmark, timed[name], found, limits, base)
        memory = found.memory.get(name)
        results.append(
            BenchmarkResult(
                benchmark,
                peak_memory_bytes=memory and memory.peak_bytes,
                memory_before_bytes=memory and memory.before_bytes,
                memory_kind=memory and memory.kind,
                unavailable=found.missing.get(name, ""),
                error=found.failures.get(name),
                timed=numbers,
            )
        )
    return TrainingAnswer(
        machine_facts(
            {each.device for each in request.benchmarks}, TRAINING_REGIME, found.settings
        ),
        tuple(results),
        limits.results("matrix product"),
        limits.results("copy"),
        limits.results("latency"),
        wall_time_s,
    )


def machine_facts(
    devices: Iterable[str],
    regime: str,
    variants: Mapping[str, VariantSettings] | None = None,
) -> MachineFacts:
    """What decides speed here and is known where only torch is installed."""
    return MachineFacts(
        cpu=cpu_model(),
        cores=num_cores(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=torch.__version__,
        cuda=torch.version.cuda,
        cudnn=torch.backends.cudnn.version(),
        devices={device: describe_device(device) for device in sorted(devices)},
        regime=regime,
        variants=variants,
    )


class MeasuredLimits:
    """What bounds steps on this machine, as measured between them."""

    def __init__(self, found: SessionResult) -> None:
        self._facts = {each.name: each.facts for each in found.limits}
        self._times = {each.name: times_of(each, found.blocks[each.name]) for each in found.limits}

    def peak(self, benchmark: Benchmark, copies: int) -> float | None:
        """GFLOP/s of so many matrix products at once, at the benchmark's threads and precision.

        The fastest product that was measured.
        """
        at_once = _at_once(benchmark, copies)
        rates = [
            _rate(self._facts[name].flops, self._times[name].step_time_s, at_once)
            for name in product_names(benchmark)
            if name in self._times
        ]
        return max((rate for rate in rates if rate is not None), default=None)

    def bandwidth(self, benchmark: Benchmark, copies: int) -> float | None:
        """Bytes per second of so many copies at once, if they did not share the memory's rate."""
        name = copy_name(benchmark)
        num_bytes = self._facts[name].num_bytes if name in self._times else None
        if num_bytes is None:
            return None
        return float(_at_once(benchmark, copies) * num_bytes / self._times[name].step_time_s)

    def latency_s(self, benchmark: Benchmark) -> float | None:
        """Seconds that one time step of a training step takes at least; None if not measured."""
        pair = [latency_name(benchmark, length) for length in (SHORT, LONG)]
        if benchmark.measure != "training_step" or not all(name in self._times for name in pair):
            return None
        steps = [self._facts[name].num_tokens for name in pair]  # a batch of one sequence
        times = [self._times[name].step_time_s for name in pair]
        return max((times[1] - times[0]) / (steps[1] - steps[0]), 0.0)

    def results(self, kind: str) -> tuple[LimitResult, ...]:
        """Those of one kind ("matrix product", "copy" or "latency"): times, and their rate."""
        found = []
        for name, times in self._times.items():
            if not name.startswith(kind):
                continue
            flops, num_bytes = self._facts[name].flops, self._facts[name].num_bytes
            if kind == "latency":
                flops = num_bytes = None
            bytes_per_second = None if num_bytes is None else num_bytes / times.step_time_s
            gflops = _rate(flops, times.step_time_s, 1)
            found.append(LimitResult(name, times, gflops, bytes_per_second))
        return tuple(found)


def times_of(timed: PreparedStep, blocks: Sequence[BlockTime]) -> StepTimes:
    """Raw times of the blocks, their median and its interval."""
    median = median_of([block.step_time_s for block in blocks])
    return StepTimes(
        n_blocks=median.n,
        n_steps_per_block=timed.warm_up.n_steps,
        steady=timed.warm_up.steady,
        step_times_s=tuple(block.step_time_s for block in blocks),
        wall_times_s=tuple(block.wall_time_s for block in blocks),
        warm_up_times_s=tuple(block.step_time_s for block in timed.warm_up.blocks),
        step_time_s=median.value,
        step_time_low_s=median.low,
        step_time_high_s=median.high,
        interval_level=median.level,
        host_time_s=median_of([block.wall_time_s for block in blocks]).value,
    )


def _numbers(
    benchmark: Benchmark,
    prepared: PreparedStep,
    found: SessionResult,
    limits: MeasuredLimits,
    plain: Sequence[float] | None,
) -> TimedStep:
    """The numbers of a benchmark; `plain` are the times of the same work in that variant."""
    facts, times = prepared.facts, times_of(prepared, found.blocks[benchmark.name])
    copies = parse_variant(benchmark.variant).n_processes
    gflops, peak = _rate(facts.flops, times.step_time_s, copies), limits.peak(benchmark, copies)
    reference = found.references.get(same_gradients(benchmark), ReferenceFacts())
    gradient = reference if benchmark.measure != "forward" else ReferenceFacts()
    n_steps, latency_s = facts.num_tokens // facts.num_sequences, limits.latency_s(benchmark)
    bound_s = None
    if latency_s is not None:
        bound_s = latency_bound_s(latency_s, n_steps, benchmark.num_layers, benchmark.device)
    speedup = None
    if plain is not None:  # of blocks of the same round, so that drift cancels
        pairs = zip(plain, times.step_times_s, strict=True)
        speedup = median_of([copies * slow / own for slow, own in pairs])
    return TimedStep(
        times=times,
        device_name=describe_device(benchmark.device),
        num_parameters=facts.num_parameters,
        n_processes=copies,
        n_threads=found.settings[benchmark.variant].n_threads,
        n_time_steps=n_steps,
        sequences_per_second=copies * facts.num_sequences / times.step_time_s,
        tokens_per_second=copies * facts.num_tokens / times.step_time_s,
        flops_per_step=facts.flops,
        bytes_per_step=facts.num_bytes,
        gflops_per_second=gflops,
        peak_gflops_per_second=peak,
        fraction_of_peak=None if gflops is None or peak is None else gflops / peak,
        copy_bytes_per_second=limits.bandwidth(benchmark, copies),
        latency_s=latency_s,
        latency_bound_s=bound_s,
        speedup=speedup and speedup.value,
        speedup_low=speedup and speedup.low,
        speedup_high=speedup and speedup.high,
        loss_error=facts.loss_error,
        gradient_error=facts.gradient_error,
        reference=reference.precision,
        denormal_fraction=gradient.denormal_fraction,
        zero_fraction=gradient.zero_fraction,
        compile_time_s=facts.compile_time_s,
        graph_breaks=facts.graph_breaks,
    )


def _same_work(benchmark: Benchmark) -> str:
    """What benchmarks have in common that differ in their variant alone."""
    plain = benchmark.to_dict()
    return json.dumps({k: v for k, v in plain.items() if k not in ("name", "variant")}, default=str)


def _at_once(benchmark: Benchmark, copies: int) -> int:
    """How many copies have a core of their own; all share one card."""
    return 1 if benchmark.device.startswith("cuda") else min(copies, num_cores())


def _rate(flops: int | None, time_s: float, copies: int) -> float | None:
    return None if flops is None else copies * flops / time_s / 1e9
