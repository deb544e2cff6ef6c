"""harness.stats: intervals, spans and verdicts, checked by oracle, by hand and by simulation."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from harness import stats
from harness.stats import Interval
from tests.known import known

NAN = float("nan")
LAGS = (7, 15, 31, 63, 95, 159)


PAIRS = [(True, True), (True, True), (True, True), (True, False), (False, False)]


def runs_of(solved_by_repeat: Any, lags: Any = LAGS) -> Any:
    """A ladder from one string a repeat and lag: '1' solved, '0' not, '?' not measured."""
    value = {"1": True, "0": False, "?": None}
    return stats.run_ladder(
        (repeat, lag, value[letter])
        for repeat, letters in enumerate(solved_by_repeat)
        for lag, letter in zip(lags, letters, strict=True)
    )


def runs_from_memory(memories: Any, lags: Any = LAGS) -> Any:
    """A ladder with one run a repeat and lag, solved up to the repeat's memory in steps."""
    return stats.run_ladder(
        (repeat, lag, lag <= memory) for repeat, memory in enumerate(memories) for lag in lags
    )


# --- Proportions and medians ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_successes", "n"), [(0, 5), (3, 3), (5, 5), (1, 7), (40, 100), (999, 1000), (2500, 5000)]
)
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_binomial_interval_is_the_exact_one(n_successes: int, n: int, level: float) -> None:
    """The interval of a share is scipy's exact one."""
    oracle = scipy.stats.binomtest(n_successes, n).proportion_ci(level, method="exact")
    interval = stats.binomial_interval(n_successes, n, level)
    assert (known(interval).low, known(interval).high) == pytest.approx(
        (known(oracle).low, known(oracle).high), abs=1e-9
    )


def test_three_of_three_is_not_certainty() -> None:
    """3 of 3 solved has a lower bound of 29 %."""
    assert known(stats.binomial_interval(3, 3)).low == pytest.approx(0.2924, abs=1e-4)


def test_no_runs_have_no_interval() -> None:
    """Of nothing there is no share."""
    assert stats.binomial_interval(0, 0) is None


def test_more_successes_than_runs_are_refused() -> None:
    """More successes than runs are a mistake of the caller."""
    with pytest.raises(ValueError, match="'n_successes' must be between 0 and n = 3"):
        stats.binomial_interval(4, 3)


@pytest.mark.parametrize("true_share", [0.1, 0.5, 0.97])
def test_binomial_interval_covers(true_share: float) -> None:
    """The interval covers the true share at least as often as it says, summed exactly."""
    n = 12
    covered = 0.0
    for k in range(n + 1):
        interval = stats.binomial_interval(k, n)
        if known(interval).low <= true_share <= known(interval).high:
            covered += scipy.stats.binom.pmf(k, n, true_share)
    assert covered >= 0.95


@given(k=st.integers(-1, 40), n=st.integers(1, 40), p=st.floats(0, 1))
def test_binomial_cdf_is_scipys(k: int, n: int, p: float) -> None:
    """The cumulative probability agrees with scipy's."""
    assert stats.binomial_cdf(k, n, p) == pytest.approx(scipy.stats.binom.cdf(k, n, p), abs=1e-9)


@pytest.mark.parametrize(
    ("n", "low", "high"), [(5, 1, 5), (6, 1, 6), (8, 1, 8), (9, 2, 8), (10, 2, 9), (20, 6, 15)]
)
def test_median_interval_by_the_table(n: int, low: int, high: int) -> None:
    """The order statistics are those of the published table for 95 %."""
    estimate = stats.median_interval(range(1, n + 1))
    assert (known(estimate.interval).low, known(estimate.interval).high) == (low, high)


@pytest.mark.parametrize("n", [5, 9, 15])
def test_median_interval_covers_as_often_as_it_says(n: int) -> None:
    """On skewed samples the interval covers the median as often as its level says."""
    generator = np.random.default_rng(n)
    covered = []
    for _ in range(2_000):
        interval = stats.median_interval(generator.exponential(size=n)).interval
        covered.append(known(interval).low <= math.log(2) <= known(interval).high)
    deviation = 3 * math.sqrt(0.05 * 0.95 / len(covered))
    assert np.mean(covered) == pytest.approx(known(interval).level, abs=deviation)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_a_few_samples_have_a_median_and_no_interval(n: int) -> None:
    """Below 5 samples there is a value and no interval, never one of width 0."""
    estimate = stats.median_interval([2.0] * n)
    assert (estimate.value, estimate.interval, estimate.n) == (2.0, None, n)


