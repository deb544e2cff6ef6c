"""harness.tasks.lesson: the two fixed sequences."""

from __future__ import annotations

import math

import pytest
import torch

from harness.tasks import get_task

TASK = get_task("lesson")


def test_the_two_sequences_by_hand() -> None:
    """[8, 1, 5, 3] is 0 and [2, 7, 4, 9] is 1, in turn, for every seed."""
    for seed in (0, 1):
        batch = TASK.sample(3, 4, torch.Generator().manual_seed(seed))
        assert batch.inputs.squeeze(-1).tolist() == [[8, 1, 5, 3], [2, 7, 4, 9], [8, 1, 5, 3]]
        assert batch.targets.tolist() == [[0.0], [1.0], [0.0]]
    assert TASK.finite == 2
    assert TASK.lag(4) == 3


def test_loss_and_accuracy_by_hand() -> None:
    """Binary cross-entropy of a sigmoid, in nats.

    Right is the side of one half that the target is on.
    """
    outputs = torch.tensor([[math.log(3)], [-1.0]])  # probabilities 3/4 and 1 / (1 + e)
    zeros, ones = torch.zeros(2, 1), torch.ones(2, 1)
    of_ones = -(math.log(3 / 4) + math.log(1 / (1 + math.e))) / 2
    of_zeros = -(math.log(1 / 4) + math.log(math.e / (1 + math.e))) / 2
    assert TASK.loss(outputs, ones).item() == pytest.approx(of_ones, rel=1e-6)
    assert TASK.loss(outputs, zeros).item() == pytest.approx(of_zeros, rel=1e-6)
    assert TASK.correct(outputs, ones).tolist() == [True, False]
    assert TASK.correct(outputs, zeros).tolist() == [False, True]


def test_a_diverged_output_is_a_diverged_loss() -> None:
    """An output that is NaN gives a loss that is NaN, no exception.

    One that is infinite a large loss.
    """
    nan = torch.tensor([[math.nan], [0.0]], requires_grad=True)
    assert TASK.loss(nan, torch.zeros(2, 1)).isnan()
    assert TASK.loss(torch.tensor([[math.inf]]), torch.zeros(1, 1)).item() > 10
