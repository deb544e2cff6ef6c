"""What harness.timing would answer to a request, without timing anything.

Made of the request's own data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.timing.timing_results import InferenceAnswer, TrainingAnswer

MACHINE = {
    "cpu": "Example CPU",
    "cores": 2,
    "cpu_capability": "AVX2",
    "system": "Linux x86_64",
    "python": "3.12.0",
    "torch": "2.13.0",
    "cuda": None,
    "cudnn": None,
    "devices": {"cpu": "Example CPU"},
    "regime": "as in an example",
}
UNUSED_TIMES = {"wall_times_s": [], "warm_up_times_s": [], "interval_level": None}  # type: ignore[var-annotated]
LATENCY = {
    "name": "latency, temporal_order/rnn/pytorch, length 64, cpu",
    **UNUSED_TIMES,
    "n_blocks": 1,
    "n_steps_per_block": 4,
    "steady": True,
    "step_times_s": [64e-6],
    "step_time_s": 64e-6,
    "step_time_low_s": None,
    "step_time_high_s": None,
    "host_time_s": 64e-6,
}
ABSENT = {"tf32": "no CUDA device", "cuda_graph": "no CUDA device", "float16": "no CUDA device"}


def training_answer(request: Mapping[str, Any]) -> TrainingAnswer:
    """An answer with a row for each benchmark; variants of CUDA are unavailable."""
    return TrainingAnswer.from_json(plain_training_answer(request))


def inference_answer(request: Mapping[str, Any]) -> InferenceAnswer:
    """The same in inference mode; bfloat16 is unavailable."""
    return InferenceAnswer.from_json(plain_inference_answer(request))


def plain_training_answer(request: Mapping[str, Any], step_time_s: float = 0.01) -> dict[str, Any]:
    """The JSON of `training_answer`."""
    return {
        "schema": 2,
        "machine": MACHINE,
        "latencies": [LATENCY] if request.get("limits") else [],
        "results": [_timed(each, step_time_s) for each in request["benchmarks"]],
        "wall_time_s": 1.0,
    }


def plain_inference_answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of `inference_answer`."""
    rows = []
    for index, benchmark in enumerate(request["benchmarks"], start=1):
        each = {**benchmark, "device_name": "Example CPU"}
        if each["dtype"] == "bfloat16":
            rows.append({**each, "unavailable": "no bfloat16 here", "error": None})
            continue
        times = [index * 1_000 + call for call in range(request["n_calls"])]
        rows.append(
            {
                **each,
                "n_calls": len(times),
                "n_blocks": 1,
                "call_times_ns": times,
                "num_parameters": 100,
                "median_us": float(index),
                "p99_us": index * 1.5,
                "weights_bytes": 400,
                "state_bytes": 32,
                "output_error": 1e-7,
                "unavailable": "",
                "error": None,
            }
        )
    return {"schema": 2, "machine": MACHINE, "results": rows, "wall_time_s": 1.0}


def _timed(benchmark: Mapping[str, Any], step_time_s: float) -> dict[str, Any]:
    reason = ABSENT.get(benchmark.get("variant", ""), "")
    if reason:
        return {**benchmark, "unavailable": reason, "error": None}
    times = [step_time_s * (1 + 0.01 * block) for block in range(5)]
    middle = times[2]
    return {
        **benchmark,
        "device_name": "Example CPU",
        "num_parameters": 100,
        "n_threads": 1,
        "n_processes": 1,
        "n_time_steps": benchmark["sequence_length"],
        **UNUSED_TIMES,
        "n_blocks": len(times),
        "n_steps_per_block": 4,
        "steady": True,
        "step_times_s": times,
        "step_time_s": middle,
        "step_time_low_s": times[0],
        "step_time_high_s": times[-1],
        "host_time_s": middle,
        "sequences_per_second": benchmark["batch_size"] / middle,
        "tokens_per_second": benchmark["batch_size"] * benchmark["sequence_length"] / middle,
        "speedup": 1.5,
        "speedup_low": 1.4,
        "speedup_high": 1.6,
        "latency_bound_s": None,
        "unavailable": "",
        "error": None,
    }
