"""Series, levels and change points of simulated histories."""

from __future__ import annotations

import math
from typing import Any

import pytest

from harness.regress.history import FactDifference, SpeedHistory, differing
from harness.regress.trend.change_points import ChangePoint
from harness.regress.trend.trend_series import BenchmarkTrend, trends_of
from tests.simulated_history import MACHINE, NEWER, entries

STEP: dict[str, Any] = {("b", 20): 1.10}  # type: ignore[dict-item]


def test_a_step_is_marked_in_its_benchmark_alone() -> None:
    """At its recording, with its size; the levels are the medians around it."""
    (found,) = trends_of(SpeedHistory(tuple(entries(35, "abc", STEP))), 0)  # type: ignore[arg-type]
    ((line, change),) = found.changes
    assert (line.name, change.position) == ("b", 20)
    assert change.ratio == pytest.approx(1.10, abs=0.02)
    first, second = line.levels
    assert (first.start, first.end, second.start, second.end) == (0, 20, 20, 35)
    assert second.value / first.value == pytest.approx(change.ratio)
    assert line.relative()[0] == pytest.approx(line.values[0] / first.value)  # type: ignore[operator]


def test_machines_are_never_joined_and_the_newest_comes_first() -> None:
    """Two environments, one after the other and back: two trends, of their own recordings alone."""
    old, new = entries(8, "a"), entries(4, "ab", machine=NEWER, first=8)
    again = entries(2, "a", first=12)
    history = SpeedHistory((*old, *new, *again))
    first, second = trends_of(history, 0)
    assert (first.machine, second.machine) == (MACHINE, NEWER)
    assert first.revisions == tuple(entry.revision for entry in (*old, *again))
    assert [line.name for line in second.benchmarks] == ["a", "b"]
    assert all(len(line.values) == 4 for line in second.benchmarks)


def test_the_seed_and_the_name_alone_decide_the_draws() -> None:
    """Beside another benchmark that says nothing a p-value stays as it is.

    With another seed it is drawn anew.
    """
    history = SpeedHistory(tuple(entries(16, "ab", {("a", 8): 1.5})))
    same = trends_of(history, 0)
    assert same == trends_of(history, 0)
    (one,) = trends_of(history, 0)[0].changes
    (other,) = trends_of(history, 1)[0].changes
    assert one[1].position == other[1].position
    assert one[1].p_value != other[1].p_value


def test_what_was_not_measured_has_no_level() -> None:
    """Nor has a figure that no training step could have."""
    gaps = BenchmarkTrend("x", (None, 2.0, None, 4.0, 3.0), ())
    assert gaps.n_known == 3
    assert gaps.levels[0].value == 3.0
    assert gaps.relative() == pytest.approx((math.nan, 2 / 3, math.nan, 4 / 3, 1.0), nan_ok=True)
    none = BenchmarkTrend("x", (None,), ())
    assert none.levels == ()
    assert math.isnan(none.relative()[0])
    with pytest.raises(ValueError, match="positions from 1 to 0"):
        BenchmarkTrend("x", (None,), (ChangePoint(0, 1.0, 0.5),))
    (wild,) = entries(1, "a")
    figures = {"a": tuple(1e300 for _ in wild.canary_s)}
    (found,) = trends_of(SpeedHistory((type(wild)(**{**vars(wild), "figures_s": figures}),)), 0)
    assert found.benchmarks[0].values == (None,)


def test_what_differs_is_named_and_only_that() -> None:
    """Of processor flags those that were lost and those that are new."""
    theirs = {**MACHINE, "cpu_flags": "avx avx2 fma amx", "gpu": "a card"}
    assert differing(theirs, MACHINE) == (  # type: ignore[arg-type]
        FactDifference("cpu_flags", "amx", ""),
        FactDifference("gpu", "a card", ""),
    )
    assert differing(MACHINE, MACHINE) == ()  # type: ignore[arg-type]
