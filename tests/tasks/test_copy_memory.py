"""harness.tasks.copy_memory: ten symbols, a long blank, and the ten again."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.tasks import CountsAllSteps, get_task

TASK = get_task("copy_memory")
BLANK, DELIMITER = 8, 9


@settings(max_examples=40)
@given(st.integers(1, 1_000), st.integers(0, 2**31))
def test_where_the_symbols_stand(sequence_length: int, seed: int) -> None:
    """At every T: 10 symbols of 8, T - 1 blanks, a delimiter, 10 blanks.

    The targets are the symbols in order.
    """
    batch = TASK.sample(20, sequence_length, torch.Generator().manual_seed(seed))
    for row, targets in zip(
        batch.inputs.argmax(dim=-1).tolist(), batch.targets.tolist(), strict=True
    ):
        assert row[:10] == targets
        assert set(targets) <= set(range(8))
        assert row[10:] == [BLANK] * (sequence_length - 1) + [DELIMITER] + [BLANK] * 10


def test_steps_are_one_hot() -> None:
    """Each step is a single one among 10 numbers."""
    inputs = TASK.sample(50, 30, torch.Generator().manual_seed(0)).inputs
    assert inputs.shape == (50, 50, 10)
    assert set(inputs.unique().tolist()) == {0.0, 1.0}
    assert (inputs.sum(dim=-1) == 1).all()


def test_symbols_are_equally_likely_and_independent() -> None:
    """Each of the 8 at each of the 10 places as often as the others, whatever its neighbour is."""
    targets = TASK.sample(6_400, 5, torch.Generator().manual_seed(0)).targets
    for place in range(10):
        assert stats.chisquare(torch.bincount(targets[:, place], minlength=8).numpy()).pvalue > 1e-4
    pairs = torch.bincount(8 * targets[:, 0] + targets[:, 1], minlength=64)
    assert stats.chisquare(pairs.numpy()).pvalue > 1e-4


def test_lag_and_chance_loss_by_hand() -> None:
    """T = 3: symbol 0 of step 0 is asked for at step 13 of 23, after blanks and delimiter."""
    assert [TASK.lag(length) for length in (1, 3, 1_000)] == [11, 13, 1_010]
    assert TASK.chance_loss(50) == pytest.approx(3 * math.log(2))


def test_only_the_last_ten_steps_are_scored() -> None:
    """Cross-entropy in nats of the ten; what stands at the other steps counts nothing."""
    targets = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7, 0, 1]])
    outputs = torch.zeros(1, 21, 8)
    outputs[0, :11] = 1e3 * torch.rand(11, 8, generator=torch.Generator().manual_seed(0))
    outputs[0, 12, 1] = math.log(9)  # sure by 9 / 16 of the second symbol
    outputs[0, 20, 2] = math.log(9)  # and of another than the tenth
    loss = -(8 * math.log(1 / 8) + math.log(9 / 16) + math.log(1 / 16)) / 10
    assert TASK.loss(outputs, targets).item() == pytest.approx(loss, rel=1e-6)
    first_of_equals = [True, True, False, False, False, False, False, False, True, False]
    assert TASK.correct(outputs, targets).tolist() == [first_of_equals]


@pytest.mark.parametrize(
    ("sequence_length", "loss", "all_steps"),
    [
        (1_000, math.log(8), 0.0203867),  # the chance loss of Bai et al. 2018, there 0.0204
        (10, math.log(8), math.log(2)),  # 10 x 3 ln 2 / 30
        (80, 0.5, 0.05),
        (80, 0.0, 0.0),
    ],
)
def test_the_loss_over_all_steps(sequence_length: int, loss: float, all_steps: float) -> None:
    """Ten of T + 20 steps have a loss, the others none."""
    assert isinstance(TASK, CountsAllSteps)
    assert TASK.all_steps_loss(loss, sequence_length) == pytest.approx(all_steps, rel=1e-5)
