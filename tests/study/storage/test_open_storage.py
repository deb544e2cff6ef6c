"""harness.study.storage.open_storage, on SQLite and on a real PostgreSQL server."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy

from harness.errors import InputError, StorageError
from harness.study.execution.local_executor import start_local_executor
from harness.study.storage.open_storage import default_url, mask, open_storage
from harness.study.storage.study_identity import open_study
from tests.small import FAULTY, run_small, tables
from tests.study.postgres import SECRET
from tests.tally import Tally

REFUSED = "one line, exit code 2, and the file as it was"


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


def test_no_folder_is_made_for_a_storage(tmp_path: Path) -> None:
    """A SQLite URL in a folder that is not there is refused, with the remedy, and makes none."""
    url = f"sqlite:///{tmp_path}/nope/x.db"
    with pytest.raises(InputError, match=r"--storage: .*nope/x\.db; make the folder"):
        open_storage(url, "s").__enter__()
    assert list(tmp_path.iterdir()) == []


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
        f"postgresql://user:p@{SECRET}@host/db",
        f"postgresql://me@corp:p@s/{SECRET}@host/db",
        f"postgresql://user:p@s?{SECRET}@host/db",
        f"postgresql://host:5432/db?password=a@{SECRET}",
        f"postgresql://host/db?p%61ssword={SECRET}",
    ],
)
def test_mask(url: str) -> None:
    """No password is shown, wherever it stands in the URL."""
    assert SECRET not in mask(url)


def test_an_at_sign_in_a_password_is_to_be_escaped() -> None:
    """SQLAlchemy would take its tail for the host, and the driver would show it: refused."""
    url = f"postgresql+psycopg://user:p@{SECRET}@127.0.0.1:1/db"
    with pytest.raises(InputError, match=r"user:\*\*\*@127\.0\.0\.1:1/db; .*%40") as refused:
        open_storage(url, "s").__enter__()
    assert SECRET not in str(refused.value)


def test_mask_keeps_the_rest() -> None:
    """What is no password stays readable."""
    assert mask("sqlite:///a/study.db") == "sqlite:///a/study.db"
    assert "***" not in mask("sqlite:////a@b:c@d/study.db")
    assert (
        mask("postgresql://me:pw@host/db?sslmode=require")
        == "postgresql://me:***@host/db?sslmode=require"
    )


def test_study_on_a_server(postgres: str, tmp_path: Path) -> None:
    """On PostgreSQL a study gives SQLite's results, resumes, starts over, hides the password."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    settings = ("search.trials=2", "confirm.seeds=1")
    executor = start_local_executor(1, (FAULTY,))
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
