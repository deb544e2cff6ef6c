"""A task of given data: tensors to train on and tensors to test on. Never reads a file."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from harness.errors import InputError, Shown
from harness.tasks.base import REGRESSION_TOLERANCE, Batch, Classification, Regression

TARGET_DTYPES = {"classification": torch.int64, "regression": torch.float32}


@dataclasses.dataclass(frozen=True, eq=False)
class TensorTask:
    """Given sequences of one length: training draws from `train`, evaluation goes through `test`.

    Inputs are float32 (n, steps, input_size). Targets are classes, int64 (n,), or for a regression
    float32 (n, output_size), right within `tolerance`. `steps_back` is the lag, if it is not the
    whole sequence. An evaluation of fewer than all test sequences takes the first ones, so they
    should be in random order. Raises InputError for tensors that cannot be trained on.
    """

    name: str
    train: Batch
    test: Batch
    kind: Literal["classification", "regression"] = "classification"
    steps_back: int | None = None
    tolerance: float = REGRESSION_TOLERANCE
    dense: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check(self)

    @property
    def input_size(self) -> int:
        return self.train.inputs.shape[2]

    @functools.cached_property
    def output_size(self) -> int:
        """The numbers of a target, or the number of classes: the largest class plus one."""
        if self.kind == "regression":
            return self.train.targets.shape[1]
        return 1 + max(int(part.targets.max()) for part in (self.train, self.test))

    @property
    def least_length(self) -> int:
        return self.train.inputs.shape[1]

    @property
    def finite(self) -> int:
        return len(self.test.inputs)

    @property
    def n_held_out(self) -> int:
        return len(self.test.inputs)

    def held_out(self, start: int, stop: int) -> Batch:
        return self.test[start:stop]

    def lag(self, sequence_length: int) -> int:
        """`steps_back`, or from the first step to the last."""
        return self.least_length - 1 if self.steps_back is None else self.steps_back

    def chance_loss(self, sequence_length: int) -> float:
        """From the test sequences: entropy of the classes in nats, or variance of the targets."""
        return self._chance_loss

    @functools.cached_property
    def _chance_loss(self) -> float:
        targets = self.test.targets
        if self.kind == "regression":
            return float(targets.double().var(dim=0, correction=0).mean())
        shares = torch.bincount(targets).double() / len(targets)
        return float(torch.special.entr(shares).sum())

    def sample(self, batch_size: int, sequence_length: int, generator: torch.Generator) -> Batch:
        """Training sequences, drawn with replacement."""
        which = torch.randint(len(self.train.inputs), (batch_size,), generator=generator)
        return Batch(self.train.inputs[which], self.train.targets[which])

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy in nats, or mean squared error."""
        return self._scoring.loss(outputs, targets)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Whether the largest output is the class, or each number is right within the tolerance."""
        return self._scoring.correct(outputs, targets)

    def content_hash(self) -> str:
        """16 hexadecimal digits of all four tensors."""
        found = hashlib.sha256()
        for part in (self.train, self.test):
            for tensor in (part.inputs, part.targets):
                found.update(repr(tuple(tensor.shape)).encode())
                found.update(tensor.detach().contiguous().numpy().data)
        return found.hexdigest()[:16]

    @functools.cached_property
    def _scoring(self) -> Classification | Regression:
        if self.kind == "classification":
            return Classification()
        scoring = Regression()
        scoring.tolerance = self.tolerance
        return scoring


def _check(task: TensorTask) -> None:
    """Refuse tensors that cannot be trained on, naming the tensor."""
    where = f"task {task.name}"
    if task.kind not in TARGET_DTYPES:
        raise InputError(where, "kind", expected=" or ".join(TARGET_DTYPES), got=task.kind)
    for name, part in (("train", task.train), ("test", task.test)):
        _check_part(where, name, part, task.kind)
    sizes = [tuple(part.inputs.shape[1:]) for part in (task.train, task.test)]
    if sizes[0] != sizes[1]:
        expected = f"sequences as those of train, (steps, input_size) {sizes[0]}"
        raise InputError(where, "test.inputs", expected=expected, got=sizes[1])
    if task.kind == "regression" and task.train.targets.shape[1] != task.test.targets.shape[1]:
        expected = f"{task.train.targets.shape[1]} numbers a sequence, as those of train"
        got = task.test.targets.shape[1]
        raise InputError(where, "test.targets", expected=expected, got=got)
    if not (task.test.targets != task.test.targets[:1]).any():
        expected = "targets that differ: where all are the same, nothing is to be learned"
        raise InputError(
            where, "test.targets", expected=expected, got=task.test.targets[0].tolist()
        )
    steps_back, longest = task.steps_back, sizes[0][0] - 1
    if steps_back is not None and (type(steps_back) is not int or not 1 <= steps_back <= longest):
        expected = f"a whole number from 1 to {longest}, the last step's distance from the first"
        raise InputError(where, "steps_back", expected=expected, got=steps_back)


def _check_part(where: str, name: str, part: object, kind: str) -> None:
    if not isinstance(part, Batch):
        raise InputError(where, name, expected="a Batch(inputs, targets)", got=Shown(type(part)))
    inputs = _tensor(where, f"{name}.inputs", part.inputs, torch.float32)
    shape = tuple(inputs.shape)
    if len(shape) != 3 or shape[0] < 1 or shape[1] < 2 or shape[2] < 1:
        expected = "shape (n, steps, input_size), n and input_size at least 1, steps at least 2"
        raise InputError(where, f"{name}.inputs", expected=expected, got=Shown(f"shape {shape}"))
    key, n = f"{name}.targets", shape[0]
    targets = _tensor(where, key, part.targets, TARGET_DTYPES[kind])
    is_wide = kind == "regression"
    shape = tuple(targets.shape)
    if len(shape) != 1 + is_wide or shape[0] != n or 0 in shape:
        expected = f"shape ({n}, output_size)" if is_wide else f"shape ({n},)"
        raise InputError(where, key, expected=expected, got=Shown(f"shape {shape}"))
    if kind == "classification" and targets.min() < 0:
        expected = "classes from 0 on"
        raise InputError(where, key, expected=expected, got=int(targets.min()))


def _tensor(where: str, key: str, tensor: Any, dtype: torch.dtype) -> Tensor:
    """The tensor, checked: of that dtype, on the CPU, finite."""
    if not isinstance(tensor, Tensor):
        expected = f"a tensor of {dtype}"
        raise InputError(where, key, expected=expected, got=Shown(type(tensor).__name__))
    if tensor.dtype != dtype or tensor.device.type != "cpu":
        got = Shown(f"{tensor.dtype} on {tensor.device}")
        remedy = f"convert it with .cpu().to({dtype})"
        raise InputError(where, key, expected=f"{dtype} on the cpu", got=got, remedy=remedy)
    if not tensor.isfinite().all():
        number = int((~tensor.isfinite()).sum())
        got = Shown(f"{number:,} that are NaN or infinite")
        raise InputError(where, key, expected="finite numbers", got=got)
    return tensor
