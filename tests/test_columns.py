"""harness.columns: the registry of columns, and how numbers are written."""

import math

import pytest

from harness import columns
from harness.columns import COLUMNS

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (1, "1.00"),
        (0.99951, "1.00"),
        (12_345.0, "12,300"),
        (123.4, "123"),
        (0.000053, "5.30e-5"),
        (0.00123, "0.00123"),
        (-0.5, "-0.500"),
        (2.5e12, "2.50e12"),
        (NAN, "not measured"),
        (math.inf, "infinite"),
    ],
)
def test_three_significant_digits(value: float, expected: str) -> None:
    """Numbers show three significant digits, and what is unknown says so."""
    assert columns.significant(value) == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("lag", 79, "79 steps"),
        ("lag", 15_900.0, "15,900 steps"),
        ("accuracy", 0.9913, "99.1 %"),
        ("accuracy", 1.0, "100 %"),
        ("solved", True, "yes"),
        ("solved", 0.0, "no"),
        ("train_time_s", 0.00195, "1.95 ms"),
        ("train_time_s", 5.3e-6, "5.30 us"),
        ("train_time_s", 90, "90.0 s"),
        ("train_time_s", 300, "5.00 min"),
        ("peak_memory_bytes", 3 * 2**30, "3.00 GiB"),
        ("peak_memory_bytes", 17, "17.0 B"),
        ("sequences_per_second", 2104.7, "2,100 sequences/s"),
        ("skill", 0.5, "0.500"),
    ],
)
def test_text_with_unit(name: str, value: bool | float, expected: str) -> None:
    """Each metric's text carries its unit, scaled where that helps."""
    assert COLUMNS[name].text_with_unit(value) == expected


@pytest.mark.parametrize("name", list(COLUMNS))
@pytest.mark.parametrize("value", [None, NAN])
def test_what_is_unknown_is_never_zero(name: str, value: float | None) -> None:
    """None and NaN read "not measured" for every metric."""
    assert COLUMNS[name].text(value) == COLUMNS[name].text_with_unit(value) == "not measured"


@pytest.mark.parametrize("name", list(COLUMNS))
@pytest.mark.parametrize("value", [0.0, 1.0, 0.37, 123_456.0, math.inf])
def test_every_metric_has_text_and_a_sentence(name: str, value: float) -> None:
    """Every metric formats any value and is described in one sentence."""
    assert COLUMNS[name].text(value)
    assert COLUMNS[name].doc.endswith(".")


def test_an_unknown_metric_proposes_the_nearest() -> None:
    """A misspelt metric is refused with the nearest name."""
    with pytest.raises(ValueError, match="did you mean 'memory_span'"):
        columns.column("memory_spam")


def test_a_known_metric_is_found() -> None:
    """A metric is found by its name."""
    assert columns.column("lag") is COLUMNS["lag"]
