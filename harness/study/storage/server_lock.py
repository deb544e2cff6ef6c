"""An advisory lock on a PostgreSQL or MySQL server: one coordinator for each study.

The owner's name is stored with the study, so that a refused coordinator can name it.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator

import sqlalchemy
from optuna.storages import BaseStorage, RDBStorage
from optuna.study._frozen import FrozenStudy

from harness.errors import StorageError
from harness.records.file_lock import whoami
from harness.study.storage.retrying_storage import RetryingStorage, Unanswered

OWNER = "harness:owner"
TAKE_LOCK = {
    "postgresql": "SELECT pg_try_advisory_lock({key})",
    "mysql": "SELECT GET_LOCK('harness:{key}', 0)",
    "mariadb": "SELECT GET_LOCK('harness:{key}', 0)",
}
# PostgreSQL then notices a lost machine after two minutes instead of two hours, and closes no idle
# connection. MySQL closes an idle one after `wait_timeout`, 8 hours unless set; 24 days are the
# most that every system takes.
KEEP_MYSQL = "SET SESSION wait_timeout = 2147483"
KEEP_POSTGRESQL = """
SELECT set_config(name, value, false)
FROM (VALUES ('tcp_keepalives_idle', '60'), ('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '6'),
             ('idle_session_timeout', '0')) AS wanted(name, value)
WHERE name IN (SELECT name FROM pg_settings)
"""
KEEP_LOCK = {"postgresql": KEEP_POSTGRESQL, "mysql": KEEP_MYSQL, "mariadb": KEEP_MYSQL}


@contextlib.contextmanager
def hold_server_lock(storage: RetryingStorage, name: str) -> Iterator[None]:
    """Hold a study's lock on a PostgreSQL or MySQL server; on other databases do nothing.

    Raises StorageError, naming the owner, where another coordinator holds it.
    """
    if storage.engine.dialect.name not in TAKE_LOCK:
        yield
        return
    lock = _ServerLock(storage, name)
    try:
        storage.retry(lock.take)
        if not lock.taken:
            who = owner_of(storage, name) or "another process"
            raise StorageError(
                f"{storage.display_name}: study {name} is in use by {who}; wait until it is done"
            )
        _sign(storage, name)
        storage.check_lock = lock.take_again
        yield
    finally:
        lock.give_back()


class _ServerLock:
    """A lock with its own connection.

    The server frees it when the connection ends: after a kill, a lost machine or a restart.
    """

    def __init__(self, storage: RetryingStorage, name: str) -> None:
        self.storage, self.name = storage, name
        self.key = int.from_bytes(hashlib.sha256(f"harness:{name}".encode()).digest()[:7], "big")
        self.connection: sqlalchemy.Connection | None = None
        self.taken = False

    def take(self) -> None:
        """Try to take it; `taken` is whether that succeeded."""
        dialect = self.storage.engine.dialect.name
        self.give_back()
        connection = self.storage.engine.connect()
        connection.execution_options(isolation_level="AUTOCOMMIT")  # no transaction open for hours
        connection.detach()  # so that closing it gives the lock back
        self.connection = connection
        connection.execute(sqlalchemy.text(KEEP_LOCK[dialect]))
        found = connection.execute(sqlalchemy.text(TAKE_LOCK[dialect].format(key=self.key)))
        self.taken = bool(found.scalar())

    def take_again(self) -> None:
        """After a reconnection, and once a minute: take it again, unless it is still held.

        Raises StorageError where another coordinator has it.
        """
        if self.connection is not None:
            with contextlib.suppress(Unanswered, sqlalchemy.exc.SQLAlchemyError):
                self.connection.execute(sqlalchemy.text("SELECT 1"))
                return
        self.take()
        # RDBStorage's method does not retry: `RetryingStorage.retry` calls us
        studies = RDBStorage.get_all_studies(self.storage)
        if others := _owners(studies, self.name).keys() - {whoami()}:
            raise StorageError(
                f"{self.storage.display_name}: study {self.name} was taken over by {min(others)} "
                "while the server was away; wait until it is done"
            )
        if not self.taken:  # the server has not noticed yet that our old connection is gone
            held = RuntimeError("its lock on the study is not free")
            raise Unanswered(sqlalchemy.exc.OperationalError("", {}, held))

    def give_back(self) -> None:
        """Close the connection, in whatever state it is."""
        if self.connection is not None:
            with contextlib.suppress(Unanswered, sqlalchemy.exc.SQLAlchemyError):
                self.connection.close()
            self.connection = None


def _sign(storage: BaseStorage, name: str) -> None:
    """Store our name with every Optuna study of the study."""
    for study in storage.get_all_studies():
        if study.study_name.startswith(f"{name}/"):
            study_id = storage.get_study_id_from_name(study.study_name)
            storage.set_study_user_attr(study_id, OWNER, whoami())


def owner_of(storage: BaseStorage, name: str) -> str:
    """Who last wrote the study, as `host, process 123`; empty where nobody did."""
    return next(iter(_owners(storage.get_all_studies(), name)), "")


def _owners(studies: Iterable[FrozenStudy], name: str) -> dict[str, None]:
    """The owners of a study's Optuna studies."""
    return {
        str(study.user_attrs[OWNER]): None
        for study in studies
        if study.study_name.startswith(f"{name}/") and OWNER in study.user_attrs
    }
