"""Floating-point operations by formula, and a matrix product as the measure of a machine. Never times anything."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from harness.cells import get_cell
from harness.models import ModelConfig
from harness.tasks import get_task

TRAINING_PASSES = 3  # forward, and backward twice as much: to the inputs and to the weights
PEAK_SIZE = {"cpu": 1024, "cuda": 8192}  # sides of the square product: about 20 ms each


def training_flops(model: ModelConfig, batch_size: int, n_steps: int) -> int | None:
    """Floating-point operations of one training step; None for a cell that tells neither its FLOPs nor its gates.

    `n_steps` are the time steps of the batch (a task may add some to its sequence_length). The products alone are counted:
    3 * (sum over layers of 2 G H (D + H) B T, plus the head's 2 H O B on the steps that it reads), with G = 1, 3, 4 gates
    for RNN, GRU, LSTM and D the layer's input size; a cell that tells its own count has it in place of that sum. Element-wise
    operations, clipping and the optimiser are left out, and the gradient to the first layer's inputs is in, though no
    training needs it.
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


def matrix_product(device: str) -> tuple[Callable[[], Tensor], int]:
    """A float32 matrix product on `device` into a fixed place, and its floating-point operations."""
    size = PEAK_SIZE[torch.device(device).type]
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(size, size, generator=generator).to(device) for _ in range(2))
    product = torch.empty(size, size, device=device)
    return (lambda: torch.mm(left, right, out=product)), 2 * size**3
