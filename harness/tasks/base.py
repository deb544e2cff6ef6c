"""What a task is: the contract, a batch of its data, and the losses that tasks share.

Never names a single task.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

# Hochreiter & Schmidhuber 1997, section 5.4: a sum is right when |error| < 0.04
REGRESSION_TOLERANCE = 0.04


@dataclasses.dataclass(frozen=True)
class Batch:
    """`inputs` (batch_size, steps, input_size) in float32, and `targets` as the task's loss takes them.

    There are sequence_length steps, or more where the task adds some (`Lengthened`).
    """

    inputs: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        return Batch(self.inputs.to(device), self.targets.to(device))

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: slice) -> Batch:
        return Batch(self.inputs[index], self.targets[index])


@runtime_checkable
class Task(Protocol):
    """A synthetic long-dependency task.

    Plain numbers about it, fresh data, a loss, and what counts as right.

    `dense` says whether the outputs of all steps are scored (many-to-many) or that of the last one
    alone. `finite` is the number of different sequences where the data are fixed, 0 where every
    batch is fresh: fixed sequences have one length, `least_length`. These three have their usual
    values in TaskDefaults. What a task may offer beyond this stands in protocols of their own, and
    never here: a plug-in that offers none of it is a task.
    """

    @property
    def name(self) -> str: ...
    @property
    def input_size(self) -> int: ...
    @property
    def output_size(self) -> int: ...
    @property
    def least_length(self) -> int: ...
    @property
    def dense(self) -> bool: ...
    @property
    def finite(self) -> int: ...

    def lag(self, sequence_length: int) -> int:
        """Steps between the earliest input that matters and the output that needs it."""
        ...

    def chance_loss(self, sequence_length: int) -> float:
        """Loss of the best constant prediction, in closed form."""
        ...

    def sample(self, batch_size: int, sequence_length: int, generator: torch.Generator) -> Batch:
        """Draw a batch on the CPU; the same generator state gives the same batch on every machine."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of `outputs` (batch_size, output_size), or (batch_size, steps, output_size) where dense."""
        ...

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Whether each prediction that is scored is right: a boolean tensor."""
        ...


@runtime_checkable
class Informs(Protocol):
    """What a task may offer, so that the report can mark these steps in what the gates do."""

    def informative(self, inputs: Tensor) -> Tensor:
        """Which steps of `inputs` carry what the answer needs: boolean (batch_size, steps)."""
        ...


@runtime_checkable
class Lengthened(Protocol):
    """What a task offers as well whose sequences have other steps than their sequence_length, such as those of a recall."""

    def steps(self, sequence_length: int) -> int:
        """Steps of one sequence."""
        ...


@runtime_checkable
class CountsAllSteps(Protocol):
    """What a dense task offers as well where the literature gives its loss as a mean over all steps."""

    def all_steps_loss(self, loss: float, sequence_length: int) -> float:
        """The mean over all steps, for a mean `loss` over the steps that are scored."""
        ...


@runtime_checkable
class HoldsOut(Protocol):
    """What a task of given data may offer.

    Sequences that are never drawn for training, in an order of their own.
    """

    @property
    def n_held_out(self) -> int:
        """How many there are; an evaluation looks at no more, and at each of them once."""
        ...

    def held_out(self, start: int, stop: int) -> Batch:
        """Those from `start` up to `stop`, which is left out, on the CPU."""
        ...


@runtime_checkable
class Predicts(Protocol):
    """What a task of a handful of fixed sequences may offer, so that the predictions for them are kept and printed."""

    def predict(self, outputs: Tensor) -> Tensor:
        """`outputs` (batch_size, output_size) as probabilities or values, one for each sequence."""
        ...


@runtime_checkable
class Hashed(Protocol):
    """What a task of given data may offer, so that a study is not resumed with other data under the same name."""

    def content_hash(self) -> str:
        """The same text for the same data, on every machine."""
        ...


class TaskDefaults:
    """What a task need not say: one answer, at the last step; fresh data.

    Sequences of any length.
    """

    dense: ClassVar[bool] = False
    finite: ClassVar[int] = 0
    least_length: ClassVar[int] = 1


class Classification(TaskDefaults):
    """One class out of `output_size`, scored once at the last step by cross-entropy."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of `outputs` (batch_size, classes) against `targets` (batch_size,), in nats."""
        return functional.cross_entropy(outputs, targets)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Whether the largest output is that of the target."""
        return outputs.argmax(dim=-1) == targets


class DenseClassification(Classification):
    """One class out of `output_size` at each of the last steps.

    As many as a sequence has targets.
    """

    dense = True

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of the last n of `outputs` (batch_size, steps, classes) against `targets` (batch_size, n), in nats."""
        return super().loss(_scored(outputs, targets).flatten(0, 1), targets.flatten())

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Whether the largest output is that of the target, at each of the n steps.

        (batch_size, n).
        """
        return super().correct(_scored(outputs, targets), targets)


def _scored(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs[:, -targets.shape[1] :]


class Regression(TaskDefaults):
    """`output_size` numbers, scored once at the last step by their squared error.

    Right within `tolerance`.
    """

    tolerance = REGRESSION_TOLERANCE

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error of `outputs` (batch_size, output_size)."""
        return functional.mse_loss(outputs, targets)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Whether |error| < tolerance, for each sequence: in all of its numbers."""
        return ((outputs - targets).abs() < self.tolerance).all(dim=-1)


def one_hot(symbols: Tensor, size: int) -> Tensor:
    """`symbols` (batch_size, steps) of integers as float32 (batch_size, steps, size)."""
    return torch.zeros(*symbols.shape, size).scatter_(-1, symbols.unsqueeze(-1), 1.0)


def integers(low: int, high: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Integers drawn evenly from [low, high)."""
    return torch.randint(low, high, shape, generator=generator)


def distinct(count: int, high: int, batch_size: int, generator: torch.Generator) -> Tensor:
    """`count` different integers from [0, high), in random order: (batch_size, count).

    Float64, so that two draws are never equal: a tie would be broken differently from machine to
    machine.
    """
    draws = torch.rand(batch_size, high, generator=generator, dtype=torch.float64)
    return draws.topk(count, dim=1).indices


def first_steps(inputs: Tensor, count: int) -> Tensor:
    """Boolean (batch_size, steps), true at the first `count` steps of `inputs` (batch_size, steps, input_size)."""
    batch_size, steps = inputs.shape[:2]
    return (torch.arange(steps, device=inputs.device) < count).expand(batch_size, steps)
