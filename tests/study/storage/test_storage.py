"""Opening, locking and identity, on SQLite and on a real PostgreSQL server."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import random
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import sqlalchemy

from harness.errors import IdentityError, InputError, StorageError
from harness.records.file_lock import hold_file
from harness.study.execution.local_executor import LocalExecutor
from harness.study.storage import server_lock, study_identity
from harness.study.storage.open_storage import default_url, mask, open_storage
from harness.study.storage.study_identity import open_study
from tests.small import FAULTY, run_small, tables
from tests.study.postgres import SECRET, postgres_server
from tests.tally import Tally

REFUSED = "one line, exit code 2, and the file as it was"
ME = f"{socket.gethostname()}, process {os.getpid()}"


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server."""
    with postgres_server() as server:
        yield server.url


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A SQLite storage."""
    return default_url(tmp_path)


# ------------------------------------------------------------------------------------------ opening


def test_sqlite_mode(url: str, tmp_path: Path) -> None:
    """SQLite runs in WAL mode, stored in the file, and with synchronous=NORMAL (1)."""
    with open_storage(url, "s") as storage, storage.engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("PRAGMA synchronous")).scalar() == 1
    reader = sqlite3.connect(tmp_path / "study.db")
    assert reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    reader.close()


def test_readers_and_writer(url: str, tmp_path: Path) -> None:
    """A reader in a transaction does not block the writer, nor the writer the reader."""
    with open_storage(url, "s") as storage:
        first = open_study(storage, "s/a/b/r0", "maximize", {}, where="s.toml")
        reader = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM trials").fetchone() == (0,)
        storage.create_new_trial(first)
        assert reader.execute("SELECT count(*) FROM trials").fetchone() == (0,)
        reader.execute("COMMIT")
        assert reader.execute("SELECT count(*) FROM trials").fetchone() == (1,)
        reader.close()


@pytest.mark.parametrize("name", ["a b?c=d", "a#b", "a%41b", "{0}{x}", "한글", "it's"])
def test_any_folder(tmp_path: Path, name: str) -> None:
    """The default storage lies in the results folder, whatever that is called."""
    (tmp_path / name).mkdir()
    with open_storage(default_url(tmp_path / name), "s"):
        pass
    assert (tmp_path / name / "study.db").stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_closed_afterwards(url: str, tmp_path: Path) -> None:
    """Afterwards nothing is locked, and no write-ahead log is left behind."""
    for _ in range(2):
        with open_storage(url, "s"):
            pass
    assert {path.name for path in tmp_path.iterdir()} <= {"study.db", "study.db.lock"}


def test_corrupt_file(url: str, tmp_path: Path, tally: Tally) -> None:
    """A file that is no database is refused by name and left as it is."""
    (tmp_path / "study.db").write_bytes(b"no database " * 500)
    with pytest.raises(
        StorageError, match=r"study\.db: not a storage that can be read .*--storage"
    ) as refused:
        open_storage(url, "s").__enter__()
    lost = int((tmp_path / "study.db").read_bytes() != b"no database " * 500)
    tally.add("a storage that is no database", REFUSED, lost=lost)
    assert (lost, refused.value.exit_code) == (0, 2)


def what_comes_of(url: str, study_id: int) -> int | Exception:
    """How many trials a storage has that is opened and read, or why it could not be."""
    try:
        with open_storage(url, "s") as storage:
            open_study(storage, "s/a/b/r0", "maximize", {}, where="s.toml")
            return len(storage.get_all_trials(study_id))
    except Exception as error:  # noqa: BLE001  # which is what is tested
        return error


def test_damaged_file(url: str, tmp_path: Path, tally: Tally) -> None:
    """A database with any page of rubbish is read whole, or refused by name.

    Never in part, and never by a traceback.
    """
    with open_storage(url, "s") as storage:
        study_id = open_study(storage, "s/a/b/r0", "maximize", {}, where="s.toml")
        for _ in range(3):
            storage.create_new_trial(study_id)
    whole = (tmp_path / "study.db").read_bytes()
    outcomes = []
    for page in random.Random(1).sample(range(len(whole) // 4096), 12):
        damaged = bytearray(whole)
        damaged[page * 4096 : (page + 1) * 4096] = random.Random(page).randbytes(4096)
        (tmp_path / "study.db").write_bytes(damaged)
        outcomes.append(what_comes_of(url, study_id))
    refused = [each for each in outcomes if isinstance(each, StorageError)]
    assert refused
    assert all(each.exit_code == 2 and "study.db" in str(each) for each in refused)
    tally.add(
        "a storage with a page of rubbish",
        "read whole, or one line, exit code 2",
        injected=len(outcomes),
        lost=sum(each != 3 for each in outcomes if each not in refused),
    )
    assert tally.lost == 0


def test_truncated_file(url: str, tmp_path: Path, tally: Tally) -> None:
    """A database that was cut short is refused by name."""
    with open_storage(url, "s") as storage:
        open_study(storage, "s/a/b/r0", "maximize", {}, where="s.toml")
    whole = (tmp_path / "study.db").read_bytes()
    half = whole[: len(whole) // 2]
    (tmp_path / "study.db").write_bytes(half)
    with pytest.raises(StorageError, match=r"study\.db: not a storage that can be read"):
        open_storage(url, "s").__enter__()
    lost = int((tmp_path / "study.db").read_bytes() != half)
    tally.add("a storage that was cut short", REFUSED, lost=lost)
    assert lost == 0


def test_folder_in_place_of_a_file(url: str, tmp_path: Path) -> None:
    """A folder of that name is refused by name."""
    (tmp_path / "study.db").mkdir()
    with pytest.raises(StorageError, match=r"study\.db: not a storage that can be read"):
        open_storage(url, "s").__enter__()


def test_database_of_another_program(url: str, tmp_path: Path, tally: Tally) -> None:
    """A SQLite file that holds other tables is refused and not changed in a single byte."""
    other = sqlite3.connect(tmp_path / "study.db")
    other.execute("CREATE TABLE recipes (name)")
    other.commit()
    other.close()
    before = (tmp_path / "study.db").read_bytes()
    with pytest.raises(StorageError, match=r"another program .*recipes"):
        open_storage(url, "s").__enter__()
    lost = int((tmp_path / "study.db").read_bytes() != before)
    tally.add("the database of another program", REFUSED, lost=lost)
    assert lost == 0


def test_schema_of_another_optuna(url: str, tmp_path: Path) -> None:
    """A storage of another schema of Optuna is refused by name, in Optuna's words."""
    with open_storage(url, "s"):
        pass
    other = sqlite3.connect(tmp_path / "study.db")
    other.execute("UPDATE alembic_version SET version_num = 'v2.6.0.a'")
    other.commit()
    other.close()
    with pytest.raises(StorageError, match=r"study\.db: .*version"):
        open_storage(url, "s").__enter__()


