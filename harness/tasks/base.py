"""The contract of a task, a batch of its data, and the losses that tasks share."""

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
    """`inputs` (batch_size, steps, input_size) in float32, and `targets` for the task's loss.

    There are sequence_length steps, or more if the task adds some (`Lengthened`).
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
    """A synthetic long-dependency task: sizes, fresh data, a loss, and what counts as right.

    `dense`: the outputs of many steps are scored (many-to-many), not only that of the last one.
    `finite`: the number of different sequences if the data are fixed, all of length `least_length`;
    0 if every batch is fresh. `TaskDefaults` has the usual values. What else a task may offer is in
    the protocols below; a plug-in needs none of them.
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
        """Draw a batch on the CPU; the same generator state gives the same batch everywhere."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss; `outputs` is (batch_size, output_size), with a steps dimension if dense."""
        ...

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Whether each scored prediction is right: a boolean tensor."""
        ...


@runtime_checkable
class Informs(Protocol):
    """Offered by a task that knows its informative steps; the report marks them in gate traces."""

    def informative(self, inputs: Tensor) -> Tensor:
        """Which steps of `inputs` carry what the answer needs: boolean (batch_size, steps)."""
        ...


@runtime_checkable
class Lengthened(Protocol):
    """Offered by a task whose sequences have other steps than their sequence_length."""

    def steps(self, sequence_length: int) -> int:
        """Steps of one sequence."""
        ...


@runtime_checkable
class CountsAllSteps(Protocol):
    """Offered by a dense task whose loss the literature gives as a mean over all steps."""

    def all_steps_loss(self, loss: float, sequence_length: int) -> float:
        """The mean over all steps, for a mean `loss` over the scored steps."""
        ...


@runtime_checkable
class HoldsOut(Protocol):
    """Offered by a task of given data: sequences, in a fixed order, that are never trained on."""

    @property
    def n_held_out(self) -> int:
        """How many there are. An evaluation uses each of them at most once."""
        ...

    def held_out(self, start: int, stop: int) -> Batch:
        """The sequences from `start` up to, not including, `stop`, on the CPU."""
        ...


@runtime_checkable
class Predicts(Protocol):
    """Offered by a task with a handful of fixed sequences: their predictions are kept."""

    def predict(self, outputs: Tensor) -> Tensor:
        """`outputs` (batch_size, output_size) as probabilities or values, one for each sequence."""
        ...


@runtime_checkable
class Hashed(Protocol):
    """Offered by a task of given data; a study is not resumed with other data of the same name."""

    def content_hash(self) -> str:
        """The same text for the same data, on every machine."""
        ...


class TaskDefaults:
    """The usual values: one answer at the last step, fresh data, sequences of any length."""

    dense: ClassVar[bool] = False
    finite: ClassVar[int] = 0
    least_length: ClassVar[int] = 1


class Classification(TaskDefaults):
    """One class out of `output_size`, scored once at the last step by cross-entropy."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy in nats of `outputs` (batch_size, classes) and `targets` (batch_size,)."""
        return functional.cross_entropy(outputs, targets)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Whether the largest output is that of the target."""
        return outputs.argmax(dim=-1) == targets


class DenseClassification(Classification):
    """One class out of `output_size` at each of the last n steps, n being a sequence's targets."""

    dense = True

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy in nats of the last n of `outputs`, for `targets` (batch_size, n)."""
        return super().loss(_scored(outputs, targets).flatten(0, 1), targets.flatten())

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Whether the largest output is the target's at each of the n steps: (batch_size, n)."""
        return super().correct(_scored(outputs, targets), targets)


def _scored(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs[:, -targets.shape[1] :]


class Regression(TaskDefaults):
    """`output_size` numbers at the last step: squared error, right within `tolerance`."""

    tolerance = REGRESSION_TOLERANCE

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error of `outputs` (batch_size, output_size)."""
        return functional.mse_loss(outputs, targets)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Whether |error| < tolerance in all numbers of each sequence."""
        return ((outputs - targets).abs() < self.tolerance).all(dim=-1)


def one_hot(symbols: Tensor, size: int) -> Tensor:
    """`symbols` (batch_size, steps) of integers as float32 (batch_size, steps, size)."""
    return torch.zeros(*symbols.shape, size).scatter_(-1, symbols.unsqueeze(-1), 1.0)


def integers(low: int, high: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Integers drawn evenly from [low, high)."""
    return torch.randint(low, high, shape, generator=generator)


def distinct(count: int, high: int, batch_size: int, generator: torch.Generator) -> Tensor:
    """`count` different integers from [0, high), in random order: (batch_size, count).

    The draws are float64, so that two are never equal; machines would break a tie differently.
    """
    draws = torch.rand(batch_size, high, generator=generator, dtype=torch.float64)
    return draws.topk(count, dim=1).indices


def first_steps(inputs: Tensor, count: int) -> Tensor:
    """Boolean (batch_size, steps), true at the first `count` steps of `inputs`."""
    batch_size, steps = inputs.shape[:2]
    return (torch.arange(steps, device=inputs.device) < count).expand(batch_size, steps)
