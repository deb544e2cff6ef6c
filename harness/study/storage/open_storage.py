"""Opens the Optuna storage and locks it for one coordinator.

SQLite runs in WAL mode with synchronous=NORMAL: readers (the optuna command line, optuna-dashboard)
never disturb the one writer, and a killed process loses nothing.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy

from harness.errors import FileError, InputError, Shown, StorageError
from harness.records.file_lock import hold_file
from harness.study.storage.retrying_storage import (
    Notify,
    RetryingStorage,
    first_line,
    ignore_notice,
    permanent_error,
)
from harness.study.storage.server_lock import hold_server_lock

SQLITE_HEADER = b"SQLite format 3\0"  # of every file that is not empty
UNREADABLE = (sqlite3.Error, sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError)

# Of the raw text: SQLAlchemy ends a password at its first @ and takes the rest for the host
_PASSWORD = re.compile(r"(?<=://)([^:/?]*):.*@", re.DOTALL)
_SECRET_IN_QUERY = re.compile(
    r"([?&][^=&]*(?:pass|pwd|secret|token)[^=&]*=)[^&]*", re.DOTALL | re.IGNORECASE
)


def default_url(directory: Path) -> str:
    """SQLite in the study's results directory."""
    url = sqlalchemy.URL.create("sqlite", database=str(directory / "study.db"))
    return url.render_as_string()


def mask(url: str) -> str:
    """The URL without its password, for logs, reports and error texts.

    Everything up to the last @ counts as the password, also where an @ in it is not escaped.
    """
    try:
        sqlalchemy.make_url(url)
        shown = _PASSWORD.sub(r"\1:***@", _SECRET_IN_QUERY.sub(r"\1***", url))
        parsed = sqlalchemy.make_url(shown)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return "(unreadable storage URL)"
    words = ("pass", "pwd", "secret", "token")
    secrets = {name: "***" for name in parsed.query if any(w in name.lower() for w in words)}
    masked = parsed.update_query_dict(secrets).render_as_string(hide_password=True)
    return masked.replace("%2A%2A%2A", "***")


def database_file(url: str) -> Path | None:
    """The absolute path of a SQLite URL's file; None for a server, memory or an unreadable URL."""
    try:
        parsed = sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return None
    in_file = parsed.get_backend_name() == "sqlite" and parsed.database not in (None, ":memory:")
    return Path(str(parsed.database)).absolute() if in_file else None


def check_storage(url: str) -> None:
    """Refuse a URL that can be no storage, before anything is written.

    Raises InputError for an unreadable URL, a missing driver and a SQLite file whose folder is not
    there; StorageError for an unknown kind of database and a file that is none of SQLite.
    """
    try:
        parsed = sqlalchemy.make_url(url)
        parsed.get_dialect().import_dbapi()
    except ImportError as error:
        raise InputError(
            "--storage",
            expected="a database whose driver is installed",
            got=Shown(str(error)),
            remedy="for PostgreSQL: pip install 'recurrent-harness[postgres]' and postgresql+psycopg://",
        ) from error
    except sqlalchemy.exc.NoSuchModuleError as error:
        raise _unreadable(mask(url), first_line(error)) from error
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise InputError(
            "--storage",
            expected="an Optuna storage URL such as sqlite:///study.db",
            got=Shown("an unreadable URL"),
        ) from None
    if parsed.host and "@" in f"{parsed.host}{parsed.database}":
        raise InputError(
            "--storage",
            expected="one @, before the host",
            got=Shown(mask(url)),
            remedy="write an @ in a password as %40",
        )
    if database := database_file(url):
        _check_file(database)


def _check_file(database: Path) -> None:
    """Refuse a file that can be no SQLite database."""
    try:
        is_folder, folder_is_there = database.is_dir(), database.parent.is_dir()
        with database.open("rb") if database.is_file() else contextlib.nullcontext() as file:
            begins = file.read(len(SQLITE_HEADER)) if file else b""
    except OSError as error:
        got = Shown(f"{database} ({error.strerror})")
        raise InputError("--storage", expected="a database that can be read", got=got) from error
    if not folder_is_there:
        raise InputError(
            "--storage",
            expected="a file in a folder that is there",
            got=Shown(str(database)),
            remedy="make the folder, or name another one",
        )
    if is_folder or (begins and begins != SQLITE_HEADER):
        reason = "a folder" if is_folder else "file is not a database"
        raise _unreadable(str(database), reason)


def _unreadable(shown: str, reason: str) -> StorageError:
    remedy = "name another with --storage, or move it aside"
    return StorageError(f"{shown}: not a storage that can be read ({reason}); {remedy}")


@contextlib.contextmanager
def open_storage(url: str, name: str, notify: Notify = ignore_notice) -> Iterator[RetryingStorage]:
    """Open the storage and hold its lock until the end of the block.

    `notify` gets a line when the database does not answer, and when it answers again. Raises
    InputError for an unreadable URL; StorageError where another coordinator holds the study `name`,
    or where the database cannot be read or is not Optuna's; FileError where the disk is full.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    check_storage(url)
    database = database_file(url)
    lock = hold_file(database) if database else contextlib.nullcontext()
    with lock:
        storage = _connect(url, str(database) if database else None)
        storage.notify = notify
        try:
            with hold_server_lock(storage, name):
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
            sqlalchemy.event.listen(storage.engine, "connect", _set_synchronous)
            storage.engine.dispose()
    except (*UNREADABLE, KeyError, IndexError, ValueError) as error:  # ValueError: braces in a URL
        problem = permanent_error(database or mask(url), _cause(error))
        if isinstance(problem, FileError):
            raise problem from error
        raise _unreadable(database or mask(url), first_line(error)) from error
    except RuntimeError as error:  # Optuna raises it for a schema of another version
        raise StorageError(f"{database or mask(url)}: {first_line(error)}") from error
    return storage


def _prepare_file(database: str) -> None:
    """Switch the file to WAL mode.

    Raises StorageError for the database of another program and does not change it.
    """
    with contextlib.closing(sqlite3.connect(database)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        if names and not {"studies", "version_info"} & {name for (name,) in names}:
            raise StorageError(
                f"{database}: a database of another program (it has the table {names[0][0]}); "
                "name another with --storage"
            )
        connection.execute("PRAGMA journal_mode=WAL")


def _set_synchronous(connection: Any, record: object) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")


def _cause(error: BaseException) -> BaseException | None:
    """The driver's own error."""
    cause: BaseException | None = error
    while isinstance(cause, optuna.exceptions.StorageInternalError):
        cause = cause.__cause__
    return cause.orig if isinstance(cause, sqlalchemy.exc.DBAPIError) else cause
