from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.columns import OBJECTIVES, TrialStatus
from harness.errors import FileError
from harness.study.execution.executor import TrialRequest
from harness.study.phases.train_winners import Winner, _run, best_of, best_of_pairs, common_trials
from harness.study.search.optuna_series import TrialSeries
from harness.study.storage.trial_ledger import SlotRecord, TrialResult
from harness.study.trial_source import SearchKey
from tests.small import small_spec
from tests.study.scripted import ScriptedExecutor, ended, outcome


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
    """Of each (task, cell) the best repeat is kept, the earliest of equal ones, in the order of the searches."""
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


def requests(*names: str) -> list[TrialRequest]:
    """Requests for weights of these names; each trains with its number as its seed."""
    return [
        TrialRequest(100 + i, {"seed": i}, weights=f"{name}.pt") for i, name in enumerate(names)
    ]


def test_winner_whose_training_crashes_is_trained_again() -> None:
    """A crash is tried three times, a crash that does not come back costs nothing, and what is no crash is tried once."""
    scripts = {
        0: iter([[ended()], [outcome()]]),
        1: iter([[ended(how="killed by SIGSEGV")]] * 3),
        2: iter([[ended("out_of_memory", "no memory left")]]),
        3: iter([[outcome("error", "ValueError: no")]]),
    }
    executor = ScriptedExecutor(lambda training: next(scripts[training["seed"]]), num_workers=2)
    reasons = _run(executor, requests("once", "always", "memory", "raises"))
    assert reasons == {
        "once.pt": "",
        "always.pt": "killed by SIGSEGV",
        "memory.pt": "no memory left",
        "raises.pt": "ValueError: no",
    }
    assert len(executor.requests) == 2 + 3 + 1 + 1
    assert all(next(script, None) is None for script in scripts.values())


def test_weights_that_find_no_room() -> None:
    """Weights that a full disk does not take end the study with a line that names their file."""
    full = ("outcome", {"end": "error", "reason": "", "unwritten": [28, "No space left on device"]})
    executor = ScriptedExecutor(lambda training: [full])
    with pytest.raises(FileError, match=r"a\.pt: expected room to write, got No space left"):
        _run(executor, requests("a"))
