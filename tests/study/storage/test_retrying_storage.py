"""A storage that is away for a while, that other programs disturb, or that does not come back."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError

from harness.errors import StorageError
from harness.study import backoff
from harness.study.coordinator import TrialProgress
from harness.study.execution.local_executor import LocalExecutor, start_local_executor
from harness.study.search.optuna_trials import TrialSeries
from harness.study.storage import retrying_storage
from harness.study.storage.open_storage import default_url, open_storage
from harness.study.storage.retrying_storage import RetryingStorage, Unanswered
from harness.study.storage.study_identity import open_study
from tests.small import FAULTY, RecordingObserver, run_small, tables
from tests.study.postgres import SECRET, PostgresServer, postgres_server
from tests.tally import Tally

SETTINGS = ("search.trials=6", "confirm.seeds=1", "confirm.sequence_lengths=[10]")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server that can be restarted."""
    with postgres_server() as made:
        yield made


@pytest.fixture
def empty_server(server: PostgresServer) -> Iterator[PostgresServer]:
    """The same, without studies afterwards."""
    yield server
    storage = optuna.storages.RDBStorage(server.url)
    for study in storage.get_all_studies():
        storage.delete_study(study._study_id)
    storage.remove_session()
    storage.engine.dispose()


@pytest.fixture(scope="module")
def executor() -> Iterator[LocalExecutor]:
    """Processes for the studies of this file."""
    made = start_local_executor(1, (FAULTY,))
    yield made
    made.close()


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, executor: LocalExecutor
) -> dict[str, list[dict[str, str]]]:
    """The tables of the study on SQLite, with nobody beside it."""
    folder = tmp_path_factory.mktemp("whole")
    return tables(run_small(folder, *SETTINGS, executor=executor).directory)


class Disturbing(RecordingObserver):
    """Does something to the storage when the n-th trial ends, or begins."""

    def __init__(self, moment: int, kind: str = "finished") -> None:
        super().__init__()
        self.moment, self.kind = moment, kind

    def progress(self, progress: TrialProgress) -> None:
        """Count them."""
        super().progress(progress)
        kinds = [each.kind for each in self.progresses]
        if progress.kind == self.kind and kinds.count(self.kind) == self.moment:
            self.disturb(progress)

    def disturb(self, progress: TrialProgress) -> None:
        """What is done."""
        raise NotImplementedError


class Restarting(Disturbing):
    """Stops the server, and starts it again some time later."""

    def __init__(self, server: PostgresServer, moment: int, mode: str) -> None:
        super().__init__(moment)
        self.server, self.mode = server, mode
        self.thread = threading.Thread(target=self._restart_later)

    def disturb(self, progress: TrialProgress) -> None:
        """Stop it."""
        self.server.stop(self.mode)
        self.thread.start()

    def _restart_later(self) -> None:
        time.sleep(0.7)
        self.server.start()


def states(url: str, study: str) -> list[str]:
    """The states of all trials of a study, as plain Optuna reads them."""
    storage = optuna.storages.RDBStorage(url)
    try:
        return [
            trial.state.name
            for each in storage.get_all_studies()
            if each.study_name.startswith(f"{study}/")
            for trial in storage.get_all_trials(each._study_id)
        ]
    finally:
        storage.remove_session()
        storage.engine.dispose()


@pytest.mark.parametrize(("moment", "mode"), [(1, "immediate"), (3, "fast"), (7, "immediate")])
def test_server_restarts(
    empty_server: PostgresServer,
    executor: LocalExecutor,
    undisturbed: dict[str, list[dict[str, str]]],
    tmp_path: Path,
    tally: Tally,
    moment: int,
    mode: str,
) -> None:
    """The study waits for a restarting server and says so; no trial is lost or stored twice."""
    observer = Restarting(empty_server, moment, mode)
    outcome = run_small(
        tmp_path,
        *SETTINGS,
        observer=observer,
        executor=executor,
        storage=empty_server.url,
    )
    observer.thread.join()
    away = [note for note in observer.notes if "does not answer" in note]
    back = [note for note in observer.notes if re.search(r"answers again after \d+ s", note)]
    assert (len(away), len(back)) == (1, 1)
    assert SECRET not in "".join(observer.notes)
    found = tables(outcome.directory)
    lost = sum(row not in found[name] for name, rows in undisturbed.items() for row in rows)
    lost += states(empty_server.url, "small").count("RUNNING")
    lost += abs(states(empty_server.url, "small").count("COMPLETE") - 7)  # 6 and 1 to confirm
    tally.add(
        "PostgreSQL restarted in the middle of a study",
        "waits with growing pauses, says so, goes on",
        lost=lost,
    )
    assert lost == 0


