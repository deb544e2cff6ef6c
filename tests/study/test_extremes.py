"""A clock that goes backwards, and a trial that is evaluated thousands of times."""

from __future__ import annotations

import ast
import json
import time
from pathlib import Path

import optuna
import pytest

from harness import records
from harness.study.storage.open_storage import default_url
from tests.small import FAULTY, run_small, table
from tests.tally import Tally

PACKAGE = Path(__file__).parents[2] / "harness"

BACKWARDS = """
import itertools, time
steps = itertools.count()
time.time = lambda: 2e9 - 3600 * next(steps)
"""


def test_a_clock_that_goes_backwards_makes_no_negative_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    """An hour back at each look, here and in every worker.

    Durations are those of a clock that only rises.
    """
    plugin = tmp_path / "backwards.py"
    plugin.write_text(BACKWARDS)
    before = time.time
    try:
        directory = run_small(tmp_path, "confirm.seeds=1", plugins=(FAULTY, str(plugin))).directory
        assert time.time() > time.time()  # it did go backwards
    finally:
        time.time = before
    rows = table(directory / "trials.csv") + table(directory / "confirmation.csv")
    assert len(rows) == 5
    fault = "a clock that goes an hour back at each look (simulated)"
    with tally.each(fault, "no time is negative") as count:
        for row in rows:
            with count.one():
                assert 0 < float(row["train_time_s"]) < 60
                assert float(row["sequences_per_second"]) > 0
    machine = json.loads((directory / "machine.json").read_text())
    times = [machine["search_and_confirmation_time_s"], machine["wall_time_s"]]
    assert 0 < times[0] <= times[1] < 120


def test_no_source_takes_durations_from_a_clock_that_is_set() -> None:
    """Dates are the only use of the system clock, besides the age of a folder left behind."""
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
        and (
            ast.unparse(node) in ("time.time", "time.time_ns")
            or node.attr in ("now", "utcnow", "today", "duration", "datetime_complete")
        )
    }
    regress = ("compare/comparison_files.py", "record/run.py", "selftest/run.py")
    dated = {"records/throughput_files.py", *(f"regress/{name}" for name in regress)}
    assert found == dated | {"regress/sides/workspace.py"}


@pytest.mark.nightly
def test_thousands_of_evaluations_of_one_trial(tmp_path: Path, tally: Tally) -> None:
    """All are kept, in the storage and in the table, and are read back fast."""
    n = 2_000
    directory = run_small(
        tmp_path,
        "search.trials=1",
        f"training.sequences={16 * n}",
        "training.evaluate_every=16",
        "training.evaluation_sequences=2",
        "training.stop_when_solved=false",
        "space.hidden_size=2",
        "space.sequence_length=10",
    ).directory
    (study,) = optuna.get_all_study_names(default_url(directory))
    (trial,) = optuna.load_study(study_name=study, storage=default_url(directory)).trials
    assert len(trial.intermediate_values) == n + 1  # and once before it is trained
    started = time.monotonic()
    evaluations = records.read_study(directory).evaluations
    assert time.monotonic() - started < 5
    assert evaluations is not None
    lost = n + 1 - len(evaluations)
    tally.add(f"a trial of {n:,} evaluations", "all are kept and read back", lost=lost)
    assert evaluations["sequences_seen"].tolist() == list(range(0, 16 * n + 1, 16))
    assert (directory / "evaluations.csv").stat().st_size < 300 * n
    assert (directory / "study.db").stat().st_size < 1_000 * n
