"""A study on dense tasks, one of which has more steps than its sequence_length."""

from __future__ import annotations

import json

import pytest

from harness.study.execution.local_executor import LocalExecutor
from harness.study.run import StudyOutcome
from tests.small import run_small, table


@pytest.fixture(scope="module")
def outcome(
    tmp_path_factory: pytest.TempPathFactory, executor: LocalExecutor | None
) -> StudyOutcome:
    """Two tasks, a search and a confirmation each."""
    return run_small(
        tmp_path_factory.mktemp("dense"),
        'compare.tasks=["copy_memory","repeat_previous"]',
        "search.trials=2",
        "confirm.seeds=1",
        workers=2,
        executor=executor,
    )


@pytest.mark.parametrize("name", ["trials.csv", "confirmation.csv"])
def test_rows(outcome: StudyOutcome, name: str) -> None:
    """Each trial has a result, with the lag of its task: T + 10, or a quarter of T."""
    rows = table(outcome.directory / name)
    assert outcome.without_result == ()
    assert {row["end"] for row in rows} == {"complete"}
    assert {row["task"] for row in rows} == {"copy_memory", "repeat_previous"}
    for row in rows:
        length = int(row["sequence_length"])
        lag = {"copy_memory": length + 10, "repeat_previous": length // 4}[row["task"]]
        assert int(row["lag"]) == lag


@pytest.mark.parametrize("name", ["trials.csv", "confirmation.csv"])
def test_the_loss_over_all_steps(outcome: StudyOutcome, name: str) -> None:
    """10 of T + 20 steps have the loss; a task that does not offer it has an empty cell."""
    rows = table(outcome.directory / name)
    for row in rows:
        if row["task"] == "repeat_previous":
            assert row["all_steps_loss"] == ""
        else:
            share = 10 / (int(row["sequence_length"]) + 20)
            assert float(row["all_steps_loss"]) == pytest.approx(share * float(row["loss"]))


def test_gains_reach_over_all_steps(outcome: StudyOutcome) -> None:
    """The gradient gain goes back to the first step, also beyond sequence_length."""
    gains = json.loads((outcome.directory / "diagnostics.json").read_text())["gradient_gain"]
    assert len(gains) == 4
    for gain in gains:
        added = 20 if gain["task"] == "copy_memory" else 0
        assert gain["lag"][-1] == gain["sequence_length"] + added - 1
