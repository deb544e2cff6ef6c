from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.columns import TrialStatus
from harness.errors import FileError
from harness.metric_definitions import OBJECTIVES
from harness.study.coordinator import Coordinator, TrialLimits
from harness.study.execution.executor import Executor
from harness.study.execution.local_executor import LocalExecutor, start_local_executor
from harness.study.execution.worker_messages import TrialOutcome
from harness.study.phases.train_winners import (
    Winner,
    best_of,
    best_of_pairs,
    common_trials,
    train_winners,
)
from harness.study.run_context import StudyOptions
from harness.study.search.optuna_trials import TrialSeries
from harness.study.storage.trial_ledger import SlotRecord, TrialResult
from harness.study.trials_to_run import SearchKey
from harness.training.training_loop import TrainingConfig
from tests.small import FAULTS, FAULTY, RecordingObserver, small_spec, study_run
from tests.study.scripted import Message, ScriptedExecutor, ended, evaluation, outcome


def record(slot: int, value: float | None, end: TrialStatus = TrialStatus.COMPLETE) -> SlotRecord:
    """A finished slot."""
    return SlotRecord(slot, str(slot), {"hidden_size": slot}, value, TrialResult(end, seed=slot))


def search(total: int, *records: SlotRecord, objective: str = "remembered_steps") -> TrialSeries:
    """A search with these slots finished."""
    plain: Any = SimpleNamespace(
        total=total,
        finished={each.slot: each for each in records},
        objective=OBJECTIVES[objective],
        key=SearchKey("temporal_order", "rnn", 0),
    )
    return cast("TrialSeries", plain)


def finished(total: int, count: int) -> TrialSeries:
    """A search with its first slots finished."""
    return search(total, *(record(slot, 1.0) for slot in range(count)))


@pytest.mark.parametrize(
    ("searches", "common"),
    [
        ([finished(12, 12), finished(12, 12)], 12),
        ([finished(12, 5), finished(12, 4)], 4),
        ([finished(12, 12), finished(12, 11)], 11),
        ([finished(8, 8), finished(12, 12)], 12),
        ([finished(8, 8), finished(12, 9)], 9),
        ([finished(12, 0), finished(12, 3)], 0),
        ([search(12, record(0, 1.0), record(2, 1.0))], 1),
        ([], 0),
    ],
)
def test_common_trials(searches: list[TrialSeries], common: int) -> None:
    """The first slots that all have.

    A search that is through, such as a smaller grid, holds nobody back.
    """
    assert common_trials(searches) == common


def test_best() -> None:
    """The highest value wins where more is better, the lowest where less is.

    Of equal ones the earliest.
    """
    values = [record(0, 1.0), record(1, 3.0), record(2, 3.0), record(3, 0.5)]
    assert cast("Winner", best_of(search(4, *values), 4)).record.slot == 1
    assert cast("Winner", best_of(search(4, *values, objective="loss"), 4)).record.slot == 3


def test_only_complete_ones_win() -> None:
    """What was pruned, diverged or failed never wins, though its value is the best."""
    others = [end for end in TrialStatus if end is not TrialStatus.COMPLETE]
    failed = [record(slot, 9.0, end) for slot, end in enumerate(others)]
    last = len(others)
    winner = best_of(search(last + 1, *failed, record(last, 0.0)), last + 1)
    assert cast("Winner", winner).record.slot == last
    assert best_of(search(last, *failed), last) is None


def test_only_common_slots_win() -> None:
    """A slot that the other searches did not come to never wins."""
    both = search(3, record(0, 1.0), record(1, 2.0), record(2, 9.0))
    assert cast("Winner", best_of(both, 2)).record.slot == 1
    assert best_of(both, 0) is None


def test_best_over_repeats(tmp_path: Path) -> None:
    """The best repeat of each (task, cell) is kept; of equal ones the earliest."""
    keys = [
        SearchKey("a", "rnn", 0),
        SearchKey("a", "gru", 0),
        SearchKey("a", "rnn", 1),
        SearchKey("a", "gru", 1),
    ]
    winners = [
        Winner(key, record(0, value)) for key, value in zip(keys, (1.0, 5.0, 2.0, 5.0), strict=True)
    ]
    kept = best_of_pairs(small_spec(tmp_path), winners)
    assert [(each.key.cell, each.key.repeat) for each in kept] == [("rnn", 1), ("gru", 0)]
    kept = best_of_pairs(small_spec(tmp_path, 'search.objective="loss"'), winners)
    assert [(each.key.cell, each.key.repeat) for each in kept] == [("rnn", 0), ("gru", 0)]


