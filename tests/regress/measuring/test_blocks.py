import math

import pytest

from harness.regress.measuring.blocks import BlockRatios, block_value

HEAD = [1.02, 1.04, 1.01, 1.09, 1.03]


def test_a_value_is_the_median_log_ratio() -> None:
    """One wild round changes nothing; twice the unit neither."""
    assert block_value([1.0] * 5, HEAD) == pytest.approx(math.log(1.03))
    assert block_value([2.0] * 5, [2 * head for head in HEAD]) == pytest.approx(math.log(1.03))
    assert block_value([1.0] * 5, [*HEAD[:3], 9.0, 1.03]) == pytest.approx(math.log(1.03))


def test_sides_swapped_change_the_sign() -> None:
    """What is slower one way is faster the other."""
    assert block_value(HEAD, [1.0] * 5) == pytest.approx(-math.log(1.03))


@pytest.mark.parametrize("unusable", [math.nan, math.inf, 0.0, -1.0])
def test_a_round_without_both_sides_is_left_out(unusable: float) -> None:
    """On either side."""
    base, head = [1.0] * 7, [*HEAD, 5.0, unusable]
    base[5] = unusable
    assert block_value(base, head) == pytest.approx(math.log(1.03))


def test_too_few_rounds_give_no_value() -> None:
    """Fewer than five, or fewer than half of those that were meant to be."""
    assert math.isnan(block_value([1.0] * 4, HEAD[:4]))
    assert math.isnan(block_value([1.0] * 11, [*HEAD, *[math.nan] * 6]))
    assert not math.isnan(block_value([1.0] * 10, [*HEAD, *[math.nan] * 5]))


def test_sides_of_unequal_length_are_refused() -> None:
    """A round has both sides."""
    with pytest.raises(ValueError, match="argument 2"):
        block_value([1.0] * 5, HEAD[:4])


def test_a_name_that_was_not_timed_has_no_value() -> None:
    """As NaN."""
    assert math.isnan(BlockRatios({"a": 0.0}, 0.0).value("b"))
