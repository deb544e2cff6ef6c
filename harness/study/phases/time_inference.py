"""Times each winner's inference: a single step and a whole sequence. Never trains."""

from __future__ import annotations

from collections.abc import Sequence

from harness.study.phases.train_winners import Winner, configuration_of
from harness.study.run_context import StudyRun
from harness.timing.client import ask
from harness.timing.inference_request import (
    INFERENCE_DTYPES,
    INFERENCE_MEASURES,
    InferenceBenchmark,
    InferenceRequest,
)
from harness.timing.timing_results import InferenceAnswer

N_CALLS, N_BLOCKS = 1_000, 10  # 100 calls a block: enough for its 99th percentile
INFERENCE_BUDGET_S = 25.0  # for the rounds, of which there are at least five


def time_inference(study: StudyRun, kept: Sequence[Winner]) -> InferenceAnswer:
    """Time each winner's single step and whole sequence at each dtype, on the CPU.

    Raises WorkerError where that fails.

    The weights are those of its initialisation: neither times nor bytes depend on them.
    """
    benchmarks = [
        _benchmark(study, winner, dtype, measure)
        for winner in kept
        for dtype in INFERENCE_DTYPES
        for measure in INFERENCE_MEASURES
    ]
    request = InferenceRequest(
        tuple(benchmarks),
        n_calls=N_CALLS,
        n_blocks=N_BLOCKS,
        time_budget_s=INFERENCE_BUDGET_S,
        plugins=tuple(study.options.plugins),
    )
    return ask(request)


def _benchmark(study: StudyRun, winner: Winner, dtype: str, measure: str) -> InferenceBenchmark:
    name = f"{winner.key.task}/{winner.key.cell}/winner/{dtype}/{measure}"
    model = configuration_of(study.spec, winner).model
    return InferenceBenchmark(name, **vars(model), dtype=dtype, measure=measure)
