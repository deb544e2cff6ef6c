"""The race of pruners: its order, its times, and the page and figure of a few rows made by hand.

Runs no study.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks import pruners


def row(
    pruner: str, seed: int, remembered: float, *, stage: int = 1, **more: Any
) -> dict[str, Any]:
    """A row as runs.jsonl holds it.

    Two runs at lags 10 and 100, the worse of which remember 5 and `remembered`.
    """
    return {
        "seconds": 20.0,
        "task": "adding",
        "pruner": pruner,
        "seed": seed,
        "stage": stage,
        "date": "2026-01-01",
        "search_s": 20.0 * stage,
        "trials": 40,
        "pruned": 10,
        "train_s": 16.0,
        "pruned_s": 4.0,
        "found": 30.0,
        "confirmed": [[10.0, 10.0], [10.0, 5.0], [100.0, remembered], [100.0, 100.0]],
        **more,
    }


def test_each_study_runs_once_and_each_pruner_is_first_in_turn() -> None:
    """Seeds are outermost, so a comparison cut short has the same seeds of all."""
    every = list(pruners.order(["a", "b"], pruners.PRUNERS, 2))
    assert len(set(every)) == len(every) == 20
    assert [seed for _, _, seed in every] == [0] * 10 + [1] * 10
    assert [pruner for _, pruner, _ in every[::5]] == ["none", "bound", "bound", "median"]


def test_a_break_between_sessions_is_no_search_time() -> None:
    """0.5 s between trials are of the search, 9 s are not; trials may come in any order."""
    assert pruners.searched_s([(12.0, 13.0), (0.0, 2.0), (2.5, 3.0)]) == pytest.approx(4.0)
    assert pruners.searched_s([]) == 0.0


def test_a_study_counts_by_the_median_of_its_runs() -> None:
    """The largest of the ladder, at each lag the median run, of two the worse.

    The mean is over all runs. Without a winner both are 0.
    """
    one = row("none", 0, 40.0)
    assert pruners.confirmed(one) == 40.0
    assert pruners.over_ladder(one) == pytest.approx((10 + 5 + 40 + 100) / 4)
    assert pruners.confirmed(row("none", 0, 0.0)) == 5.0
    four = [[50.0, each] for each in (50.0, 20.0, 0.0, 50.0)]
    assert pruners.confirmed(row("none", 0, 0.0, confirmed=four)) == 20.0
    nothing = row("none", 0, 0.0, confirmed=[])
    assert (pruners.confirmed(nothing), pruners.over_ladder(nothing)) == (0.0, 0.0)


def test_pairs_are_of_one_task_and_seed() -> None:
    """Six of six ahead: p = 2 / 64. A seed without its partner, and another stage, do not count."""
    rows = [row("none", seed, 20.0) for seed in range(6)]
    rows += [row("median", seed, 41.0) for seed in range(7)]
    rows += [row("median", seed, 1.0, stage=2) for seed in range(6)]
    compared = pruners.pairs(rows, "median", 1, pruners.confirmed)
    assert compared.counts == "6, 0, 0"
    assert compared.p_value == pytest.approx(2 / 64)
    assert compared.ratio.value == pytest.approx(2.0)
    assert pruners.verdict(compared, compared.p_value) == "further than none"
    assert pruners.verdict(compared, 0.06) == "no difference shown"


def test_few_unequal_pairs_are_not_measured() -> None:
    """However many equal ones there are."""
    rows = [row(name, seed, 20.0) for name in ("none", "median") for seed in range(8)]
    rows += [row("none", 8, 30.0), row("median", 8, 20.0)]
    compared = pruners.pairs(rows, "median", 1, pruners.confirmed)
    assert (compared.counts, compared.p_value) == ("0, 1, 8", None)
    assert pruners.verdict(compared, None) == "not measured: unequal pairs 1, fewer than 5"


def test_the_page_and_the_figure_hold_every_pruner(tmp_path: Path) -> None:
    """Losing rows too; a pruner that did not run has no row."""
    rows = [
        row(name, seed, value, stage=stage)
        for name, value in (("none", 40.0), ("median", 20.0), ("halving", 60.0))
        for seed in range(8)
        for stage in (1, 2)
    ]
    pruners.tell(rows, tmp_path, "the command")
    said = (tmp_path / "README.md").read_text(encoding="utf-8")
    starts = Counter(line.split(" | ")[0] for line in said.splitlines())
    assert (starts["| none"], starts["| median"], starts["| hyperband"]) == (1, 7, 0)
    # P: 2 x 2 / 256
    line = "| median | 40 s | 0, 8, 0 | 0.51 (0.51 – 0.51) | 0.016 | less far than none |"
    assert line in said
    assert {each.name for each in (tmp_path / "figures").iterdir()} == {
        "pruners.png",
        "pruners.svg",
    }
