"""From samples to conclusions: intervals, memory spans, and whether two cells differ.

The unit of every comparison is the search (a repeat), because the luck of a search moves a winner
far more than the luck of a training seed. Below MINIMUM_REPEATS there are values and no intervals
or rankings: an interval that cannot be had is None, never one of width 0. NaN and None mean "not
measured": they are left out and counted, except where a docstring says that they count as the
worst.

Never reads files, never trains and uses no randomness.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist
from typing import Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import special

from harness.columns import Direction
from harness.order_statistics import MINIMUM_SAMPLES, median_of

MINIMUM_REPEATS: Final = MINIMUM_SAMPLES
"""Fewer repeats than this give no interval and no ranking."""

MEMORY_SHARE: Final = 0.5
RELIABLE_SHARE: Final = 0.9

_TOLERANCE: Final = 1e-9

SpanState = Literal["measured", "at_least", "below_ladder", "not_measured"]
ComparisonVerdict = Literal["difference_shown", "no_difference_shown", "inconclusive"]


# --- Results ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    """A range that contains the true value in `level` of such intervals; both ends belong to it."""

    low: float
    high: float
    level: float


@dataclass(frozen=True)
class Estimate:
    """A value from `n` samples; `n_missing` more were NaN or None.

    `value` is None without samples, `interval` None with too few of them.
    """

    value: float | None
    interval: Interval | None
    n: int
    n_missing: int = 0


@dataclass(frozen=True)
class SolvedShare:
    """Share of the runs that solve a task at one lag; its interval is over `n_repeats` searches."""

    lag: float
    n_solved: int
    n_runs: int
    n_repeats: int
    value: float | None
    interval: Interval | None


@dataclass(frozen=True)
class Span:
    """The largest lag at which enough runs solve the task, there and at every shorter lag.

    State `measured`: a longer lag was tried and not reached. `at_least`: the ladder's top (or the
    last lag that was measured without a gap) is reached, so the span may be longer. `below_ladder`:
    not even the shortest lag is reached, and the value is 0. `not_measured`: the value is None.
    `high_is_open`: the interval's upper end is the ladder's top, so it has none.
    """

    value: float | None
    state: SpanState
    interval: Interval | None
    high_is_open: bool
    share: float
    n_repeats: int
    n_runs: int


@dataclass(frozen=True)
class CellComparison:
    """Whether searches of one cell remember longer than those of another, with the evidence.

    `probability`: a search of `first` has a longer span than one of `second`; ties count half.
    `p_value` is that of the exact two-sided permutation test, before Holm's correction. `longer`
    names the cell that remembers longer where a difference is shown. `reason` explains the verdict.
    """

    first: str
    second: str
    probability: Estimate
    p_value: float | None
    verdict: ComparisonVerdict
    longer: str | None
    reason: str
    n_first: int
    n_second: int


@dataclass(frozen=True)
class ExpectedBest:
    """Expected best value after 1, 2, ... trials, an Estimate over repeats for each number."""

    n_trials: tuple[int, ...]
    estimates: tuple[Estimate, ...]


# --- Proportions and medians ------------------------------------------------------------------


def binomial_cdf(successes: int, n: int, probability: float) -> float:
    """P(at most `successes` of `n`)."""
    if successes < 0:
        return 0.0
    return 1.0 if successes >= n else float(special.bdtr(successes, n, probability))


def binomial_interval(n_successes: int, n: int, level: float = 0.95) -> Interval | None:
    """Exact interval of a share (Clopper & Pearson 1934); None for n = 0.

    It covers at least as often as `level` says, whatever the true share. ValueError unless
    0 <= n_successes <= n.
    """
    if not 0 <= n_successes <= n:
        raise ValueError(f"'n_successes' must be between 0 and n = {n} (got {n_successes})")
    if n == 0:
        return None
    tail = (1 - level) / 2
    low = 0.0
    if n_successes > 0:  # The share at which so many successes or more are just too unlikely.
        low = _decreasing_root(lambda share: binomial_cdf(n_successes - 1, n, share) - (1 - tail))
    high = 1.0
    if n_successes < n:
        high = _decreasing_root(lambda share: binomial_cdf(n_successes, n, share) - tail)
    return Interval(low, high, level)


def median_interval(samples: Iterable[float | None], level: float = 0.95) -> Estimate:
    """Median with the interval between two order statistics, whatever the distribution.

    The interval's `level` is its actual coverage (at least the one asked for, from 6 samples on;
    for 5 samples [min, max] with 0.9375). Fewer than 5: no interval. NaN and None are left out and
    counted; infinities are samples.
    """
    values, n_missing = _known(samples)
    if not len(values):
        return Estimate(None, None, 0, n_missing)
    found = median_of(values.tolist(), level)
    interval = None
    if found.low is not None and found.high is not None and found.level is not None:
        interval = Interval(found.low, found.high, found.level)
    return Estimate(found.value, interval, found.n, n_missing)


def median_over_searches(
    searches: Iterable[Sequence[float | None]], level: float = 0.95
) -> Estimate:
    """Median of all runs, with an interval for which each search counts once; `n` counts searches.

    The runs of a search share its luck. So the low end is that of `median_interval` over the
    smallest value of each search, and the high end that over the largest. This interval contains
    the one of any choice of one run a search.
    NaN and None are left out and counted; a search without a known run is no search.
    """
    known = [_known(search) for search in searches]
    runs = [values for values, _ in known if len(values)]
    n_missing = sum(missing for _, missing in known)
    if not runs:
        return Estimate(None, None, 0, n_missing)
    low = median_interval((float(values.min()) for values in runs), level).interval
    high = median_interval((float(values.max()) for values in runs), level).interval
    interval = Interval(low.low, high.high, low.level) if low and high else None
    return Estimate(float(np.median(np.concatenate(runs))), interval, len(runs), n_missing)


def jackknife_interval(
    value: float, left_out: Sequence[float], level: float = 0.95
) -> Interval | None:
    """Interval of a statistic from its values without each of n searches (Efron & Stein 1981).

    `value` of all, give or take Student's t with n - 1 degrees of freedom times the jackknife's
    standard error. It says how far other searches of this size would move the statistic, not how
    far the statistic is from its value over endless trials. None below 5, or with a NaN.
    """
    n, values = len(left_out), np.array(left_out, dtype=np.float64)
    if n < MINIMUM_REPEATS or not np.isfinite([value, *values]).all():
        return None
    error = math.sqrt((n - 1) / n * float(np.sum((values - values.mean()) ** 2)))
    half_width = float(special.stdtrit(n - 1, (1 + level) / 2)) * error
    return Interval(value - half_width, value + half_width, level)


# --- Memory spans -----------------------------------------------------------------------------


@dataclass(frozen=True)
class RunLadder:
    """Runs of one cell on one task: how many were measured, and solved it, at each lag.

    `lags` ascend. `n_solved` and `n_runs` have the shape (n_repeats, n_lags); a run that was not
    measured counts in neither.
    """

    lags: tuple[float, ...]
    n_solved: tuple[tuple[int, ...], ...]
    n_runs: tuple[tuple[int, ...], ...]

    @property
    def n_repeats(self) -> int:
        """Number of repeats with at least one measured run."""
        return sum(any(row) for row in self.n_runs)

    def repeats_at(self, position: int) -> tuple[int, int, int]:
        """Repeats measured at one lag, and how many of them solve it: at least, and at most.

        A repeat is one sample, because its runs share its luck. It counts as the share of them
        that solve; the sum is rounded down and up.
        """
        shares = [
            solved[position] / measured[position]
            for solved, measured in zip(self.n_solved, self.n_runs, strict=True)
            if measured[position]
        ]
        successes = math.fsum(shares)
        return len(shares), math.floor(successes + _TOLERANCE), math.ceil(successes - _TOLERANCE)


def run_ladder(rows: Iterable[tuple[int, float, float | bool | None]]) -> RunLadder:
    """Gather rows of (repeat, lag, solved) in any order; `solved` of NaN or None: not measured.

    A run that diverged or ran out of its limits did not solve its task: give it as False.
    """
    listed = list(rows)
    lags = tuple(sorted({float(lag) for _, lag, _ in listed}))
    repeats = sorted({repeat for repeat, _, _ in listed})
    n_solved = np.zeros((len(repeats), len(lags)), dtype=int)
    n_runs = np.zeros_like(n_solved)
    for repeat, lag, solved in listed:
        if solved is None or math.isnan(solved):
            continue
        at = repeats.index(repeat), lags.index(float(lag))
        n_runs[at] += 1
        n_solved[at] += bool(solved)
    return RunLadder(lags, _rows(n_solved), _rows(n_runs))


def solved_shares(runs: RunLadder, level: float = 0.95) -> tuple[SolvedShare, ...]:
    """Share of runs that solve the task at each lag, with exact binomial intervals over repeats.

    Several runs of a repeat count as one sample: the share of them that solve. Their sum is rounded
    down for the interval's lower end and up for its upper end. Two runs a repeat, if taken as
    independent, would cover a share of 0.68 in 82 % (5 repeats; simulated in
    tests/benchmarks/test_calibration.py).
    """
    shares = []
    for position, (lag, n_solved, n_runs) in enumerate(zip(runs.lags, *_totals(runs), strict=True)):
        value = n_solved / n_runs if n_runs else None
        n, at_least, at_most = runs.repeats_at(position)
        low, high = binomial_interval(at_least, n, level), binomial_interval(at_most, n, level)
        interval = Interval(low.low, high.high, level) if low and high else None
        shares.append(SolvedShare(lag, n_solved, n_runs, n, value, interval))
    return tuple(shares)


def memory_span(runs: RunLadder, share: float = MEMORY_SHARE, level: float = 0.95) -> Span:
    """The largest lag at which at least `share` of the runs solve the task, there and below it.

    The interval is over repeats, by an exact test at each lag. Lower end: the longest lag where the
    data rule out, there and at every shorter lag, that fewer than `share` succeed. Upper end: the
    longest lag where `share` remains possible. Each end depends on the test at one lag, so its
    coverage does not depend on the other lags. An upper end before the *first* refuted lag would
    depend on a test at every lag and cover less. Several runs of a repeat count as one: their mean,
    rounded to the side that widens the interval. The level is the one asked for or, with few
    repeats, the best that they can give: 1 - 2 ** (1 - n), 0.9375 for 5. For `share` = 0.9 the
    lower end is 0 below 33 repeats: so few can't show that nine tenths succeed.
    """
    n_solved, n_runs = _totals(runs)
    total = sum(n_runs)
    position, state = _reached(n_solved, n_runs, share)
    if state == "not_measured":
        return Span(None, state, None, False, share, runs.n_repeats, total)
    value = runs.lags[position] if position >= 0 else 0.0
    if runs.n_repeats < MINIMUM_REPEATS:
        return Span(value, state, None, False, share, runs.n_repeats, total)
    interval, high_is_open = _span_interval(runs, share, level)
    return Span(value, state, interval, high_is_open, share, runs.n_repeats, total)


def reliable_span(runs: RunLadder, level: float = 0.95) -> Span:
    """The memory span at which nine tenths of the runs solve the task."""
    return memory_span(runs, RELIABLE_SHARE, level)


def repeat_spans(runs: RunLadder, share: float = MEMORY_SHARE) -> tuple[float, ...]:
    """Memory span of each repeat, in steps: 0 below the ladder, the top where it is reached.

    NaN where a gap in a repeat's measurements leaves its span unknown.
    """
    spans = []
    for n_solved, n_runs in zip(runs.n_solved, runs.n_runs, strict=True):
        position, state = _reached(n_solved, n_runs, share)
        stopped_early = state == "at_least" and position < len(runs.lags) - 1
        if state == "not_measured" or stopped_early:
            spans.append(math.nan)
        else:
            spans.append(runs.lags[position] if position >= 0 else 0.0)
    return tuple(spans)


# --- Comparison of cells ----------------------------------------------------------------------


def probability_longer(
    first: Iterable[float | None], second: Iterable[float | None], level: float = 0.95
) -> Estimate:
    """Probability that a value of `first` exceeds one of `second`, ties counted half.

    The interval is Newcombe's method 5 (Statistics in Medicine 25, 2006, p. 559), which has a width
    at 0 and 1 too. It is approximate: at 95 % it covers in 94 to 97 % where both sides are spread
    alike, ties or not, and in 92 to 93 % at a probability of a half where one side is spread three
    times as widely (5 to 20 samples; simulated). None below 5 samples on a side. `n` is
    the number of samples on the smaller side; NaN and None are left out and counted.
    """
    a, a_missing = _known(first)
    b, b_missing = _known(second)
    n, n_missing = min(len(a), len(b)), a_missing + b_missing
    if n == 0:
        return Estimate(None, None, 0, n_missing)
    value = float(np.mean((np.sign(a[:, None] - b[None, :]) + 1) / 2))
    if n < MINIMUM_REPEATS:
        return Estimate(value, None, n, n_missing)
    return Estimate(value, _newcombe(value, len(a), len(b), level), n, n_missing)


def permutation_p_value(
    first: Iterable[float | None], second: Iterable[float | None]
) -> float | None:
    """Exact two-sided p-value of the rank sum, with mid-ranks for ties, over all ways to split.

    Under no difference it is at most alpha in at most alpha of cases, ties or not. None if a side
    is empty; NaN and None are left out.
    """
    a, _ = _known(first)
    b, _ = _known(second)
    if len(a) == 0 or len(b) == 0:
        return None
    pooled = np.concatenate([a, b])
    below = np.sum(pooled[None, :] < pooled[:, None], axis=1)
    tied = np.sum(pooled[None, :] == pooled[:, None], axis=1)
    doubled_ranks = 2 * below + tied + 1  # Twice the mid-rank: a whole number.
    total = int(doubled_ranks.sum())
    # counts[k, s]: in how many ways k of the samples have doubled ranks that sum to s.
    counts = np.zeros((len(a) + 1, total + 1))
    counts[0, 0] = 1
    for rank in doubled_ranks:
        counts[1:, rank:] += counts[:-1, : total + 1 - rank].copy()
    sums = np.arange(total + 1)
    expected = total * len(a) / len(pooled)
    observed = abs(int(doubled_ranks[: len(a)].sum()) - expected)
    extreme = np.abs(sums - expected) >= observed - _TOLERANCE
    return float(counts[-1, extreme].sum() / counts[-1].sum())


def compare_cells(runs: Mapping[str, RunLadder], level: float = 0.95) -> tuple[CellComparison, ...]:
    """Compare each pair of cells on one task, in the order given, by the spans of their repeats.

    A difference is shown if the exact permutation p-value, after Holm's correction over the pairs,
    is at most 1 - level, and the interval of the longer cell's memory span lies above that of the
    other, or touches it at one end; an interval that the ladder's top leaves open has no upper end.
    So over all pairs of identical cells a false difference is shown in at most 1 - level of
    studies. Below 5 repeats on a side, or too few for so many pairs, the verdict is `inconclusive`.
    """
    spans = {cell: _known(repeat_spans(rungs))[0] for cell, rungs in runs.items()}
    pairs = list(combinations(runs, 2))
    p_values = {pair: permutation_p_value(spans[pair[0]], spans[pair[1]]) for pair in pairs}
    adjusted = holm({pair: p for pair, p in p_values.items() if p is not None}, len(pairs))
    comparisons = []
    for first, second in pairs:
        n_first, n_second = len(spans[first]), len(spans[second])
        probability = probability_longer(spans[first], spans[second], level)
        # exactly one half means p = 1
        longer, shorter = (first, second) if (probability.value or 0.0) > 0.5 else (second, first)
        verdict, reason = _inconclusive(n_first, n_second, len(pairs), 1 - level)
        if verdict is None:
            apart = _lies_above(memory_span(runs[longer]), memory_span(runs[shorter]))
            verdict, reason = _verdict(adjusted[first, second], apart, 1 - level)
        comparisons.append(
            CellComparison(
                first=first,
                second=second,
                probability=probability,
                p_value=p_values[first, second],
                verdict=verdict,
                longer=longer if verdict == "difference_shown" else None,
                reason=reason,
                n_first=n_first,
                n_second=n_second,
            )
        )
    return tuple(comparisons)


Compared = TypeVar("Compared", bound=Hashable)


def holm(p_values: Mapping[Compared, float], n: int) -> dict[Compared, float]:
    """Holm's adjusted p-values over `n` comparisons (Holm 1979); None counts as 1."""
    adjusted: dict[Compared, float] = {}
    largest = 0.0
    for position, (name, p_value) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (n - position) * p_value))
        adjusted[name] = largest
    return adjusted


