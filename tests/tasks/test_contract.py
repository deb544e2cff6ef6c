"""tests.tasks.contract: a task that breaks one promise fails that test alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.tasks import Batch
from harness.tasks.copy_memory import CopyMemory
from harness.tasks.delayed_recall import DelayedRecall
from tests.tasks import oracles
from tests.tasks.contract import Oracle, TaskContract


class Recall(TaskContract):
    """The sound one, as the author of a plug-in would write it."""

    task = DelayedRecall()
    oracle = staticmethod(oracles.delayed_recall)


class Copy(TaskContract):
    """A sound dense one."""

    task = CopyMemory()
    oracle = staticmethod(oracles.copy_memory)


def changed(contract: type[TaskContract], name: str, new: Callable[..., Any]) -> TaskContract:
    """The contract of a task whose method `name` is another.

    `new` takes the old one and its arguments.
    """
    old = getattr(contract.task, name)
    task = type("Other", (type(contract.task),), {name: lambda self, *args: new(old, *args)})()
    return type("Broken", (contract,), {"task": task})()  # type: ignore[no-any-return]


def global_draws(sample: Any, size: int, length: int, generator: torch.Generator) -> Batch:
    """Data from torch's global generator."""
    return sample(size, length, torch.Generator().manual_seed(int(torch.randint(9**9, ()))))  # type: ignore[no-any-return]


def stale(sample: Any, size: int, length: int, generator: torch.Generator) -> Batch:
    """The same data for every seed."""
    return sample(size, length, torch.Generator().manual_seed(0))  # type: ignore[no-any-return]


def leak(sample: Any, size: int, length: int, generator: torch.Generator) -> Batch:
    """The second step is more often distractor 8 where the target is 0."""
    batch = sample(size, length, generator)
    told = (batch.targets == 0) & (torch.rand(size, generator=generator) < 0.5)
    batch.inputs[told, 1] = torch.eye(17)[8]
    return batch  # type: ignore[no-any-return]


def skewed(sample: Any, size: int, length: int, generator: torch.Generator) -> Batch:
    """In a fifth of the sequences the first symbol is symbol 0."""
    batch = sample(size, length, generator)
    told = torch.rand(size, generator=generator) < 0.2
    batch.inputs[told, 0] = torch.eye(17)[0]
    return dataclasses.replace(batch, targets=batch.targets.masked_fill(told, 0))  # type: ignore[no-any-return]


BROKEN = {
    "shapes_and_types": changed(
        Recall, "sample", lambda old, *a: Batch(old(*a).inputs.double(), old(*a).targets)
    ),
    "a_seed_is_reproducible": changed(Recall, "sample", global_draws),
    "batches_are_fresh": changed(Recall, "sample", stale),
    "loss_and_correct_take_what_a_model_gives": changed(
        Copy, "loss", lambda old, outputs, targets: old(outputs, targets) + outputs.mean()
    ),
    "the_loss_is_a_mean": changed(
        Recall, "loss", lambda old, outputs, targets: old(outputs, targets) * len(targets)
    ),
    "a_diverged_output_is_a_diverged_loss": changed(
        Recall, "loss", lambda old, outputs, targets: old(outputs.nan_to_num(), targets)
    ),
    "the_chance_loss_is_that_of_the_best_constant_prediction": changed(
        Recall, "chance_loss", lambda old, length: 1.03 * old(length)
    ),
    "an_oracle_solves_the_task": changed(
        Copy, "correct", lambda old, outputs, targets: old(outputs, targets.roll(1, dims=1))
    ),
    "the_lag_is_how_far_back_the_earliest_input_that_matters_lies": changed(
        Copy, "lag", lambda old, length: old(length) + 1
    ),
    "lag_and_chance_loss_at_every_length": changed(
        Recall, "lag", lambda old, length: old(length) - length % 2 * 2
    ),
    "nothing_else_tells_the_target": changed(Recall, "sample", leak),
    "the_informative_steps_are_those_that_the_oracle_reads": changed(
        Copy, "informative", lambda old, inputs: old(inputs).roll(1, dims=1)
    ),
}


@pytest.mark.parametrize("promise", BROKEN)
def test_a_broken_promise_is_found(promise: str) -> None:
    """The test of that name fails for the task that breaks it."""
    with pytest.raises(AssertionError):
        getattr(BROKEN[promise], f"test_{promise}")()


def test_a_skewed_target_is_found() -> None:
    """The chance loss of unequal classes is less than the logarithm of their number."""
    contract = changed(Recall, "sample", skewed)
    with pytest.raises(AssertionError):
        contract.test_the_chance_loss_is_that_of_the_best_constant_prediction()


def unread_symbol(oracle: Oracle, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """An oracle whose last answer hangs on the first step, which it does not own up to."""
    outputs, read = oracle(inputs)
    outputs[:, -1] += inputs[:, 0, :8]
    return outputs, read


@pytest.mark.parametrize(
    ("contract", "oracle", "promise"),
    [
        (Copy, unread_symbol, "what_lies_before_it_does_not_matter"),
        (
            Recall,
            lambda old, inputs: (old(inputs)[0], old(inputs)[1].roll(1, dims=2)),
            "another_first_input_is_another_target",
        ),
        (Copy, lambda old, inputs: (old(inputs)[0], old(inputs)[1].mT), "causality"),
    ],
)
def test_an_answer_that_needs_something_else_is_found(
    contract: type[TaskContract], oracle: Callable[..., Any], promise: str
) -> None:
    """What the answers need and what the oracle says that they need are the same."""
    known = contract.oracle
    broken = type("Broken", (contract,), {"oracle": staticmethod(lambda x: oracle(known, x))})()
    with pytest.raises(AssertionError):
        getattr(broken, f"test_{promise}")()
