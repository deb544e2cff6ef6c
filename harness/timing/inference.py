"""How long a model takes to answer.

One step with the state it carries, or a whole sequence, of one sequence at a time.

Each call is timed alone, on one thread with denormals flushed, in interleaved blocks over the rows
of a request. Every row is held against float64 before it is timed, and what fails costs its own row
alone. Never prints.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from harness.cells import get_cell
from harness.errors import HarnessError, InputError, nearest
from harness.machine import configure_process, derive_seed, describe_device
from harness.tasks import get_task
from harness.timing import deployed_model
from harness.timing.benchmark_request import NUMBERS, check_length, check_number, checked
from harness.timing.benchmark_results import machine_facts
from harness.timing.clocks import Median, median_of
from harness.timing.float64_reference import denormals_flushed
from harness.timing.variant_worker import failure_text
from harness.training.model import ModelConfig, SequenceModel, build_model

INFERENCE_SCHEMA = 1
INFERENCE_MEASURES = ("step", "sequence")
N_SEQUENCES = 4  # prepared for each benchmark and used in turn
CHECKED_STEPS = 256  # of a sequence, where single steps are checked and timed
LEAST_ROUNDS = 5  # fewer blocks give no interval
WARM_UP_CALLS, WARM_UP_S = 20, 0.05  # both, before the first block
BLOCK_WARM_UP_CALLS = 3  # at the start of a block: another row has used the caches since
TAIL = 0.99
LEAST_TAIL_CALLS = 67  # of a block: with fewer, its 99th percentile lies beyond the longest call


@dataclasses.dataclass(frozen=True)
class InferenceBenchmark:
    """One model, its dtype and what is timed of it. `name` is unique in its request.

    `measure`: `step`, cell and head on one time step, the state carried from call to call; or
    `sequence`, the model on a whole sequence of the task. Batch 1. `sequence_length` is that of the
    sequences whose steps are taken.
    """

    name: str
    task: str
    cell: str
    hidden_size: int
    num_layers: int
    sequence_length: int
    initialization: str = "pytorch"
    hyperparameters: Mapping[str, Any] = dataclasses.field(
        default_factory=lambda: MappingProxyType({})
    )
    device: str = "cpu"
    dtype: str = "float32"
    measure: str = "step"

    @property
    def model(self) -> ModelConfig:
        """The model that is deployed."""
        return ModelConfig(
            task=self.task,
            cell=self.cell,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            sequence_length=self.sequence_length,
            initialization=self.initialization,
            hyperparameters=self.hyperparameters,
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**plain, "hyperparameters": dict(self.hyperparameters)}


@dataclasses.dataclass(frozen=True)
class InferenceRequest:
    """What to time and for how long.

    `n_calls` timed calls of each benchmark in `n_blocks` blocks. `time_budget_s` > 0 ends the
    rounds early, never before 5 of them. The 99th percentile takes 67 calls in a block. `plugins`:
    modules that register the cells and tasks used.
    """

    benchmarks: tuple[InferenceBenchmark, ...]
    n_calls: int = 1000
    n_blocks: int = 10
    time_budget_s: float = 0.0
    seed: int = 0
    plugins: tuple[str, ...] = ()

    @property
    def calls_per_block(self) -> int:
        """Timed calls of one benchmark in one block."""
        return max(1, self.n_calls // self.n_blocks)

    @classmethod
    def from_dict(cls, plain: object) -> InferenceRequest:
        """Read a request as JSON gives it.

        Raises InputError naming the key, and the nearest one that there is.
        """
        values = checked(cls, "request", plain, schema=INFERENCE_SCHEMA, mode="inference")
        listed = values.get("benchmarks")
        if not isinstance(listed, list) or not listed:
            raise InputError("request", "benchmarks", expected="a list of at least one", got=listed)
        benchmarks = tuple(_benchmark(i, each) for i, each in enumerate(listed))
        names = [benchmark.name for benchmark in benchmarks]
        for name in names:
            if names.count(name) > 1:
                raise InputError("request", "benchmarks", expected="names that differ", got=name)
        plugins = tuple(values.get("plugins", ()))
        request = cls(**{**values, "benchmarks": benchmarks, "plugins": plugins})
        for key in ("n_calls", "n_blocks", "time_budget_s", "seed"):
            check_number("request", key, getattr(request, key))
        return request

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it; `from_dict` is the inverse."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        benchmarks = [benchmark.to_dict() for benchmark in self.benchmarks]
        fixed = {"schema": INFERENCE_SCHEMA, "mode": "inference"}
        return {**fixed, **plain, "benchmarks": benchmarks, "plugins": list(self.plugins)}


@dataclasses.dataclass(frozen=True)
class Ready:
    """A model that is ready to be called.

    `call` answers once, `reset` brings back the first step and state.
    """

    call: Callable[[], object]
    reset: Callable[[], None]
    facts: Mapping[str, Any]


def measure_inference(
    request: InferenceRequest, progress: Callable[[str], None] = lambda _text: None
) -> dict[str, Any]:
    """Time every benchmark of the request and give the answer as JSON takes it.

    `progress` is told what begins.

    The process is left with one thread and denormals flushed. Each row has its calls' raw times, a
    block after the other. The unit of its intervals is the block, because calls that follow each
    other are alike: the median is that of the blocks' medians, and the 99th percentile the median
    of the blocks' 99th percentiles, both with the interval between two order statistics over
    blocks. They hold within this process: another one may differ by 5 % and more.
    """
    started = time.monotonic()
    configure_process()
    ready: dict[str, Ready] = {}
    reasons: dict[str, str] = {}
    failures: dict[str, str] = {}
    for benchmark in request.benchmarks:
        progress(f"check of {benchmark.name}")
        try:
            prepared = prepare_inference(benchmark, request.seed)
        except Exception as error:  # noqa: BLE001  # a plug-in may raise anything: it costs its benchmark alone
            failures[benchmark.name] = failure_text(error)
            continue
        if isinstance(prepared, str):
            reasons[benchmark.name] = prepared
        else:
            ready[benchmark.name] = prepared
    progress("interleaved calls")
    for each in ready.values():
        _warm_up(each)
    deadline = started + (request.time_budget_s or math.inf)
    rounds = _rounds(list(ready.values()), request, deadline)
    blocks = {name: [own[i] for own in rounds] for i, name in enumerate(ready)}
    return {
        "schema": INFERENCE_SCHEMA,
        "mode": "inference",
        "machine": machine_facts(["cpu"])
        | {"threads": torch.get_num_threads(), "denormals_flushed": denormals_flushed()}
        | {"regime": "one sequence at a time"},
        "results": [
            benchmark.to_dict()
            | {"device_name": describe_device(benchmark.device)}
            | (
                _row(ready[benchmark.name], blocks[benchmark.name])
                if benchmark.name in ready
                else {}
            )
            | {"unavailable": reasons.get(benchmark.name, "")}
            | {"error": failures.get(benchmark.name)}
            for benchmark in request.benchmarks
        ],
        "wall_time_s": time.monotonic() - started,
    }


@torch.inference_mode()
def prepare_inference(benchmark: InferenceBenchmark, seed: int = 0) -> Ready | str:
    """Build the model, hold it against float64 on real inputs of the task, and close over a call.

    Or why it can't be had.

    Raises HarnessError naming the error where it is larger than the dtype explains.
    """
    task = get_task(benchmark.task)
    original = build_model(benchmark.model, derive_seed(seed, "weights")).eval()
    if reason := deployed_model.unavailable(original, benchmark.dtype, benchmark.measure):
        return reason
    model = deployed_model.convert(original, benchmark.dtype)
    generator = torch.Generator().manual_seed(derive_seed(seed, "batches"))
    inputs = task.sample(N_SEQUENCES, benchmark.sequence_length, generator).inputs
    if benchmark.measure == "step":
        inputs = inputs[:1, :CHECKED_STEPS]
    converted = inputs.to(deployed_model.DTYPES[benchmark.dtype])
    error = deployed_model.relative_error(
        deployed_model.outputs_of(model, converted, benchmark.measure),
        deployed_model.reference_outputs(original, inputs),
    )
    most = deployed_model.TOLERANCE[benchmark.dtype]
    if not error <= most:
        raise HarnessError(
            f"not timed: its outputs differ from float64 by {error:.2g}, "
            f"more than {benchmark.dtype} explains ({most:g})"
        )
    state = deployed_model.first_state(model, converted)
    facts = {
        "num_parameters": sum(weight.numel() for weight in original.parameters()),
        "weights_bytes": deployed_model.weights_bytes(model),
        "state_bytes": None if state is None else deployed_model.state_bytes(state),
        "output_error": error,
    }
    if benchmark.measure == "sequence":
        return _whole_sequences(model, converted, facts)
    return _single_steps(model, converted, facts)


def _whole_sequences(model: SequenceModel, inputs: Tensor, facts: Mapping[str, Any]) -> Ready:
    turn = itertools.cycle([inputs[i : i + 1].clone() for i in range(len(inputs))])
    return Ready(lambda: model(next(turn)), lambda: None, facts)


def _single_steps(model: SequenceModel, inputs: Tensor, facts: Mapping[str, Any]) -> Ready:
    """The steps of one sequence in turn.

    After its last the first follows, and the state goes on.
    """
    step, first = deployed_model.step_of(model), deployed_model.first_state(model, inputs)
    steps = [inputs[:, i : i + 1].clone() for i in range(inputs.shape[1])]
    turn = itertools.cycle(steps)
    state: Any = first

    def call() -> object:
        nonlocal state
        outputs, state = step(next(turn), state)
        return outputs

    def reset() -> None:
        nonlocal state, turn
        state, turn = first, itertools.cycle(steps)

    return Ready(call, reset, facts)


@torch.inference_mode()
def _warm_up(ready: Ready) -> None:
    until = time.perf_counter() + WARM_UP_S
    calls = 0
    while calls < WARM_UP_CALLS or time.perf_counter() < until:
        ready.call()
        calls += 1


def _rounds(
    ready: Sequence[Ready], request: InferenceRequest, deadline: float
) -> list[list[list[int]]]:
    """Rounds of one block of each (A B C A B C ...).

    Whole rounds only, so all have equally many calls.
    """
    rounds: list[list[list[int]]] = []
    while ready and len(rounds) < request.n_blocks:
        if len(rounds) >= LEAST_ROUNDS and time.monotonic() > deadline:
            break
        rounds.append([time_calls(each, request.calls_per_block) for each in ready])
    return rounds


@torch.inference_mode()
def time_calls(ready: Ready, n_calls: int) -> list[int]:
    """Nanoseconds of each of `n_calls` calls from the first state, the clock's own share (some tens) included."""
    ready.reset()
    for _ in range(BLOCK_WARM_UP_CALLS):
        ready.call()
    call, clock = ready.call, time.perf_counter_ns
    times = []
    for _ in range(n_calls):
        start = clock()
        call()
        times.append(clock() - start)
    return times