def test_median_leaves_out_what_was_not_measured() -> None:
    """NaN and None are left out and counted; infinity is a sample."""
    estimate = stats.median_interval([1.0, NAN, 2.0, None, math.inf, 3.0, 4.0])
    assert (estimate.value, estimate.n, estimate.n_missing) == (3.0, 5, 2)
    assert estimate.interval == Interval(1.0, math.inf, 0.9375)


def test_median_of_nothing() -> None:
    """Only NaN gives no value at all."""
    assert stats.median_interval([NAN]) == stats.Estimate(None, None, 0, 1)


def test_a_median_over_searches_counts_each_search_once() -> None:
    """The value is that of all runs.

    The interval is that of searches, from smallest to largest runs.
    """
    searches = [[1, 9], [2, NAN], [3, 3], [4, math.inf], [5], [None]]
    estimate = stats.median_over_searches(searches)  # type: ignore[arg-type]
    assert (estimate.value, estimate.n, estimate.n_missing) == (3.5, 5, 2)
    assert estimate.interval == Interval(1.0, math.inf, 0.9375)


def test_a_median_over_few_searches_has_no_interval() -> None:
    """Four searches of a hundred runs have a value and no interval; nothing has neither."""
    assert stats.median_over_searches([[1.0] * 100] * 4).interval is None
    assert stats.median_over_searches([[NAN]]) == stats.Estimate(None, None, 0, 1)


def test_with_one_run_a_search_the_median_is_the_plain_one() -> None:
    """One run for each search: the interval between order statistics."""
    samples = np.random.default_rng(2).exponential(size=9).tolist()
    assert stats.median_over_searches([x] for x in samples) == stats.median_interval(samples)


@pytest.mark.parametrize("n", [5, 8, 31])
def test_jackknife_of_a_mean_is_the_t_interval(n: int) -> None:
    """For a mean the jackknife is Student's interval, as scipy has it."""
    samples = np.random.default_rng(n).exponential(size=n)
    left_out = [np.delete(samples, i).mean() for i in range(n)]
    interval = stats.jackknife_interval(samples.mean(), left_out)
    oracle = scipy.stats.t.interval(0.95, n - 1, samples.mean(), scipy.stats.sem(samples))
    assert (known(interval).low, known(interval).high) == pytest.approx(oracle, rel=1e-12)


def test_jackknife_needs_five_known_values() -> None:
    """Below 5 searches, and with a NaN among them, there is no interval."""
    assert stats.jackknife_interval(1.0, [1.0] * 4) is None
    assert stats.jackknife_interval(1.0, [1.0] * 5 + [NAN]) is None


# --- Spans ------------------------------------------------------------------------------------


def test_ladder_counts_runs_in_any_order() -> None:
    """Rows may come in any order, several a repeat, and NaN is no run."""
    rows = [(1, 15, 0.0), (0, 7, True), (0, 15, NAN), (0, 7, 0), (1, 7, np.float64(1.0))]
    runs = stats.run_ladder(rows)
    assert runs == stats.run_ladder(reversed(rows))
    assert runs.lags == (7.0, 15.0)
    assert runs.n_solved == ((1, 0), (1, 0))
    assert runs.n_runs == ((2, 0), (1, 1))


def test_solved_shares_by_hand() -> None:
    """The share at each lag counts the measured runs only."""
    shares = stats.solved_shares(runs_of(["110", "10?", "1??"], lags=(1, 2, 3)))
    assert [(share.n_solved, share.n_runs, share.value) for share in shares] == [
        (3, 3, 1.0),
        (1, 2, 0.5),
        (0, 1, 0.0),
    ]
    assert known(shares[0].interval).low == pytest.approx(0.2924, abs=1e-4)


def test_the_interval_of_a_share_is_over_searches() -> None:
    """Two runs of a search are one sample: 7 of 10 runs in 5 searches are between 3 and 4 of 5."""
    rows = [(repeat, 7, solved) for repeat, pair in enumerate(PAIRS) for solved in pair]
    (share,) = stats.solved_shares(stats.run_ladder(rows))
    assert (share.n_solved, share.n_runs, share.n_repeats, share.value) == (7, 10, 5, 0.7)
    assert known(share.interval).low == pytest.approx(scipy.stats.beta.ppf(0.025, 3, 3))
    assert known(share.interval).high == pytest.approx(scipy.stats.beta.ppf(0.975, 5, 1))


