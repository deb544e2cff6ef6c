"""harness.tasks.repeat_previous: the symbol of a quarter ago, at every step."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.tasks import get_task

TASK = get_task("repeat_previous")


@settings(max_examples=40)
@given(st.integers(4, 1_000), st.integers(0, 2**31))
def test_the_targets_are_the_symbols_of_a_quarter_ago(sequence_length: int, seed: int) -> None:
    """At every T, with k the quarter rounded down.

    One target for each step from k on, the symbol k steps before.
    """
    batch = TASK.sample(10, sequence_length, torch.Generator().manual_seed(seed))
    k = math.floor(sequence_length / 4)
    for row, targets in zip(
        batch.inputs.argmax(dim=-1).tolist(), batch.targets.tolist(), strict=True
    ):
        assert len(row) == sequence_length
        assert targets == [row[step - k] for step in range(k, sequence_length)]


def test_steps_are_one_hot() -> None:
    """Each step is a single one among 4 numbers."""
    inputs = TASK.sample(50, 30, torch.Generator().manual_seed(0)).inputs
    assert inputs.shape == (50, 30, 4)
    assert set(inputs.unique().tolist()) == {0.0, 1.0}
    assert (inputs.sum(dim=-1) == 1).all()


def test_symbols_are_equally_likely_and_independent() -> None:
    """Each of the 4 at each place as often as the others, whatever stood a quarter before."""
    drawn = TASK.sample(4_000, 8, torch.Generator().manual_seed(0)).inputs.argmax(dim=-1)
    for place in range(8):
        assert stats.chisquare(torch.bincount(drawn[:, place], minlength=4).numpy()).pvalue > 1e-4
    pairs = torch.bincount(4 * drawn[:, 3] + drawn[:, 5], minlength=16)
    assert stats.chisquare(pairs.numpy()).pvalue > 1e-4


def test_lag_and_chance_loss_by_hand() -> None:
    """A quarter of the length, rounded down; four classes in nats."""
    assert [TASK.lag(length) for length in (4, 7, 8, 100)] == [1, 1, 2, 25]
    assert TASK.chance_loss(50) == pytest.approx(2 * math.log(2))


def test_only_the_steps_from_k_on_are_scored() -> None:
    """T = 4: three targets; cross-entropy of the last three steps, and the first counts nothing."""
    outputs = torch.zeros(1, 4, 4)
    outputs[0, 0, 3] = 50.0
    outputs[0, 2, 1] = math.log(5)  # sure by 5 / 8
    targets = torch.tensor([[2, 1, 0]])
    loss = -(2 * math.log(1 / 4) + math.log(5 / 8)) / 3
    assert TASK.loss(outputs, targets).item() == pytest.approx(loss, rel=1e-6)
    assert TASK.correct(outputs, targets).tolist() == [[False, True, True]]