# --- Value of more trials ---------------------------------------------------------------------


def expected_best(
    searches: Sequence[Sequence[float | None]],
    direction: Direction,
    worst: float,
    level: float = 0.95,
) -> ExpectedBest:
    """Expected best value against the number of trials: the median over searches, with interval.

    For each search the mean of the best of n of its own trials over all ways to choose them, in
    closed form (Tang et al. 2020, arXiv 2004.13705). It is unbiased for the best of n. Its last
    value is the best that the search found, where the plug-in value of Dodge et al. 2019 (equation
    3), which draws with replacement, is too low. It assumes that trials come from one distribution,
    as in random search; for a sampler that learns, it does not show when a value was found. A trial
    without a value (NaN or None) used its share of the budget: it counts as `worst`. The curve ends
    at the smallest number of trials of a search; an empty search has no curve and is missing. Value
    and interval are those of the median search, as in `median_interval`.
    """
    sign = 1.0 if direction == "maximize" else -1.0
    curves = []
    searched = [list(search) for search in searches if len(search) > 0]
    length = min((len(search) for search in searched), default=0)
    for search in searched:
        values = [worst if v is None or math.isnan(v) else v for v in search]
        curves.append([sign * best for best in _best_of(np.sort(sign * np.array(values)), length)])
    empty = [None] * (len(searches) - len(searched))
    estimates = tuple(
        median_interval([*(curve[i] for curve in curves), *empty], level) for i in range(length)
    )
    return ExpectedBest(tuple(range(1, length + 1)), estimates)