@pytest.mark.parametrize(
    ("solved", "value", "state"),
    [
        (["111000", "111100", "110000"], 31.0, "measured"),
        (["111111", "111110", "111000"], 159.0 - 64, "measured"),
        (["111111", "111111", "000000"], 159.0, "at_least"),
        (["000000", "011111", "000000"], 0.0, "below_ladder"),
        (["101111", "101111", "101111"], 7.0, "measured"),
        (["11????", "11????", "11????"], 15.0, "at_least"),
        (["??????", "??????"], None, "not_measured"),
        ([], None, "not_measured"),
    ],
)
def test_memory_span_by_hand(
    solved: list[object] | list[str], value: float | None, state: str
) -> None:
    """The span is the largest lag that half of the runs solve, there and at every shorter lag."""
    span = stats.memory_span(runs_of(solved))
    assert (span.value, span.state) == (value, state)


def test_half_of_the_runs_is_enough() -> None:
    """Exactly half of the runs counts as remembered."""
    assert stats.memory_span(runs_of(["10", "00"], lags=(5, 9))).value == 5.0


def test_reliable_span_asks_for_nine_tenths() -> None:
    """9 of 10 runs are reliable, 8 of 10 are not."""
    solved = ["110"] * 8 + ["100", "000"]
    runs = runs_of(solved, lags=(1, 2, 3))
    assert (stats.reliable_span(runs).value, stats.memory_span(runs).value) == (1.0, 2.0)


def test_span_of_few_repeats_has_no_interval() -> None:
    """Below 5 repeats a span has a value and no interval."""
    span = stats.memory_span(runs_of(["111000"] * 4))
    assert (span.value, span.interval, span.n_repeats) == (31.0, None, 4)


def test_span_interval_of_five_repeats_by_hand() -> None:
    """Of 5 repeats the interval runs from the shortest to the longest of their memories."""
    span = stats.memory_span(runs_from_memory([15, 31, 31, 63, 95]))
    assert (span.value, span.interval) == (31.0, Interval(15.0, 95.0, 0.9375))
    assert not span.high_is_open


def test_span_interval_at_the_top_is_open() -> None:
    """Where the ladder's top is not refuted the interval has no upper end."""
    span = stats.memory_span(runs_from_memory([15, 31, 31, 200, 63]))
    assert (known(span.interval).high, span.high_is_open) == (159.0, True)


def test_a_span_interval_reaches_over_a_lag_that_failed_by_luck() -> None:
    """The upper end is the last lag that is not refuted, though a shorter one was."""
    span = stats.memory_span(runs_of(["110100"] * 2 + ["110000"] * 3))
    assert (span.value, span.interval) == (15.0, Interval(15.0, 63.0, 0.9375))
    assert not span.high_is_open


def test_five_identical_repeats_do_not_make_a_reliable_span() -> None:
    """5 of 5 can't show that nine tenths succeed: the lower end stays 0."""
    span = stats.reliable_span(runs_from_memory([31] * 5))
    assert (span.value, known(span.interval).low, known(span.interval).high) == (31.0, 0.0, 31.0)


def test_many_runs_of_a_repeat_do_not_replace_repeats() -> None:
    """Four repeats with a hundred seeds each still have no interval."""
    rows = [(repeat, 7, True) for repeat in range(4) for _ in range(100)]
    assert stats.memory_span(stats.run_ladder(rows)).interval is None


def test_missing_runs_widen_a_span_and_stay_out_of_it() -> None:
    """A NaN run is no unsolved run: the span does not shrink, the interval does not narrow."""
    full = stats.memory_span(runs_of(["111000"] * 6))
    gap = stats.memory_span(runs_of(["111000"] * 5 + ["?1?000"]))
    assert gap.value == full.value == 31.0
    assert gap.n_runs == full.n_runs - 2
    assert known(gap.interval).low <= known(full.interval).low