def test_lock_after_a_restart(server: PostgresServer, tally: Tally) -> None:
    """After a restart the lock is taken anew.

    Another coordinator is refused, by the name of the first.
    """
    with open_storage(server.url, "s") as storage:
        study_id = open_study(storage, "s/a/b/r0", "maximize", {}, where="s.toml")
        server.stop()
        server.start()
        storage.set_study_user_attr(study_id, "x", 1)
        with pytest.raises(StorageError, match=r"in use by .*, process \d+"):
            open_storage(server.url, "s").__enter__()
        kept = storage.get_study_user_attrs(study_id).get("x")
    tally.add(
        "a second coordinator after a restart of PostgreSQL",
        "refused with host and process of the first",
        lost=int(kept != 1),
    )
    assert kept == 1


def test_taken_over_while_the_server_was_away(server: PostgresServer) -> None:
    """A coordinator whose study was taken over during a restart stops and writes nothing."""
    code = (
        "import sys\n"
        "from harness.study.storage.open_storage import open_storage\n"
        "from harness.study.storage.study_identity import open_study\n"
        "with open_storage(sys.argv[1], 't') as storage:\n"
        "    open_study(storage, 't/a/b/r0', 'maximize', {}, where='s.toml')\n"
    )
    with open_storage(server.url, "t") as storage:
        study_id = open_study(storage, "t/a/b/r0", "maximize", {}, where="s.toml")
        server.stop()
        server.start()
        subprocess.run([sys.executable, "-c", code, server.url], check=True)
        with pytest.raises(StorageError, match=r"taken over by .*, process \d+"):
            storage.set_study_user_attr(study_id, "x", 1)
    with open_storage(server.url, "t") as storage:
        assert "x" not in storage.get_study_user_attrs(study_id)