# --- Speed ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PowerLaw:
    """y = factor * x ** exponent, fitted by least squares to the log medians at `n` values of x.

    `interval` is that of the exponent, None with too few samples; `largest_miss` is how far a
    median is from the line at most, as a share of the line: 0.1 is a tenth.
    """

    factor: float
    exponent: float
    interval: Interval | None
    n: int
    largest_miss: float


def paired_ratio(
    first: Sequence[float | None], second: Sequence[float | None], level: float = 0.95
) -> Estimate:
    """Median of first / second over rounds that were measured side by side, with interval.

    A drift of the machine affects both sides of a round and cancels in their ratio. A round is
    missing if a side is missing or is not above 0. ValueError unless both have the same length.
    """
    return median_interval(
        (
            a / b if a is not None and b is not None and a > 0 and b > 0 else None
            for a, b in zip(first, second, strict=True)
        ),
        level,
    )


def power_law(
    samples: Mapping[float, Sequence[float | None]], level: float = 0.95
) -> PowerLaw | None:
    """How a median grows with x, from the samples at each x, such as the times of blocks.

    None below 3 values of x.

    The interval is about other samples from the same process, not about how well a power law fits:
    see `largest_miss`. The exponent is a sum of the logarithms of the
    medians, each with a fixed weight; the variance of such a logarithm is that over all ways to
    draw its samples anew with replacement, in closed form (Maritz & Jarrett 1978), so no random
    numbers are needed. Its ends are Student's t times the standard error, with one degree of
    freedom less than the smallest number of samples; None where an x has fewer than 5. At nominally
    95 % it covers in 97 to 99 % (5 to 21 samples at each of 4 values; simulated). NaN, None and
    what is not above 0 are left out.
    """
    logs = {}
    for x, values in samples.items():
        known = [math.log(v) for v in _known(values)[0] if 0 < v < math.inf]
        if known and x > 0:
            logs[math.log(x)] = np.sort(np.array(known))
    if len(logs) < 3:
        return None
    at = np.array(list(logs))
    medians = np.array([float(np.median(values)) for values in logs.values()])
    weights = (at - at.mean()) / float(np.sum((at - at.mean()) ** 2))
    exponent = float(weights @ medians)
    height = float(medians.mean() - exponent * at.mean())
    misses = np.abs(np.expm1(medians - height - exponent * at))
    fewest = min(len(values) for values in logs.values())
    interval = None
    if fewest >= MINIMUM_REPEATS:
        variances = np.array([_median_variance(values) for values in logs.values()])
        error = math.sqrt(float(weights**2 @ variances))
        half_width = float(special.stdtrit(fewest - 1, (1 + level) / 2)) * error
        interval = Interval(exponent - half_width, exponent + half_width, level)
    return PowerLaw(math.exp(height), exponent, interval, len(logs), float(misses.max()))


