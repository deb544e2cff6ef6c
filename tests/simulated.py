"""Simulated results whose truth is known, to count how often the harness' statistics are wrong.

No search, no training.

`false_alarms` compares cells that are the same, `power` cells that are not, `coverage` holds
intervals against true values. Used by tests/benchmarks/test_calibration.py (a few) and by
benchmarks/calibration.py (many).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import scipy.special
import scipy.stats

from harness import stats
from harness.hyperparameters import Choice, Parameter, Range, Value
from harness.study.search.importances import importances

Generator = np.random.Generator
LADDER = (10.0, 20.0, 30.0, 60.0, 100.0)  # the quickstart's
FINE = tuple(np.geomspace(5, 320, 60))  # so fine that spans are hardly ever tied


@dataclasses.dataclass(frozen=True)
class Found:
    """`k` of `n` simulated studies, and the `nominal` share that is promised."""

    what: str
    nominal: float
    k: int
    n: int


# --- Cells that are the same, and cells that are not --------------------------------------------


def climbed(
    memories: Sequence[float] | npt.NDArray[np.float64], lags: Sequence[float] = LADDER
) -> stats.RunLadder:
    """One run a repeat and lag, solved up to the repeat's memory."""
    return stats.run_ladder(
        (repeat, lag, lag <= memory) for repeat, memory in enumerate(memories) for lag in lags
    )


def continuous(generator: Generator, n: int, factor: float = 1.0) -> stats.RunLadder:
    """Searches with log-normal memories on a ladder so fine that few spans are tied."""
    return climbed(factor * 40 * np.exp(0.6 * generator.normal(size=n)), FINE)


def tied(generator: Generator, n: int, factor: float = 1.0) -> stats.RunLadder:
    """The same on a ladder of five lags: most spans are tied."""
    return climbed(factor * 40 * np.exp(0.6 * generator.normal(size=n)))


def topped(generator: Generator, n: int, factor: float = 1.0) -> stats.RunLadder:
    """Four searches of five reach the ladder's top."""
    return climbed(factor * 166 * np.exp(0.6 * generator.normal(size=n)))


def uneven(generator: Generator, n: int, factor: float = 1.0) -> stats.RunLadder:
    """Each run has luck of its own, so that a search may fail at a lag and solve a longer one."""
    search = factor * 40 * np.exp(0.4 * generator.normal(size=n))
    rows = [
        (repeat, lag, lag <= memory * math.exp(0.6 * generator.normal()))
        for repeat, memory in enumerate(search)
        for lag in LADDER
        for _ in range(2)
    ]
    return stats.run_ladder(rows)


Drawn = Callable[..., stats.RunLadder]
RESULTS: Mapping[str, Drawn] = {
    "spans hardly tied": continuous,
    "spans tied on a ladder of 5 lags": tied,
    "spans mostly at the ladder's top": topped,
    "two runs a lag, not monotone": uneven,
}


def false_alarms(generator: Generator, n: int) -> Iterator[Found]:
    """Studies of identical cells in which any pair is called different.

    5 to 10 searches of each cell.
    """
    for name, draw in RESULTS.items():
        for n_cells in (2, 3):
            k = 0
            for _ in range(n):
                sizes = [int(size) for size in generator.integers(5, 11, n_cells)]
                cells = {str(i): draw(generator, size) for i, size in enumerate(sizes)}
                k += any(c.verdict == "difference_shown" for c in stats.compare_cells(cells))
            yield Found(f"{n_cells} identical cells called different: {name}", 0.05, k, n)


def power(generator: Generator, n: int) -> Iterator[Found]:
    """Studies of two cells, one with a multiple of the other's memory; is the longer one named?"""
    for factor in (2.0, 6.0):
        for n_repeats in (5, 10):
            k = 0
            for _ in range(n):
                cells = {
                    "a": tied(generator, n_repeats, factor / 4),
                    "b": tied(generator, n_repeats, 0.25),
                }
                k += stats.compare_cells(cells)[0].longer == "a"
            what = (
                f"a cell with {factor:g} times the memory named as the longer, {n_repeats} searches"
            )
            yield Found(what, math.nan, k, n)


# --- Intervals against true values --------------------------------------------------------------


def covers(interval: stats.Interval | None, truth: float) -> bool:
    """Whether a true value lies in an interval, to rounding."""
    assert interval is not None
    return interval.low - 1e-9 <= truth <= interval.high + 1e-9


def _proportions(generator: Generator, n: int) -> Iterator[Found]:
    for size, share in ((5, 0.5), (5, 0.9), (20, 0.97)):
        counts = generator.binomial(size, share, n)
        k = sum(covers(stats.binomial_interval(int(c), size), share) for c in counts)
        yield Found(f"binomial_interval: share {share:g}, {size} runs", 0.95, k, n)


