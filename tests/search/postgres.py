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


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """Run a server; the value is its URL, password included. Skips where it cannot be run."""
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed")
    initdb, postgres = find_program("initdb"), find_program("postgres")
    # a folder of its own under the system's: the server's user may not enter pytest's
    with tempfile.TemporaryDirectory(
        prefix="harness-postgres-", ignore_cleanup_errors=True
    ) as name:
        folder = Path(name)
        (folder / "password").write_text(SECRET)
        (folder / "password").chmod(0o644)
        folder.chmod(0o755)
        prefix = as_server_user(folder)
        data, port = folder / "data", free_port()
        subprocess.run(
            [
                *(*prefix, initdb, "-D", str(data), "-U", "tester", "-A", "scram-sha-256"),
                *("--pwfile", str(folder / "password"), "-E", "UTF8", "--no-sync", "--locale=C"),
            ],
            check=True,
            capture_output=True,
            cwd="/",
        )
        options = ["-p", str(port), "-k", "", "-c", "listen_addresses=127.0.0.1", "-F"]
        with subprocess.Popen(
            [*prefix, postgres, "-D", str(data), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
        ) as server:
            try:
                wait_until_open(port)
                yield f"postgresql+psycopg://tester:{SECRET}@127.0.0.1:{port}/postgres"
            finally:
                server.terminate()  # a fast shutdown follows when its clients are gone
                stop = [*prefix, find_program("pg_ctl"), "stop", "-D", str(data), "-m", "immediate"]
                subprocess.run(stop, capture_output=True, cwd="/", check=False)


def wait_until_open(port: int) -> None:
    """Wait until something listens there."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError("the server does not answer")
