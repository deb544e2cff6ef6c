"""Times training steps of the winners, and of all cells at equal shapes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from harness.config import StudySpec
from harness.hyperparameters import Choice, Fixed, Range
from harness.study.phases.train_winners import Winner, configuration_of
from harness.study.run_context import StudyRun
from harness.timing.benchmark_request import Benchmark, TimingRequest
from harness.timing.client import ask
from harness.timing.timing_results import TrainingAnswer

N_BLOCKS = 12  # timed for each at most: narrower intervals than 10 or 11
PRECISION = 0.02  # relative half width of an interval that is enough
TRAINING_BUDGET_S = 25.0  # for the rounds of one request


def time_winners(study: StudyRun, kept: Sequence[Winner]) -> TrainingAnswer:
    """Time each winner's training step, with its peak memory."""
    spec = study.spec
    benchmarks = [
        _benchmark(f"{winner.key.task}/{winner.key.cell}/winner/{device}", spec, winner, device)
        for device in _devices(study)
        for winner in kept
    ]
    return _time(study, benchmarks, memory=True)


def time_grid(study: StudyRun, kept: Sequence[Winner]) -> TrainingAnswer:
    """Time every cell at the same few shapes: sizes at one length, lengths at one size."""
    spec = study.spec
    benchmarks = []
    for device in _devices(study):
        for winner in kept:
            key = winner.key
            base = dataclasses.replace(_benchmark("", spec, winner, device), num_layers=1)
            for hidden_size, length in _shapes(spec, winner):
                name = f"{key.task}/{key.cell}/h{hidden_size}/t{length}/{device}"
                benchmarks.append(
                    dataclasses.replace(
                        base, name=name, hidden_size=hidden_size, sequence_length=length
                    )
                )
    return _time(study, benchmarks, memory=False)


def _devices(study: StudyRun) -> list[str]:
    device = study.options.device
    return ["cpu", device] if device.startswith("cuda") else ["cpu"]


def _shapes(spec: StudySpec, winner: Winner) -> list[tuple[int, int]]:
    """A cross through the space that was searched: (hidden_size, sequence_length)."""
    parameters = spec.parameters(winner.key.task, winner.key.cell)
    config = configuration_of(spec, winner).model
    sizes = _points(parameters.get("hidden_size", Fixed(config.hidden_size)))
    lengths = _points(parameters["sequence_length"])
    middle_size, middle_length = sizes[len(sizes) // 2], lengths[len(lengths) // 2]
    cross = [(size, middle_length) for size in sizes]
    cross += [(middle_size, length) for length in lengths]
    return list(dict.fromkeys(cross))


def _points(parameter: Range | Choice | Fixed) -> list[int]:
    """The least, a middle and the greatest value of a parameter."""
    values = sorted(int(value) for value in parameter.values())
    low, middle, high = values[0], values[len(values) // 2], values[-1]
    if isinstance(parameter, Range):
        middle = round(math.sqrt(low * high)) if parameter.log else (low + high) // 2
    return sorted({low, middle, high})


def _benchmark(name: str, spec: StudySpec, winner: Winner, device: str) -> Benchmark:
    config = configuration_of(spec, winner)
    return Benchmark(
        name,
        **vars(config.model),
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        optimizer=config.optimizer,
        max_grad_norm=config.max_grad_norm,
        device=device,
    )


def _time(study: StudyRun, benchmarks: Sequence[Benchmark], *, memory: bool) -> TrainingAnswer:
    """Time training steps. Raises WorkerError where that fails."""
    request = TimingRequest(
        tuple(benchmarks),
        n_blocks=N_BLOCKS,
        precision=PRECISION,
        time_budget_s=TRAINING_BUDGET_S,
        memory=memory,
        reference=False,  # these steps have trained the winners
        plugins=tuple(study.options.plugins),
    )
    return ask(request)