PARAMS: dict[str, Any] = {
    "hidden_size": 3,
    "num_layers": 1,
    "learning_rate": 0.01,
    "sequence_length": 12,
    "initialization": "pytorch",
}
LIMITS = TrialLimits(trial_timeout_s=2.0, trial_memory_bytes=2**28, independent=True)


def winner_of(cell: str, seed: int = 7, **params: Any) -> Winner:
    """The winner of a cell on temporal_order, its third slot."""
    result = TrialResult(TrialStatus.COMPLETE, seed, loss=1.25, accuracy=0.5, solved=False)
    record = SlotRecord(2, "2", {**PARAMS, **params}, 1.5, result)
    return Winner(SearchKey("temporal_order", cell, 0), record)


def train(
    folder: Path,
    executor: Executor,
    winners: Sequence[Winner],
    *settings: str,
    limits: TrialLimits = LIMITS,
) -> tuple[list[str], list[str]]:
    """Train these winners of the small study. Returns the cells that are kept, and the notes."""
    observer = RecordingObserver()
    options = StudyOptions(folder, "cpu", 1, plugins=(FAULTY,))
    study = study_run(small_spec(folder, *settings), options, observer)
    coordinator = Coordinator(executor, limits, lambda progress: None, (FAULTY,))
    kept = train_winners(study, coordinator, winners)
    return [each.key.cell for each in kept], observer.notes


def write_weights(folder: Path, cell: str) -> None:
    """Files where the weights of a winner go, trained and initial."""
    for suffix in (".pt", ".initial.pt"):
        (folder / "small" / "winners" / f"temporal_order-{cell}{suffix}").write_bytes(b"weights")


def test_winner_whose_training_crashes_is_trained_again(tmp_path: Path) -> None:
    """A crash is tried three times; what is no crash is tried once."""
    scripts = {
        "rnn": iter([[ended()], [outcome()]]),
        "gru": iter([[ended(how="killed by SIGSEGV")]] * 3),
        "lstm": iter([[ended("out_of_memory", "no memory left")]]),
        "faulty": iter([[outcome("error", "ValueError: no")]]),
    }

    def script(config: TrainingConfig) -> Sequence[Message]:
        events = next(scripts[config.model.cell])
        if events[0] == outcome():  # type: ignore[index]
            write_weights(tmp_path, config.model.cell)
        return events  # type: ignore[return-value]

    executor = ScriptedExecutor(script, num_workers=2)
    kept, notes = train(tmp_path, executor, [winner_of(cell) for cell in scripts])
    assert kept == ["rnn"]
    assert [note.partition(" on ")[0] for note in notes] == [
        "the winner of gru",
        "the winner of lstm",
        "the winner of faulty",
    ]
    reasons = ("(killed by SIGSEGV)", "(no memory left)", "(ValueError: no)")
    assert all(note.endswith(reason) for note, reason in zip(notes, reasons, strict=True))
    assert len(executor.requests) == 2 + 3 + 1 + 1
    assert all(next(script, None) is None for script in scripts.values())
    assert {each.memory_bytes for each in executor.requests} == {LIMITS.trial_memory_bytes}
    winners = tmp_path / "small" / "winners"
    assert [path.name for path in winners.glob("*.toml")] == ["temporal_order-rnn.toml"]


def test_crash_while_weights_are_written(tmp_path: Path) -> None:
    """A winner whose process ends after its last evaluation is trained again."""
    last = evaluation(64, 0.1, solved=True)
    scripts = iter([[last, ended()], [last, outcome()]])

    def script(config: TrainingConfig) -> Sequence[Message]:
        events = next(scripts)
        if events[-1] == outcome():
            write_weights(tmp_path, "rnn")
        return events  # type: ignore[return-value]

    assert train(tmp_path, ScriptedExecutor(script), [winner_of("rnn")]) == (["rnn"], [])
    assert next(scripts, None) is None


