"""harness.hyperparameters: ranges, choices and fixed values as a study file writes them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError
from harness.hyperparameters import KINDS, SPACE, TRAINING, Choice, Fixed, Range, parse_parameter
from harness.training.optimizer_step import OPTIMIZERS

NUMBERS = [name for name, kind in KINDS.items() if kind.type in (int, float)]


def parse(name: str, raw: object) -> Range | Choice | Fixed:
    """The parameter of that name."""
    return parse_parameter("f.toml", f"space.{name}", name, raw, KINDS.get(name))


@pytest.mark.parametrize(
    ("name", "raw", "expected"),
    [
        ("hidden_size", 8, Fixed(8)),
        ("hidden_size", [8, 16], Choice((8, 16))),
        ("hidden_size", {"low": 8, "high": 16}, Range(8, 16)),
        ("hidden_size", {"low": 8, "high": 8, "log": True}, Range(8, 8, log=True)),
        ("learning_rate", 1, Fixed(1.0)),
        ("learning_rate", {"low": 1e-3, "high": 1}, Range(1e-3, 1.0)),
        ("max_grad_norm", 0, Fixed(0.0)),
        ("stop_when_solved", [True, False], Choice((True, False))),
        ("optimizer", "sgd", Fixed("sgd")),
        ("initialization", ["a", "b"], Choice(("a", "b"))),
        ("zoneout", {"low": 0, "high": 0.5}, Range(0, 0.5)),  # a cell's own
    ],
)
def test_what_a_study_file_writes(name: str, raw: object, expected: object) -> None:
    """A table is a range, a list a choice, a plain value fixed.

    Each is written back as it was read.
    """
    parameter = parse(name, raw)
    assert parameter == expected
    assert parse(name, parameter.to_plain()) == parameter


def test_a_number_of_a_float_kind_is_a_float() -> None:
    """learning_rate = 1 and learning_rate = 1.0 are one value: of one type."""
    parameter = parse("learning_rate", [1, 2.0])
    assert [type(value) for value in parameter.values()] == [float, float]


@pytest.mark.parametrize(
    ("name", "raw", "match"),
    [
        ("hidden_size", {"low": 16, "high": 8}, "expected low <= high, got .*; exchange low and"),
        ("max_grad_norm", {"low": 0, "high": 1, "log": True}, "expected low > 0 where log = true"),
        ("zoneout", {"low": -1, "high": 1, "log": True}, "expected low > 0 where log = true"),
        ("hidden_size", {"low": 8}, "a range with low and high.*; add high"),
        ("hidden_size", {"low": 8, "hihg": 9}, r"hidden_size.hihg: .*did you mean 'high'\?"),
        ("hidden_size", {"low": 1, "high": 2, "log": 1}, "space.hidden_size.log: .*true or false"),
        ("hidden_size", {"low": 1, "high": 2.5}, "hidden_size.high: expected a whole number"),
        ("hidden_size", [], "at least one value"),
        ("hidden_size", [8, 8], "different values"),
        ("learning_rate", [1, 1.0], "different values"),
        ("zoneout", [1, True], "different values"),
        ("hidden_size", [[8]], "a whole number"),
        ("hidden_size", 0, "a whole number >= 1"),
        ("hidden_size", 2**31, "<= 2,147,483,647"),
        ("hidden_size", 8.0, "a whole number"),
        ("hidden_size", True, "a whole number"),
        ("hidden_size", "8", "a whole number"),
        ("learning_rate", 0, "a number > 0, got 0"),
        ("learning_rate", -1e-3, "a number > 0"),
        ("num_layers", 1_001, "<= 1,000"),
        ("optimizer", "adma", r"one of adam, adamw, sgd, rmsprop, got 'adma'; did you mean 'adam'"),
        ("optimizer", {"low": 1, "high": 2}, "one of adam.*, or a list of such"),
        ("optimizer", True, "one of adam"),
        ("stop_when_solved", 1, "true or false"),
        ("initialization", 3, "a text"),
        ("zoneout", None, "a finite number, a text, true or false"),
        ("zoneout", {"low": "a", "high": "b"}, "a range of numbers"),
        ("zoneout", 2**63, "a finite number"),
        ("zoneout", {"low": 0, "high": 2**53}, "whole numbers from -1,000,000,000,000 to 1,000"),
        (
            "zoneout",
            {"low": -1.7e308, "high": 1.7e308},
            r"a range whose high - low is at most 1.8e",
        ),
        (
            "learning_rate",
            {"low": 1e-310, "high": 1, "log": True},
            r"learning_rate.low: expected 0, ",
        ),
        ("learning_rate", 1e-310, r"a number of at least 2.2e-308 in size, got 1e-310; training"),
        ("zoneout", [0.0, -5e-324], "a number of at least 2.2e-308 in size"),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, raw: object, match: str) -> None:
    """The message names the file, the key, what was expected and what was got."""
    with pytest.raises(InputError, match=match) as caught:
        parse(name, raw)
    assert str(caught.value).startswith(f"f.toml: space.{name}")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, -(10**400)])
@pytest.mark.parametrize("name", [*NUMBERS, "zoneout"])
def test_no_number_is_without_end(name: str, value: float) -> None:
    """No number is NaN, infinite or beyond 64 bits: alone, in a list or in a range."""
    for raw in (value, [value], {"low": value, "high": value}):
        with pytest.raises(InputError, match=name):
            parse(name, raw)


def test_values_are_all_that_a_parameter_names() -> None:
    """A range names its ends, a choice its options, a fixed value itself."""
    assert Range(1, 3).values() == (1, 3)
    assert Choice((1, "a")).values() == (1, "a")
    assert Fixed(False).values() == (False,)


def test_a_hyperparameter_has_one_home() -> None:
    """No name is at home both in [space] and in [training]."""
    assert not set(SPACE) & set(TRAINING)


def test_the_optimizers_of_a_study_file_are_those_that_train() -> None:
    """Every word that a study file accepts is an optimiser, and every optimiser has its word."""
    assert set(KINDS["optimizer"].words) == set(OPTIMIZERS)


finite = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1)


@given(
    st.sampled_from([*KINDS, "zoneout"]),
    st.recursive(
        finite | st.text() | st.booleans() | st.none() | st.floats(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["low", "high", "log", "x"]), inner)
        ),
        max_leaves=6,
    ),
)
def test_anything_is_read_or_refused(name: str, raw: object) -> None:
    """Whatever stands there, the answer is a parameter that survives writing, or an InputError."""
    try:
        parameter = parse(name, raw)
    except InputError:
        return
    assert parse(name, parameter.to_plain()) == parameter
    kind = KINDS.get(name)
    assert all(kind.accepts(value) for value in parameter.values()) if kind else True
