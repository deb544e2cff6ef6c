"""The lock of a storage, on SQLite and on a real PostgreSQL server."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import MagicMock

import pytest
import sqlalchemy

from harness.errors import StorageError
from harness.records.file_lock import hold_file
from harness.study.storage import retrying_storage, server_lock
from harness.study.storage.open_storage import default_url, open_storage
from harness.study.storage.study_identity import open_study
from tests.study.postgres import SECRET
from tests.tally import Tally

ME = f"{socket.gethostname()}, process {os.getpid()}"


def hold(url: str) -> subprocess.Popen[str]:
    """A process that holds the storage until it is killed."""
    code = (
        "import sys, time\n"
        "from harness.study.storage.open_storage import open_storage\n"
        "from harness.study.storage.study_identity import open_study\n"
        "with open_storage(sys.argv[1], 's') as storage:\n"
        "    open_study(storage, 's/a/b/r0', 'maximize', {}, where='s.toml')\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_second_coordinator(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, tally: Tally
) -> None:
    """A second coordinator is refused with host and process of the first.

    When that is killed, it is let in.
    """
    url = default_url(tmp_path) if kind == "sqlite" else str(request.getfixturevalue("postgres"))
    with hold(url) as holder:
        try:
            who = f"{socket.gethostname()}, process {holder.pid}"
            with pytest.raises(StorageError, match=who) as refused:
                open_storage(url, "s").__enter__()
            assert SECRET not in str(refused.value)
        finally:
            holder.kill()
            holder.wait()
            assert holder.stdout is not None
    with open_storage(url, "s") as storage:
        open_study(storage, "s/a/b/r0", "maximize", {}, where="s.toml")
        owner = server_lock.owner_of(storage, "s")
    tally.add(
        f"a second coordinator ({'SQLite' if kind == 'sqlite' else 'PostgreSQL'})",
        "refused with host and process of the first; let in when that is killed",
        injected=2,
        lost=int(owner != ME),
    )
    assert owner == ME


def test_owner_is_named_at_once(postgres: str) -> None:
    """The present owner of a study on a server is named, even before it writes."""
    with hold(postgres) as before:
        before.kill()
        before.wait()
    with open_storage(postgres, "s") as storage:
        assert server_lock.owner_of(storage, "s") == ME


def test_lock_without_an_owner(tmp_path: Path) -> None:
    """Whoever finds the lock held, and nobody named yet, is refused all the same."""
    database = tmp_path / "study.db"
    with hold_file(database):
        (tmp_path / "study.db.owner").unlink()
        with pytest.raises(StorageError, match="in use by another process"):
            hold_file(database).__enter__()


def test_other_studies_on_a_server(postgres: str) -> None:
    """Two studies of different names share a server.

    The same process may open one again at once.
    """
    with open_storage(postgres, "one"), open_storage(postgres, "two"):
        pass
    for _ in range(3):
        with open_storage(postgres, "one"):
            pass


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_curve(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Many values stored at once are, to Optuna, what its own method would have stored.

    A second time nothing changes.
    """
    url = default_url(tmp_path) if kind == "sqlite" else str(request.getfixturevalue("postgres"))
    curve = {0: math.inf, 32: math.nan, 64: 0.5, 96: -math.inf}
    with open_storage(url, "curve") as storage:
        study_id = open_study(storage, "curve/a/b/r0", "maximize", {}, where="s.toml")
        ours, theirs = storage.create_new_trial(study_id), storage.create_new_trial(study_id)
        for _ in range(2):
            storage.set_trial_intermediate_values(ours, curve)
        for step, value in curve.items():
            storage.set_trial_intermediate_value(theirs, step, value)
        found = [storage.get_trial(trial_id).intermediate_values for trial_id in (ours, theirs)]
    assert repr(found) == repr([curve, curve])  # as text NaN equals NaN


def test_lock_keeps_no_transaction_open(postgres: str) -> None:
    """The lock on a server keeps no transaction open, which would stop its clean-up for hours."""
    with open_storage(postgres, "s") as storage, storage.engine.connect() as connection:
        states = connection.execute(
            sqlalchemy.text(
                "SELECT state FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE locktype = 'advisory'"
            )
        ).scalars()
        assert list(states) == ["idle"]


def test_lock_whose_connection_ended(
    postgres: str, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    """A server that ends the lock's connection alone frees the lock; it is soon taken again."""
    monkeypatch.setattr(retrying_storage, "CHECK_LOCK_EVERY_S", 0.0)
    end = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
    with open_storage(postgres, "s") as storage:
        with storage.engine.connect() as connection:
            ended = connection.execute(sqlalchemy.text(end)).scalars().all()
        storage.get_all_studies()
        try:
            with pytest.raises(StorageError, match="in use by"):
                open_storage(postgres, "s").__enter__()
        finally:
            tally.add(
                "the server ends the connection that holds the lock",
                "the lock is taken again, so a second coordinator is refused",
                lost=int(sys.exc_info()[0] is not None),
            )
    assert ended == [True]


@pytest.mark.parametrize("dialect", ["mysql", "mariadb"])
def test_lock_on_mysql(dialect: str) -> None:
    """On MySQL and MariaDB the lock's connection may be idle for 24 days, not for 8 hours.

    The server is a recording fake: it takes every statement.
    """
    connection = MagicMock()
    engine = SimpleNamespace(dialect=SimpleNamespace(name=dialect), connect=lambda: connection)
    lock = server_lock._ServerLock(cast(Any, SimpleNamespace(engine=engine)), "s")
    lock.take()
    said = [str(call.args[0]) for call in connection.execute.call_args_list]
    assert said[0] == "SET SESSION wait_timeout = 2147483"
    assert said[1].startswith("SELECT GET_LOCK('harness:")
    assert lock.taken