def interval_of(estimate: stats.Estimate) -> stats.Interval:
    """The interval of an estimate that has one."""
    assert estimate.interval is not None
    return estimate.interval


def _medians(generator: Generator, n: int) -> Iterator[Found]:
    rungs = np.array(LADDER)
    for size in (5, 6, 9):
        samples = generator.exponential(size=(n, size))
        found = [interval_of(stats.median_interval(row)) for row in samples]
        k = sum(covers(interval, math.log(2)) for interval in found)
        yield Found(f"median_interval: exponential, {size} samples", found[0].level, k, n)
        drawn = rungs[generator.choice(5, size=(n, size), p=(0.1, 0.2, 0.4, 0.2, 0.1))]
        found = [interval_of(stats.median_interval(row)) for row in drawn]
        k = sum(covers(interval, 30.0) for interval in found)
        yield Found(f"median_interval: tied on a ladder, {size} samples", found[0].level, k, n)


def _medians_over_searches(generator: Generator, n: int) -> Iterator[Found]:
    """Log-normal runs that share their search's luck; the median of all runs is 1."""
    for n_seeds in (1, 3):
        k, level = 0, 0.0
        for _ in range(n):
            runs = generator.normal(size=(5, 1)) + 0.5 * generator.normal(size=(5, n_seeds))
            interval = stats.median_over_searches(np.exp(runs).tolist()).interval
            assert interval is not None
            level = interval.level
            k += covers(interval, 1.0)
        runs_each = f"{n_seeds} run{'s' * (n_seeds > 1)}"
        yield Found(f"median_over_searches: 5 searches of {runs_each}", level, k, n)


def _probabilities(generator: Generator, n: int) -> Iterator[Found]:
    rungs = np.array(LADDER)
    for size in (5, 10):
        for truth in (0.5, 0.8, 0.95):
            first = generator.exponential(truth / (1 - truth), size=(n, size))
            second = generator.exponential(size=(n, size))
            k = sum(
                covers(stats.probability_longer(a, b).interval, truth)
                for a, b in zip(first, second, strict=True)
            )
            what = f"probability_longer: {truth:g}, exponential, {size} searches of each cell"
            yield Found(what, 0.95, k, n)
        first, second = generator.normal(0, 3, (n, size)), generator.normal(0, 1, (n, size))
        k = sum(
            covers(stats.probability_longer(a, b).interval, 0.5)
            for a, b in zip(first, second, strict=True)
        )
        what = f"probability_longer: 0.5, one cell thrice as spread, {size} searches of each cell"
        yield Found(what, 0.95, k, n)
        shares = np.array([0.05, 0.05, 0.1, 0.2, 0.6]), np.array([0.1, 0.4, 0.3, 0.1, 0.1])
        longer = np.tril(np.ones((5, 5)), -1) + np.eye(5) / 2
        truth = float(shares[0] @ longer @ shares[1])
        drawn = [rungs[generator.choice(5, size=(n, size), p=p)] for p in shares]
        k = sum(
            covers(stats.probability_longer(a, b).interval, truth)
            for a, b in zip(*drawn, strict=True)
        )
        what = f"probability_longer: {truth:.2f}, tied on a ladder, {size} searches of each cell"
        yield Found(what, 0.95, k, n)


def lucky_runs(
    generator: Generator, shares: Sequence[float], n_repeats: int, n_seeds: int, together: float
) -> stats.RunLadder:
    """Runs with a known share solved at each lag.

    `together` is how alike the runs of one search are (0 to 1).

    A run succeeds where a normal variable, its search's part of it `together`, is under the share's
    quantile. At different lags the luck is drawn anew, which is the worst case for an interval of a
    span.
    """
    limits = np.asarray(scipy.stats.norm.ppf(shares))
    size = (n_repeats, len(shares))
    search = math.sqrt(together) * generator.normal(size=(*size, 1))
    solved = search + math.sqrt(1 - together) * generator.normal(size=(*size, n_seeds))
    return stats.run_ladder(
        (repeat, lag, bool(solved[repeat, i, seed] <= limits[i]))
        for repeat in range(n_repeats)
        for i, lag in enumerate(LADDER)
        for seed in range(n_seeds)
    )


def _shares(generator: Generator, n: int) -> Iterator[Found]:
    for n_seeds, together, share in ((1, 1.0, 0.69), (2, 1.0, 0.68), (2, 0.5, 0.8), (5, 0.5, 0.8)):
        k = 0
        for _ in range(n):
            runs = lucky_runs(generator, [share] * 5, 5, n_seeds, together)
            k += covers(stats.solved_shares(runs)[0].interval, share)
        what = (
            f"solved_shares: share {share:g}, 5 searches of {n_seeds} runs, likeness {together:g}"
        )
        yield Found(what, 0.95, k, n)


