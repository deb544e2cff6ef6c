from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy.stats

from harness.regress.trend.change_points import ALPHA, change_points

MOST_LUCK = 1e-4
FEW = 999  # permutations: enough for the rates here


def noise(generator: np.random.Generator, n: int) -> np.ndarray:
    """Figures around 1 that deviate by about 1 %, with heavy tails."""
    return np.exp(0.007 * generator.standard_t(3, n))


def seeded(values: Any, seed: int = 0, **options: Any) -> Any:
    """Change points with a generator of their own."""
    return change_points(values, np.random.default_rng(seed), **options)


def test_a_step_is_found_where_it_is() -> None:
    """With its size; twice the unit of the figures changes nothing."""
    values = noise(np.random.default_rng(1), 40)
    values[25:] *= 1.05
    (found,) = seeded(values)
    assert found.position == 25
    assert found.ratio == pytest.approx(1.05, abs=0.01)
    assert found.p_value <= ALPHA
    (other,) = seeded(2 * values)
    assert (other.position, other.p_value) == (found.position, found.p_value)
    assert other.ratio == pytest.approx(found.ratio)


def test_two_steps_are_found_and_each_is_told_from_its_neighbours() -> None:
    """Up by 10 %, and back."""
    values = noise(np.random.default_rng(2), 60)
    values[20:40] *= 1.10
    found = seeded(values)
    assert [point.position for point in found] == [20, 40]
    assert found[0].ratio == pytest.approx(1.10, abs=0.01)
    assert found[1].ratio == pytest.approx(1 / 1.10, abs=0.01)


def test_what_was_not_measured_is_left_out_and_counted() -> None:
    """Positions are those of the series, NaN included."""
    values = noise(np.random.default_rng(3), 40)
    values[25:] *= 1.05
    with_gaps = np.insert(values, [0, 10, 25], [math.nan, math.inf, math.nan])
    (found,) = seeded(with_gaps)
    assert found.position == 28
    assert seeded([math.nan] * 30) == ()


@pytest.mark.parametrize("n", [0, 1, 2, 5, 6, 30])
def test_values_that_are_all_alike_have_no_change(n: int) -> None:
    """Nor have none, and too few."""
    assert seeded([0.7] * n) == ()


def test_one_wild_recording_is_no_change() -> None:
    """Nor are two in a row."""
    values = np.random.default_rng(4).permutation(np.linspace(0.99, 1.01, 30))
    values[12:14] = 3.0
    assert seeded(values) == ()


def test_the_p_value_is_that_of_all_orders() -> None:
    """Eight values: against each of the 40320 orders, counted by hand."""
    values = [1.0, 1.2, 1.1, 1.3, 2.0, 2.2, 2.1, 1.25]
    ranks = scipy.stats.rankdata(values)

    def most(order: Any) -> float:
        return max(abs(sum(order[:k]) - k * 4.5) / math.sqrt(k * (8 - k)) for k in range(3, 6))  # type: ignore[no-any-return]

    observed = most(ranks)
    orders = [most(order) for order in itertools.permutations(ranks)]
    exact = sum(one >= observed - 1e-9 for one in orders) / len(orders)
    (found,) = seeded(values, alpha=0.2)
    assert found.p_value == pytest.approx(exact, abs=4 * math.sqrt(exact / 9999))


def test_how_few_recordings_can_show_a_change() -> None:
    """Of nine series: four after twenty do, three after twelve can't."""
    generator = np.random.default_rng(8)
    enough = [*generator.uniform(1, 1.01, 20), *generator.uniform(2, 2.01, 4)]
    assert [point.position for point in seeded(enough, n_series=9)] == [20]
    too_few = [*generator.uniform(1, 1.01, 12), *generator.uniform(2, 2.01, 3)]
    assert seeded(too_few, n_series=9) == ()


def test_false_alarms_are_as_rare_as_said() -> None:
    """Histories without a change: at most alpha of them have a mark.

    Here 5 %, so that there is something to count.
    """
    generator = np.random.default_rng(5)
    k = sum(
        bool(change_points(noise(generator, 30), generator, alpha=0.05, n_permutations=FEW))  # type: ignore[arg-type]
        for _ in range(500)
    )
    assert scipy.stats.binom.sf(k - 1, 500, 0.05) > MOST_LUCK
    assert scipy.stats.binom.cdf(k, 500, 0.05) > MOST_LUCK  # and it is not idle


def test_a_wandering_machine_is_found_to_alarm_falsely() -> None:
    """The counting finds what the test's docstring warns of.

    Values that follow one another are no independent ones.
    """
    generator = np.random.default_rng(6)
    k = 0
    for _ in range(60):
        wandering = np.exp(np.cumsum(generator.normal(0, 0.01, 40)))
        k += bool(change_points(wandering, generator, n_permutations=FEW))  # type: ignore[arg-type]
    assert scipy.stats.binom.sf(k - 1, 60, ALPHA) < MOST_LUCK


def test_five_percent_are_found_and_placed() -> None:
    """A step of 5 % after 30 recordings, 10 after it, noise of 1.2 %, one series of nine.

    Nearly always, within 2 places.
    """
    generator = np.random.default_rng(7)
    near = 0
    for _ in range(60):
        values = noise(generator, 40)
        values[30:] *= 1.05
        found = change_points(values, generator, n_series=9)  # type: ignore[arg-type]
        near += any(abs(point.position - 30) <= 2 for point in found)
    assert near >= 57