def test_server_that_stays_away(
    empty_server: PostgresServer,
    executor: LocalExecutor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that does not come back ends the study with one line, soon.

    The same command goes on when it is there.
    """
    monkeypatch.setattr(backoff, "MAX_WAIT_S", 0.5)

    class Stopping(Disturbing):
        def disturb(self, progress: TrialProgress) -> None:
            empty_server.stop()

    begin = time.monotonic()
    with pytest.raises(StorageError, match=r"no answer for \d+ s .*run the same command again"):
        run_small(
            tmp_path,
            *SETTINGS,
            observer=Stopping(2),
            executor=executor,
            storage=empty_server.url,
        )
    assert time.monotonic() - begin < 60
    empty_server.start()
    after = RecordingObserver()
    run_small(tmp_path, *SETTINGS, observer=after, executor=executor, storage=empty_server.url)
    assert len(after.ends()) == 7 - 2
    assert "RUNNING" not in states(empty_server.url, "small")


def test_locked_file(tmp_path: Path) -> None:
    """The storage waits for a SQLite file that is locked for longer than SQLite waits."""
    said: list[str] = []
    with open_storage(default_url(tmp_path), "s", said.append) as storage:
        study_id = open_study(storage, "s/a/b/r0", "maximize", {}, where="s.toml")
        other = sqlite3.connect(
            tmp_path / "study.db", isolation_level=None, check_same_thread=False
        )
        other.execute("BEGIN IMMEDIATE")
        with storage.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout = 50")  # in place of 5 s; pooled
        threading.Timer(0.5, lambda: other.execute("COMMIT")).start()
        storage.set_study_user_attr(study_id, "x", 1)
        assert storage.get_study_user_attrs(study_id)["x"] == 1
        other.close()
    assert [line for line in said if "is locked" in line]


def test_pauses_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause is shorter than the one before, and their sum is at most MAX_WAIT_S."""
    slept: list[float] = []
    now = [0.0]

    def sleep(pause_s: float) -> None:
        slept.append(pause_s)
        now[0] += pause_s

    monkeypatch.setattr(retrying_storage.time, "sleep", sleep)  # type: ignore[attr-defined]
    monkeypatch.setattr(retrying_storage.time, "monotonic", lambda: now[0])  # type: ignore[attr-defined]
    storage = RetryingStorage(default_url(tmp_path), "the storage")
    said: list[str] = []
    storage.notify = said.append

    def locked() -> None:
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorname = "SQLITE_BUSY"
        raise Unanswered(OperationalError("", {}, error))

    with pytest.raises(StorageError, match="the storage: no answer"):
        storage.retry(locked)
    assert slept == sorted(slept)
    assert 0.9 * backoff.MAX_WAIT_S < sum(slept) <= backoff.MAX_WAIT_S
    assert 2 < len(said) < 40
    slept.clear()
    with pytest.raises(StorageError, match="no answer"):
        storage.retry(locked)
    assert slept == []  # what comes after patience is at its end does not wait again
    storage.engine.dispose()


class Meddling(Disturbing):
    """Another program that ends the trial that runs."""

    def __init__(self, moment: int, url: str, state: TrialState) -> None:
        super().__init__(moment, "evaluation")
        self.url, self.state = url, state

    def disturb(self, progress: TrialProgress) -> None:
        """End it, as `optuna tell` does."""
        storage = optuna.storages.RDBStorage(self.url)
        values = None if self.state is TrialState.FAIL else [1e9]
        assert isinstance(progress.source, TrialSeries)
        trial_id = progress.source.trial_ids[progress.job.slot]
        storage.set_trial_state_values(trial_id, self.state, values)
        storage.remove_session()
        storage.engine.dispose()


@pytest.mark.parametrize("state", [TrialState.FAIL, TrialState.COMPLETE, TrialState.PRUNED])
@pytest.mark.parametrize("moment", [1, 3, 5])
def test_another_program_ends_our_trial(
    executor: LocalExecutor,
    undisturbed: dict[str, list[dict[str, str]]],
    tmp_path: Path,
    tally: Tally,
    state: TrialState,
    moment: int,
) -> None:
    """A running trial that another program ends keeps what it found.

    In a trial of its own, which is said.
    """
    url = default_url(tmp_path / "results" / "small")
    observer = Meddling(moment, url, state)
    outcome = run_small(tmp_path, *SETTINGS, observer=observer, executor=executor)
    (note,) = [note for note in observer.notes if "another program ended trial" in note]
    assert state.name in note
    again = RecordingObserver()
    run_small(tmp_path, *SETTINGS, observer=again, executor=executor)
    assert again.ends() == []
    found = tables(outcome.directory)
    lost = sum(row not in found[name] for name, rows in undisturbed.items() for row in rows)
    lost += abs(len(found["trials.csv"]) - 6)
    assert not (outcome.directory / "retries.csv").exists()  # nothing was made again
    tally.add(
        "another program ends a running trial of ours",
        "its result is stored all the same, once",
        lost=lost,
    )
    assert lost == 0


def test_study_deleted_by_another_program(executor: LocalExecutor, tmp_path: Path) -> None:
    """A study that is deleted while it runs ends with one line."""
    url = default_url(tmp_path / "results" / "small")

    class Deleting(Disturbing):
        def disturb(self, progress: TrialProgress) -> None:
            optuna.delete_study(study_name="small/temporal_order/rnn/r0", storage=url)

    with pytest.raises(StorageError, match="another program deleted it"):
        run_small(tmp_path, *SETTINGS, observer=Deleting(1), executor=executor)
