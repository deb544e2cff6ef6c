"""The Optuna storage: opening it, locking it for one coordinator, and what it says about the study it holds.

SQLite runs in WAL mode with synchronous=NORMAL: readers (the optuna command line, optuna-dashboard)
never disturb the one writer, and a killed process loses nothing. A study's identity is kept with
it: resuming another study is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, RDBStorage

from harness.errors import (
    FileError,
    IdentityError,
    InputError,
    Shown,
    StorageError,
)
from harness.records.file_lock import hold_file, whoami
from harness.study.storage.retrying_storage import (
    Notify,
    RetryingStorage,
    Unanswered,
    first_line,
    notify_nobody,
    problem_of,
)

SCHEMA = 1
IDENTITY = "harness:identity"
VERSIONS = "harness:versions"
OWNER = "harness:owner"
TAKE_LOCK = {
    "postgresql": "SELECT pg_try_advisory_lock({key})",
    "mysql": "SELECT GET_LOCK('harness:{key}', 0)",
}
# PostgreSQL then notices after two minutes that a machine is lost, not after two hours, and closes
# no idle connection.
KEEP_LOCK = """
SELECT set_config(name, value, false)
FROM (VALUES ('tcp_keepalives_idle', '60'), ('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '6'),
             ('idle_session_timeout', '0')) AS wanted(name, value)
WHERE name IN (SELECT name FROM pg_settings)
"""
UNREADABLE = (sqlite3.Error, sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError)


def default_url(directory: Path) -> str:
    """SQLite in the study's results directory."""
    url = sqlalchemy.URL.create("sqlite", database=str(directory / "study.db"))
    return url.render_as_string()  # whatever characters the folder's name has


def mask(url: str) -> str:
    """The URL without its password, for logs, reports and error texts."""
    try:
        parsed = sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return "(unreadable storage URL)"
    words = ("pass", "pwd", "secret", "token")
    secrets = {name: "***" for name in parsed.query if any(w in name.lower() for w in words)}
    shown = parsed.update_query_dict(secrets).render_as_string(hide_password=True)
    return shown.replace("%2A%2A%2A", "***")


def database_file(url: str) -> Path | None:
    """The file that a SQLite URL names, absolute.

    None for a server, for memory and for what is no URL.
    """
    try:
        parsed = sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return None
    in_file = parsed.get_backend_name() == "sqlite" and parsed.database not in (None, ":memory:")
    return Path(str(parsed.database)).absolute() if in_file else None


@contextlib.contextmanager
def open_storage(url: str, name: str, notify: Notify = notify_nobody) -> Iterator[RetryingStorage]:
    """Open the storage and hold its lock until the end of the block.

    `notify` is told when the database is waited for.

    Raises InputError for a URL that is none, StorageError where another coordinator holds the study
    `name`, or where the database cannot be read or is not Optuna's, FileError where the disk is
    full.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise InputError(
            "--storage",
            expected="an Optuna storage URL such as sqlite:///study.db",
            got=Shown("an unreadable URL"),
        ) from None
    database = database_file(url)
    lock = hold_file(database) if database else contextlib.nullcontext()
    with lock:
        storage = _connect(url, str(database) if database else None)
        storage.notify = notify
        try:
            with _server_lock(storage, name):
                yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()


def _connect(url: str, database: str | None) -> RetryingStorage:
    try:
        if database is not None:
            _prepare_file(database)
        storage = RetryingStorage(url, database or mask(url))
        if database is not None:
            sqlalchemy.event.listen(storage.engine, "connect", _be_quick)
            storage.engine.dispose()
    except ImportError as error:
        raise InputError(
            "--storage",
            expected="a database whose driver is installed",
            got=Shown(str(error)),
            remedy="for PostgreSQL: pip install 'recurrent-harness[postgres]' and postgresql+psycopg://",
        ) from error
    except (*UNREADABLE, KeyError, IndexError, ValueError) as error:  # the last of braces in a URL
        problem = problem_of(database or mask(url), _cause(error))
        if isinstance(problem, FileError):
            raise problem from error
        raise StorageError(
            f"{database or mask(url)}: not a storage that can be read ({first_line(error)}); "
            "name another with --storage, or move it aside"
        ) from error
    except RuntimeError as error:  # Optuna's word for a schema of another version
        raise StorageError(f"{database or mask(url)}: {first_line(error)}") from error
    return storage


def _prepare_file(database: str) -> None:
    """Switch the file to WAL mode.

    Raises StorageError for the database of another program, which stays as it is.
    """
    with contextlib.closing(sqlite3.connect(database)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        if names and not {"studies", "version_info"} & {name for (name,) in names}:
            raise StorageError(
                f"{database}: a database of another program (it has the table {names[0][0]}); "
                "name another with --storage"
            )
        connection.execute("PRAGMA journal_mode=WAL")


def _be_quick(connection: Any, record: object) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")


def _cause(error: BaseException) -> BaseException | None:
    """What the driver said."""
    cause: BaseException | None = error
    while isinstance(cause, optuna.exceptions.StorageInternalError):
        cause = cause.__cause__
    return cause.orig if isinstance(cause, sqlalchemy.exc.DBAPIError) else cause


@contextlib.contextmanager
def _server_lock(storage: RetryingStorage, name: str) -> Iterator[None]:
    """An advisory lock on a PostgreSQL or MySQL server, with the owner's name in a row.

    Other databases: none.

    Raises StorageError, naming the owner, where another coordinator holds it.
    """
    if storage.engine.dialect.name not in TAKE_LOCK:
        yield
        return
    lock = _ServerLock(storage, name)
    try:
        storage.do(lock.take)
        if not lock.taken:
            who = owner_of(storage, name) or "another process"
            raise StorageError(
                f"{storage.display_name}: study {name} is in use by {who}; wait until it is done"
            )
        _sign(storage, name)
        storage.on_return = lock.take_again
        yield
    finally:
        lock.give_back()


class _ServerLock:
    """A lock held by a connection of its own.

    It is free when that is gone, by a kill, a lost machine or a restart.
    """

    def __init__(self, storage: RetryingStorage, name: str) -> None:
        self.storage, self.name = storage, name
        self.key = int.from_bytes(hashlib.sha256(f"harness:{name}".encode()).digest()[:7], "big")
        self.connection: sqlalchemy.Connection | None = None
        self.taken = False

    def take(self) -> None:
        """Try to take it; `taken` says whether that worked."""
        dialect = self.storage.engine.dialect.name
        self.give_back()
        connection = self.storage.engine.connect()
        connection.execution_options(isolation_level="AUTOCOMMIT")  # no transaction open for hours
        connection.detach()  # so that closing it gives the lock back
        self.connection = connection
        if dialect == "postgresql":
            connection.execute(sqlalchemy.text(KEEP_LOCK))
        found = connection.execute(sqlalchemy.text(TAKE_LOCK[dialect].format(key=self.key)))
        self.taken = bool(found.scalar())

    def take_again(self) -> None:
        """After the server's absence: take it anew, unless it is still held.

        Raises StorageError where somebody else has it.
        """
        if self.connection is not None:
            with contextlib.suppress(Unanswered, sqlalchemy.exc.SQLAlchemyError):
                self.connection.execute(sqlalchemy.text("SELECT 1"))
                return
        self.take()
        studies = RDBStorage.get_all_studies(
            self.storage
        )  # which does not wait: we are asked by who does
        owners = {
            str(study.user_attrs[OWNER])
            for study in studies
            if study.study_name.startswith(f"{self.name}/") and OWNER in study.user_attrs
        }
        if others := owners - {whoami()}:
            raise StorageError(
                f"{self.storage.display_name}: study {self.name} was taken over by {min(others)} "
                "while the server was away; wait until it is done"
            )
        if not self.taken:  # the server has not noticed yet that our connection is gone
            held = RuntimeError("its lock on the study is not free")
            raise Unanswered(sqlalchemy.exc.OperationalError("", {}, held))

    def give_back(self) -> None:
        """Close the connection, whatever has become of it."""
        if self.connection is not None:
            with contextlib.suppress(Unanswered, sqlalchemy.exc.SQLAlchemyError):
                self.connection.close()
            self.connection = None


def _sign(storage: BaseStorage, name: str) -> None:
    """Write our name into every study that we hold."""
    for study in storage.get_all_studies():
        if study.study_name.startswith(f"{name}/"):
            study_id = storage.get_study_id_from_name(study.study_name)
            storage.set_study_user_attr(study_id, OWNER, whoami())


def owner_of(storage: BaseStorage, name: str) -> str:
    """Who last wrote the study, as `host, process 123`; empty where nobody did."""
    for study in storage.get_all_studies():
        if study.study_name.startswith(f"{name}/") and OWNER in study.user_attrs:
            return str(study.user_attrs[OWNER])
    return ""


def open_study(
    storage: BaseStorage, name: str, direction: str, identity: Mapping[str, Any], *, where: str
) -> int:
    """Create the Optuna study, or open it after checking that it is the same one. Returns its id.

    Raises IdentityError, naming the first key that differs, and StorageError for one that another
    program wrote.
    """
    wanted = optuna.study.StudyDirection[direction.upper()]
    try:
        study_id = storage.get_study_id_from_name(name)
    except KeyError:
        with contextlib.suppress(optuna.exceptions.DuplicatedStudyError):  # the connection was lost
            storage.create_new_study([wanted], name)
        study_id = storage.get_study_id_from_name(name)
        record = {"schema": SCHEMA, "keys": dict(identity)}
        storage.set_study_user_attr(study_id, IDENTITY, json.dumps(record, sort_keys=True))
        storage.set_study_user_attr(study_id, OWNER, whoami())
        return study_id
    stored = storage.get_study_user_attrs(study_id).get(IDENTITY)
    if stored is None:
        if not storage.get_all_trials(study_id, deepcopy=False):
            record = {"schema": SCHEMA, "keys": dict(identity)}
            storage.set_study_user_attr(study_id, IDENTITY, json.dumps(record, sort_keys=True))
            return study_id
        raise StorageError(f"{name}: this Optuna study was written by another program")
    try:
        record = json.loads(stored)
        schema, keys = record["schema"], dict(record.get("keys", {}))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StorageError(
            f"{name}: its identity cannot be read ({first_line(error)}); start over with --fresh"
        ) from error
    if schema != SCHEMA:
        raise StorageError(
            f"{name}: schema {schema} of the storage, this version reads {SCHEMA}; upgrade the harness"
        )
    _compare(keys, json.loads(json.dumps(dict(identity))), where)
    storage.set_study_user_attr(study_id, OWNER, whoami())
    return study_id


def move_aside(storage: RDBStorage, name: str) -> None:
    """Rename the Optuna studies of a study to `<name>.old-N/...`: nothing is deleted."""
    names = [study.study_name for study in storage.get_all_studies()]
    number = 1
    while any(each.startswith(f"{name}.old-{number}/") for each in names):
        number += 1
    rename = sqlalchemy.text("UPDATE studies SET study_name = :new WHERE study_name = :old")
    with storage.engine.begin() as connection:
        for old in names:
            if old.startswith(f"{name}/"):
                new = f"{name}.old-{number}{old.removeprefix(name)}"
                connection.execute(rename, {"new": new, "old": old})


def remember_versions(storage: BaseStorage, study_ids: Sequence[int]) -> tuple[str, ...]:
    """Store the versions of torch and optuna with the study.

    A warning for each that is not the one it began with.
    """
    present = {name: importlib.metadata.version(name) for name in ("torch", "optuna")}
    warnings: dict[str, None] = {}
    for study_id in study_ids:
        stored = storage.get_study_user_attrs(study_id).get(VERSIONS)
        if stored is None:
            storage.set_study_user_attr(study_id, VERSIONS, present)
            continue
        for name, version in present.items():
            if stored.get(name) != version:
                warnings[
                    f"{name} {version} instead of the {stored.get(name)} that this study began with: "
                    "old and new trials may differ in their last digits"
                ] = None
    return tuple(warnings)


def _compare(stored: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> None:
    for key in sorted({*stored, *wanted}):
        if stored.get(key) != wanted.get(key):
            raise IdentityError(
                where,
                key,
                expected=f"{stored.get(key)!r} as in the stored study",
                got=wanted.get(key),
                remedy="give the study another name (--set study.name=...), or start over with --fresh",
            )
