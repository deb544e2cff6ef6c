"""The same seed gives the same tables.

With any number of workers, either kind of process, interrupted or not.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.study.coordinator import TrialProgress
from harness.study.execution import prewarmed_server
from harness.study.execution.local_executor import LocalExecutor
from tests.kinds import NIGHTLY
from tests.small import RecordingObserver, run_small, tables

FOUR_SEARCHES = (
    'compare.tasks=["temporal_order","delayed_recall"]',
    'compare.cells=["rnn","lstm"]',
    'space.initialization=["pytorch","orthogonal"]',
    "search.trials=6",  # 4 at random, 2 informed
    "confirm.seeds=1",
)


@pytest.mark.parametrize("pruner", ["none", pytest.param("halving", marks=pytest.mark.nightly)])
def test_workers(tmp_path: Path, executor: LocalExecutor | None, pruner: str) -> None:
    """1, 2 and 4 workers (2 at night) give equal tables, except for times."""
    found = []
    for workers in (1, 2, 4) if NIGHTLY else (1, 4):
        settings = (*FOUR_SEARCHES, f'search.pruner="{pruner}"')
        folder = tmp_path / str(workers)
        folder.mkdir()
        outcome = run_small(folder, *settings, workers=workers, executor=executor)
        found.append(tables(outcome.directory))
    assert len(found[0]["trials.csv"]) == 24
    assert len(found[0]["confirmation.csv"]) == 8
    assert all(each == found[0] for each in found)


def test_deterministic(tmp_path: Path, executor: LocalExecutor | None) -> None:
    """With --deterministic a lone search gives equal tables with 1 and 4 workers too."""
    found = []
    for workers in (1, 4):
        folder = tmp_path / str(workers)
        folder.mkdir()
        outcome = run_small(
            folder, "search.trials=8", workers=workers, executor=executor, deterministic=True
        )
        found.append(tables(outcome.directory))
    assert found[0] == found[1]


def test_another_seed(tmp_path: Path, executor: LocalExecutor | None) -> None:
    """Another seed gives other trials: the tables are equal for a reason."""
    found = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        outcome = run_small(folder, f"study.seed={seed}", executor=executor)
        found.append(tables(outcome.directory)["trials.csv"])
    for first, second in zip(*found, strict=True):
        assert first["seed"] != second["seed"]
        assert first["learning_rate"] != second["learning_rate"]


@pytest.mark.nightly
@pytest.mark.skipif(not prewarmed_server.HAS_FORK_SERVER, reason="no fork server on this system")
def test_spawned_workers(tmp_path: Path, executor: LocalExecutor) -> None:
    """Spawned workers give the same tables as forked ones."""
    found = []
    for form in ("fork", "spawn"):
        folder = tmp_path / form
        folder.mkdir()
        outcome = run_small(
            folder,
            "search.trials=2",
            "confirm.seeds=1",
            "confirm.sequence_lengths=[10]",
            executor=executor if form == "fork" else None,
            spawn=form == "spawn",
        )
        assert (outcome.directory / "winners" / "temporal_order-rnn.pt").exists()
        found.append(tables(outcome.directory))
    assert found[0] == found[1]


class Impatient(RecordingObserver):
    """Presses Ctrl-C at the n-th piece of news."""

    def __init__(self, patience: int) -> None:
        super().__init__()
        self.patience = patience

    def progress(self, progress: TrialProgress) -> None:
        """Count it."""
        super().progress(progress)
        if len(self.progresses) >= self.patience:
            raise KeyboardInterrupt


def test_interrupted_again_and_again(tmp_path: Path, executor: LocalExecutor | None) -> None:
    """Ctrl-C in every phase, at whatever news.

    What is left in the end is what an undisturbed study leaves.
    """
    (tmp_path / "whole").mkdir()
    whole = run_small(tmp_path / "whole", *FOUR_SEARCHES, workers=2, executor=executor)
    interruptions = []
    for patience in (1, 3, 12, 60, 75, 6, 11, 10**6):
        observer = Impatient(patience)
        try:
            outcome = run_small(
                tmp_path, *FOUR_SEARCHES, workers=2, observer=observer, executor=executor
            )
        except KeyboardInterrupt:
            interruptions.append(observer.phases[-1])
    assert {"search", "confirm"} == set(interruptions)
    assert tables(outcome.directory) == tables(whole.directory)
