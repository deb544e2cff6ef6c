"""What a recording is shown beside, and which revision it is said to be of."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from harness.regress.history import FactDifference, SpeedHistory
from harness.regress.record.run import UNVERSIONED, beside_earlier, revision_of, spread
from tests.regress.sided import git, repository
from tests.regress.test_history import OTHER, entry


def test_a_recording_is_shown_against_the_last_ones_of_its_machine() -> None:
    """The median of five, those without the benchmark left out.

    Another machine's are counted, never compared.
    """
    values = (9.9, 0.30, 0.31, None, 0.33, 0.32, 0.34)
    before = [entry(f"r{i}", value) for i, value in enumerate(values)]
    others = [entry("o1", 0.1, OTHER), entry("o2", 0.1, OTHER)]
    found = beside_earlier(entry("new", 0.352), SpeedHistory((*before, *others)))
    (row,) = found.benchmarks
    assert row.name == "lstm"
    assert row.step_time_s == pytest.approx(1.1 * 0.352)
    assert row.over_canary == pytest.approx(3.52)
    assert row.spread == pytest.approx(0, abs=1e-9)
    assert row.change == pytest.approx(3.52 / 3.2 - 1)
    assert (row.n_compared, found.n_before) == (5, 7)
    assert found.canary.spread == pytest.approx(0.3 / 1.1)
    (other,) = found.others
    assert (other.n, other.differs) == (2, (FactDifference("torch", "2.13.0", "2.12.1"),))


def test_a_first_recording_is_compared_with_nothing() -> None:
    """Nor is a new benchmark, nor one that was not measured."""
    for new, before in (
        (entry("a"), ()),
        (dataclasses.replace(entry("a"), figures_s={"gru": (0.1,) * 3}), (entry("b"),)),
        (entry("a", None), (entry("b"),)),
        (entry("a"), (entry("b", None),)),
    ):
        (row,) = beside_earlier(new, SpeedHistory(before)).benchmarks
        assert row.change is None


def test_the_spread_is_over_the_median() -> None:
    """Of one value there is none."""
    assert spread([1.0, 1.1, 0.9]) == pytest.approx(0.2)
    assert spread([1.0]) is None


def test_the_revision_is_the_commit(tmp_path: Path) -> None:
    """With -dirty for what git tracks and has changed, the history itself aside.

    Outside of git there is none.
    """
    outside = tmp_path / "outside"
    outside.mkdir()
    assert revision_of(outside, Path("history.jsonl")) == UNVERSIONED
    folder = tmp_path / "repo"
    (folder / "bench").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "bench" / "history.jsonl").write_text("")
    repository(folder)
    commit = git(folder, "rev-parse", "HEAD")[:9]
    here = folder / "bench"
    (folder / "untracked").write_text("")
    (here / "history.jsonl").write_text("more")
    assert revision_of(here, Path("history.jsonl")) == commit
    assert revision_of(here, folder / "bench" / "history.jsonl") == commit
    assert revision_of(here, Path("other.jsonl")) == f"{commit}-dirty"
    assert revision_of(here, tmp_path / "elsewhere.jsonl") == f"{commit}-dirty"
    (folder / "a.txt").write_text("b")
    assert revision_of(here, Path("history.jsonl")) == f"{commit}-dirty"