@pytest.mark.parametrize(
    "url", ["study.db", "", "postgresql+psycopg://u:pw@host:no-port/db", "://", "sqlite"]
)
def test_unreadable_url(url: str) -> None:
    """What is no URL is refused, with an example, and without showing what may hold a password."""
    with pytest.raises(InputError, match=r"sqlite:///study\.db") as refused:
        open_storage(url, "s").__enter__()
    assert "pw" not in str(refused.value)


def test_unreachable_server() -> None:
    """A server that does not answer is named, without its password."""
    with pytest.raises(StorageError, match=r"u:\*\*\*@127\.0\.0\.1:1/db") as refused:
        open_storage(f"postgresql+psycopg://u:{SECRET}@127.0.0.1:1/db", "s").__enter__()
    assert SECRET not in str(refused.value)


def test_unknown_kind_of_database() -> None:
    """A kind of database that SQLAlchemy does not know is refused by name, without its password."""
    with pytest.raises(StorageError, match="redis") as refused:
        open_storage(f"redis://u:{SECRET}@127.0.0.1:1/0", "s").__enter__()
    assert SECRET not in str(refused.value)


def test_missing_driver() -> None:
    """Where the driver is missing, the message says what to install."""
    with pytest.raises(InputError, match=r"pip install"):
        open_storage("oracle+cx_oracle://u:pw@127.0.0.1:1/db", "s").__enter__()


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+psycopg://user:{SECRET}@host/db",
        f"postgresql+psycopg://host/db?user=u&password={SECRET}",
        f"mysql+pymysql://user:{SECRET}@host:3306/db?charset=utf8",
        f"postgresql://user:{SECRET}@host:no-port/db",
        f"postgresql://host/db?sslPassword={SECRET}&authToken={SECRET}",
    ],
)
def test_mask(url: str) -> None:
    """No password is shown, wherever it stands in the URL."""
    assert SECRET not in mask(url)


