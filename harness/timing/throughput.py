"""Time the benchmarks of a request: memory first, then reference and warm-up, then interleaved blocks. Never prints.

What fails costs its own benchmark alone and is named in the answer, as is what can't be had here. Raw times of every block are
kept; what is derived from them stands beside them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from harness.machine import cpu_model, describe_device, num_cores, resolve_device
from harness.timing.benchmarks import SCHEMA, Benchmark, TimingRequest
from harness.timing.clocks import BlockTime, median_of
from harness.timing.limits import LONG, SHORT, latency_bound_s, peak_key, smallest
from harness.timing.memory import (
    PROCESS_HIGH_WATER,
    STEPS,
    PeakMemory,
    high_water_bytes,
    probe_in_fresh_process,
)
from harness.timing.subjects import prepare
from harness.timing.variants import parse_variant, unavailable
from harness.timing.worker import one_line
from harness.timing.workers import WorkerGone, Workers

LEAST_ROUNDS = 5  # fewer give no interval
REFEREE = (
    "denormals_kept"  # the variant whose worker computes references: one thread, nothing flushed
)
Progress = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Timed:
    """Something that stands ready in a worker: how to run a block of it, and what is known of it already."""

    name: str
    variant: str
    facts: Mapping[str, Any]
    warm_up: Mapping[str, Any]
    block: Callable[[], BlockTime]


def measure(
    request: TimingRequest,
    workers: Workers | None = None,
    progress: Progress = lambda _text: None,
) -> dict[str, Any]:
    """Time every benchmark of the request and give the answer as JSON takes it.

    Raises InputError for a device that is not there, before anything is timed. `workers` are started here and ended unless they
    are given; what they have prepared is dropped at the end. `progress` is told what begins.
    """
    request = _resolved(request)
    with contextlib.ExitStack() as held:
        if workers is None:
            workers = held.enter_context(Workers(request.plugins))
        held.callback(workers.drop)
        folder = Path(held.enter_context(TemporaryDirectory()))
        return Session(request, workers, progress, folder).run()


def measure_memory(request: TimingRequest) -> PeakMemory:
    """Take two training steps of the request's only benchmark and read this process's high-water mark."""
    (benchmark,) = request.benchmarks
    before = high_water_bytes()
    subject = prepare(benchmark, request.seed)
    for _ in range(STEPS):
        subject.step()
    return PeakMemory(PROCESS_HIGH_WATER, high_water_bytes(), before)


class Session:
    """One request under way: what failed, what stands ready, what was found."""

    def __init__(
        self, request: TimingRequest, workers: Workers, progress: Progress, folder: Path
    ) -> None:
        self.request, self.workers, self.progress, self.folder = request, workers, progress, folder
        self.missing: dict[str, str] = {}
        self.failures: dict[str, str] = {}
        self.memory: dict[str, PeakMemory] = {}
        self.references: dict[str, dict[str, Any]] = {}

    def run(self) -> dict[str, Any]:
        """Everything in order."""
        started = time.monotonic()
        request = self.request
        for benchmark in request.benchmarks:
            if reason := unavailable(benchmark.variant, benchmark.device):
                self.missing[benchmark.name] = reason
        self._probe_memory()
        variants = dict.fromkeys(benchmark.variant for benchmark in self._open())
        if request.reference and variants:
            self.workers.start([*variants, REFEREE])
            self._compute_references()
        ready = [timed for variant in variants for timed in self._prepare(variant)]
        order = {benchmark.name: i for i, benchmark in enumerate(request.benchmarks)}
        ready.sort(key=lambda timed: order[timed.name])
        limits = self._limits(ready)
        self.progress("interleaved blocks")
        deadline = started + (request.time_budget_s or math.inf)
        every = [*ready, *limits]
        blocks = interleave(every, request.n_blocks, deadline, self.failures)
        times = {
            timed.name: _times(timed, own)
            for timed, own in zip(every, blocks, strict=True)
            if timed.name not in self.failures
        }
        found = Limits(limits, times)
        by_name = {timed.name: timed for timed in ready if timed.name in times}
        plain = {
            _same_work(each): times[each.name]["step_times_s"]
            for each in request.benchmarks
            if each.variant == "plain" and each.name in by_name
        }
        return {
            "schema": SCHEMA,
            "machine": machine_facts({each.device for each in request.benchmarks})
            | {"variants": self._settings(variants)},
            **found.answer(),
            "results": [
                self._row(each, by_name.get(each.name), times, found, plain)
                for each in request.benchmarks
            ],
            "wall_time_s": time.monotonic() - started,
        }

    def _open(self) -> list[Benchmark]:
        """The benchmarks of which nothing bad is known yet."""
        closed = self.missing | self.failures
        return [each for each in self.request.benchmarks if each.name not in closed]

    def _probe_memory(self) -> None:
        """Peak memory of tuned training steps on the CPU, in fresh processes; a benchmark that fails there is not timed."""
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
                return one_line(error)

        with ThreadPoolExecutor(num_cores()) as pool:  # memory does not mind company
            for benchmark, found in zip(asked, pool.map(probe, asked), strict=True):
                if isinstance(found, PeakMemory):
                    self.memory[benchmark.name] = found
                else:
                    self.failures[benchmark.name] = found

    def _compute_references(self) -> None:
        """A reference for each piece of work, whatever its variant and measure; one that fails closes its benchmarks."""
        for benchmark in self._open():
            work = _same_gradients(benchmark)
            if work in self.references:
                reason = self.references[work].get("failure")
                if reason:
                    self.failures[benchmark.name] = reason
                continue
            self.progress(f"float64 reference of {benchmark.name}")
            path = self.folder / f"reference{len(self.references)}.pt"
            try:
                found = self.workers.team(REFEREE).ask(
                    do="reference",
                    benchmark=benchmark.to_dict(),
                    seed=self.request.seed,
                    path=str(path),
                )
                self.references[work] = {**found, "path": str(path)}
            except RuntimeError as error:
                if isinstance(error, WorkerGone):
                    self.workers.discard(REFEREE)
                self.failures[benchmark.name] = str(error)
                self.references[work] = {"failure": str(error)}

    def _prepare(self, variant: str) -> list[Timed]:
        """Build, check and warm up the benchmarks of a variant in its worker; anew without the culprit where the worker ends."""
        while True:
            ready: list[Timed] = []
            for benchmark in self._open():
                if benchmark.variant != variant:
                    continue
                self.progress(f"warm-up of {benchmark.name}")
                reference = self.references.get(_same_gradients(benchmark), {}).get("path", "")
                try:
                    command = self._preparation(benchmark, reference)
                    timed = self._stand(benchmark.name, variant, command)
                except WorkerGone as error:
                    self.failures[benchmark.name] = f"its process ended: {error}"
                    self.workers.discard(variant)
                    break
                except RuntimeError as error:
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
        team = self.workers.team(variant)
        facts = team.ask(**command)
        warm_up = team.ask(do="warm_up", name=name, block_s=self.request.block_s)
        n_steps = warm_up["n_steps"]
        return Timed(name, variant, facts, warm_up, lambda: team.block(name, n_steps))

    def _limits(self, ready: Sequence[Timed]) -> list[Timed]:
        """Matrix products and copies for what is timed, and the smallest steps if asked for; what fails is left out."""
        by_name = {each.name: each for each in self.request.benchmarks}
        wanted: dict[str, tuple[str, dict[str, Any]]] = {}
        for timed in ready:
            benchmark = by_name[timed.name]
            variant, device = parse_variant(timed.variant), benchmark.device
            for kind, name in (
                ("product", product_name(variant.name, device)),
                ("copy", copy_name(variant.name, device)),
            ):
                command = {"do": kind, "name": name, "device": device}
                wanted.setdefault(name, (timed.variant, command))
            if self.request.limits:
                for length in (SHORT, LONG):
                    name = latency_name(benchmark, length)
                    small = smallest(benchmark, name, length)
                    wanted.setdefault(name, ("tuned", self._preparation(small)))
        found = []
        for name, (worker, command) in wanted.items():
            self.progress(name)
            with contextlib.suppress(RuntimeError):
                found.append(self._stand(name, worker, command))
        return found

    def _settings(self, variants: Iterable[str]) -> dict[str, Any]:
        """How the process of each variant is set."""
        found = {}
        for variant in variants:
            with contextlib.suppress(RuntimeError):
                found[variant] = self.workers.team(variant).ask(do="facts")
        return found

    def _row(
        self,
        benchmark: Benchmark,
        timed: Timed | None,
        times: Mapping[str, Mapping[str, Any]],
        limits: Limits,
        plain: Mapping[str, Sequence[float]],
    ) -> dict[str, Any]:
        """One row of the answer: the benchmark, its numbers if it was timed, and why if it was not."""
        name = benchmark.name
        row = benchmark.to_dict()
        row |= _memory_result(self.memory.get(name))
        row |= {"unavailable": self.missing.get(name, ""), "error": self.failures.get(name)}
        if timed is None:
            return row
        own, facts, variant = times[name], timed.facts, parse_variant(benchmark.variant)
        copies, time_s = variant.n_processes, own["step_time_s"]
        gflops = _rate(facts["flops"], time_s, copies)
        peak = limits.peak(benchmark, copies)
        reference = self.references.get(_same_gradients(benchmark), {})
        has_gradient = benchmark.measure != "forward"
        base = plain.get(_same_work(benchmark))
        return row | {
            "device_name": describe_device(benchmark.device),
            "num_parameters": facts["num_parameters"],
            "n_processes": copies,
            "n_threads": self.workers.team(benchmark.variant).ask(do="facts")["n_threads"],
            "flops_per_step": facts["flops"],
            "bytes_per_step": facts["num_bytes"],
            **own,
            "sequences_per_second": copies * facts["num_sequences"] / time_s,
            "tokens_per_second": copies * facts["num_tokens"] / time_s,
            "gflops_per_second": gflops,
            "peak_gflops_per_second": peak,
            "fraction_of_peak": None if gflops is None or peak is None else gflops / peak,
            "copy_bytes_per_second": limits.bandwidth(benchmark, copies),
            "latency_bound_s": limits.latency_bound_s(
                benchmark, facts["num_tokens"] // facts["num_sequences"]
            ),
            **_speedup(base, own["step_times_s"], copies),
            "loss_error": facts.get("loss_error"),
            "gradient_error": facts.get("gradient_error"),
            "reference": reference.get("precision"),
            "denormal_fraction": reference.get("denormal_fraction") if has_gradient else None,
            "zero_fraction": reference.get("zero_fraction") if has_gradient else None,
            "compile_time_s": facts["compile_time_s"],
            "graph_breaks": facts["graph_breaks"],
        }


class Limits:
    """What bounds steps here, as measured between them."""

    def __init__(self, timed: Sequence[Timed], times: Mapping[str, Mapping[str, Any]]) -> None:
        self._facts = {each.name: each.facts for each in timed if each.name in times}
        self._times = {name: times[name] for name in self._facts}

    def peak(self, benchmark: Benchmark, copies: int) -> float | None:
        """GFLOP/s of the matrix product at the benchmark's threads and precision; of so many copies of it."""
        name = product_name(benchmark.variant, benchmark.device)
        if name not in self._times:
            return None
        return _rate(self._facts[name]["flops"], self._times[name]["step_time_s"], copies)

    def bandwidth(self, benchmark: Benchmark, copies: int) -> float | None:
        """Bytes per second of a copy at the benchmark's threads; of so many at once, were they not to share memory."""
        name = copy_name(benchmark.variant, benchmark.device)
        if name not in self._times:
            return None
        return float(copies * self._facts[name]["num_bytes"] / self._times[name]["step_time_s"])

    def latency_bound_s(self, benchmark: Benchmark, n_steps: int) -> float | None:
        """Seconds that the time steps of a training step take at least; None for other measures, or if not asked for."""
        pair = [latency_name(benchmark, length) for length in (SHORT, LONG)]
        if benchmark.measure != "training_step" or not all(name in self._times for name in pair):
            return None
        steps = [self._facts[name]["num_tokens"] for name in pair]  # a batch of one sequence
        times = [self._times[name]["step_time_s"] for name in pair]
        latency_s = max((times[1] - times[0]) / (steps[1] - steps[0]), 0.0)
        return latency_bound_s(latency_s, n_steps, benchmark.num_layers, benchmark.device)

    def answer(self) -> dict[str, Any]:
        """As the answer holds them: raw times and the rates that follow."""
        rows = {"matrix product": [], "copy": [], "latency": []}  # type: dict[str, list[dict[str, Any]]]
        for name, times in self._times.items():
            facts = self._facts[name]
            kind = next(kind for kind in rows if name.startswith(kind))
            rate = {
                "gflops_per_second": _rate(facts.get("flops"), times["step_time_s"], 1),
                "bytes_per_second": (facts.get("num_bytes") or 0) / times["step_time_s"] or None,
            }
            rows[kind].append({"name": name, **times, **(rate if kind != "latency" else {})})
        return {
            "matrix_products": rows["matrix product"],
            "copies": rows["copy"],
            "latencies": rows["latency"],
        }


