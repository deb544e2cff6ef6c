"""One fork server for the studies of this folder: each study of a user starts its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.study.execution import prewarmed_server
from harness.study.execution.local_executor import LocalExecutor, start_local_executor
from tests.small import FAULTY


@pytest.fixture(scope="session")
def executor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalExecutor | None]:
    """The executor for `run_small`; None where there is no fork server."""
    if not prewarmed_server.HAS_FORK_SERVER:
        yield None
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAULTY_MARKS", str(tmp_path_factory.mktemp("marks")))
        made = start_local_executor(2, (FAULTY,))
    yield made
    made.close()
