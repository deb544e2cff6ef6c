"""A cell as it is looked at: a copy of its own, on the CPU, in float64 and not in training.

The model is never changed.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from harness.training.model import SequenceModel


def copy_of_cell(model: SequenceModel) -> nn.Module:
    """The model's cell in float64, in evaluation mode, on the CPU."""
    return copy.deepcopy(model.cell).to(device="cpu", dtype=torch.float64).eval()


def in_float64(inputs: Tensor) -> Tensor:
    """The same inputs as that copy takes them."""
    return inputs.detach().to(device="cpu", dtype=torch.float64)


@contextlib.contextmanager
def float64_by_default() -> Iterator[None]:
    """What a cell makes inside without saying of which type, such as zeros to start from, is float64 too."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
