"""diagnostics.json: what a study looks into, and what a look that fails costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.study.execution.local_executor import LocalExecutor
from harness.study.phases import measure_diagnostics
from harness.tasks.temporal_order import TemporalOrder, X
from tests.small import RecordingObserver, run_small

CELLS = ('compare.cells=["rnn", "lstm"]', "search.trials=2")


def written(directory: Path) -> dict[str, Any]:
    """diagnostics.json."""
    return dict(json.loads((directory / "diagnostics.json").read_text()))


def test_each_kept_model_is_looked_into(
    tmp_path: Path, executor: LocalExecutor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gains of all cells at one length.

    Gates and time scales of those that have gates, at their own; marked steps.
    """

    def informative(task: TemporalOrder, inputs: Tensor) -> Tensor:
        return inputs[:, :, X:].any(dim=-1)

    monkeypatch.setattr(TemporalOrder, "informative", informative, raising=False)
    found = written(run_small(tmp_path, *CELLS, executor=executor).directory)
    both = [(cell, state) for cell in ("rnn", "lstm") for state in ("initial", "trained")]
    gains, gates, scales = (found[key] for key in ("gradient_gain", "gates", "time_scales"))
    assert [(row["cell"], row["state"]) for row in gains] == both
    for row in gains:
        assert row["sequence_length"] == measure_diagnostics.LEAST_LENGTH
        assert 10 <= row["trained_length"] <= 14
        assert row["lag"][-1] == measure_diagnostics.LEAST_LENGTH - 1
    assert [(row["cell"], row["state"]) for row in gates] == both[2:]
    for row in gates:
        length = row["sequence_length"]
        assert 10 <= length <= 14
        assert [trace["gate"] for trace in row["traces"]] == ["input", "forget", "output"]
        for trace in row["traces"]:
            for low, mean, high in zip(trace["low"], trace["mean"], trace["high"], strict=True):
                assert 0 <= low <= high <= 1
                assert 0 < mean < 1
            assert len(trace["mean"]) == length
        early, middle = row["informative"]
        assert 1 <= early <= 0.2 * length < 0.5 * length <= middle <= 0.6 * length
    assert gates[0]["informative"] == gates[1]["informative"]
    for row in scales:
        assert (row["cell"], row["gate"]) == ("lstm", "forget")
        assert row["task_lag"] == row["sequence_length"] - 1 - row["sequence_length"] // 5
        assert all(steps > 1 for steps in row["steps"])
    assert [row["state"] for row in scales] == ["initial", "trained"]


def test_a_task_that_does_not_say_marks_nothing() -> None:
    """Without `informative` the steps are unknown, not none."""

    class Silent:
        """A task of a plug-in."""

    assert measure_diagnostics._informative(Silent(), torch.zeros(1, 3, 2)) is None  # type: ignore[arg-type]


def test_a_look_that_fails_costs_a_note(
    tmp_path: Path, executor: LocalExecutor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one look raises is named, and the others are written."""

    def fail(*_: object) -> None:
        raise RuntimeError("expected\nmore")

    monkeypatch.setattr(measure_diagnostics, "gradient_gain", fail)
    observer = RecordingObserver()
    found = written(run_small(tmp_path, *CELLS, observer=observer, executor=executor).directory)
    assert found["gradient_gain"] == []
    assert len(found["gates"]) == len(found["time_scales"]) == 2
    assert (
        "no gradient gain of rnn on temporal_order: RuntimeError: expected more" in observer.notes
    )