# --- Inside -----------------------------------------------------------------------------------


def _median_variance(ascending: NDArray[np.float64]) -> float:
    """Variance of the median over all ways to draw as many samples from these, with replacement.

    Of an even number, one of the two middle ones is taken, each half of the time: a little wider
    than their mean.
    """
    n = len(ascending)
    middles = (n // 2 + 1,) if n % 2 else (n // 2, n // 2 + 1)
    at = np.arange(n + 1) / n
    up_to = np.mean([special.bdtrc(middle - 1, n, at) for middle in middles], axis=0)
    shares = np.diff(up_to)
    mean = float(shares @ ascending)
    return float(shares @ (ascending - mean) ** 2)


def _known(samples: Iterable[float | None]) -> tuple[NDArray[np.float64], int]:
    """The samples that were measured, and how many were not."""
    listed = [math.nan if sample is None else float(sample) for sample in samples]
    values = np.array(listed, dtype=np.float64)
    missing = np.isnan(values)
    return values[~missing], int(missing.sum())


def _decreasing_root(function: Callable[[float], float]) -> float:
    low, high = 0.0, 1.0
    for _ in range(100):
        middle = (low + high) / 2
        if function(middle) > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _rows(counts: NDArray[np.int_]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(count) for count in row) for row in counts)