@pytest.mark.parametrize("n_repeats", [5, 10])
@pytest.mark.parametrize("n_seeds", [1, 3])
@pytest.mark.parametrize("center", [20.0, 63.0])
def test_span_interval_covers_the_true_span(n_repeats: int, n_seeds: int, center: float) -> None:
    """The interval covers the span of infinitely many runs at least as often as it says."""
    generator = np.random.default_rng(n_repeats * 10 + n_seeds)
    deviation = math.hypot(0.8, 0.3)  # Of a run's memory in logarithms: search and training seed.
    shares = [scipy.stats.norm.sf(math.log(lag / center) / deviation) for lag in LAGS]
    true_span = [0, *LAGS][sum(np.cumprod([share >= 0.5 for share in shares]))]
    covered = []
    for _ in range(300):
        search = center * np.exp(0.8 * generator.normal(size=n_repeats))
        luck = np.exp(0.3 * generator.normal(size=(n_repeats, n_seeds, len(LAGS))))
        rows = [
            (repeat, lag, lag <= search[repeat] * luck[repeat, seed, position])
            for repeat in range(n_repeats)
            for seed in range(n_seeds)
            for position, lag in enumerate(LAGS)
        ]
        span = stats.memory_span(stats.run_ladder(rows))
        below = true_span <= known(span.interval).high or span.high_is_open
        covered.append(known(span.interval).low <= true_span and below)
    assert np.mean(covered) >= known(span.interval).level - 0.03


def test_repeat_spans_by_hand() -> None:
    """Each repeat has a span of its own; a gap in its measurements makes it unknown."""
    spans = stats.repeat_spans(runs_of(["111000", "000000", "111111", "11?000", "?11000"]))
    np.testing.assert_equal(spans, (31.0, 0.0, 159.0, NAN, NAN))


# --- Comparisons ----------------------------------------------------------------------------


def test_probability_longer_by_hand() -> None:
    """Pairs are counted, ties half; NaN and None are left out and counted."""
    estimate = stats.probability_longer([3, 2, NAN], [1, 2, None])
    assert (estimate.value, estimate.n, estimate.n_missing) == (0.875, 2, 2)
    assert estimate.interval is None


def test_probability_longer_of_nothing() -> None:
    """Without samples there is no probability."""
    assert stats.probability_longer([NAN], [1.0]).value is None


def test_complete_separation_keeps_a_width() -> None:
    """5 of 5 longer than 5 of 5 is not certainty."""
    interval = stats.probability_longer([6, 7, 8, 9, 10], [1, 2, 3, 4, 5]).interval
    assert known(interval).high == 1.0
    assert 0.5 < known(interval).low < 0.75


@pytest.mark.parametrize("n", [5, 10])
@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0])
def test_interval_of_the_probability_covers(n: int, shift: float) -> None:
    """The interval covers the true probability as often as it says, to simulation's error."""
    generator = np.random.default_rng(7)
    truth = scipy.stats.norm.cdf(shift / math.sqrt(2))
    covered = []
    for _ in range(400):
        first, second = generator.normal(shift, size=n), generator.normal(size=n)
        interval = stats.probability_longer(first, second).interval
        covered.append(known(interval).low <= truth <= known(interval).high)
    assert np.mean(covered) >= 0.92


@pytest.mark.parametrize("sizes", [(5, 5), (6, 9)])
def test_permutation_p_value_is_scipys(sizes: tuple[int, ...]) -> None:
    """Without ties the p-value is that of the exact Mann-Whitney test."""
    generator = np.random.default_rng(3)
    for shift in (0.0, 0.5, 2.0):
        first, second = generator.normal(shift, size=sizes[0]), generator.normal(size=sizes[1])
        oracle = scipy.stats.mannwhitneyu(first, second, method="exact").pvalue
        assert stats.permutation_p_value(first, second) == pytest.approx(oracle, abs=1e-12)


def test_permutation_p_value_with_ties_by_enumeration() -> None:
    """With ties the p-value is that of all splits of the pooled mid-ranks."""
    first, second = [1, 2, 2, 5, 5], [0, 1, 2, 2, 0]
    ranks = scipy.stats.rankdata(first + second)
    sums = np.array([sum(ranks[list(split)]) for split in itertools.combinations(range(10), 5)])
    extreme = np.abs(sums - sums.mean()) >= abs(sum(ranks[:5]) - sums.mean()) - 1e-9
    assert stats.permutation_p_value([*first, NAN], second) == pytest.approx(extreme.mean())


def test_permutation_p_value_of_nothing() -> None:
    """An empty side has no p-value."""
    assert stats.permutation_p_value([], [1.0]) is None