def product_name(variant: str, device: str) -> str:
    """The matrix product that a variant is held against; those with equal threads and precision share one."""
    n_threads, precision = peak_key(parse_variant(variant))
    return f"matrix product, {_threads(n_threads)}, {precision}, {device}"


def copy_name(variant: str, device: str) -> str:
    """The copy that a variant is held against."""
    return f"copy, {_threads(parse_variant(variant).n_threads)}, {device}"


def latency_name(benchmark: Benchmark, length: int) -> str:
    """The smallest step of a benchmark's cell and task at that length."""
    return f"latency, {benchmark.task}/{benchmark.cell}/{benchmark.initialization}, length {length}, {benchmark.device}"


def _threads(n_threads: int | None) -> str:
    return "default threads" if n_threads is None else f"threads {n_threads}"


def interleave(
    every: Sequence[Timed],
    n_blocks: int,
    deadline: float = math.inf,
    failures: dict[str, str] | None = None,
) -> list[tuple[BlockTime, ...]]:
    """Rounds of one block of each (A B C A B C ...): whole rounds only, so all that do not fail have equally many.

    After `deadline` (of time.monotonic) no round begins, except that the first five always do. What fails is named in `failures`,
    once, and left out of the rounds that follow.
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
            except RuntimeError as error:
                failed[timed.name] = str(error)
    return [tuple(own) for own in found]


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
        "devices": {device: describe_device(device) for device in sorted(devices)},
        "regime": "weights of the initialisation at the start of each block",
    }


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


def _same_work(benchmark: Benchmark) -> str:
    """What benchmarks have in common that differ in their variant alone."""
    plain = benchmark.to_dict()
    return json.dumps({k: v for k, v in plain.items() if k not in ("name", "variant")}, default=str)


def _same_gradients(benchmark: Benchmark) -> str:
    """What benchmarks have in common whose first gradients are the same."""
    free = ("name", "variant", "measure", "learning_rate", "optimizer", "max_grad_norm")
    plain = benchmark.to_dict()
    return json.dumps({k: v for k, v in plain.items() if k not in free}, default=str)


def _times(timed: Timed, blocks: Sequence[BlockTime]) -> dict[str, Any]:
    """Raw times of the blocks, their median and its interval."""
    median = median_of([block.step_time_s for block in blocks])
    return {
        "n_blocks": median.n,
        "n_steps_per_block": timed.warm_up["n_steps"],
        "steady": timed.warm_up["steady"],
        "step_times_s": [block.step_time_s for block in blocks],
        "wall_times_s": [block.wall_time_s for block in blocks],
        "warm_up_times_s": [block["step_time_s"] for block in timed.warm_up["blocks"]],
        "step_time_s": median.value,
        "step_time_low_s": median.low,
        "step_time_high_s": median.high,
        "interval_level": median.level,
        "host_time_s": median_of([block.wall_time_s for block in blocks]).value,
    }


def _speedup(base: Sequence[float] | None, own: Sequence[float], copies: int) -> dict[str, Any]:
    """Sequences per second over those of `plain`, as ratios of the blocks of the same round."""
    if base is None:
        return {"speedup": None, "speedup_low": None, "speedup_high": None}
    median = median_of([copies * a / b for a, b in zip(base, own, strict=True)])
    return {"speedup": median.value, "speedup_low": median.low, "speedup_high": median.high}


def _rate(flops: int | None, time_s: float, copies: int) -> float | None:
    return None if flops is None else copies * flops / time_s / 1e9


def _memory_result(memory: PeakMemory | None) -> dict[str, Any]:
    if memory is None:
        return {"peak_memory_bytes": None, "memory_before_bytes": None, "memory_kind": None}
    return {
        "peak_memory_bytes": memory.peak_bytes,
        "memory_before_bytes": memory.before_bytes,
        "memory_kind": memory.kind,
    }