def _totals(runs: RunLadder) -> tuple[list[int], list[int]]:
    """Solved and measured runs at each lag, over all repeats."""
    positions = range(len(runs.lags))
    return (
        [sum(row[i] for row in runs.n_solved) for i in positions],
        [sum(row[i] for row in runs.n_runs) for i in positions],
    )


def _reached(n_solved: Sequence[int], n_runs: Sequence[int], share: float) -> tuple[int, SpanState]:
    """Position of the last lag reached (-1: none), and the state of the span."""
    if not n_runs or n_runs[0] == 0:
        return -1, "not_measured"
    for position, (solved, measured) in enumerate(zip(n_solved, n_runs, strict=True)):
        if measured == 0:
            return position - 1, "at_least"
        if solved < share * measured - _TOLERANCE:
            return position - 1, "measured" if position > 0 else "below_ladder"
    return len(n_runs) - 1, "at_least"


def _span_interval(runs: RunLadder, share: float, level: float) -> tuple[Interval, bool]:
    attainable = min(level, 1 - 2.0 ** (1 - runs.n_repeats))
    tail = (1 - attainable) / 2 + _TOLERANCE
    low, low_ends, high = 0.0, False, 0.0
    for position, lag in enumerate(runs.lags):
        n, at_least, at_most = runs.repeats_at(position)
        low_ends = low_ends or n == 0 or 1 - binomial_cdf(at_least - 1, n, share) > tail
        low = low if low_ends else lag
        if n == 0 or binomial_cdf(at_most, n, share) > tail:
            high = lag
    return Interval(low, high, attainable), high == runs.lags[-1]


