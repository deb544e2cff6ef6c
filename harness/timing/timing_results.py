"""What harness.timing answers, as dataclasses, and the JSON that holds them.

A result of a benchmark that was not timed has the reason instead of numbers. Times nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self, TypeVar

from harness.timing.benchmark_request import TRAINING_SCHEMA, Benchmark
from harness.timing.inference_request import INFERENCE_SCHEMA, InferenceBenchmark

_Plain = Mapping[str, Any]
_Data = TypeVar("_Data")


@dataclasses.dataclass(frozen=True)
class VariantSettings:
    """How the process of a variant is set, found by asking and trying; `tf32` None without CUDA."""

    n_threads: int
    denormals_flushed: bool
    tf32: bool | None


@dataclasses.dataclass(frozen=True)
class MachineFacts:
    """What decides speed on a machine; `devices` holds their names.

    `variants` is of a training, `threads` and `denormals_flushed` of inference.
    """

    cpu: str
    cores: int
    cpu_capability: str
    system: str
    python: str
    torch: str
    cuda: str | None
    cudnn: int | None
    devices: Mapping[str, str]
    regime: str
    variants: Mapping[str, VariantSettings] | None = None
    threads: int | None = None
    denormals_flushed: bool | None = None

    def merged_with(self, later: MachineFacts) -> MachineFacts:
        """Those of `later`, with the devices and variants of both."""
        variants = {**(self.variants or {}), **(later.variants or {})} or None
        return dataclasses.replace(
            later, devices={**self.devices, **later.devices}, variants=variants
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON takes it."""
        plain = dataclasses.asdict(self)
        for name in ("variants", "threads", "denormals_flushed"):
            if plain[name] is None:
                del plain[name]
        return plain

    @classmethod
    def from_json(cls, plain: _Plain) -> Self:
        """Read what `to_json` gives."""
        facts = _read(cls, plain)
        if facts.variants is None:
            return facts
        variants = {name: VariantSettings(**each) for name, each in plain["variants"].items()}
        return dataclasses.replace(facts, variants=variants)


@dataclasses.dataclass(frozen=True)
class StepTimes:
    """Raw times of a step's blocks in the order of the rounds, their median and its interval.

    `step_times_s` are on the device, `wall_times_s` by the clock of the host. `steady`: the last
    blocks of the warm-up agreed.
    """

    n_blocks: int
    n_steps_per_block: int
    steady: bool
    step_times_s: tuple[float, ...]
    wall_times_s: tuple[float, ...]
    warm_up_times_s: tuple[float, ...]
    step_time_s: float
    step_time_low_s: float | None
    step_time_high_s: float | None
    interval_level: float | None
    host_time_s: float


@dataclasses.dataclass(frozen=True)
class TimedStep:
    """The numbers of a benchmark that was timed; rates are of all its processes together.

    `n_time_steps` is the length of its sequences, which may be more than was asked for.
    `latency_s` is what one time step costs at least, `latency_bound_s` what all of them do.
    """

    times: StepTimes
    device_name: str
    num_parameters: int
    n_processes: int
    n_threads: int
    n_time_steps: int
    sequences_per_second: float
    tokens_per_second: float
    flops_per_step: int | None = None
    bytes_per_step: int | None = None
    gflops_per_second: float | None = None
    peak_gflops_per_second: float | None = None
    fraction_of_peak: float | None = None
    copy_bytes_per_second: float | None = None
    latency_s: float | None = None
    latency_bound_s: float | None = None
    speedup: float | None = None
    speedup_low: float | None = None
    speedup_high: float | None = None
    loss_error: float | None = None
    gradient_error: float | None = None
    reference: str | None = None
    denormal_fraction: float | None = None
    zero_fraction: float | None = None
    compile_time_s: float | None = None
    graph_breaks: int | None = None


@dataclasses.dataclass(frozen=True)
class BenchmarkResult:
    """A benchmark of training steps and what was found of it.

    `unavailable` says why it can't be had on this machine, `error` why it failed.
    """

    benchmark: Benchmark
    peak_memory_bytes: int | None = None
    memory_before_bytes: int | None = None
    memory_kind: str | None = None
    unavailable: str = ""
    error: str | None = None
    timed: TimedStep | None = None

    def to_json(self) -> dict[str, Any]:
        """One flat row."""
        row = self.benchmark.to_dict() | _without(self, "benchmark", "timed")
        if self.timed is None:
            return row
        return row | _without(self.timed, "times") | dataclasses.asdict(self.timed.times)

    @classmethod
    def from_json(cls, plain: _Plain) -> Self:
        """Read a row."""
        timed = None
        if "step_times_s" in plain:
            timed = _read(TimedStep, plain, times=_read(StepTimes, plain))
        return _read(cls, plain, benchmark=_read(Benchmark, plain), timed=timed)


