"""harness.tasks.selective_copy: eight symbols that stand anywhere among blanks."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.tasks import get_task

TASK = get_task("selective_copy")
BLANK, DELIMITER = 8, 9


@settings(max_examples=40)
@given(st.integers(8, 1_000), st.integers(0, 2**31))
def test_where_the_symbols_stand(sequence_length: int, seed: int) -> None:
    """At every T: 8 symbols of 8 and T - 8 blanks, a delimiter, 8 blanks.

    The targets are the symbols in order.
    """
    batch = TASK.sample(20, sequence_length, torch.Generator().manual_seed(seed))
    for row, targets in zip(
        batch.inputs.argmax(dim=-1).tolist(), batch.targets.tolist(), strict=True
    ):
        data, end = row[:sequence_length], row[sequence_length:]
        assert [symbol for symbol in data if symbol != BLANK] == targets
        assert len(targets) == 8
        assert set(targets) <= set(range(8))
        assert end == [DELIMITER] + [BLANK] * 8


def test_steps_are_one_hot() -> None:
    """Each step is a single one among 10 numbers."""
    inputs = TASK.sample(50, 30, torch.Generator().manual_seed(0)).inputs
    assert inputs.shape == (50, 39, 10)
    assert set(inputs.unique().tolist()) == {0.0, 1.0}
    assert (inputs.sum(dim=-1) == 1).all()


def test_every_choice_of_places_is_equally_likely() -> None:
    """T = 10: 45 ways to leave two places blank, each as often as the others."""
    inputs = TASK.sample(9_000, 10, torch.Generator().manual_seed(0)).inputs
    blank = inputs[:, :10, BLANK].nonzero()[:, 1].reshape(-1, 2)
    counts = torch.bincount(10 * blank[:, 0] + blank[:, 1])
    assert (counts > 0).sum() == 45
    assert stats.chisquare(counts[counts > 0].numpy()).pvalue > 1e-4


def test_symbols_are_equally_likely_wherever_they_stand() -> None:
    """Each of the 8 symbols is as frequent at each place of the order and of the sequence."""
    batch = TASK.sample(4_000, 12, torch.Generator().manual_seed(0))
    for place in range(8):
        counts = torch.bincount(batch.targets[:, place], minlength=8)
        assert stats.chisquare(counts.numpy()).pvalue > 1e-4
    table = batch.inputs[:, :12, :8].sum(dim=0)
    assert stats.chi2_contingency(table.numpy()).pvalue > 1e-4


def test_lag_and_chance_loss_by_hand() -> None:
    """From place 0 to the delimiter; eight classes in nats."""
    assert [TASK.lag(length) for length in (8, 100)] == [8, 100]
    assert TASK.chance_loss(50) == pytest.approx(3 * math.log(2))


@pytest.mark.parametrize("sequence_length", [8, 20, 100])
def test_the_mean_reach(sequence_length: int) -> None:
    """What the lag's text says of a symbol and its output.

    T / 2 + 5 steps in the mean, T + 1 at most.
    """
    inputs = TASK.sample(4_000, sequence_length, torch.Generator().manual_seed(0)).inputs
    places = (inputs.argmax(dim=-1) < BLANK).nonzero()[:, 1].reshape(-1, 8)
    reach = sequence_length + 1 + torch.arange(8) - places
    assert reach.float().mean().item() == pytest.approx(sequence_length / 2 + 5, rel=0.01)
    assert reach.max() == sequence_length + 1


def test_only_the_last_eight_steps_are_scored() -> None:
    """T = 8, 17 steps: cross-entropy of the last eight, and the others count nothing."""
    outputs = torch.zeros(1, 17, 8)
    outputs[0, :9, 5] = 50.0
    outputs[0, 16, 3] = math.log(9)  # sure by 9 / 16 of the last symbol
    targets = torch.tensor([[1, 1, 1, 1, 0, 1, 1, 3]])
    loss = -(7 * math.log(1 / 8) + math.log(9 / 16)) / 8
    assert TASK.loss(outputs, targets).item() == pytest.approx(loss, rel=1e-6)
    assert TASK.correct(outputs, targets).sum() == 2  # the fifth, of equals the first, and the last