def percentile(samples: Sequence[float], share: float) -> float | None:
    """The quantile of a sample, estimated so that it lies above the true one as often as below, whatever the distribution.

    Source: Hyndman & Fan 1996, definition 8. None where it would lie beyond the smallest or the
    largest sample.
    """
    ordered, n = sorted(samples), len(samples)
    place = share * (n + 1 / 3) + 1 / 3
    below = math.floor(place)
    if below < 1 or place > n:
        return None
    above = min(below, n - 1)
    return ordered[below - 1] + (place - below) * (ordered[above] - ordered[below - 1])


def _row(ready: Ready, blocks: Sequence[Sequence[int]]) -> dict[str, Any]:
    """The numbers of one benchmark, in microseconds where they are times."""
    medians = [found / 1e3 for block in blocks if (found := percentile(block, 0.5)) is not None]
    tails = [found / 1e3 for block in blocks if (found := percentile(block, TAIL)) is not None]
    median = median_of(medians)
    tail = median_of(tails) if tails else Median(math.nan, None, None, None, 0)
    return {
        **ready.facts,
        "n_calls": sum(map(len, blocks)),
        "n_blocks": len(blocks),
        "call_times_ns": [time_ns for block in blocks for time_ns in block],
        "median_us": median.value,
        "median_low_us": median.low,
        "median_high_us": median.high,
        "p99_us": tail.value if tails else None,
        "p99_low_us": tail.low,
        "p99_high_us": tail.high,
        "interval_level": median.level,
    }


def _benchmark(index: int, plain: object) -> InferenceBenchmark:
    where = f"benchmarks[{index}]"
    values = checked(InferenceBenchmark, where, plain)
    for field in dataclasses.fields(InferenceBenchmark):
        missing = field.default is dataclasses.MISSING
        if missing and field.default_factory is dataclasses.MISSING and field.name not in values:
            raise InputError(where, field.name, expected="a value", got=None)
        if field.name in NUMBERS and field.name in values:
            check_number(where, field.name, values[field.name])
    for key, known in (
        ("dtype", tuple(deployed_model.DTYPES)),
        ("measure", INFERENCE_MEASURES),
        ("device", ("cpu",)),
    ):
        if key in values and values[key] not in known:
            remedy = nearest(str(values[key]), known)
            expected = f"one of {', '.join(known)}"
            raise InputError(where, key, expected=expected, got=values[key], remedy=remedy)
    get_cell(values["cell"])
    check_length(where, values["task"], values["sequence_length"])
    return InferenceBenchmark(**values)
