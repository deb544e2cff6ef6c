import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from harness.regress.verdict.sign_flip_test import (
    MOST_BLOCKS,
    sign_flip_p_values,
    two_sided_p_value,
)

finite = st.floats(-10, 10, allow_subnormal=False)


def by_hand(values: list[float]) -> float:
    """The share of assignments of signs whose sum is at least the observed one."""
    sums = [sum(signed) for signed in itertools.product(*((v, -v) for v in values))]
    return sum(one >= sum(values) for one in sums) / len(sums)


def test_it_is_scipys_permutation_test_of_paired_samples() -> None:
    """Exact, one way and the other, and twice the smaller of both."""
    values = np.random.default_rng(1).normal(0.3, 1, 11)
    p_values = sign_flip_p_values(values)
    for ours, alternative in ((p_values.above, "greater"), (p_values.below, "less")):
        theirs = scipy.stats.permutation_test(  # type: ignore[call-overload]
            (values,),
            lambda x, axis: np.mean(x, axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=math.inf,
            alternative=alternative,
        )
        assert ours == pytest.approx(theirs.pvalue, abs=1e-15)
    assert two_sided_p_value(values) == 2 * min(p_values.above, p_values.below)


@given(st.lists(st.integers(-3, 3), max_size=9))
def test_ties_and_zeros_count_against_a_difference(values: list[int]) -> None:
    """Small whole numbers tie in most assignments: each is counted, either way, scaled or not."""
    expected = by_hand([float(value) for value in values])
    assert sign_flip_p_values(0.1 * value for value in values).above == expected
    assert sign_flip_p_values(-0.1 * value for value in values).below == expected


@pytest.mark.parametrize("n", [1, 10, 15, 20, 25])
def test_blocks_of_one_sign_have_the_least_p_value(n: int) -> None:
    """2^-n; and 1 the other way."""
    p_values = sign_flip_p_values(np.linspace(0.01, 0.02, n))
    assert (p_values.above, p_values.below) == (2.0**-n, 1.0)


def test_what_is_not_known_is_left_out_and_no_block_is_no_evidence() -> None:
    """NaN and infinities are no blocks."""
    assert sign_flip_p_values([0.1, math.nan, 0.2, math.inf, -math.inf]).above == 0.25
    assert sign_flip_p_values([math.nan]).above == 1
    assert two_sided_p_value([]) == 1


def test_more_blocks_than_can_be_counted_are_refused() -> None:
    """Rather than to count for hours."""
    with pytest.raises(ValueError, match=f"at most {MOST_BLOCKS} "):
        sign_flip_p_values([1.0] * (MOST_BLOCKS + 1))


@given(st.lists(finite, min_size=1, max_size=12), st.randoms(), st.integers(-8, 8))
def test_neither_order_nor_unit_matters(values: list[float], random: Any, power: int) -> None:
    """A permutation and a factor that is exact in binary change no p-value."""
    moved = [2.0**power * value for value in values]
    random.shuffle(moved)
    ours, theirs = sign_flip_p_values(values), sign_flip_p_values(moved)
    assert ours.above == pytest.approx(theirs.above, abs=2.0 ** -len(values))
    assert (ours.above == 1) == (theirs.above == 1)


@given(st.lists(finite, min_size=1, max_size=10), st.floats(0, 5))
def test_a_larger_effect_never_has_a_larger_p_value(values: list[float], effect: float) -> None:
    """Slowing every block down makes it no less likely that they are above 0."""
    slowed = [value + effect for value in values]
    assert sign_flip_p_values(slowed).above <= sign_flip_p_values(values).above + 1e-12
