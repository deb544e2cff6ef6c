"""How fast a training step runs: clocks, warm-up, interleaved blocks, FLOPs and peak memory.

Never reads a study.

A training step is zero_grad, forward, loss, backward, clip and optimiser step on real batches of a
task, prepared outside the timed region. It is run in variants, each in a process of its own, and
held against float64 before it is timed. The benchmarks of one request are timed in turn, a block of
each in every round, so that what drifts on the machine drifts for all. `python -m harness.timing`
takes a request as JSON on standard input and gives the answer as JSON on standard output; it runs
where only torch and numpy are installed.
"""

from harness.timing.benchmark_request import Benchmark, TimingRequest
from harness.timing.build_steps import Subject, prepare
from harness.timing.clocks import BlockTime, time_block
from harness.timing.flops import training_flops
from harness.timing.inference import measure_inference
from harness.timing.inference_request import InferenceBenchmark, InferenceRequest
from harness.timing.memory import step_bytes_needed
from harness.timing.throughput import measure_throughput
from harness.timing.variants import MEASURES, Variant, parse_variant, unavailable
from harness.timing.worker_pool import WorkerPool

__all__ = [
    "MEASURES",
    "Benchmark",
    "BlockTime",
    "InferenceBenchmark",
    "InferenceRequest",
    "Subject",
    "TimingRequest",
    "Variant",
    "WorkerPool",
    "measure_inference",
    "measure_throughput",
    "parse_variant",
    "prepare",
    "step_bytes_needed",
    "time_block",
    "training_flops",
    "unavailable",
]