def test_a_clear_difference_is_shown() -> None:
    """Cells whose repeats are fully apart are told apart, and the longer one is named."""
    cells = {
        "rnn": runs_from_memory([7, 15, 15, 31, 7]),
        "lstm": runs_from_memory([63, 63, 95, 200, 63]),
    }
    (comparison,) = stats.compare_cells(cells)
    assert (comparison.verdict, comparison.longer) == ("difference_shown", "lstm")
    assert comparison.probability.value == 0.0
    assert comparison.p_value == pytest.approx(2 / 252)


def test_identical_results_show_no_difference() -> None:
    """The same runs twice show no difference, and no cell is named."""
    runs = runs_from_memory([7, 15, 15, 31, 7])
    (comparison,) = stats.compare_cells({"a": runs, "b": runs})
    assert (comparison.verdict, comparison.longer) == ("no_difference_shown", None)
    assert comparison.probability.value == 0.5


def test_overlapping_intervals_show_no_difference() -> None:
    """A small p-value does not outvote intervals that overlap."""
    cells = {
        "a": runs_from_memory([7, 7, 7, 7, 7, 31]),
        "b": runs_from_memory([15, 63, 63, 63, 63, 63]),
    }
    (comparison,) = stats.compare_cells(cells)
    assert known(comparison.p_value) < 0.05
    assert comparison.verdict == "no_difference_shown"
    assert "overlap" in comparison.reason


def test_intervals_that_the_ladders_top_leaves_open_overlap() -> None:
    """Where both cells may remember longer than the ladder, neither is called the longer."""
    cells = {
        "a": runs_from_memory([95, 95, 95, 95, 200]),
        "b": runs_from_memory([200] * 5),
    }
    (comparison,) = stats.compare_cells(cells)
    assert known(comparison.p_value) < 0.05
    assert comparison.verdict == "no_difference_shown"


def test_a_point_within_the_other_interval_overlaps() -> None:
    """An interval of one lag that lies inside the other's is no difference, however small p."""
    cells = {
        "a": runs_from_memory([31] * 20),
        "b": runs_from_memory([15] * 6 + [63] * 14, lags=(7, 15, 31, 63, 95)),
    }
    spans = [stats.memory_span(runs).interval for runs in cells.values()]
    assert (
        known(spans[0]).low,
        known(spans[0]).high,
        known(spans[1]).low,
        known(spans[1]).high,
    ) == (31, 31, 15, 63)
    (comparison,) = stats.compare_cells(cells)
    assert known(comparison.p_value) < 0.05
    assert comparison.verdict == "no_difference_shown"


def test_spans_and_searches_must_tell_the_same() -> None:
    """A cell whose searches fail at different lags is not called the shorter."""
    holes = ["011111", "101111", "110111", "111011", "111101", "111111"]
    cells = {"a": runs_of(holes * 2), "b": runs_from_memory([63] * 12)}
    (comparison,) = stats.compare_cells(cells)
    assert known(comparison.probability.value) < 0.5
    assert comparison.verdict == "no_difference_shown"


@pytest.mark.parametrize("n_repeats", [0, 1, 4])
def test_few_repeats_are_inconclusive(n_repeats: int) -> None:
    """Below 5 repeats nothing is ranked, however clear it looks."""
    cells = {
        "a": runs_from_memory([7] * n_repeats),
        "b": runs_from_memory([159] * n_repeats),
    }
    (comparison,) = stats.compare_cells(cells)
    assert (comparison.verdict, comparison.longer) == ("inconclusive", None)
    assert comparison.reason == f"{n_repeats} repeats: fewer than 5"


def test_unmeasured_repeats_do_not_count_as_repeats() -> None:
    """A repeat with NaN results is no repeat: five with one unknown are inconclusive."""
    cells = {"a": runs_of(["100000"] * 4 + ["??????"]), "b": runs_from_memory([159] * 5)}
    (comparison,) = stats.compare_cells(cells)
    assert (comparison.verdict, comparison.n_first) == ("inconclusive", 4)


def test_too_few_repeats_for_so_many_cells() -> None:
    """Where no outcome could be significant the verdict is inconclusive, not 'no difference'."""
    cells = {name: runs_from_memory([7] * 5) for name in "abcde"}
    comparisons = stats.compare_cells(cells)
    assert {comparison.verdict for comparison in comparisons} == {"inconclusive"}
    assert len(comparisons) == 10
    assert comparisons[0].reason == "5 repeats: too few for 10 pairs of cells"


