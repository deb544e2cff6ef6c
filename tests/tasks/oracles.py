"""For each task, an oracle: the perfect answers, and the steps that each answer needs.

Written from the tasks' descriptions, not from their code. A new task gets its oracle here and
inherits every test of contract.py.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tests.tasks.contract import SURE, Oracle


def at_the_end(read: Tensor) -> Tensor:
    """The steps read (batch_size, steps) by the one output of a task that is not dense."""
    return read.unsqueeze(1)


def one_step_each(inputs: Tensor, outputs_at: Tensor, read_at: Tensor) -> Tensor:
    """A dense task whose output at step `outputs_at[:, i]` needs the input at `read_at[:, i]`."""
    batch_size, steps = inputs.shape[:2]
    read = torch.zeros(batch_size, steps, steps, dtype=torch.bool)
    read[torch.arange(batch_size).unsqueeze(1), outputs_at, read_at] = True
    return read


def answered_at(inputs: Tensor, outputs_at: Tensor, symbols: Tensor, classes: int) -> Tensor:
    """Outputs of a dense task that are sure of `symbols[:, i]` at step `outputs_at[:, i]`.

    Zero at the other steps.
    """
    outputs = torch.zeros(*inputs.shape[:2], classes)
    outputs[torch.arange(len(inputs)).unsqueeze(1), outputs_at, symbols] = SURE
    return outputs


def temporal_order(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Symbols 6 and 7 are X and Y; classes XX, XY, YX, YY."""
    symbols = inputs.argmax(dim=-1)
    read = symbols >= 6
    pairs = symbols[read].reshape(-1, 2) - 6
    return SURE * functional.one_hot(2 * pairs[:, 0] + pairs[:, 1], 4).float(), at_the_end(read)


def delayed_recall(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The symbol at place 0."""
    read = torch.zeros(inputs.shape[:2], dtype=torch.bool)
    read[:, 0] = True
    return SURE * inputs[:, 0, :8], at_the_end(read)


def adding(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of the marked numbers."""
    read = inputs[:, :, 1] == 1
    total = inputs[:, :, 0][read].reshape(-1, 2).sum(dim=1, keepdim=True)
    return total, at_the_end(read)


def copy_memory(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The first ten symbols, on the last ten steps."""
    batch_size, steps = inputs.shape[:2]
    read_at = torch.arange(10).expand(batch_size, 10)
    outputs_at = read_at + steps - 10
    symbols = inputs[:, :10].argmax(dim=-1)
    outputs = answered_at(inputs, outputs_at, symbols, 8)
    return outputs, one_step_each(inputs, outputs_at, read_at)


def repeat_previous(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """At every step from a quarter on, what stood there a quarter ago."""
    batch_size, steps = inputs.shape[:2]
    outputs_at = torch.arange(steps // 4, steps).expand(batch_size, -1)
    read_at = outputs_at - steps // 4
    symbols = inputs.argmax(dim=-1)[:, : steps - steps // 4]
    outputs = answered_at(inputs, outputs_at, symbols, 4)
    return outputs, one_step_each(inputs, outputs_at, read_at)


def parity(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Flip once for each one: no sum, a product of signs."""
    even = (1 - 2 * inputs).prod(dim=1) > 0
    read = torch.ones(inputs.shape[:2], dtype=torch.bool)
    return SURE * torch.cat([even, ~even], dim=1).float(), at_the_end(read)


def selective_copy(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """What is neither blank (8) nor delimiter (9), in order, on the last eight steps."""
    batch_size, steps = inputs.shape[:2]
    symbols = inputs.argmax(dim=-1)
    read_at = (symbols < 8).nonzero()[:, 1].reshape(batch_size, 8)
    outputs_at = torch.arange(steps - 8, steps).expand(batch_size, 8)
    outputs = answered_at(inputs, outputs_at, symbols.gather(1, read_at), 8)
    return outputs, one_step_each(inputs, outputs_at, read_at)


def associative_recall(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """What follows the last place that shows the key of the last step; keys are 0..7, values 8..15.

    No such place: no idea.
    """
    outputs = torch.zeros(len(inputs), 8)
    read = torch.zeros(inputs.shape[:2], dtype=torch.bool)
    for row, symbols in enumerate(inputs.argmax(dim=-1).tolist()):
        for place in (6, 4, 2, 0):
            if symbols[place] == symbols[-1]:
                outputs[row, symbols[place + 1] - 8] = SURE
                read[row, [place, place + 1, -1]] = True
                break
    return outputs, at_the_end(read)


def lesson(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """8, 1, 5, 3 is 0 and 2, 7, 4, 9 is 1: every step tells."""
    second = (inputs == torch.tensor([2.0, 7.0, 4.0, 9.0]).reshape(1, 4, 1)).all(dim=1)
    first = (inputs == torch.tensor([8.0, 1.0, 5.0, 3.0]).reshape(1, 4, 1)).all(dim=1)
    assert (first | second).all()
    read = torch.ones(inputs.shape[:2], dtype=torch.bool)
    return SURE * (2.0 * second - 1), at_the_end(read)


ORACLES: dict[str, Oracle] = {
    "temporal_order": temporal_order,
    "delayed_recall": delayed_recall,
    "adding": adding,
    "copy_memory": copy_memory,
    "repeat_previous": repeat_previous,
    "parity": parity,
    "selective_copy": selective_copy,
    "associative_recall": associative_recall,
    "lesson": lesson,
}
LAG_IS_THE_FARTHEST = {"selective_copy"}
"""Tasks that state the farthest that they reach.

The others state what every sequence asks for at least.
"""
