"""harness.tasks.tensor_task: given sequences, their measured chance loss, and refusals."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.errors import InputError
from harness.tasks import Batch, HoldsOut, Predicts, Task
from harness.tasks.tensor_task import TensorTask

STEPS, INPUT_SIZE = 6, 2


def inputs(n: int, seed: int = 0) -> Tensor:
    """Random sequences, of which no two are the same."""
    return torch.randn(n, STEPS, INPUT_SIZE, generator=torch.Generator().manual_seed(seed))


def classes(**changes: Any) -> TensorTask:
    """Ten sequences to train on, in three classes, and four to test on."""
    train = Batch(inputs(10), torch.arange(10) % 3)
    test = Batch(inputs(4, seed=1), torch.tensor([0, 1, 1, 1]))
    return dataclasses.replace(TensorTask("mine", train, test), **changes)


def numbers(**changes: Any) -> TensorTask:
    """The same with two numbers for each sequence."""
    train = Batch(inputs(10), torch.arange(20.0).reshape(10, 2))
    test = Batch(inputs(4, seed=1), torch.tensor([[0.0, 1], [2, 1], [0, 1], [2, 5]]))
    return dataclasses.replace(TensorTask("mine", train, test, kind="regression"), **changes)


def test_a_tensor_task_is_a_task() -> None:
    """It is a task of the tensors' sizes that holds out its test sequences."""
    for task, output_size in ((classes(), 3), (numbers(), 2)):
        assert isinstance(task, Task)
        assert isinstance(task, HoldsOut)
        assert not isinstance(task, Predicts)
        assert (task.input_size, task.output_size) == (INPUT_SIZE, output_size)
        assert (task.least_length, task.finite, task.n_held_out) == (STEPS, 4, 4)
        assert (task.lag(STEPS), dataclasses.replace(task, steps_back=2).lag(STEPS)) == (5, 2)


def test_batches_are_drawn_from_train_alone() -> None:
    """Drawn with replacement: inputs with their own targets, and all of them in the end."""
    task = classes()
    batch = task.sample(400, STEPS, torch.Generator().manual_seed(3))
    same = (batch.inputs[:, None] == task.train.inputs[None]).all(dim=3).all(dim=2)
    assert (same.sum(dim=1) == 1).all()
    assert torch.equal(batch.targets, same.float().argmax(dim=1) % 3)
    counts = same.sum(dim=0)  # 40 each, give or take 6 (a binomial's standard deviation)
    assert counts.min() > 10
    assert counts.max() < 70
    again = task.sample(400, STEPS, torch.Generator().manual_seed(3))
    other = task.sample(400, STEPS, torch.Generator().manual_seed(4))
    assert torch.equal(batch.inputs, again.inputs)
    assert not torch.equal(batch.inputs, other.inputs)


def test_what_is_held_out_is_test_in_order() -> None:
    """Parts of an evaluation add up to the test sequences as they were given."""
    task = classes()
    parts = [task.held_out(0, 3), task.held_out(3, 4)]
    assert torch.equal(torch.cat([part.inputs for part in parts]), task.test.inputs)
    assert torch.equal(torch.cat([part.targets for part in parts]), task.test.targets)


def test_the_chance_loss_is_measured_on_test() -> None:
    """Classes: shares of 1/4 and 3/4 have an entropy of 0.5623 nats.

    Numbers: the mean of the variances 1 and 3 is 2.
    """
    by_hand = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert classes().chance_loss(STEPS) == pytest.approx(by_hand, rel=1e-12)
    assert numbers().chance_loss(STEPS) == pytest.approx((1 + 3) / 2, rel=1e-12)


@pytest.mark.parametrize("task", [classes(), numbers()], ids=["classes", "numbers"])
def test_no_constant_does_better_on_test(task: TensorTask) -> None:
    """The best constant prediction, found by descent on the test sequences, has the chance loss."""
    constant = torch.zeros(task.output_size, requires_grad=True)
    optimizer = torch.optim.Adam([constant], lr=0.1)
    for _ in range(600):
        optimizer.zero_grad()
        outputs = constant.expand(4, -1)
        loss = task.loss(outputs, task.test.targets)
        loss.backward()
        optimizer.step()
    # a class that test does not have has probability 0 only in the limit
    assert loss.item() == pytest.approx(task.chance_loss(STEPS), rel=1e-2)


def test_right_answers() -> None:
    """Classes by the largest output; numbers within the tolerance that the task has."""
    assert classes().correct(torch.eye(3)[[0, 1, 2]], torch.tensor([0, 1, 1])).tolist() == [
        *(True, True, False)
    ]
    near = torch.tensor([[0.0, 0.3]])
    assert not numbers().correct(near, torch.zeros(1, 2)).item()
    assert numbers(tolerance=0.5).correct(near, torch.zeros(1, 2)).item()
    assert (
        not numbers().correct(near, torch.zeros(1, 2)).item()
    )  # another task's tolerance is its own


