import math

import pytest

from harness.errors import InputError
from harness.regress.verdict.decision_rules import parse_accepted, parse_detect, rules_for


@pytest.mark.parametrize(
    ("n_benchmarks", "first"), [(1, 10), (9, 10), (10, 15), (308, 15), (309, 20), (10485, 20)]
)
def test_the_first_look_that_can_find_one_regression(n_benchmarks: int, first: int) -> None:
    """Its share of alpha over the benchmarks is at least 2^-n; earlier ones test nothing."""
    tests = rules_for(n_benchmarks).interim_tests
    possible = [test.n_blocks for test in tests if test.alpha >= n_benchmarks * 2.0**-test.n_blocks]
    assert possible[0] == first
    assert [test.n_blocks for test in tests if test.alpha > 0] == possible


@pytest.mark.parametrize("n_benchmarks", [1, 9, 10, 400, 20_000])
def test_the_shares_are_alpha(n_benchmarks: int) -> None:
    """1 % for the benchmarks, however many, and 1 % for the canary."""
    tests = rules_for(n_benchmarks).interim_tests
    assert math.fsum(test.alpha for test in tests) == pytest.approx(0.01)
    assert math.fsum(test.canary_alpha for test in tests) == pytest.approx(0.01)
    assert [test.n_blocks for test in tests] == [10, 15, 20, 25]
    assert tests[-1].alpha == 0


def test_one_small_block_on_the_wrong_side_is_allowed_after_15_blocks() -> None:
    """Two assignments of 32768 for each of 9 benchmarks are in the share, three are not."""
    share = rules_for(9).interim_tests[1].alpha
    assert 9 * 2 / 2**15 <= share < 9 * 3 / 2**15


def test_the_floor_is_half_of_detect_and_the_canarys_a_quarter() -> None:
    """As ratios of times."""
    rules = rules_for(3, 0.05)
    assert math.exp(rules.log_minimum) == pytest.approx(1.025)
    assert math.exp(rules.log_canary_minimum) == pytest.approx(1.0125)
    assert math.exp(rules.log_detect) == pytest.approx(1.05)


@pytest.mark.parametrize("detect", [0.0, -0.1, 1.1, math.nan])
def test_a_detect_that_is_no_share_is_refused(detect: float) -> None:
    """Above 0, at most 1."""
    with pytest.raises(ValueError, match="'detect' must be above 0 and at most 1"):
        rules_for(3, detect)


@pytest.mark.parametrize(
    ("text", "value"), [("5%", 0.05), (" 2.5 % ", 0.025), ("0.03", 0.03), ("100%", 1.0)]
)
def test_detect_is_read_as_a_share(text: str, value: float) -> None:
    """With a percent sign or without."""
    assert parse_detect(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["5", "0", "nan", "-1%", "101%", "%", "five", "5%%"])
def test_a_detect_that_cannot_be_is_bad_input(text: str) -> None:
    """5 without its sign would be 500 %."""
    with pytest.raises(InputError, match="--detect: expected a slow-down above 0 %"):
        parse_detect(text)


def test_accepted_slow_downs_have_a_name_and_a_reason() -> None:
    """The name may hold the sign, and the reason too."""
    names = ["lstm", "lstm h=64", "gru"]
    accepted = parse_accepted(["lstm h=64= exact math = slower", "gru=fix of #12"], names)
    assert accepted == {"lstm h=64": "exact math = slower", "gru": "fix of #12"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lstn=wider", "expected the name of a benchmark, got 'lstn'; did you mean 'lstm'"),
        ("lstm", "expected NAME=REASON"),
        ("lstm= ", "expected NAME=REASON"),
        ("=why", "expected NAME=REASON"),
    ],
)
def test_an_acceptance_of_nothing_is_bad_input(text: str, says: str) -> None:
    """An unknown name proposes the nearest."""
    with pytest.raises(InputError, match=says):
        parse_accepted([text], ["lstm", "gru"])
