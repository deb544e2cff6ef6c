"""harness.tasks.adding: two marked numbers, one in each half, and their sum."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.tasks import get_task

TASK = get_task("adding")


@settings(max_examples=40)
@given(st.integers(2, 1_000), st.integers(0, 2**31))
def test_one_marker_in_each_half(sequence_length: int, seed: int) -> None:
    """At every length: one marker in each half; the target is the sum of their numbers."""
    batch = TASK.sample(20, sequence_length, torch.Generator().manual_seed(seed))
    numbers, markers = batch.inputs[:, :, 0].tolist(), batch.inputs[:, :, 1].tolist()
    for u, marked, target in zip(numbers, markers, batch.targets.squeeze(-1).tolist(), strict=True):
        assert set(marked) == {0.0, 1.0} or sequence_length == 2
        first, second = (place for place, marker in enumerate(marked) if marker == 1.0)
        assert first < sequence_length // 2 <= second
        assert target == pytest.approx(u[first] + u[second], abs=1e-6)


@pytest.mark.parametrize("sequence_length", [2, 3, 10, 11])
def test_every_place_of_a_half_is_drawn(sequence_length: int) -> None:
    """The markers' places are even over their halves."""
    markers = TASK.sample(6_000, sequence_length, torch.Generator().manual_seed(0)).inputs[:, :, 1]
    counts = markers.sum(dim=0)
    half = sequence_length // 2
    for part in (counts[:half], counts[half:]):
        assert part.sum() == 6_000
        assert len(part) == 1 or stats.chisquare(part.numpy()).pvalue > 1e-4


def test_numbers_are_uniform() -> None:
    """The numbers are drawn from U[0, 1], marked or not."""
    inputs = TASK.sample(500, 20, torch.Generator().manual_seed(0)).inputs
    marked = inputs[:, :, 1] == 1
    for numbers in (inputs[:, :, 0][marked], inputs[:, :, 0][~marked]):
        assert stats.kstest(numbers.numpy(), "uniform").pvalue > 1e-4


def test_lag_by_hand() -> None:
    """Half of the length: the first marker is at least that far back."""
    assert [TASK.lag(length) for length in (2, 3, 10, 11, 600)] == [1, 1, 5, 5, 300]


def test_the_chance_loss_is_a_sixth() -> None:
    """The variance of the sum of two uniform numbers is 2 / 12, not 0.1767."""
    assert TASK.chance_loss(100) == pytest.approx(1 / 6, rel=1e-12)


def test_knowing_one_number_halves_the_loss() -> None:
    """Who remembers only the later marker is left with the variance of one uniform number, 1/12."""
    batch = TASK.sample(20_000, 10, torch.Generator().manual_seed(0))
    later = (batch.inputs[:, 5:, 0] * batch.inputs[:, 5:, 1]).sum(dim=1, keepdim=True)
    assert TASK.loss(later + 0.5, batch.targets).item() == pytest.approx(1 / 12, rel=0.03)


def test_loss_and_accuracy_by_hand() -> None:
    """Mean squared error; right is an error below 0.04, above or below."""
    targets = torch.tensor([[1.0], [1.0], [1.0], [1.0]])
    outputs = torch.tensor([[1.039], [0.961], [1.041], [0.5]])
    squares = (0.039**2 + 0.039**2 + 0.041**2 + 0.5**2) / 4
    assert TASK.loss(outputs, targets).item() == pytest.approx(squares, rel=1e-5)
    assert TASK.correct(outputs, targets).tolist() == [True, True, False, False]
