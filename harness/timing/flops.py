"""What a step costs by formula: floating-point operations, and the bytes that it moves.

Never times anything.
"""

from __future__ import annotations

from harness.cells import get_cell
from harness.tasks import get_task
from harness.timing.benchmark_request import Benchmark
from harness.timing.variants import parse_variant
from harness.training.model import ModelConfig

TRAINING_PASSES = 3  # forward, and backward twice as much: to the inputs and to the weights
FLOAT_BYTES = 4
OPTIMIZER_PASSES = {"adam": 7, "adamw": 7, "rmsprop": 5, "sgd": 3}
"""Passes over the weights of one update: gradient, weight and moments read.

Weight and moments written.
"""


def training_flops(model: ModelConfig, batch_size: int, n_steps: int) -> int | None:
    """Floating-point operations of one training step.

    None for a cell that tells neither its FLOPs nor its gates.

    `n_steps` are the time steps of the batch (a task may add some to its sequence_length). The
    products alone are counted: 3 * (sum over layers of 2 G H (D + H) B T, plus the head's 2 H O B
    on the steps that it reads), with G = 1, 3, 4 gates for RNN, GRU, LSTM and D the layer's input
    size; a cell that tells its own count has it in place of that sum. Element-wise operations,
    clipping and the optimiser are left out, and the gradient to the first layer's inputs is in,
    though no training needs it.
    """
    cell, task, size = get_cell(model.cell), get_task(model.task), model.hidden_size
    if cell.flops is not None:
        step = cell.flops(task.input_size, size, model.num_layers)
    elif cell.gates is not None:
        step = 2 * cell.gates * size * (task.input_size + size + (model.num_layers - 1) * 2 * size)
    else:
        return None
    stack = step * batch_size * n_steps
    head = 2 * size * task.output_size * batch_size * (n_steps if task.dense else 1)
    return TRAINING_PASSES * (stack + head)


def step_flops(benchmark: Benchmark, n_steps: int) -> int | None:
    """Floating-point operations of what a benchmark times: `forward` is one pass of the three."""
    flops = training_flops(benchmark.model, benchmark.batch_size, n_steps)
    return flops // TRAINING_PASSES if flops and benchmark.measure == "forward" else flops


def step_bytes(benchmark: Benchmark, n_steps: int, num_parameters: int) -> int | None:
    """Bytes that a step moves, were every number moved once for each use.

    None for a cell without known gates.

    Forward reads the weights and inputs and writes gates and states, (G + 1) H for each layer, step
    and sequence; backward reads both again and writes the gradients; clipping reads those, and the
    optimiser passes over weights and moments. Under bfloat16 and float16 inputs and states have two
    bytes each. What a cache holds is moved faster than a large copy, what it does not hold more
    often than this: a measure of a step, no bound.
    """
    cell, task = get_cell(benchmark.cell), get_task(benchmark.task)
    if cell.gates is None:
        return None
    states = benchmark.num_layers * (cell.gates + 1) * benchmark.hidden_size
    activations = benchmark.batch_size * n_steps * (task.input_size + states)
    half = parse_variant(benchmark.variant).precision in ("bfloat16", "float16")
    states_bytes = activations * (FLOAT_BYTES // 2 if half else FLOAT_BYTES)
    weights_bytes = FLOAT_BYTES * num_parameters
    if benchmark.measure == "forward":
        return weights_bytes + states_bytes
    moved = 3 * weights_bytes + 2 * states_bytes
    if benchmark.measure == "training_step":
        clip = 1 if benchmark.max_grad_norm > 0 else 0
        moved += (clip + OPTIMIZER_PASSES[benchmark.optimizer]) * weights_bytes
    return moved
