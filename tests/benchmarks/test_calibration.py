"""The statistics of harness.stats, held against simulated results whose truth is known.

None errs more often than it says.

A count is refused only where an exact binomial test says so at one in ten thousand. The same counts
over many more studies are made by benchmarks/calibration.py
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from harness import stats
from tests import simulated
from tests.kinds import everyday
from tests.simulated import Found

MOST_LUCK = 1e-4
N = everyday(100, nightly=250)


def too_many(found: Found) -> bool:
    """Whether so many false alarms can hardly be luck at the rate that is promised."""
    return bool(scipy.stats.binom.sf(found.k - 1, found.n, found.nominal) < MOST_LUCK)


def too_few(found: Found) -> bool:
    """Whether so few intervals that cover can hardly be luck at the level that is promised."""
    return bool(scipy.stats.binom.cdf(found.k, found.n, found.nominal) < MOST_LUCK)


def test_identical_cells_are_called_different_in_at_most_five_percent() -> None:
    """Spans tied or not, at the ladder's top or not, for 2 and for 3 cells.

    Over all pairs of a study.
    """
    found = list(simulated.false_alarms(np.random.default_rng(1), N))
    assert [one.what for one in found if too_many(one)] == []
    assert len(found) == 8


def test_a_difference_is_found_and_named_the_right_way_round() -> None:
    """Six times the memory is shown in most studies, and more often with more searches."""
    twice, twice_10, six, six_10 = (
        one.k / one.n for one in simulated.power(np.random.default_rng(2), N)
    )
    assert twice < six < six_10
    assert twice < twice_10 < six_10
    assert six > 0.7


def test_each_interval_covers_as_often_as_it_says() -> None:
    """Shares, medians, probabilities, spans, the expected best and the jackknife."""
    found = list(simulated.coverage(np.random.default_rng(3), N))
    assert [one.what for one in found if too_few(one)] == []
    assert {one.what.partition(":")[0] for one in found} == {
        *("binomial_interval", "median_interval", "probability_longer", "solved_shares"),
        *("median_over_searches", "memory_span", "expected_best", "jackknife_interval"),
    }


def test_the_importances_intervals_cover() -> None:
    """The jackknife over searches holds the mean share in at least nine studies of ten."""
    for one in simulated.importances_coverage(np.random.default_rng(4), everyday(60, nightly=150)):
        assert not too_few(Found(one.what, 0.92, one.k, one.n)), one


# --- That the counting finds what is wrong --------------------------------------------------------


def test_runs_taken_for_searches_are_found_to_alarm_falsely() -> None:
    """If each search counted three times, identical cells would differ too often."""
    generator = np.random.default_rng(5)
    k = 0
    for _ in range(N):
        memories = 40 * np.exp(0.6 * generator.normal(size=(2, 5)))
        cells = {str(i): simulated.climbed(np.repeat(own, 3)) for i, own in enumerate(memories)}
        k += stats.compare_cells(cells)[0].verdict == "difference_shown"
    assert too_many(Found("runs as searches", 0.05, k, N))


def test_runs_taken_for_independent_are_found_to_cover_too_little() -> None:
    """The binomial interval over two runs a search misses a share too often."""
    generator = np.random.default_rng(6)
    k = 0
    for _ in range(N):
        share = stats.solved_shares(simulated.lucky_runs(generator, [0.68] * 5, 5, 2, 1.0))[0]
        k += simulated.covers(stats.binomial_interval(share.n_solved, share.n_runs), 0.68)
    assert too_few(Found("runs as independent", 0.95, k, N))


def test_a_span_that_ends_at_the_first_refuted_lag_is_found_to_cover_too_little() -> None:
    """Where half of the runs solve every lag, some lag is refuted by luck.

    The upper end must not hang on the first.
    """
    generator = np.random.default_rng(7)
    k, n = 0, 4 * N
    for _ in range(n):
        runs = simulated.lucky_runs(generator, [0.5] * 5, 5, 1, 0.5)
        solved = np.array(runs.n_solved).sum(axis=0)
        k += bool((solved > 0).all())  # none of five refutes a half; the true span is the top
    assert too_few(Found("first refuted lag", 0.9375, k, n))


@pytest.mark.parametrize("at", [1, 6, 12])
def test_the_expected_best_is_unbiased(at: int) -> None:
    """The mean over searches is the true expectation of the best of so many.

    Of uniform trials n / (n + 1).
    """
    draws = np.random.default_rng(8).uniform(size=(2_000, 12))
    values = [
        stats.expected_best([search], "maximize", worst=0.0).estimates[at - 1].value
        for search in draws.tolist()
    ]
    error = np.std(values) / np.sqrt(len(values))  # type: ignore[arg-type]
    assert np.mean(values) == pytest.approx(at / (at + 1), abs=4 * error)  # type: ignore[arg-type]