def simulated(generator: Any, center: Any, n_repeats: Any) -> Any:
    """A ladder of repeats whose memories lie log-normally about the centre."""
    return runs_from_memory(center * np.exp(0.6 * generator.normal(size=n_repeats)))


@pytest.mark.parametrize(("n_cells", "n_repeats"), [(2, 5), (3, 5), (2, 10)])
def test_identical_cells_differ_falsely_in_at_most_five_percent(
    n_cells: int, n_repeats: int
) -> None:
    """Over all pairs of identical cells a false difference is shown in at most 5 % of studies."""
    generator = np.random.default_rng(11)
    false = []
    for _ in range(400):
        cells = {str(i): simulated(generator, 40, n_repeats) for i in range(n_cells)}
        verdicts = [comparison.verdict for comparison in stats.compare_cells(cells)]
        false.append("difference_shown" in verdicts)
    assert np.mean(false) <= 0.05


def test_a_sixfold_difference_is_found() -> None:
    """With 5 repeats a sixfold memory is shown in most studies, and never the wrong way round."""
    generator = np.random.default_rng(12)
    longer = []
    for _ in range(200):
        cells = {"a": simulated(generator, 15, 5), "b": simulated(generator, 90, 5)}
        longer.append(stats.compare_cells(cells)[0].longer)
    assert longer.count("a") == 0
    assert longer.count("b") >= 0.7 * len(longer)


# --- Expected best ----------------------------------------------------------------------------


def test_expected_best_of_one_search_by_enumeration() -> None:
    """The closed form is the mean best over all ways to choose so many of the trials.

    At the end the best there is.
    """
    values = [3.0, 1.0, 4.0, 1.0, 5.0]
    curve = stats.expected_best([values], "maximize", worst=0.0)
    for n, estimate in zip(curve.n_trials, curve.estimates, strict=True):
        draws = itertools.combinations(values, n)
        assert estimate.value == pytest.approx(np.mean([max(draw) for draw in draws]))
    assert curve.estimates[-1].value == 5.0


def test_expected_best_of_a_loss_falls() -> None:
    """For a minimised objective the best is the smallest, and more trials lower it."""
    curve = stats.expected_best([[0.5, 0.1, 0.9]], "minimize", worst=2.0)
    values = [estimate.value for estimate in curve.estimates]
    assert values[0] == pytest.approx(0.5)
    assert values == sorted(values, reverse=True)  # type: ignore[type-var]


@pytest.mark.parametrize(("direction", "worst"), [("maximize", 0.0), ("minimize", 8.0)])
def test_a_trial_without_a_value_counts_as_the_worst(direction: str, worst: float) -> None:
    """NaN and None used up their budget, so they count as the worst value."""
    curve = stats.expected_best([[NAN, 4.0], [None, 4.0]], direction, worst)  # type: ignore[arg-type]
    assert curve.estimates[0].value == pytest.approx((worst + 4.0) / 2)


def test_expected_best_interval_is_over_searches() -> None:
    """Five searches give an interval; it ends at the smallest common number of trials."""
    searches = [[float(i), float(i)] for i in range(5)] + [[]]
    curve = stats.expected_best([*searches[:4], searches[4] * 2, []], "maximize", worst=0.0)
    assert curve.n_trials == (1, 2)
    assert curve.estimates[1].interval == Interval(0.0, 4.0, 0.9375)
    assert curve.estimates[1].n_missing == 1


def test_expected_best_of_nothing() -> None:
    """Without trials there is no curve."""
    assert stats.expected_best([], "maximize", worst=0.0).estimates == ()


# --- Speed ---------------------------------------------------------------------------------


def test_a_power_law_is_found_again() -> None:
    """Exact samples of 3 x^1.5 give factor, exponent and an interval of no width."""
    law = stats.power_law({x: [3 * x**1.5] * 7 for x in (10, 20, 50, 400)})
    assert (known(law).factor, known(law).exponent) == pytest.approx((3, 1.5))
    assert (known(known(law).interval).low, known(known(law).interval).high) == pytest.approx(
        (1.5, 1.5)
    )
    assert known(law).n == 4
    assert known(law).largest_miss == pytest.approx(0, abs=1e-12)


