"""One request in progress: memory, references, warm-up, then interleaved blocks in live workers.

What can't be had here or fails costs its own benchmark alone. Never prints.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness.home_folder import hide_home
from harness.machine import num_cores
from harness.order_statistics import MINIMUM_SAMPLES
from harness.processes.worker_client import WorkerFailed, WorkerGone
from harness.timing.benchmark_request import Benchmark, TimingRequest
from harness.timing.clocks import BlockTime, WarmUp, warm_up
from harness.timing.hardware_limits import (
    LONG,
    SHORT,
    copy_name,
    latency_name,
    product_names,
    smallest,
)
from harness.timing.memory import PeakMemory, probe_in_fresh_process
from harness.timing.precision import PILOT_BLOCKS, blocks_needed
from harness.timing.timing_results import VariantSettings
from harness.timing.variant_worker import failure_text
from harness.timing.variants import unavailable
from harness.timing.worker_pool import WorkerPool

# The variant that computes references: one thread, nothing flushed
REFERENCE_VARIANT = "denormals_kept"
ProgressCallback = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class StepFacts:
    """What a worker answers once it has prepared a step; the numbers are of one step."""

    flops: int | None = None
    num_bytes: int | None = None
    num_sequences: int = 0
    num_tokens: int = 0
    num_parameters: int = 0
    compile_time_s: float | None = None
    graph_breaks: int | None = None
    loss_error: float | None = None
    gradient_error: float | None = None
    peak: Sequence[Mapping[str, Any]] = ()


@dataclasses.dataclass(frozen=True)
class PreparedStep:
    """A step that is prepared and warm in a worker; `block` times one block of it."""

    name: str
    facts: StepFacts
    warm_up: WarmUp
    block: Callable[[], BlockTime]


@dataclasses.dataclass(frozen=True)
class ReferenceFacts:
    """A float64 reference in a file at `path`, or why there is none."""

    path: str = ""
    precision: str | None = None
    denormal_fraction: float | None = None
    zero_fraction: float | None = None
    failure: str = ""


@dataclasses.dataclass(frozen=True)
class SessionResult:
    """What a session found, by the names of benchmarks; `references` by `same_gradients`.

    `missing` and `failures` hold reasons, `settings` how each variant's process was set, `limits`
    the steps that bound the others.
    """

    missing: Mapping[str, str]
    failures: Mapping[str, str]
    memory: Mapping[str, PeakMemory]
    references: Mapping[str, ReferenceFacts]
    settings: Mapping[str, VariantSettings]
    timed: tuple[PreparedStep, ...]
    limits: tuple[PreparedStep, ...]
    blocks: Mapping[str, Sequence[BlockTime]]


def interleave(
    every: Sequence[PreparedStep],
    n_blocks: int,
    deadline: float = math.inf,
    failures: dict[str, str] | None = None,
    precision: float = 0.0,
) -> list[tuple[BlockTime, ...]]:
    """Time rounds of one block of each (A B C A B C ...).

    Rounds are whole, so all that do not fail have equally many blocks. After `deadline` (of
    time.monotonic) no round begins, except that the first five always do. With a `precision` the
    pilot decides how many rounds there are, up to `n_blocks`. A step that fails is named in
    `failures` and left out of the rounds that follow.
    """
    failed: dict[str, str] = {} if failures is None else failures
    found: list[list[BlockTime]] = [[] for _ in every]
    for done in range(n_blocks):
        if done >= MINIMUM_SAMPLES and time.monotonic() > deadline:
            break
        if precision and done == PILOT_BLOCKS:
            pilots = [[block.step_time_s for block in own] for own in found]
            n_blocks = blocks_needed(pilots, precision, n_blocks)
        if done >= n_blocks:
            break
        for step, own in zip(every, found, strict=True):
            if step.name in failed:
                continue
            try:
                own.append(step.block())
            except WorkerFailed as error:
                failed[step.name] = str(error)
    return [tuple(own) for own in found]


class Session:
    """One request in progress: what failed, what is prepared, what was found."""

    def __init__(
        self, request: TimingRequest, workers: WorkerPool, progress: ProgressCallback, folder: Path
    ) -> None:
        self.request, self.workers, self.progress, self.folder = request, workers, progress, folder
        self.missing: dict[str, str] = {}
        self.failures: dict[str, str] = {}
        self.memory: dict[str, PeakMemory] = {}
        self.references: dict[str, ReferenceFacts] = {}

    def measure(self) -> SessionResult:
        """Everything in order: memory, references, warm-up, rounds."""
        request = self.request
        for benchmark in request.benchmarks:
            if reason := unavailable(benchmark.variant, benchmark.device):
                self.missing[benchmark.name] = reason
        variants = dict.fromkeys(benchmark.variant for benchmark in self._open())
        if variants:  # they import torch while memory is measured
            self.workers.start([*variants, *([REFERENCE_VARIANT] if request.reference else [])])
        self._probe_memory()
        if request.reference:
            self._compute_references()
        ready = [step for variant in variants for step in self._prepare(variant)]
        order = {benchmark.name: i for i, benchmark in enumerate(request.benchmarks)}
        ready.sort(key=lambda step: order[step.name])
        limits = self._limits(ready)
        self.progress("interleaved blocks")
        settings = self._settings(variants)  # before the rounds: a worker may end in one
        every = [*ready, *limits]
        deadline = time.monotonic() + (request.time_budget_s or math.inf)
        blocks = interleave(every, request.n_blocks, deadline, self.failures, request.precision)
        by_name = dict(zip((step.name for step in every), blocks, strict=True))
        return SessionResult(
            missing=self.missing,
            failures=self.failures,
            memory=self.memory,
            references=self.references,
            settings=settings,
            timed=tuple(step for step in ready if step.name not in self.failures),
            limits=tuple(step for step in limits if step.name not in self.failures),
            blocks=by_name,
        )

    def _open(self) -> list[Benchmark]:
        """The benchmarks that can be had and have not failed."""
        closed = self.missing | self.failures
        return [each for each in self.request.benchmarks if each.name not in closed]

    def _probe_memory(self) -> None:
        """Measure the peak memory of tuned training steps on the CPU, in fresh processes.

        A benchmark that fails there is not timed.
        """
        if not self.request.memory:
            return
        asked = [
            each
            for each in self._open()
            if (each.device, each.variant, each.measure) == ("cpu", "tuned", "training_step")
        ]
        if asked:
            self.progress(f"memory of {len(asked)} benchmarks")

        def probe(benchmark: Benchmark) -> PeakMemory | str:
            alone = dataclasses.replace(self.request, benchmarks=(benchmark,))
            try:
                return probe_in_fresh_process(json.dumps(alone.to_dict()))
            except (RuntimeError, OSError) as error:
                return failure_text(error)

        with ThreadPoolExecutor(num_cores()) as pool:  # their memory is the same side by side
            for benchmark, found in zip(asked, pool.map(probe, asked), strict=True):
                if isinstance(found, PeakMemory):
                    self.memory[benchmark.name] = found
                else:
                    self.failures[benchmark.name] = found

    def _compute_references(self) -> None:
        """Compute one reference for all benchmarks of the same gradients; they fail with it."""
        for benchmark in self._open():
            key = same_gradients(benchmark)
            if key not in self.references:
                self.progress(f"float64 reference of {benchmark.name}")
                self.references[key] = self._reference(benchmark)
            if failure := self.references[key].failure:
                self.failures[benchmark.name] = failure

    def _reference(self, benchmark: Benchmark) -> ReferenceFacts:
        path = str(self.folder / f"reference{len(self.references)}.pt")
        try:
            found = self.workers.group(REFERENCE_VARIANT).ask(
                "reference", benchmark=benchmark.to_dict(), seed=self.request.seed, path=path
            )
        except WorkerFailed as error:
            if isinstance(error, WorkerGone):
                self.workers.discard(REFERENCE_VARIANT)
            return ReferenceFacts(failure=str(error))
        return ReferenceFacts(path, **found)

    def _prepare(self, variant: str) -> list[PreparedStep]:
        """Build, check and warm up the benchmarks of a variant in its worker.

        Where the worker ends, all are prepared again in another one, without the benchmark that
        ended it.
        """
        while True:
            ready: list[PreparedStep] = []
            for benchmark in self._open():
                if benchmark.variant != variant:
                    continue
                self.progress(f"warm-up of {benchmark.name}")
                reference = self.references.get(same_gradients(benchmark), ReferenceFacts()).path
                try:
                    step = self._prepare_benchmark(benchmark, reference)
                except WorkerGone as error:
                    self.failures[benchmark.name] = hide_home(f"its process ended: {error}")
                    self.workers.discard(variant)
                    break
                except WorkerFailed as error:
                    self.failures[benchmark.name] = str(error)
                    continue
                for peak in step.facts.peak:
                    self.memory[benchmark.name] = PeakMemory(**peak)
                ready.append(step)
            else:
                return ready

    def _prepare_benchmark(self, benchmark: Benchmark, reference: str = "") -> PreparedStep:
        arguments = {
            "benchmark": benchmark.to_dict(),
            "seed": self.request.seed,
            "reference": reference,
        }
        return self._prepare_step(benchmark.name, benchmark.variant, "prepare", arguments)

    def _prepare_step(
        self, name: str, variant: str, do: str, arguments: Mapping[str, Any]
    ) -> PreparedStep:
        """Prepare a step in a variant's worker with the command `do`, and warm it up."""
        group = self.workers.group(variant)
        facts = StepFacts(**group.ask(do, **arguments))
        found = warm_up(lambda n_steps: group.block(name, n_steps), self.request.block_s)
        return PreparedStep(name, facts, found, lambda: group.block(name, found.n_steps))

    def _limits(self, ready: Sequence[PreparedStep]) -> list[PreparedStep]:
        """Matrix products and copies for what is timed, and the smallest steps if asked for.

        What fails is left out.
        """
        by_name = {each.name: each for each in self.request.benchmarks}
        wanted: dict[str, Callable[[], PreparedStep]] = {}
        for step in ready:
            benchmark = by_name[step.name]
            for kind, name in (
                *(("product", name) for name in product_names(benchmark)),
                ("copy", copy_name(benchmark)),
            ):
                command = {"name": name, "device": benchmark.device}
                wanted.setdefault(
                    name,
                    functools.partial(self._prepare_step, name, benchmark.variant, kind, command),
                )
            if self.request.limits:
                for length in (SHORT, LONG):
                    small = smallest(benchmark, latency_name(benchmark, length), length)
                    wanted.setdefault(small.name, functools.partial(self._prepare_benchmark, small))
        found = []
        for name, prepare in wanted.items():
            self.progress(name)
            with contextlib.suppress(WorkerFailed):
                found.append(prepare())
        return found

    def _settings(self, variants: Iterable[str]) -> dict[str, VariantSettings]:
        """How the process of each variant is set."""
        found = {}
        for variant in variants:
            with contextlib.suppress(WorkerFailed):
                found[variant] = VariantSettings(**self.workers.group(variant).ask("facts"))
        return found


def same_gradients(benchmark: Benchmark) -> str:
    """What benchmarks have in common whose first gradients are the same."""
    free = ("name", "variant", "measure", "learning_rate", "optimizer", "max_grad_norm")
    plain = benchmark.to_dict()
    return json.dumps({k: v for k, v in plain.items() if k not in free}, default=str)
