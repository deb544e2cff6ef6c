"""A selftest: its plan, what is counted, and a small one for real that is stopped and goes on."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from harness.errors import InputError
from harness.regress.measuring.comparison_runner import SamplingPlan
from harness.regress.selftest.run import SelftestOptions, parse_effects, plan_runs, run_selftest
from harness.regress.selftest.selftest_files import RUNS_FILE, SELFTEST_FILE, Injected
from harness.regress.timed_workload import Workload
from tests.regress.sided import Silent, steps_file
from tests.selftests import EFFECTS, NAMES, make_selftest


class Watching(Silent):
    """Keeps the runs that were made."""

    def __init__(self, most: int = 99) -> None:
        super().__init__()
        self.made: list[Injected] = []
        self.most = most

    def plan(self, n_runs: int, n_done: int, names: object) -> None:
        """How much there is to do."""
        self.said.append((n_runs, n_done, names))

    def run(self, planned: Injected) -> None:
        """A run begins; Ctrl-C before one too many."""
        if len(self.made) == self.most:
            raise KeyboardInterrupt
        self.made.append(planned)

    def verdict(self, planned: Injected, outcome: object, wall_time_s: float) -> None:
        """A run is kept."""

    def replaying(self, n_blocks: int) -> None:
        """Blocks are drawn anew."""
        self.said.append(n_blocks)


def test_kinds_of_runs_are_spread_over_all_of_the_time() -> None:
    """Each half has about half of each kind; the benchmarks are slowed in turn.

    A small slow-down has a --detect of its size.
    """
    planned = plan_runs(NAMES, {0.03: 12, 0.1: 6}, 0.05, 30)
    assert [each.number for each in planned] == list(range(48))
    assert Counter(each.effect for each in planned) == {0.0: 30, 0.03: 12, 0.1: 6}
    first = Counter(each.effect for each in planned[:24])
    assert first == {0.0: 15, 0.03: 6, 0.1: 3}
    slowed = Counter((each.effect, each.slowed) for each in planned if each.effect)
    assert set(slowed.values()) == {4, 2}
    assert {(each.effect, each.detect) for each in planned} == {
        (0.0, 0.05),
        (0.03, 0.03),
        (0.1, 0.05),
    }


def test_slow_downs_are_read_with_their_runs() -> None:
    """In ascending order, and those of the design where none is given."""
    assert parse_effects((), 3) == {0.03: 3, 0.05: 3, 0.1: 3}
    assert parse_effects(("10%=0", "2.5%"), 7) == {0.025: 7, 0.1: 0}


@pytest.mark.parametrize("text", ["", "0%", "5", "5%=", "5%=x", "5%=-1", "x=3", "5%=20000"])
def test_a_slow_down_that_is_none_is_named(text: str) -> None:
    """With what is expected; `5%=` is no number of runs."""
    if text == "5%=":
        assert parse_effects((text,), 3) == {0.05: 3}
        return
    with pytest.raises(InputError, match="--slow-down: expected"):
        parse_effects((text,), 3)


def test_what_is_counted(tmp_path: Path) -> None:
    """On a quiet machine: no false alarm, each slow-down found, its size measured."""
    record = make_selftest(tmp_path, noise=0.005, n_alike=8)
    same, three, five, ten = record.rates
    assert (same.runs.false_regression.k, same.runs.false_regression.n) == (0, 8)
    assert same.measured is None
    assert (three.runs.found.k, three.runs.found.n) == (2, EFFECTS[0.03])  # type: ignore[index]
    assert (five.runs.found.k, five.runs.found.n) == (4, EFFECTS[0.05])  # type: ignore[index]
    assert five.measured is not None
    assert five.measured.value == pytest.approx(1.05, abs=0.005)
    assert (ten.runs.found.n, ten.measured) == (0, None)
    assert all(each.replay and each.replay.found.k >= 48 for each in (three, five, ten))
    assert record.deviation["rnn/h16"] == pytest.approx(0.005, rel=0.3)
    assert record.n_blocks == 80
    assert record.advice.detect is not None
    assert record.advice.detect <= 0.05


def options(folder: Path, **changes: object) -> SelftestOptions:
    """Two runs of one block each."""
    given = {
        "workload": Workload(steps="steps.py"),
        "n_alike": 1,
        "effects": ("50%=1",),
        "n_replays": 5,
    }
    given |= {"here": folder, "results": folder / "out"}
    return SelftestOptions(**given | changes, sampling=SamplingPlan(0.001, 5, budget_s=0.01))  # type: ignore[arg-type]


@pytest.mark.nightly
def test_a_selftest_that_is_stopped_goes_on(tmp_path: Path) -> None:
    """For real: the run that was done is kept, the other is made, the report is written.

    Then there is nothing to do.
    """
    steps_file(tmp_path / "steps.py", one=3, two=3)
    with pytest.raises(KeyboardInterrupt):
        run_selftest(options(tmp_path), Watching(most=1))
    path = tmp_path / "out" / RUNS_FILE
    assert path.read_text().count("\n") == 1
    progress = Watching()
    outcome = run_selftest(options(tmp_path), progress)
    assert progress.said[0] == (2, 1, ("one", "two"))
    assert len(progress.made) == 1
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted((line["effect"], line["slowed"]) for line in lines) == [(0.0, None), (0.5, "one")]
    assert {line["verdict"] for line in lines} == {"inconclusive"}  # a budget of one block
    assert outcome.record.n_runs == 2
    assert outcome.report.is_file()
    again = Watching()
    assert run_selftest(options(tmp_path), again).record == outcome.record
    assert again.made == []


def test_runs_of_another_selftest_are_not_mixed(tmp_path: Path) -> None:
    """What differs is named, before anything is timed; so are runs that no selftest claims."""
    steps_file(tmp_path / "steps.py", one=3)
    with pytest.raises(KeyboardInterrupt):
        run_selftest(options(tmp_path), Watching(most=0))
    with pytest.raises(InputError, match=r"selftest\.json: n_alike: expected that.*--results"):
        run_selftest(options(tmp_path, n_alike=2), Watching(most=0))
    (tmp_path / "out" / SELFTEST_FILE).unlink()
    (tmp_path / "out" / RUNS_FILE).write_text("")
    with pytest.raises(InputError, match="expected the selftest whose runs are there, got none"):
        run_selftest(options(tmp_path), Watching(most=0))
