"""A study.db whose JSON another program has changed: read, or refused in one line."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.study.coordinator import Coordinator, TrialLimits
from harness.study.phases.write_tables import write_tables
from harness.study.run_context import StudyOptions, StudyRun
from harness.study.search.optuna_trials import TrialSeries, open_search
from harness.study.storage.open_storage import open_storage
from harness.study.storage.study_identity import remember_versions
from harness.study.trials_to_run import SearchKey
from tests.fuzz.hostile import EXAMPLES, VALUES, edited, guarded, mangled
from tests.fuzz.test_formats import folder
from tests.small import small_spec
from tests.study.scripted import ScriptedExecutor
from tests.tally import Tally

pytestmark = pytest.mark.timeout(3_600)  # for make fuzz

# The cells of study.db that hold JSON, or a parameter's value
PLACES = (
    ("trial_user_attributes", "trial_user_attribute_id", "value_json"),
    ("study_user_attributes", "study_user_attribute_id", "value_json"),
    ("trial_params", "param_id", "distribution_json"),
    ("trial_params", "param_id", "param_value"),
)
Cell = tuple[str, str, str, int]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[TrialSeries]:
    """The one search of the small study, as `study` opens it."""
    spec = small_spec(folder(), "search.trials=4", 'search.sampler="random"')
    with open_storage(f"sqlite:///{path}", "small") as storage:
        options = StudyOptions(folder(), "cpu", 1, where="small.toml")
        study = StudyRun(spec, options, storage, spec.identity())
        series = open_search(study, SearchKey("temporal_order", "rnn", 0))
        remember_versions(storage, [series.ledger.study_id])
        yield series


def go_on(path: Path) -> None:
    """Read all that is stored, run what is left, and write the tables."""
    with opened(path) as series:
        Coordinator(ScriptedExecutor(), TrialLimits(), lambda progress: None).run([series])
        write_tables(folder() / "tables", series.spec, [series], [])


@cache
def good() -> Path:
    """A storage with three finished trials and one that was interrupted."""
    path = folder() / "good.db"

    def stop(n_events: int) -> None:
        if n_events == 10:
            raise KeyboardInterrupt

    with opened(path) as series, contextlib.suppress(KeyboardInterrupt):
        executor = ScriptedExecutor(on_event=stop)
        Coordinator(executor, TrialLimits(), lambda progress: None).run([series])
    return path


@cache
def cells() -> dict[Cell, Any]:
    """Every cell that may be changed, and what it holds."""
    with contextlib.closing(sqlite3.connect(good())) as connection:
        return {
            (table, key, column, row): value
            for table, key, column in PLACES
            for row, value in connection.execute(f"SELECT {key}, {column} FROM {table}")
        }


def read(cell: Cell, value: object) -> None:
    """The study goes on with that cell changed, or is refused in one line with exit code 2."""
    path = folder() / "changed.db"
    shutil.copy(good(), path)
    table, key, column, row = cell
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (value, row))
    for each in path.parent.glob("changed.db-*"):
        each.unlink()  # what a database of an earlier call left
    refusal = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna's, of ranges that it corrects
            go_on(path)
    except HarnessError as error:
        refusal = error
    if refusal is not None:
        assert refusal.exit_code == 2
        assert str(refusal).isprintable()
        assert len(str(refusal)) < 5_000


@st.composite
def changed(draw: st.DrawFn) -> tuple[Cell, object]:
    """One cell and another value for it: mangled JSON, other JSON, or changes within a result."""
    cell = draw(st.sampled_from(sorted(cells())))
    held = cells()[cell]
    if not isinstance(held, str):
        return cell, draw(st.one_of(st.floats(), st.text(max_size=5), st.just(10**18)))
    plain = json.loads(held)
    if isinstance(plain, str) and plain.startswith("{") and draw(st.booleans()):
        return cell, json.dumps(json.dumps(draw(edited(json.loads(plain)))))
    if isinstance(plain, dict) and draw(st.booleans()):
        return cell, json.dumps(draw(edited(plain)))
    if draw(st.booleans()):
        return cell, json.dumps(draw(VALUES))
    return cell, draw(mangled(held.encode())).decode("utf-8", "replace")


def test_a_whole_storage_is_read() -> None:
    """What is to be broken is whole before: the study goes on to its end."""
    path = folder() / "whole.db"
    shutil.copy(good(), path)
    go_on(path)
    with opened(path) as series:
        assert sorted(series.finished) == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["slot", "key", "result", "harness:identity", "harness:versions"])
def test_each_attribute_of_another_type(name: str, tally: Tally) -> None:
    """A number, a text, a list, an object, null, deep JSON in place of each of our attributes."""
    kind = "study" if name.startswith("harness") else "trial"
    with contextlib.closing(sqlite3.connect(good())) as connection:
        query = f"SELECT {kind}_user_attribute_id FROM {kind}_user_attributes WHERE key = ?"
        (row, *_) = connection.execute(query, (name,)).fetchone()
    cell = (f"{kind}_user_attributes", f"{kind}_user_attribute_id", "value_json", row)
    fault = "study.db, an attribute of another type"
    with tally.each(fault, "the study goes on, or one line") as count:
        for value in ("1", "-1", "1.5", "true", '"x"', "[1]", '{"a": 1}', "null", "{", "[" * 5_000):
            with count.one():
                read(cell, value)


def test_changed_storages(tally: Tally) -> None:
    """Any JSON, and any parameter, in place of what a study has stored."""
    with tally.each("study.db, its JSON changed", "the study goes on, or one line") as count:

        @settings(max_examples=EXAMPLES * 2, suppress_health_check=list(HealthCheck), database=None)
        @given(changed())
        def run(change: tuple[Cell, object]) -> None:
            with count.one(), guarded():
                read(*change)

        run()
