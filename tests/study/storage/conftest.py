from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.study.storage.open_storage import default_url
from tests.study.postgres import postgres_server


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server."""
    with postgres_server() as server:
        yield server.url


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A SQLite storage."""
    return default_url(tmp_path)
