from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from harness.regress.measuring.blocks import BlockRatios
from harness.regress.verdict.decision_rules import rules_for
from harness.regress.verdict.resampling import advise, rate, rates_of, replay, run_through, slowed
from harness.regress.verdict.verdicts import Family
from tests import simulated_blocks

NAMES = ("a", "b", "c")
STILL = [BlockRatios(dict.fromkeys(NAMES, value), 0.0) for value in (0.001, -0.001)] * 5


@pytest.fixture(scope="module")
def recorded() -> list[BlockRatios]:
    """Thirty blocks of the same code on both sides."""
    return simulated_blocks.blocks(np.random.default_rng(1), 30, names=NAMES)


def test_a_rate_has_the_exact_interval() -> None:
    """That of scipy; none without a run."""
    found = rate(3, 40)
    theirs = scipy.stats.binomtest(3, 40).proportion_ci(0.95, "exact")
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))
    assert found.value == 0.075
    assert math.isnan(rate(0, 0).value)


def test_a_thousand_quiet_replays_vouch_for_half_a_percent() -> None:
    """No false alarm in so many: the interval ends below 0.5 %."""
    high = rate(0, 1000).high
    assert high is not None
    assert high < 0.005


def test_slowing_a_benchmark_down_is_a_ratio_of_its_times() -> None:
    """Of that benchmark alone; what was not measured stays so."""
    block = slowed(BlockRatios({"a": 0.01, "b": math.nan}, 0.0), "a", 0.05)
    assert block.values["a"] == pytest.approx(0.01 + math.log(1.05))
    assert math.isnan(block.values["b"])
    assert math.isnan(slowed(block, "b", 0.05).values["b"])


def test_a_run_ends_when_its_blocks_do() -> None:
    """Enough blocks: what `decide` says. Too few: what is open is inconclusive."""
    family, rules = Family(NAMES), rules_for(3)
    assert run_through(STILL, family, rules).verdict == "ok"
    assert run_through(STILL[:7], family, rules).findings[0].reason == "out_of_budget"
    assert run_through([], family, rules).n_blocks == 0


def test_rates_count_the_slowed_benchmark_apart_from_the_others() -> None:
    """A regression of another benchmark is a false one, also beside the right one."""
    family, rules = Family(NAMES), rules_for(3)
    slow_a = [slowed(block, "a", 0.06) for block in STILL * 2]
    slow_ab = [slowed(block, "b", 0.06) for block in slow_a]
    both, one = (run_through(held, family, rules) for held in (slow_ab, slow_a))
    found = rates_of([(one, "a"), (both, "a"), (one, "b"), (one, None)], 0.05, 0.06)
    assert (found.found.k, found.found.n) == (2, 3)
    assert (found.false_regression.k, found.false_regression.n) == (3, 4)
    assert [(name, own.k, own.n) for name, own in found.found_by_name.items()] == [
        ("a", 2, 2),
        ("b", 0, 1),
    ]
    assert found.mean_blocks == 15
    assert rates_of([], 0.05).mean_blocks is None


def test_replays_of_quiet_blocks_alarm_never_and_find_what_is_injected(
    recorded: list[BlockRatios],
) -> None:
    """The same generator gives the same rates."""
    quiet = replay(recorded, 0.05, np.random.default_rng(2), n_runs=200)
    assert (quiet.false_regression.k, quiet.found.n) == (0, 0)
    slower = replay(recorded, 0.05, np.random.default_rng(2), effect=0.05, n_runs=200)
    assert (slower.found.n, slower.false_regression.k) == (200, 0)
    assert slower.found.k >= 195
    assert slower == replay(recorded, 0.05, np.random.default_rng(2), effect=0.05, n_runs=200)


def test_blocks_are_drawn_whole() -> None:
    """Two benchmarks that are equal in each block are equal in each run."""
    held = [BlockRatios({"a": x, "b": x}, x) for x in np.random.default_rng(3).normal(0, 0.03, 20)]
    rates = replay(held, 0.05, np.random.default_rng(4), n_runs=100)
    assert 0 < rates.all_ok.k < 100
    verdicts = dict(rates.verdicts)
    assert rates.all_ok.k == verdicts["ok"].k


def test_replaying_nothing_is_refused() -> None:
    """Blocks without a benchmark say nothing."""
    with pytest.raises(ValueError, match="'recorded' must hold blocks"):
        replay([BlockRatios({}, 0.0)], 0.05, np.random.default_rng(5))


def test_blocks_that_were_not_measured_alarm_nobody(recorded: list[BlockRatios]) -> None:
    """A NaN in every third block costs blocks, not truth."""
    held = [
        BlockRatios({**block.values, "a": math.nan}, block.canary) if i % 3 == 0 else block
        for i, block in enumerate(recorded)
    ]
    assert replay(held, 0.05, np.random.default_rng(6), n_runs=60).false_regression.k == 0


def test_advice_follows_the_noise(recorded: list[BlockRatios]) -> None:
    """A machine four times as noisy is told a larger detect, a wild one none.

    Too few blocks give none.
    """

    def noisier(factor: float) -> list[BlockRatios]:
        return [
            BlockRatios({k: factor * v for k, v in b.values.items()}, factor * b.canary)
            for b in recorded
        ]

    def advised(held: list[BlockRatios]) -> float | None:
        return advise(held, np.random.default_rng(7), n_runs=60).detect

    quiet, noisy = advised(recorded), advised(noisier(4))
    assert quiet in {0.015, 0.02, 0.03}
    assert noisy is not None
    assert noisy >= 2 * quiet
    assert advised(noisier(40)) is None
    assert advise(recorded[:19], np.random.default_rng(7)).tried == ()