def _newcombe(value: float, n_first: int, n_second: int, level: float) -> Interval:
    z = NormalDist().inv_cdf((1 + level) / 2)
    mean_size = (n_first + n_second) / 2

    def variance(theta: float) -> float:
        spread = (1 - theta) / (2 - theta) + theta / (1 + theta)
        return theta * (1 - theta) * (1 + (mean_size - 1) * spread) / (n_first * n_second)

    def too_low(theta: float) -> float:
        return value - theta - z * math.sqrt(variance(theta))

    def not_too_high(theta: float) -> float:
        return value - theta + z * math.sqrt(variance(theta))

    low = 0.0 if value == 0.0 else _decreasing_root(too_low)
    high = 1.0 if value == 1.0 else _decreasing_root(not_too_high)
    return Interval(low, high, level)


def _inconclusive(
    n_first: int, n_second: int, n_pairs: int, alpha: float
) -> tuple[ComparisonVerdict | None, str]:
    """Verdict and reason where the samples are too few to decide; None where they can."""
    fewest = min(n_first, n_second)
    if fewest < MINIMUM_REPEATS:
        return "inconclusive", f"{fewest} repeats: fewer than {MINIMUM_REPEATS}"
    smallest_p_value = 2 / math.comb(n_first + n_second, n_first)
    if smallest_p_value * n_pairs > alpha:
        return "inconclusive", f"{fewest} repeats: too few for {n_pairs} pairs of cells"
    return None, ""


