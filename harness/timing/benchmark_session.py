"""One request under way: what can't be had, memory, references, warm-up, then interleaved blocks in live workers. Never prints.

What fails costs its own benchmark alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness.machine import num_cores
from harness.processes.worker_client import WorkerFailed, WorkerGone
from harness.timing.benchmark_request import Benchmark, TimingRequest
from harness.timing.clocks import BlockTime, WarmUp, warm_up
from harness.timing.hardware_limits import (
    LONG,
    SHORT,
    copy_name,
    latency_name,
    product_name,
    smallest,
)
from harness.timing.memory import PeakMemory, probe_in_fresh_process
from harness.timing.variant_worker import failure_text
from harness.timing.variants import unavailable
from harness.timing.worker_pool import WorkerPool

LEAST_ROUNDS = 5  # fewer give no interval
# The variant that computes references: one thread, nothing flushed
REFERENCE_VARIANT = "denormals_kept"
Progress = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Timed:
    """Something that stands ready in a worker.

    How to run a block of it, and what is known of it already.
    """

    name: str
    variant: str
    facts: Mapping[str, Any]
    warm_up: WarmUp
    block: Callable[[], BlockTime]


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a session came to, by the names of benchmarks.

    `references` by what `same_gradients` says.

    `missing` and `failures` hold reasons, `settings` how each variant's process was set, `limits`
    what bounds the others.
    """

    missing: Mapping[str, str]
    failures: Mapping[str, str]
    memory: Mapping[str, PeakMemory]
    references: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, Mapping[str, Any]]
    timed: tuple[Timed, ...]
    limits: tuple[Timed, ...]
    blocks: Mapping[str, Sequence[BlockTime]]


def interleave(
    every: Sequence[Timed],
    n_blocks: int,
    deadline: float = math.inf,
    failures: dict[str, str] | None = None,
) -> list[tuple[BlockTime, ...]]:
    """Rounds of one block of each (A B C A B C ...).

    Whole rounds only, so all that do not fail have equally many.

    After `deadline` (of time.monotonic) no round begins, except that the first five always do. What
    fails is named in `failures`, once, and left out of the rounds that follow.
    """
    failed: dict[str, str] = {} if failures is None else failures
    found: list[list[BlockTime]] = [[] for _ in every]
    for done in range(n_blocks):
        if done >= LEAST_ROUNDS and time.monotonic() > deadline:
            break
        for timed, own in zip(every, found, strict=True):
            if timed.name in failed:
                continue
            try:
                own.append(timed.block())
            except WorkerFailed as error:
                failed[timed.name] = str(error)
    return [tuple(own) for own in found]