@pytest.mark.parametrize("present", [".pt", ".initial.pt"])
def test_half_of_the_weights(tmp_path: Path, present: str) -> None:
    """A winner that lacks one of its two files is not kept."""
    winners = tmp_path / "small" / "winners"
    winners.mkdir(parents=True)
    write_weights(tmp_path, "rnn")

    def script(config: TrainingConfig) -> Sequence[Message]:
        assert list(winners.iterdir()) == []
        (winners / f"temporal_order-rnn{present}").write_bytes(b"weights")
        return [outcome("error", "no")]

    kept, (note,) = train(tmp_path, ScriptedExecutor(script), [winner_of("rnn")])
    assert kept == []
    assert note.endswith("(no)")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("hang", "took longer than 2 s"),
        pytest.param(
            "memory",
            "RuntimeError: [enforce fail",
            marks=pytest.mark.skipif(
                sys.platform != "linux", reason="memory is limited on Linux only"
            ),
        ),
        ("kill", "killed by SIGKILL"),
    ],
)
def test_limits_hold_for_winners(
    tmp_path: Path, executor: LocalExecutor | None, fault: str, reason: str
) -> None:
    """A winner's training that exceeds its time or its memory, or crashes, is ended and noted."""
    setting = f'space.faulty.fault="{fault}"'
    with contextlib.ExitStack() as stack:
        used = executor or stack.enter_context(
            contextlib.closing(start_local_executor(1, (FAULTY,)))
        )
        winners = [winner_of("faulty", fault=fault)]
        kept, notes = train(tmp_path, used, winners, *FAULTS, setting)
    assert kept == []
    (note,) = notes
    assert f"neither timed nor looked into ({reason}" in note
    assert list((tmp_path / "small" / "winners").iterdir()) == []


def test_weights_that_find_no_room(tmp_path: Path) -> None:
    """Weights that a full disk does not take end the study with a line that names their file."""
    full = TrialOutcome(TrialStatus.ERROR, unwritten=(28, "No space left on device"))
    executor = ScriptedExecutor(lambda config: [full])
    with pytest.raises(
        FileError, match=r"rnn\.pt: expected disk space to write, got No space left"
    ):
        train(tmp_path, executor, [winner_of("rnn")])


# As revision 9787bce wrote it for `winner_of("rnn")` of the small study
OLD_WINNER = """\
task = "temporal_order"
cell = "rnn"
configuration = "b7fa097a5d816b62"
training = "5b3079add0368f5d"
base_task = "temporal_order"
base_cell = "rnn"
repeat = 0
number = 2
seed = 7
value = 1.5
loss = 1.25
accuracy = 0.5
solved = false

[parameters]
hidden_size = 3
num_layers = 1
learning_rate = 0.01
sequence_length = 12
initialization = "pytorch"
"""


def test_winner_of_an_older_version_is_kept(tmp_path: Path) -> None:
    """The weights of a winner that an earlier version trained are kept."""
    facts = tmp_path / "small" / "winners" / "temporal_order-rnn.toml"
    facts.parent.mkdir(parents=True)
    facts.write_text(OLD_WINNER)
    write_weights(tmp_path, "rnn")
    executor = ScriptedExecutor()
    assert train(tmp_path, executor, [winner_of("rnn")]) == (["rnn"], [])
    assert executor.requests == []
    assert facts.read_text() == OLD_WINNER
    assert facts.with_suffix(".pt").read_bytes() == b"weights"


def test_another_seed_is_another_winner(tmp_path: Path) -> None:
    """Weights of the same configuration with another seed are trained anew."""
    facts = tmp_path / "small" / "winners" / "temporal_order-rnn.toml"
    facts.parent.mkdir(parents=True)
    facts.write_text(OLD_WINNER)
    write_weights(tmp_path, "rnn")
    executor = ScriptedExecutor(lambda config: [outcome("error", "no")])
    train(tmp_path, executor, [winner_of("rnn", seed=8)])
    assert len(executor.requests) == 1