def test_mask_keeps_the_rest() -> None:
    """What is no password stays readable."""
    assert mask("sqlite:///a/study.db") == "sqlite:///a/study.db"
    assert (
        mask("postgresql://me:pw@host/db?sslmode=require")
        == "postgresql://me:***@host/db?sslmode=require"
    )


# ------------------------------------------------------------------------------------------ locking


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


# ------------------------------------------------------------------------------ a study on a server


def test_study_on_a_server(postgres: str, tmp_path: Path) -> None:
    """On PostgreSQL a study gives SQLite's results, resumes, starts over, hides the password."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    settings = ("search.trials=2", "confirm.seeds=1")
    executor = LocalExecutor(1, (FAULTY,))
    try:
        here = run_small(tmp_path / "a", *settings, executor=executor)
        there = run_small(tmp_path / "b", *settings, storage=postgres, executor=executor)
        more = ("search.trials=3", "confirm.seeds=1")
        again = run_small(tmp_path / "b", *more, storage=postgres, executor=executor)
        old = tables(again.directory)
        run_small(tmp_path / "b", *settings, storage=postgres, fresh=True, executor=executor)
    finally:
        executor.close()
    assert old["trials.csv"][:2] == tables(here.directory)["trials.csv"]
    assert len(old["trials.csv"]) == 3
    assert tables(there.directory) == tables(here.directory)
    for path in there.directory.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()
    with open_storage(postgres, "small") as storage:
        names = {study.study_name for study in storage.get_all_studies()}
    assert {"small/temporal_order/rnn/r0", "small.old-1/temporal_order/rnn/r0/confirm"} <= names


# ----------------------------------------------------------------------------------------- identity


def test_same_identity(url: str) -> None:
    """A study whose identity is the same is opened again: the same id, the same trials."""
    identity = {"device": "cpu", "training.batch_size": 32, "space.x": ("a", "b")}
    with open_storage(url, "s") as storage:
        first = open_study(storage, "s/a/b/r0", "minimize", identity, where="s.toml")
        assert open_study(storage, "s/a/b/r0", "minimize", identity, where="s.toml") == first


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"device": "cuda", "x": 1}, "device"),
        ({"device": "cpu", "x": 2}, "x"),
        ({"device": "cpu"}, "x"),
        ({"device": "cpu", "x": 1, "plugin.mine": "abc"}, r"plugin\.mine"),
    ],
)
def test_other_identity(url: str, changed: dict[str, object], key: str) -> None:
    """A study that differs is refused with the key, both values and the remedy."""
    with open_storage(url, "s") as storage:
        open_study(storage, "s/a/b/r0", "minimize", {"device": "cpu", "x": 1}, where="s.toml")
        with pytest.raises(IdentityError, match=rf"s\.toml: {key}: expected .* got .*--fresh"):
            open_study(storage, "s/a/b/r0", "minimize", changed, where="s.toml")


def test_study_of_another_program(url: str) -> None:
    """An Optuna study of that name with trials that the harness did not make is refused."""
    with open_storage(url, "s") as storage:
        other = optuna.create_study(storage=storage, study_name="s/a/b/r0")
        other.add_trial(optuna.create_trial(value=1.0))
        with pytest.raises(StorageError, match="another program"):
            open_study(storage, "s/a/b/r0", "minimize", {}, where="s.toml")


def test_study_that_was_cut_short(url: str) -> None:
    """A study whose maker was killed before it wrote the identity is taken over."""
    with open_storage(url, "s") as storage:
        optuna.create_study(storage=storage, study_name="s/a/b/r0")
        study_id = open_study(storage, "s/a/b/r0", "minimize", {"x": 1}, where="s.toml")
        stored = storage.get_study_user_attrs(study_id)[study_identity.IDENTITY]
        assert json.loads(stored) == {"schema": study_identity.IDENTITY_SCHEMA, "keys": {"x": 1}}


def test_newer_schema(url: str, tally: Tally) -> None:
    """A study of a later version of the harness is refused, and says to upgrade."""
    with open_storage(url, "s") as storage:
        study_id = open_study(storage, "s/a/b/r0", "minimize", {}, where="s.toml")
        later = json.dumps({"schema": study_identity.IDENTITY_SCHEMA + 1, "keys": {}})
        storage.set_study_user_attr(study_id, study_identity.IDENTITY, later)
        with pytest.raises(StorageError, match="upgrade") as refused:
            open_study(storage, "s/a/b/r0", "minimize", {}, where="s.toml")
        lost = int(storage.get_study_user_attrs(study_id)[study_identity.IDENTITY] != later)
    tally.add("a study of a later version of the harness", REFUSED, lost=lost)
    assert (lost, refused.value.exit_code) == (0, 2)


def test_identity_that_cannot_be_read(url: str) -> None:
    """A study whose identity is damaged is refused by name."""
    with open_storage(url, "s") as storage:
        study_id = open_study(storage, "s/a/b/r0", "minimize", {}, where="s.toml")
        for damaged in ("{", "[]", '{"schema": 1, "keys": 3}', "null"):
            storage.set_study_user_attr(study_id, study_identity.IDENTITY, damaged)
            with pytest.raises(StorageError, match=r"s/a/b/r0: its identity cannot be read"):
                open_study(storage, "s/a/b/r0", "minimize", {}, where="s.toml")


def test_other_versions(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of torch than the study began with is a warning, each time.

    The same version is none.
    """
    with open_storage(url, "s") as storage:
        study_id = open_study(storage, "s/a/b/r0", "minimize", {}, where="s.toml")
        assert study_identity.remember_versions(storage, [study_id]) == ()
        assert study_identity.remember_versions(storage, [study_id]) == ()
        real = importlib.metadata.version
        monkeypatch.setattr(
            importlib.metadata, "version", lambda name: "9.9" if name == "torch" else real(name)
        )
        for _ in range(2):
            (warning,) = study_identity.remember_versions(storage, [study_id, study_id])
            assert warning.startswith(f"torch 9.9 instead of the {real('torch')}")


def test_move_aside(url: str) -> None:
    """A study's Optuna studies are renamed, each time to a new name.

    Those of others and all trials stay.
    """
    with open_storage(url, "s") as storage:
        for _ in range(2):
            study_id = open_study(storage, "s/a/b/r0", "minimize", {}, where="s.toml")
            storage.create_new_trial(study_id)
            open_study(storage, "s2/a/b/r0", "minimize", {}, where="s.toml")
            study_identity.move_aside(storage, "s")
        names = {study.study_name: study._study_id for study in storage.get_all_studies()}
        assert set(names) == {"s.old-1/a/b/r0", "s.old-2/a/b/r0", "s2/a/b/r0"}
        assert len(storage.get_all_trials(names["s.old-1/a/b/r0"])) == 1
