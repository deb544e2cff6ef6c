"""A PostgreSQL server of the test run's own, on a loopback port, gone afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SECRET = "s3cret-word"


def find_program(name: str) -> str:
    """Where the program is. Skips the test where there is none."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which(
        name, path=os.pathsep.join([*map(str, places), os.environ.get("PATH", "")])
    )
    if found is None:
        pytest.skip(f"PostgreSQL is not installed ({name} not found)")
    return found


def as_server_user(folder: Path) -> list[str]:
    """How a command begins that runs as a user whom the server accepts: it refuses root."""
    if not hasattr(os, "geteuid"):
        pytest.skip("PostgreSQL is tried on systems with users only")
    if os.geteuid() != 0:
        return []
    runuser = shutil.which("runuser")
    known = subprocess.run(["id", "postgres"], capture_output=True, check=False).returncode == 0
    if runuser is None or not known:
        pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres")
    shutil.chown(folder, "postgres")
    return [runuser, "-u", "postgres", "--"]


def free_port() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class PostgresServer:
    """A server in a folder of its own, which can be stopped and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        initdb, self.program = find_program("initdb"), find_program("postgres")
        (folder / "password").write_text(SECRET)
        (folder / "password").chmod(0o644)
        folder.chmod(0o755)
        self.prefix = as_server_user(folder)
        self.data, self.port = folder / "data", free_port()
        self.url = f"postgresql+psycopg://tester:{SECRET}@127.0.0.1:{self.port}/postgres"
        self.process: subprocess.Popen[bytes] | None = None
        subprocess.run(
            [
                *(*self.prefix, initdb, "-D", str(self.data), "-U", "tester"),
                *("-A", "scram-sha-256", "--pwfile", str(folder / "password")),
                *("-E", "UTF8", "--no-sync", "--locale=C"),
            ],
            check=True,
            capture_output=True,
            cwd="/",
        )

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        options = ["-p", str(self.port), "-k", "", "-c", "listen_addresses=127.0.0.1", "-F"]
        self.process = subprocess.Popen(
            [*self.prefix, self.program, "-D", str(self.data), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )
        wait_until_ready(self.port)

    def stop(self, mode: str = "immediate") -> None:
        """Stop it at once (immediate), or in order, with its clients disconnected (fast)."""
        pg_ctl = find_program("pg_ctl")
        stop = [*self.prefix, pg_ctl, "stop", "-D", str(self.data), "-m", mode, "-w"]
        subprocess.run(stop, capture_output=True, cwd="/", check=False)
        if self.process is not None:
            self.process.wait(timeout=30)


@contextlib.contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a server. Skips where it cannot be run."""
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed")
    find_program("initdb")
    # a folder of its own under the system's: the server's user may not enter pytest's
    with tempfile.TemporaryDirectory(
        prefix="harness-postgres-", ignore_cleanup_errors=True
    ) as name:
        server = PostgresServer(Path(name))
        server.start()
        try:
            yield server
        finally:
            server.stop()


def wait_until_ready(port: int) -> None:
    """Wait until a server there takes connections: one that recovers listens before it does."""
    ready = [find_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if subprocess.run(ready, check=False, cwd="/").returncode == 0:
            return
        time.sleep(0.05)
    raise AssertionError("the server does not answer")
