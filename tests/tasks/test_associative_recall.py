"""harness.tasks.associative_recall: four keys with their values, and one key again."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.tasks import Informs, get_task

TASK = get_task("associative_recall")
BLANK = 16


@settings(max_examples=40)
@given(st.integers(10, 1_000), st.integers(0, 2**31))
def test_where_the_symbols_stand(sequence_length: int, seed: int) -> None:
    """At every T: key, value, four times, with keys (0..7) that differ; blanks.

    A key, whose value (8..15) is the target.
    """
    batch = TASK.sample(20, sequence_length, torch.Generator().manual_seed(seed))
    for row, target in zip(
        batch.inputs.argmax(dim=-1).tolist(), batch.targets.tolist(), strict=True
    ):
        keys, values = row[0:8:2], row[1:8:2]
        assert len(set(keys)) == 4
        assert set(keys) <= set(range(8))
        assert set(values) <= set(range(8, 16))
        assert row[8:-1] == [BLANK] * (sequence_length - 9)
        assert target == dict(zip(keys, values, strict=True))[row[-1]] - 8


def test_steps_are_one_hot() -> None:
    """Each step is a single one among 17 numbers."""
    inputs = TASK.sample(50, 30, torch.Generator().manual_seed(0)).inputs
    assert inputs.shape == (50, 30, 17)
    assert set(inputs.unique().tolist()) == {0.0, 1.0}
    assert (inputs.sum(dim=-1) == 1).all()


def test_keys_values_and_what_is_asked_are_equally_likely() -> None:
    """All 56 pairs of first keys, 8 values at each place, each of the four pairs asked for."""
    batch = TASK.sample(11_200, 10, torch.Generator().manual_seed(0))
    drawn = batch.inputs.argmax(dim=-1)
    counts = torch.bincount(8 * drawn[:, 0] + drawn[:, 2])
    assert (counts > 0).sum() == 56
    assert stats.chisquare(counts[counts > 0].numpy()).pvalue > 1e-4
    for place in (1, 3, 5, 7):
        counts = torch.bincount(drawn[:, place] - 8, minlength=8)
        assert stats.chisquare(counts.numpy()).pvalue > 1e-4
    asked = (drawn[:, 0:8:2] == drawn[:, -1:]).sum(dim=0)
    assert asked.sum() == 11_200
    assert stats.chisquare(asked.numpy()).pvalue > 1e-4
    assert stats.chisquare(torch.bincount(batch.targets).numpy()).pvalue > 1e-4


def test_the_key_alone_tells_nothing() -> None:
    """Who has forgotten the pairs can at best guess: each value is as likely with each key."""
    batch = TASK.sample(12_800, 10, torch.Generator().manual_seed(0))
    asked = batch.inputs[:, -1].argmax(dim=-1)
    table = torch.bincount(8 * asked + batch.targets, minlength=64).reshape(8, 8)
    assert stats.chi2_contingency(table.numpy()).pvalue > 1e-4


def test_the_informative_steps_by_hand() -> None:
    """Key 5 is asked for at the end: its first place, the place of its value, and the last step."""
    symbols = torch.tensor([[3, 8, 5, 15, 0, 8, 7, 9, 16, 16, 5]])
    inputs = torch.nn.functional.one_hot(symbols, 17).float()
    assert isinstance(TASK, Informs)
    assert TASK.informative(inputs).nonzero()[:, 1].tolist() == [2, 3, 10]


def test_lag_and_chance_loss_by_hand() -> None:
    """From the last pair's value, at step 7, to the last step; eight classes in nats."""
    assert [TASK.lag(length) for length in (10, 11, 100)] == [2, 3, 92]
    assert TASK.chance_loss(50) == pytest.approx(3 * math.log(2))
