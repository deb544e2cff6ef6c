"""How fast a training step runs: clocks, warm-up, interleaved blocks, FLOPs and peak memory. Never reads a study.

A training step is zero_grad, forward, loss, backward, clip and optimiser step on real batches of a task, prepared outside
the timed region. The benchmarks of one request are timed in turn, a block of each in every round, so that what drifts on
the machine drifts for all. `python -m harness.timing` takes a request as JSON on standard input and gives the answer as
JSON on standard output; it runs where only torch and numpy are installed.
"""

from harness.timing.benchmarks import Benchmark, TimingRequest, prepare
from harness.timing.clocks import BlockTime, time_block
from harness.timing.flops import training_flops
from harness.timing.inference import InferenceBenchmark, InferenceRequest, measure_inference
from harness.timing.throughput import measure

__all__ = [
    "Benchmark",
    "BlockTime",
    "InferenceBenchmark",
    "InferenceRequest",
    "TimingRequest",
    "measure",
    "measure_inference",
    "prepare",
    "time_block",
    "training_flops",
]