class Session:
    """One request under way: what failed, what stands ready, what was found."""

    def __init__(
        self, request: TimingRequest, workers: WorkerPool, progress: Progress, folder: Path
    ) -> None:
        self.request, self.workers, self.progress, self.folder = request, workers, progress, folder
        self.missing: dict[str, str] = {}
        self.failures: dict[str, str] = {}
        self.memory: dict[str, PeakMemory] = {}
        self.references: dict[str, dict[str, Any]] = {}

    def measure(self) -> Measured:
        """Everything in order: memory, references, warm-up, rounds."""
        request = self.request
        for benchmark in request.benchmarks:
            if reason := unavailable(benchmark.variant, benchmark.device):
                self.missing[benchmark.name] = reason
        self._probe_memory()
        variants = dict.fromkeys(benchmark.variant for benchmark in self._open())
        if request.reference and variants:
            self.workers.start([*variants, REFERENCE_VARIANT])
            self._compute_references()
        ready = [timed for variant in variants for timed in self._prepare(variant)]
        order = {benchmark.name: i for i, benchmark in enumerate(request.benchmarks)}
        ready.sort(key=lambda timed: order[timed.name])
        limits = self._limits(ready)
        self.progress("interleaved blocks")
        settings = self._settings(variants)  # a worker that ends in a round takes them along
        every = [*ready, *limits]
        deadline = time.monotonic() + (request.time_budget_s or math.inf)
        blocks = interleave(every, request.n_blocks, deadline, self.failures)
        by_name = dict(zip((timed.name for timed in every), blocks, strict=True))
        return Measured(
            missing=self.missing,
            failures=self.failures,
            memory=self.memory,
            references=self.references,
            settings=settings,
            timed=tuple(timed for timed in ready if timed.name not in self.failures),
            limits=tuple(timed for timed in limits if timed.name not in self.failures),
            blocks=by_name,
        )

    def _open(self) -> list[Benchmark]:
        """The benchmarks of which nothing bad is known yet."""
        closed = self.missing | self.failures
        return [each for each in self.request.benchmarks if each.name not in closed]

    def _probe_memory(self) -> None:
        """Peak memory of tuned training steps on the CPU, in fresh processes.

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

        with ThreadPoolExecutor(num_cores()) as pool:  # memory does not mind company
            for benchmark, found in zip(asked, pool.map(probe, asked), strict=True):
                if isinstance(found, PeakMemory):
                    self.memory[benchmark.name] = found
                else:
                    self.failures[benchmark.name] = found

    def _compute_references(self) -> None:
        """A reference for each piece of work, whatever its variant and measure.

        One that fails closes its benchmarks.
        """
        for benchmark in self._open():
            work = same_gradients(benchmark)
            if work in self.references:
                reason = self.references[work].get("failure")
                if reason:
                    self.failures[benchmark.name] = reason
                continue
            self.progress(f"float64 reference of {benchmark.name}")
            path = self.folder / f"reference{len(self.references)}.pt"
            try:
                found = self.workers.group(REFERENCE_VARIANT).ask(
                    "reference",
                    benchmark=benchmark.to_dict(),
                    seed=self.request.seed,
                    path=str(path),
                )
                self.references[work] = {**found, "path": str(path)}
            except WorkerFailed as error:
                if isinstance(error, WorkerGone):
                    self.workers.discard(REFERENCE_VARIANT)
                self.failures[benchmark.name] = str(error)
                self.references[work] = {"failure": str(error)}

    def _prepare(self, variant: str) -> list[Timed]:
        """Build, check and warm up the benchmarks of a variant in its worker.

        Anew without the culprit where the worker ends.
        """
        while True:
            ready: list[Timed] = []
            for benchmark in self._open():
                if benchmark.variant != variant:
                    continue
                self.progress(f"warm-up of {benchmark.name}")
                reference = self.references.get(same_gradients(benchmark), {}).get("path", "")
                try:
                    command = self._preparation(benchmark, reference)
                    timed = self._stand(benchmark.name, variant, command)
                except WorkerGone as error:
                    self.failures[benchmark.name] = f"its process ended: {error}"
                    self.workers.discard(variant)
                    break
                except WorkerFailed as error:
                    self.failures[benchmark.name] = str(error)
                    continue
                for peak in timed.facts.get("peak", ()):
                    self.memory[benchmark.name] = PeakMemory(**peak)
                ready.append(timed)
            else:
                return ready

    def _preparation(self, benchmark: Benchmark, reference: str = "") -> dict[str, Any]:
        return {
            "do": "prepare",
            "benchmark": benchmark.to_dict(),
            "seed": self.request.seed,
            "reference": reference,
        }

    def _stand(self, name: str, variant: str, command: Mapping[str, Any]) -> Timed:
        """Prepare something in a variant's worker and warm it up."""
        group = self.workers.group(variant)
        facts = group.ask(**command)
        found = warm_up(lambda n_steps: group.block(name, n_steps), self.request.block_s)
        return Timed(name, variant, facts, found, lambda: group.block(name, found.n_steps))

    def _limits(self, ready: Sequence[Timed]) -> list[Timed]:
        """Matrix products and copies for what is timed, and the smallest steps if asked for.

        What fails is left out.
        """
        by_name = {each.name: each for each in self.request.benchmarks}
        wanted: dict[str, tuple[str, dict[str, Any]]] = {}
        for timed in ready:
            benchmark = by_name[timed.name]
            for kind, name in (
                ("product", product_name(benchmark)),
                ("copy", copy_name(benchmark)),
            ):
                command = {"do": kind, "name": name, "device": benchmark.device}
                wanted.setdefault(name, (timed.variant, command))
            if self.request.limits:
                for length in (SHORT, LONG):
                    name = latency_name(benchmark, length)
                    small = smallest(benchmark, name, length)
                    wanted.setdefault(name, ("tuned", self._preparation(small)))
        found = []
        for name, (worker, command) in wanted.items():
            self.progress(name)
            with contextlib.suppress(WorkerFailed):
                found.append(self._stand(name, worker, command))
        return found

    def _settings(self, variants: Iterable[str]) -> dict[str, Any]:
        """How the process of each variant is set."""
        found = {}
        for variant in variants:
            with contextlib.suppress(WorkerFailed):
                found[variant] = self.workers.group(variant).ask("facts")
        return found


def same_gradients(benchmark: Benchmark) -> str:
    """What benchmarks have in common whose first gradients are the same."""
    free = ("name", "variant", "measure", "learning_rate", "optimizer", "max_grad_norm")
    plain = benchmark.to_dict()
    return json.dumps({k: v for k, v in plain.items() if k not in free}, default=str)
