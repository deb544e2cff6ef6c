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
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from harness.errors import HarnessError
from harness.machine import configure_process, derive_seed, describe_device
from harness.order_statistics import MINIMUM_SAMPLES, median_of
from harness.tasks import get_task
from harness.timing import deployed_model
from harness.timing.benchmark_results import machine_facts
from harness.timing.float64_reference import denormals_flushed
from harness.timing.inference_request import InferenceBenchmark, InferenceRequest
from harness.timing.timing_results import InferenceAnswer, InferenceResult, TimedCalls
from harness.timing.variant_worker import failure_text
from harness.training.model import SequenceModel, build_model

N_INPUT_SEQUENCES = 4  # prepared for each benchmark and used in turn
CHECKED_STEPS = 256  # of a sequence, where single steps are checked and timed
WARM_UP_CALLS, WARM_UP_S = 20, 0.05  # both, before the first block
BLOCK_WARM_UP_CALLS = 3  # at the start of a block: another row has used the caches since
TAIL = 0.99
INFERENCE_REGIME = "one sequence at a time"


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """What is known of a deployed model before it is timed, as in TimedCalls."""

    num_parameters: int
    weights_bytes: int
    state_bytes: int | None
    output_error: float


@dataclasses.dataclass(frozen=True)
class ReadyModel:
    """A model that is ready to be called: `call` answers once, `reset` restores the first state."""

    call: Callable[[], object]
    reset: Callable[[], None]
    facts: ModelFacts


def measure_inference(
    request: InferenceRequest, progress: Callable[[str], None] = lambda _text: None
) -> InferenceAnswer:
    """Time every benchmark of the request; `progress` is told what begins.

    The process is left with one thread and denormals flushed. Each row has its calls' raw times, a
    block after the other. The unit of its intervals is the block, because calls that follow each
    other are alike: the median is that of the blocks' medians, and the 99th percentile the median
    of the blocks' 99th percentiles, both with the interval between two order statistics over
    blocks. They hold within this process: another one may differ by 5 % and more.
    """
    started = time.monotonic()
    configure_process()
    ready: dict[str, ReadyModel] = {}
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
    machine = dataclasses.replace(
        machine_facts(["cpu"], INFERENCE_REGIME),
        threads=torch.get_num_threads(),
        denormals_flushed=denormals_flushed(),
    )
    results = []
    for benchmark in request.benchmarks:
        name = benchmark.name
        numbers = _numbers(ready[name].facts, blocks[name]) if name in ready else None
        results.append(
            InferenceResult(
                benchmark,
                device_name=describe_device(benchmark.device),
                unavailable=reasons.get(name, ""),
                error=failures.get(name),
                timed=numbers,
            )
        )
    return InferenceAnswer(machine, tuple(results), time.monotonic() - started)


@torch.inference_mode()
def prepare_inference(benchmark: InferenceBenchmark, seed: int = 0) -> ReadyModel | str:
    """Build the model, hold it against float64 on real inputs of the task, and close over a call.

    Or why it can't be had.

    Raises HarnessError naming the error where it is larger than the dtype explains.
    """
    task = get_task(benchmark.task)
    original = build_model(benchmark.model, derive_seed(seed, "weights")).eval()
    if reason := deployed_model.deployment_problem(original, benchmark.dtype, benchmark.measure):
        return reason
    model = deployed_model.convert(original, benchmark.dtype)
    generator = torch.Generator().manual_seed(derive_seed(seed, "batches"))
    inputs = task.sample(N_INPUT_SEQUENCES, benchmark.sequence_length, generator).inputs
    if benchmark.measure == "step":
        inputs = inputs[:1, :CHECKED_STEPS]
    converted = inputs.to(deployed_model.DTYPES[benchmark.dtype])
    error = deployed_model.relative_error(
        deployed_model.outputs_of(model, converted, benchmark.measure),
        deployed_model.reference_outputs(original, inputs),
    )
    most = deployed_model.OUTPUT_TOLERANCE[benchmark.dtype]
    if not error <= most:
        raise HarnessError(
            f"not timed: its outputs differ from float64 by {error:.2g}, "
            f"more than {benchmark.dtype} explains ({most:g})"
        )
    state = deployed_model.first_state(model, converted)
    facts = ModelFacts(
        num_parameters=sum(weight.numel() for weight in original.parameters()),
        weights_bytes=deployed_model.weights_bytes(model),
        state_bytes=None if state is None else deployed_model.state_bytes(state),
        output_error=error,
    )
    if benchmark.measure == "sequence":
        return _whole_sequences(model, converted, facts)
    return _single_steps(model, converted, facts)


def _whole_sequences(model: SequenceModel, inputs: Tensor, facts: ModelFacts) -> ReadyModel:
    turn = itertools.cycle([inputs[i : i + 1].clone() for i in range(len(inputs))])
    return ReadyModel(lambda: model(next(turn)), lambda: None, facts)


def _single_steps(model: SequenceModel, inputs: Tensor, facts: ModelFacts) -> ReadyModel:
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

    return ReadyModel(call, reset, facts)


@torch.inference_mode()
def _warm_up(ready: ReadyModel) -> None:
    until = time.perf_counter() + WARM_UP_S
    calls = 0
    while calls < WARM_UP_CALLS or time.perf_counter() < until:
        ready.call()
        calls += 1


def _rounds(
    ready: Sequence[ReadyModel], request: InferenceRequest, deadline: float
) -> list[list[list[int]]]:
    """Rounds of one block of each (A B C A B C ...).

    Whole rounds only, so all have equally many calls.
    """
    rounds: list[list[list[int]]] = []
    while ready and len(rounds) < request.n_blocks:
        if len(rounds) >= MINIMUM_SAMPLES and time.monotonic() > deadline:
            break
        rounds.append([time_calls(each, request.calls_per_block) for each in ready])
    return rounds


@torch.inference_mode()
def time_calls(ready: ReadyModel, n_calls: int) -> list[int]:
    """Nanoseconds of each of `n_calls` calls from the first state, including the clock's own."""
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
    """The quantile of a sample; above the true one as often as below, for any distribution.

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


def _numbers(facts: ModelFacts, blocks: Sequence[Sequence[int]]) -> TimedCalls:
    """The numbers of one benchmark: of its model, and of its calls."""
    medians = [found / 1e3 for block in blocks if (found := percentile(block, 0.5)) is not None]
    tails = [found / 1e3 for block in blocks if (found := percentile(block, TAIL)) is not None]
    median, tail = median_of(medians), median_of(tails) if tails else None
    return TimedCalls(
        **vars(facts),
        n_calls=sum(map(len, blocks)),
        n_blocks=len(blocks),
        call_times_ns=tuple(time_ns for block in blocks for time_ns in block),
        median_us=median.value,
        median_low_us=median.low,
        median_high_us=median.high,
        p99_us=tail and tail.value,
        p99_low_us=tail and tail.low,
        p99_high_us=tail and tail.high,
        interval_level=median.level,
    )