def test_the_exponent_is_that_of_least_squares() -> None:
    """Of medians that lie on no line.

    The slope and intercept of scipy's regression of the logarithms.
    """
    samples = {1: [1.0, 1.2, 0.9], 3: [2.0, 2.2, 5.0], 10: [9.0, 8.0, 10.0], 40: [20.0]}
    medians = [1.0, 2.2, 9.0, 20.0]
    oracle = scipy.stats.linregress(np.log(list(samples)), np.log(medians))
    law = stats.power_law(samples)  # type: ignore[arg-type]
    assert known(law).exponent == pytest.approx(oracle.slope)
    assert known(law).factor == pytest.approx(math.exp(oracle.intercept))
    assert known(law).interval is None  # fewer than 5 samples somewhere
    fitted = math.exp(oracle.intercept) * np.array(list(samples), dtype=float) ** oracle.slope
    assert known(law).largest_miss == pytest.approx(np.max(np.abs(medians / fitted - 1)))


def test_a_power_law_takes_three_values() -> None:
    """Any two points lie on one; NaN, None and what is not above 0 are left out."""
    assert stats.power_law({}) is None
    assert stats.power_law({1: [1.0] * 5, 2: [2.0] * 5}) is None
    assert stats.power_law({1: [1.0], 2: [2.0], 3: [NAN, None, 0.0, -1.0]}) is None
    law = stats.power_law({x: [float(x), NAN, None, -1.0, 0.0] for x in (1, 2, 3)})
    assert known(law).exponent == pytest.approx(1)


@pytest.mark.parametrize("n", [5, 6, 11])
def test_the_error_of_the_exponent_is_that_of_the_bootstrap(n: int) -> None:
    """The closed form of a median's variance equals that of draws with replacement."""
    rng = np.random.default_rng(1)
    samples = {x: x * np.exp(rng.normal(0, 0.05, n)) for x in (1.0, 2.0, 4.0)}
    law = stats.power_law(samples)  # type: ignore[arg-type]
    draws = 20_000
    weights = np.log([1.0, 2.0, 4.0]) - np.log([1.0, 2.0, 4.0]).mean()
    weights /= np.sum(weights**2)
    slopes = np.zeros(draws)
    for weight, values in zip(weights, samples.values(), strict=True):
        drawn = np.sort(rng.choice(np.log(values), (draws, n)), axis=1)
        middle = (
            drawn[:, n // 2]
            if n % 2
            else drawn[np.arange(draws), n // 2 - rng.integers(0, 2, draws)]
        )
        slopes += weight * middle
    half_width = (known(known(law).interval).high - known(known(law).interval).low) / 2
    assert half_width == pytest.approx(scipy.stats.t.ppf(0.975, n - 1) * slopes.std(), rel=0.03)


@pytest.mark.parametrize("n", [5, 11])
def test_the_interval_of_an_exponent_covers(n: int) -> None:
    """The 95 % interval has the true exponent in 95 % of simulated benches or more."""
    rng = np.random.default_rng(2)
    n_benches, held = 400, 0
    for _ in range(n_benches):
        noise = rng.exponential(0.03, (4, n))  # skewed, as times are
        samples = {
            x: x**1.1 * np.exp(own) for x, own in zip((50, 100, 200, 400), noise, strict=True)
        }
        interval = known(stats.power_law(samples)).interval  # type: ignore[arg-type]
        held += known(interval).low <= 1.1 <= known(interval).high
    assert held / n_benches > 0.95 - 3 * math.sqrt(0.95 * 0.05 / n_benches)


def test_paired_ratios_leave_drift_out() -> None:
    """A machine that slows down by a factor of 4 over the rounds changes no ratio or interval."""
    drift = [1.0, 2.0, 3.0, 4.0, 4.0, 4.0]
    found = stats.paired_ratio([3 * each for each in drift], drift)
    assert found.value == pytest.approx(3)
    assert (known(found.interval).low, known(found.interval).high) == pytest.approx((3, 3))


def test_rounds_without_a_side_are_missing() -> None:
    """NaN, None and times that are none count as missing; unlike numbers of rounds are refused."""
    found = stats.paired_ratio([2.0, NAN, 4.0, 0.0, 2.0], [1.0, 1.0, 1.0, 1.0, None])
    assert (found.value, found.n, found.n_missing, found.interval) == (3.0, 2, 3, None)
    with pytest.raises(ValueError, match=r"shorter|longer"):
        stats.paired_ratio([1.0], [1.0, 2.0])
