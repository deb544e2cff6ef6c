"""harness.study.disk_space: a remark where the disk may not have room, and nothing more."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.study import disk_space
from harness.tasks import TASKS
from tests.small import RecordingObserver, run_small, small_spec
from tests.tally import Tally


def free(monkeypatch: pytest.MonkeyPatch, n_bytes: int) -> list[Path]:
    """Let every disk have that much room; the list takes what was asked for."""
    asked: list[Path] = []

    def usage(folder: Path) -> SimpleNamespace:
        asked.append(Path(folder))
        return SimpleNamespace(free=n_bytes)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    return asked


def test_a_full_disk_is_a_remark_before_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    """It says what is free, where, and what the study may write; then the study runs."""
    free(monkeypatch, 1_500_000)
    observer = RecordingObserver()
    outcome = run_small(tmp_path, observer=observer)
    promise = "a note before the study starts"
    with tally.each("a disk without room (simulated)", promise) as count, count.one():
        (note,) = [note for note in observer.notes if "space on the disk" in note]
        assert "1.5 MB are free in " in note
        assert "may write about 42.0 MB" in note
        assert "run the same command again" in note
    assert (outcome.directory / "trials.csv").exists()


def test_room_enough_is_not_worth_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of the results is asked, and where the database lies elsewhere, that one too."""
    asked = free(monkeypatch, 10**12)
    observer = RecordingObserver()
    (tmp_path / "elsewhere").mkdir()
    run_small(tmp_path, observer=observer, storage=f"sqlite:///{tmp_path}/elsewhere/study.db")
    assert observer.notes == []
    assert len(asked) == 1  # one disk


def test_a_disk_that_does_not_say_is_not_worth_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is a folder that is not there yet: the nearest that is there is asked."""
    asked = free(monkeypatch, 0)
    assert "0.0 kB are free in " in disk_space.low_disk(tmp_path / "a" / "b", 1)
    assert asked == [tmp_path]

    def fails(folder: Path) -> None:
        raise OSError

    monkeypatch.setattr(shutil, "disk_usage", fails)
    assert disk_space.low_disk(tmp_path, 10**18) == ""


def test_the_need_grows_with_what_is_written(tmp_path: Path) -> None:
    """Trials, evaluations and weights, each by hand.

    3 trials of 2 evaluations, then more of each.
    """
    base = 40 * 2**20
    trials = 3 * (6_000 + 2 * 500)
    assert disk_space.needed_bytes(small_spec(tmp_path), TASKS) == base + trials + 8 * 8 * 4 * 4
    many = small_spec(tmp_path, "search.trials=1000", "training.sequences=32000")
    assert (
        disk_space.needed_bytes(many, TASKS) == base + 1000 * (6_000 + 1000 * 500) + 8 * 8 * 4 * 4
    )
    large = small_spec(tmp_path, "space.hidden_size=1000")
    assert disk_space.needed_bytes(large, TASKS) == base + trials + 64 * 10**6


def test_the_estimate_covers_what_is_written(tmp_path: Path) -> None:
    """Beyond the base, a study writes no more than the estimate says."""
    settings = ("search.trials=12", "training.sequences=640", "confirm.seeds=1")
    directory = run_small(tmp_path, *settings).directory
    written = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    needed = disk_space.needed_bytes(small_spec(tmp_path, *settings), TASKS)
    assert 150_000 < written < needed - disk_space.BASE_BYTES + 200_000  # an empty database
