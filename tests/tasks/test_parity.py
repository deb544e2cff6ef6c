"""harness.tasks.parity: whether the ones are odd in number."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.tasks import get_task

TASK = get_task("parity")


@settings(max_examples=40)
@given(st.integers(2, 1_000), st.integers(0, 2**31))
def test_the_target_is_whether_the_ones_are_odd(sequence_length: int, seed: int) -> None:
    """At every T: one feature, 0 or 1, and class 1 where an odd number of them are 1."""
    batch = TASK.sample(20, sequence_length, torch.Generator().manual_seed(seed))
    assert batch.inputs.shape == (20, sequence_length, 1)
    for row, target in zip(batch.inputs.squeeze(-1).tolist(), batch.targets.tolist(), strict=True):
        assert set(row) <= {0.0, 1.0}
        assert target == row.count(1.0) % 2


def test_bits_are_even_and_independent() -> None:
    """All 16 sequences of 4 bits are equally likely, so both classes are."""
    bits = TASK.sample(8_000, 4, torch.Generator().manual_seed(0)).inputs.squeeze(-1)
    which = (bits * torch.tensor([8, 4, 2, 1])).sum(dim=1).long()
    assert stats.chisquare(torch.bincount(which, minlength=16).numpy()).pvalue > 1e-4


def test_all_bits_but_one_tell_nothing() -> None:
    """Who has lost any single bit can at best guess.

    The parity of the others is right half of the time.
    """
    batch = TASK.sample(4_000, 7, torch.Generator().manual_seed(0))
    bits = batch.inputs.squeeze(-1).long()
    for lost in range(7):
        others = (bits.sum(dim=1) - bits[:, lost]) % 2
        right = int((others == batch.targets).sum())
        assert stats.binomtest(right, 4_000, 0.5).pvalue > 1e-4


def test_lag_and_chance_loss_by_hand() -> None:
    """From the first bit to the last step; two classes in nats."""
    assert [TASK.lag(length) for length in (2, 3, 100)] == [1, 2, 99]
    assert TASK.chance_loss(50) == pytest.approx(math.log(2))
