"""A copy of a model's cell to measure on: on the CPU, in float64, in evaluation mode."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from harness.training.model import SequenceModel


def copy_of_cell(model: SequenceModel) -> nn.Module:
    """The model's cell in float64, in evaluation mode, on the CPU. The model is not changed."""
    return copy.deepcopy(model.cell).to(device="cpu", dtype=torch.float64).eval()


def in_float64(inputs: Tensor) -> Tensor:
    """The inputs on the CPU in float64."""
    return inputs.detach().to(device="cpu", dtype=torch.float64)


@contextlib.contextmanager
def float64_by_default() -> Iterator[None]:
    """Make float64 torch's default, also for tensors that a cell creates itself."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