def test_the_hash_is_that_of_the_data() -> None:
    """Equal tensors have one hash, also where they lie otherwise in memory.

    Any changed number or shape another.
    """
    task = classes()
    other_order = task.train.inputs.transpose(0, 1).contiguous().transpose(0, 1)
    same = classes(train=Batch(other_order, task.train.targets.clone()))
    assert task.content_hash() == same.content_hash()
    moved = task.test.inputs.clone()
    moved[0, 0, 0] += 1
    others = [
        classes(test=Batch(moved, task.test.targets)),
        classes(test=Batch(task.test.inputs, torch.tensor([0, 1, 1, 2]))),
        TensorTask("mine", *(Batch(p.inputs.flip(2), p.targets) for p in (task.train, task.test))),  # type: ignore[arg-type]
        TensorTask(
            "mine",
            *(Batch(p.inputs.reshape(-1, 4, 3), p.targets) for p in (task.train, task.test)),  # type: ignore[arg-type]
        ),
    ]
    assert len({task.content_hash(), *(each.content_hash() for each in others)}) == 5


def with_nan(tensor: Tensor) -> Tensor:
    """A copy with one NaN."""
    tensor = tensor.clone()
    tensor.view(-1)[3] = math.nan
    return tensor


TARGETS = torch.arange(10) % 3


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"kind": "ranking"}, "kind: expected classification or regression, got 'ranking'"),
        ({"train": (inputs(10), TARGETS)}, "train: expected a Batch"),
        (
            {"train": Batch([[1.0]], TARGETS)},  # type: ignore[arg-type]
            "train.inputs: expected a tensor of torch.float32, got list",
        ),
        (
            {"train": Batch(inputs(10).double(), TARGETS)},
            r"train.inputs: expected torch.float32 on the cpu, got torch.float64 on cpu; .*\.to\(torch.float32\)",
        ),
        ({"train": Batch(inputs(10), TARGETS.int())}, "train.targets: .*got torch.int32 on cpu"),
        ({"train": Batch(inputs(10), TARGETS.float())}, "train.targets: expected torch.int64"),
        (
            {"train": Batch(with_nan(inputs(10)), TARGETS)},
            "train.inputs: expected finite numbers, got 1 that are NaN",
        ),
        (
            {"train": Batch(inputs(10)[:, 0], TARGETS)},
            r"train.inputs: expected shape \(n, steps.*got shape \(10, 2\)",
        ),
        (
            {"train": Batch(inputs(10)[:, :1], TARGETS)},
            r"train.inputs: .*steps at least 2, got shape \(10, 1, 2\)",
        ),
        ({"train": Batch(inputs(0), TARGETS[:0])}, r"train.inputs: .*got shape \(0, 6, 2\)"),
        (
            {"train": Batch(inputs(9), TARGETS)},
            r"train.targets: expected shape \(9,\), got shape \(10,\)",
        ),
        (
            {"train": Batch(inputs(10), TARGETS - 1)},
            "train.targets: expected classes from 0 on, got -1",
        ),
        (
            {"test": Batch(inputs(4)[:, 1:], TARGETS[:4])},
            r"test.inputs: expected .*\(6, 2\), got \(5, 2\)",
        ),
        (
            {"test": Batch(inputs(4), torch.ones(4).long())},
            "test.targets: expected targets that differ: .*got 1",
        ),
        ({"steps_back": 6}, "steps_back: expected a whole number from 1 to 5, .*got 6"),
        ({"steps_back": 0}, "steps_back: expected a whole number from 1"),
        ({"steps_back": 1.0}, "steps_back: expected a whole number from 1"),
    ],
)
def test_what_cannot_be_trained_on(changes: dict[str, Any], match: str) -> None:
    """The message names the task, the tensor and what it should be, in one line."""
    with pytest.raises(InputError, match=f"task mine: {match}") as caught:
        classes(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"train": Batch(inputs(10), torch.arange(10.0))},
            r"train.targets: expected shape \(10, output_size\), got",
        ),
        (
            {"test": Batch(inputs(4), torch.arange(4.0)[:, None])},
            "test.targets: expected 2 numbers a sequence",
        ),
        ({"test": Batch(inputs(4), torch.ones(4, 2))}, r"targets that differ: .*got \[1.0, 1.0\]"),
        (
            {"test": Batch(inputs(4), with_nan(torch.ones(4, 2)))},
            "test.targets: expected finite numbers",
        ),
    ],
)
def test_numbers_that_cannot_be_learned(changes: dict[str, Any], match: str) -> None:
    """Targets of a regression have a column for each output, and differ."""
    with pytest.raises(InputError, match=match):
        numbers(**changes)