def _spans(generator: Generator, n: int) -> Iterator[Found]:
    cases = {
        "a steep fall": (0.98, 0.9, 0.6, 0.2, 0.02),
        "half of the runs at every lag": (0.5,) * 5,
        "just under half from lag 20 on": (0.9, 0.49, 0.49, 0.49, 0.49),
        "not monotone": (0.9, 0.8, 0.3, 0.7, 0.7),
    }
    for name, shares in cases.items():
        truth = [0.0, *LADDER][int(np.cumprod([share >= 0.5 for share in shares]).sum())]
        for n_repeats, n_seeds in ((5, 1), (5, 2), (10, 1)):
            k, level = 0, 0.0
            for _ in range(n):
                span = stats.memory_span(lucky_runs(generator, shares, n_repeats, n_seeds, 0.5))
                assert span.interval is not None
                level = span.interval.level
                inside = truth <= span.interval.high or span.high_is_open
                k += span.interval.low <= truth and inside
            what = (
                f"memory_span: {name}, {n_repeats} searches of {n_seeds} run{'s' * (n_seeds > 1)}"
            )
            yield Found(what, level, k, n)


def _best(generator: Generator, n: int) -> Iterator[Found]:
    """Trials that are log-normal.

    The true curve is that of the median search, by a simulation of its own.
    """
    n_trials = 12
    own = np.sort(np.random.default_rng(99).lognormal(size=(200_000, n_trials)))
    for at in (1, 4, 12):
        chosen = scipy.special.comb(np.arange(n_trials), at - 1) / scipy.special.comb(n_trials, at)
        truth = float(np.median(own @ chosen))
        k, level = 0, 0.0
        for _ in range(n):
            searches = generator.lognormal(size=(5, n_trials)).tolist()
            estimate = stats.expected_best(searches, "maximize", worst=0.0).estimates[at - 1]
            assert estimate.interval is not None
            level = estimate.interval.level
            k += covers(estimate.interval, truth)
        yield Found(f"expected_best: {at} of {n_trials} trials, 5 searches", level, k, n)


def _jackknives(generator: Generator, n: int) -> Iterator[Found]:
    """The jackknife where its truth is known: the ratio of two means, over searches."""
    for size in (5, 10):
        k = 0
        for _ in range(n):
            a, b = generator.normal(5, 1, size), generator.normal(10, 1, size)
            left_out = [np.delete(a, i).mean() / np.delete(b, i).mean() for i in range(size)]
            interval = stats.jackknife_interval(a.mean() / b.mean(), left_out)
            k += covers(interval, 0.5)
        yield Found(f"jackknife_interval: a ratio of means, {size} searches", 0.95, k, n)


def coverage(generator: Generator, n: int) -> Iterator[Found]:
    """How often each interval holds the true value."""
    whole = (_proportions, _medians, _medians_over_searches, _probabilities, _shares, _spans)
    for part in (*whole, _best, _jackknives):
        yield from part(generator, n)


# --- Importances ----------------------------------------------------------------------------------

SPACE: dict[str, Parameter] = {
    "learning_rate": Range(1e-3, 3e-2, log=True),
    "hidden_size": Range(8, 32, log=True),
    "initialization": Choice(("pytorch", "orthogonal", "chrono")),
}


def _searches(
    generator: Generator, n_searches: int, n_trials: int
) -> list[tuple[dict[str, Value], float]]:
    """Random trials: learning rate decides most, then initialisation, then luck."""
    trials = []
    for _ in range(n_searches):
        luck = generator.normal()
        for _ in range(n_trials):
            rate = 10 ** generator.uniform(-3, -1.53)
            kind = int(generator.integers(3))
            values = {
                "learning_rate": rate,
                "hidden_size": int(generator.integers(8, 33)),
                "initialization": ("pytorch", "orthogonal", "chrono")[kind],
            }
            score = -((math.log10(rate) + 2) ** 2) * 6 + 0.5 * kind + 0.3 * luck
            trials.append((values, score + 0.5 * generator.normal()))
    return trials


def importances_coverage(generator: Generator, n: int) -> Iterator[Found]:
    """How often the jackknife of a share holds the average of searches of this size (slow)."""
    n_searches, n_trials = 5, 12
    groups = [i // n_trials for i in range(n_searches * n_trials)]
    found = [
        importances(_searches(generator, n_searches, n_trials), SPACE, maximize=True, groups=groups)
        for _ in range(n)
    ]
    for name in SPACE:
        truth = float(np.mean([one.shares[name] for one in found]))
        k = sum(
            covers(
                stats.jackknife_interval(one.shares[name], [rest[name] for rest in one.without]),
                truth,
            )
            for one in found
        )
        yield Found(f"importances: {name}, 5 searches of 12 trials", 0.95, k, n)
