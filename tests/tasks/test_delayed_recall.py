"""harness.tasks.delayed_recall: the first symbol, a stretch of others, a trigger."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.tasks import get_task

TASK = get_task("delayed_recall")


@settings(max_examples=40)
@given(st.integers(3, 1_000), st.integers(0, 2**31))
def test_where_the_symbols_stand(sequence_length: int, seed: int) -> None:
    """At every length: one of 8 at place 0, distractors, a trigger only at the last place."""
    batch = TASK.sample(20, sequence_length, torch.Generator().manual_seed(seed))
    drawn = batch.inputs.argmax(dim=-1)
    assert torch.equal(drawn[:, 0], batch.targets)
    assert (drawn[:, 0] < 8).all()
    assert ((drawn[:, 1:-1] >= 8) & (drawn[:, 1:-1] < 16)).all()
    assert (drawn[:, -1] == 16).all()


def test_steps_are_one_hot() -> None:
    """Each step is a single one among 17 numbers."""
    inputs = TASK.sample(50, 30, torch.Generator().manual_seed(0)).inputs
    assert inputs.shape[-1] == 17
    assert set(inputs.unique().tolist()) == {0.0, 1.0}
    assert (inputs.sum(dim=-1) == 1).all()


def test_symbols_are_equally_likely() -> None:
    """Eight targets and eight distractors, each as often as the others."""
    batch = TASK.sample(8_000, 5, torch.Generator().manual_seed(0))
    drawn = batch.inputs.argmax(dim=-1)
    assert stats.chisquare(torch.bincount(batch.targets, minlength=8).numpy()).pvalue > 1e-4
    for place in (1, 2, 3):
        counts = torch.bincount(drawn[:, place], minlength=16)[8:]
        assert stats.chisquare(counts.numpy()).pvalue > 1e-4


def test_lag_and_chance_loss_by_hand() -> None:
    """From the first step to the last; eight classes in nats."""
    assert [TASK.lag(length) for length in (3, 4, 101)] == [2, 3, 100]
    assert TASK.chance_loss(50) == pytest.approx(3 * math.log(2))
