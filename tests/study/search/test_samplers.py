from __future__ import annotations

import itertools
import random
import tracemalloc

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from harness.study.search import samplers
from harness.study.search.samplers import old_startup_trials, point_sequence


def lists(*sizes: int) -> dict[str, BaseDistribution]:
    """As many lists of numbers, of these sizes, named a, b and so on."""
    return {
        name: CategoricalDistribution(range(size))
        for name, size in zip("abcdefgh", sizes, strict=False)
    }


def test_a_huge_grid_is_never_built() -> None:
    """A grid of 10^24 points gives 50 different ones in a moment, in a few hundred kilobytes."""
    tracemalloc.start()
    points = point_sequence("grid", 50, lists(*[1_000] * 8), 0)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len({tuple(point.values()) for point in points}) == 50
    assert max(point["a"] for point in points) > 900
    assert most_bytes < 1_000_000


def test_a_small_grid_keeps_its_order() -> None:
    """A grid gives the points that the whole product, shuffled with the seed, begins with."""
    distributions = {**lists(3, 4, 5), "fixed": IntDistribution(7, 7)}
    whole = list(itertools.product(range(3), range(4), range(5), (7,)))
    random.Random(3).shuffle(whole)
    points = point_sequence("grid", 20, distributions, 3)
    assert [tuple(point.values()) for point in points] == whole[:20]
    assert [tuple(point) for point in points] == [(*"abc", "fixed")] * 20


def test_a_grid_above_the_limit_is_every_point_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn points are all of the grid in the end, and fewer trials are a part of more."""
    monkeypatch.setattr(samplers, "MOST_SHUFFLED", 10)
    points = [tuple(each.values()) for each in point_sequence("grid", 100, lists(3, 4, 5), 0)]
    assert sorted(points) == [*itertools.product(range(3), range(4), range(5))]
    fewer = [tuple(each.values()) for each in point_sequence("grid", 20, lists(3, 4, 5), 0)]
    assert fewer == points[:20]


@pytest.mark.parametrize(("trials", "startup"), [(1, 4), (12, 4), (16, 4), (40, 10), (100, 25)])
def test_old_startup_trials(trials: int, startup: int) -> None:
    """A search of an older version began with max(4, trials // 4) random trials."""
    assert old_startup_trials(trials) == startup