@dataclasses.dataclass(frozen=True)
class LimitResult:
    """A matrix product, a copy, or the smallest step of a cell: what bounds the other steps.

    A smallest step has no rate.
    """

    name: str
    times: StepTimes
    gflops_per_second: float | None = None
    bytes_per_second: float | None = None

    def to_json(self) -> dict[str, Any]:
        """One flat row."""
        row = {"name": self.name, **dataclasses.asdict(self.times)}
        rates = _without(self, "name", "times")
        return row if set(rates.values()) == {None} else row | rates

    @classmethod
    def from_json(cls, plain: _Plain) -> Self:
        """Read a row."""
        return _read(cls, plain, times=_read(StepTimes, plain))


@dataclasses.dataclass(frozen=True)
class TrainingAnswer:
    """The answer to a TimingRequest, with a result for each of its benchmarks in their order."""

    machine: MachineFacts
    results: tuple[BenchmarkResult, ...]
    matrix_products: tuple[LimitResult, ...] = ()
    copies: tuple[LimitResult, ...] = ()
    latencies: tuple[LimitResult, ...] = ()
    wall_time_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "schema": TRAINING_SCHEMA,
            "machine": self.machine.to_json(),
            "matrix_products": [each.to_json() for each in self.matrix_products],
            "copies": [each.to_json() for each in self.copies],
            "latencies": [each.to_json() for each in self.latencies],
            "results": [each.to_json() for each in self.results],
            "wall_time_s": self.wall_time_s,
        }

    @classmethod
    def from_json(cls, plain: _Plain) -> Self:
        """Read what `to_json` gives."""
        names = ("matrix_products", "copies", "latencies")
        limits = {
            name: tuple(LimitResult.from_json(each) for each in plain.get(name, ()))
            for name in names
        }
        return cls(
            MachineFacts.from_json(plain["machine"]),
            tuple(BenchmarkResult.from_json(each) for each in plain["results"]),
            **limits,
            wall_time_s=plain["wall_time_s"],
        )


@dataclasses.dataclass(frozen=True)
class TimedCalls:
    """The numbers of a model that was called; an interval is over its blocks.

    A 99th percentile is None where a block has too few calls, an interval with too few blocks,
    `state_bytes` for a cell without single steps.
    """

    num_parameters: int
    weights_bytes: int
    state_bytes: int | None
    output_error: float
    n_calls: int
    n_blocks: int
    call_times_ns: tuple[int, ...]
    median_us: float
    median_low_us: float | None = None
    median_high_us: float | None = None
    p99_us: float | None = None
    p99_low_us: float | None = None
    p99_high_us: float | None = None
    interval_level: float | None = None


@dataclasses.dataclass(frozen=True)
class InferenceResult:
    """A model as it is deployed and what was found of it; the reasons are as in BenchmarkResult."""

    benchmark: InferenceBenchmark
    device_name: str
    unavailable: str = ""
    error: str | None = None
    timed: TimedCalls | None = None

    def to_json(self) -> dict[str, Any]:
        """One flat row."""
        row = self.benchmark.to_dict() | _without(self, "benchmark", "timed")
        return row if self.timed is None else row | dataclasses.asdict(self.timed)

    @classmethod
    def from_json(cls, plain: _Plain) -> Self:
        """Read a row."""
        timed = _read(TimedCalls, plain) if "call_times_ns" in plain else None
        return _read(cls, plain, benchmark=_read(InferenceBenchmark, plain), timed=timed)


@dataclasses.dataclass(frozen=True)
class InferenceAnswer:
    """The answer to an InferenceRequest, with a result for each of its benchmarks."""

    machine: MachineFacts
    results: tuple[InferenceResult, ...]
    wall_time_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "schema": INFERENCE_SCHEMA,
            "mode": "inference",
            "machine": self.machine.to_json(),
            "results": [each.to_json() for each in self.results],
            "wall_time_s": self.wall_time_s,
        }

    @classmethod
    def from_json(cls, plain: _Plain) -> Self:
        """Read what `to_json` gives."""
        return cls(
            MachineFacts.from_json(plain["machine"]),
            tuple(InferenceResult.from_json(each) for each in plain["results"]),
            plain["wall_time_s"],
        )


Answer = TrainingAnswer | InferenceAnswer


def _without(data: Any, *names: str) -> dict[str, Any]:
    """The fields of a dataclass, but for some."""
    return {
        field.name: getattr(data, field.name)
        for field in dataclasses.fields(data)
        if field.name not in names
    }


def _read(cls: type[_Data], plain: _Plain, **made: object) -> _Data:
    """Make a dataclass of those keys of a row that it has, and of what has been `made` of it."""
    values = {
        field.name: plain[field.name]
        for field in dataclasses.fields(cls)  # type: ignore[arg-type]
        if field.name in plain and field.name not in made
    }
    lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    return cls(**{**values, **lists, **made})