def _lies_above(longer: Span, shorter: Span) -> bool:
    """Whether an interval lies above another, sharing one end at most; False where one has none."""
    if longer.interval is None or shorter.interval is None or shorter.high_is_open:
        return False
    high = math.inf if longer.high_is_open else longer.interval.high
    return shorter.interval.high <= longer.interval.low and shorter.interval.low < high


def _verdict(p_value: float, apart: bool, alpha: float) -> tuple[ComparisonVerdict, str]:
    if p_value > alpha + _TOLERANCE:
        return "no_difference_shown", f"p = {p_value:.2g} after Holm's correction"
    if not apart:
        return "no_difference_shown", "the intervals of the two memory spans overlap"
    return "difference_shown", f"p = {p_value:.2g} after Holm's correction"


def _best_of(ascending: NDArray[np.float64], length: int) -> list[float]:
    """Expected maximum of 1 .. length draws, without replacement, from the ascending values.

    The i-th smallest of N is the best of n in C(i-1, n-1) of the C(N, n) draws.
    """
    total, ranks = len(ascending), np.arange(1, len(ascending) + 1)
    weights = np.full(total, 1 / total)
    best = []
    for n in range(1, length + 1):
        best.append(float(weights @ ascending))
        if n < total:
            weights = weights * np.maximum(ranks - n, 0) * ((n + 1) / (n * (total - n)))
    return best
