"""harness.tasks.temporal_order: where its symbols stand, and that only their order tells."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.nn import functional

from harness.tasks import get_task

TASK = get_task("temporal_order")
E, B, X, Y = 0, 1, 6, 7


def symbols(count: int, sequence_length: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Symbols by number, and targets."""
    batch = TASK.sample(count, sequence_length, torch.Generator().manual_seed(seed))
    assert batch.inputs.shape[-1] == 8
    return batch.inputs.argmax(dim=-1), batch.targets


@settings(max_examples=60)
@given(st.integers(10, 1_500), st.integers(0, 2**31))
def test_where_the_symbols_stand(sequence_length: int, seed: int) -> None:
    """At every length: E only first, B only last, X or Y in [.1T, .2T] and in [.5T, .6T]."""
    drawn, _ = symbols(20, sequence_length, seed)
    tenth = Fraction(sequence_length, 10)
    for row in drawn.tolist():
        assert [i for i, each in enumerate(row) if each == E] == [0]
        assert [i for i, each in enumerate(row) if each == B] == [sequence_length - 1]
        early, middle = (i for i, each in enumerate(row) if each in (X, Y))
        assert early > 0
        assert tenth <= early <= 2 * tenth
        assert 5 * tenth <= middle <= 6 * tenth
        assert middle < sequence_length - 1


@pytest.mark.parametrize("sequence_length", [10, 11, 14, 15, 19, 20, 37, 50])
def test_both_ends_of_each_stretch_are_reached(sequence_length: int) -> None:
    """Every place of [.1T, .2T] and [.5T, .6T] is drawn, each about as often."""
    drawn, _ = symbols(6_000, sequence_length)
    marked = ((drawn >= X).nonzero()[:, 1]).reshape(-1, 2)
    for column, (low, high) in enumerate(((1, 2), (5, 6))):
        first = max(1, math.ceil(Fraction(low * sequence_length, 10)))
        last = math.floor(Fraction(high * sequence_length, 10))
        counts = torch.bincount(marked[:, column], minlength=sequence_length)[first : last + 1]
        assert counts.sum() == 6_000
        assert (counts > 0).all()
        assert len(counts) == 1 or stats.chisquare(counts.numpy()).pvalue > 1e-4


@pytest.mark.parametrize(
    ("sequence_length", "lag"),
    [(10, 7), (11, 8), (14, 11), (15, 11), (20, 15), (85, 67), (100, 79)],
)
def test_the_lag_by_hand(sequence_length: int, lag: int) -> None:
    """T - 1 - floor(.2 T): from the latest place of the early symbol to the last step."""
    assert TASK.lag(sequence_length) == lag


def test_the_classes_are_the_four_orders() -> None:
    """XX, XY, YX and YY are 0 to 3, equally likely."""
    drawn, targets = symbols(8_000, 20)
    pairs = drawn[drawn >= X].reshape(-1, 2)
    for target, pair in enumerate(((X, X), (X, Y), (Y, X), (Y, Y))):
        assert (targets == target).equal((pairs == torch.tensor(pair)).all(dim=1))
    assert stats.chisquare(torch.bincount(targets).numpy()).pvalue > 1e-4


def test_the_middle_symbol_says_nothing_about_the_early_one() -> None:
    """Who has forgotten the early symbol can at best guess.

    Both orders are equally likely, and the places tell nothing.
    """
    drawn, targets = symbols(8_000, 50)
    pairs = drawn[drawn >= X].reshape(-1, 2)
    places = (drawn >= X).nonzero()[:, 1].reshape(-1, 2)
    for told in (pairs[:, 1], places[:, 0], places[:, 1]):
        table = torch.stack(
            [torch.bincount(told[pairs[:, 0] == first], minlength=50) for first in (X, Y)]
        )
        table = table[:, table.sum(dim=0) > 0]
        assert stats.chi2_contingency(table.numpy()).pvalue > 1e-4
    assert stats.chisquare(torch.bincount(targets // 2).numpy()).pvalue > 1e-4


def test_distractors_are_equally_likely() -> None:
    """a, b, c and d fill the rest, evenly."""
    drawn, _ = symbols(500, 40)
    counts = torch.bincount(drawn.flatten(), minlength=8)[2:6]
    assert counts.sum() == 500 * (40 - 4)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-4


def test_steps_are_one_hot() -> None:
    """Each step is a single one among zeros."""
    inputs = TASK.sample(50, 30, torch.Generator().manual_seed(0)).inputs
    assert set(inputs.unique().tolist()) == {0.0, 1.0}
    assert (inputs.sum(dim=-1) == 1).all()


def test_loss_and_accuracy_by_hand() -> None:
    """Cross-entropy in nats of two predictions; right is the largest output."""
    outputs = torch.tensor([[0.0, 0.0, 0.0, math.log(3)], [1.0, 0.0, 0.0, 0.0]])
    targets = torch.tensor([3, 1])
    first = -math.log(3 / 6)
    second = -math.log(1 / (math.e + 3))
    assert TASK.loss(outputs, targets).item() == pytest.approx((first + second) / 2, rel=1e-6)
    assert TASK.correct(outputs, targets).tolist() == [True, False]
    assert functional.cross_entropy(torch.zeros(1, 4), targets[:1]).item() == pytest.approx(
        TASK.chance_loss(10), rel=1e-6
    )
