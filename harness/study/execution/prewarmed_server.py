"""The coordinator's side of a fork server: its process, started early, and its message format.

This module imports nothing heavy, unlike fork_server, so that the server loads torch while the
coordinator does: loading torch takes longer than all else before the first trial.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

from harness.errors import InputError, Shown, WorkerError, unwritable

MESSAGE = struct.Struct("!cq")  # to the fork server: START or KILL and the request's id
START, KILL = b"s", b"k"
# From it: READY, or the request's id and ENDED with os.waitpid's status, NOT_FORKED with the errno
ANSWER = struct.Struct("!cqi")
READY, ENDED, NOT_FORKED = b"r", b"e", b"f"
LENGTH = struct.Struct("!q")  # of the JSON list of plug-ins, which the fork server gets first

# Elsewhere than on Linux a process that has used the system's math libraries can't safely be
# forked, or not at all.
HAS_FORK_SERVER = sys.platform == "linux"
START_TIMEOUT_S = 120.0  # of a process that is forked, or loads torch from a cold disk
READY_TIMEOUT_S = 600.0  # of the fork server, which imports plug-ins too
BAD_PLUGIN = 2  # its exit code where a plug-in cannot be imported
# For a dead trial's last lines: a process that it started may keep the socket open
LAST_WORDS_S = 5.0
LAST_WORDS_BYTES = 4096
LONGEST_LOG_BYTES = 1 << 20  # plug-ins may print, for a week


class KilledError(WorkerError):
    """A signal ended the fork server before it was ready."""


class NoProcessError(WorkerError):
    """The system starts no further process; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"no worker can be started: {reason}")
        self.reason = reason


class ServerProcess:
    """A fork server's process and its control socket. It ends when the socket closes.

    Raises FileError where no temporary file can be made, NoProcessError where no process can be
    started.
    """

    def __init__(self) -> None:
        self.control, theirs = socket.socketpair()
        try:
            self.log = tempfile.TemporaryFile()  # noqa: SIM115  # closed in close()
        except OSError as error:
            raise unwritable("the folder for temporary files", error) from error
        with theirs:
            try:
                self.process = subprocess.Popen(
                    [
                        sys.executable,
                        "-m",
                        "harness.study.execution.fork_server",
                        str(theirs.fileno()),
                        str(os.getpid()),
                    ],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=self.log,
                    stderr=self.log,
                    start_new_session=True,
                )
            except OSError as error:  # no memory or no process left
                self.control.close()
                self.log.close()
                raise NoProcessError(error.strerror or str(error)) from error

    def make_ready(self, plugins: Sequence[str]) -> None:
        """Send it the plug-ins, and wait until it is ready to fork.

        Raises InputError where a plug-in cannot be imported any more, KilledError where a signal
        ended it, WorkerError with its last line where it fails otherwise.
        """
        named = json.dumps(list(plugins)).encode()
        self.control.settimeout(READY_TIMEOUT_S)
        try:
            self.control.sendall(LENGTH.pack(len(named)) + named)
            ready = self.control.recv(ANSWER.size)
        except OSError:  # timed out, or gone
            ready = b""
        if not ready:
            self.wait_for_the_end()
            killed, code = self.signal_name(), self.process.poll()
            words = killed or self.last_words()
            if code is None:
                words = (
                    f"not ready after {READY_TIMEOUT_S:.0f} s; a plug-in may take long to import"
                )
            self.kill()
            if code == BAD_PLUGIN:
                raise InputError(
                    "--plugin",
                    expected="plug-ins that can still be imported",
                    got=Shown(words),
                    remedy="undo the edit and run the same command again: what was finished is kept",
                )
            raise (KilledError if killed else WorkerError)(f"no worker can be started: {words}")
        self.control.settimeout(None)

    def wait_for_the_end(self) -> None:
        """Wait a while for it to be gone."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(LAST_WORDS_S)

    def how_it_ended(self) -> str:
        """The signal that ended it, or else its last words."""
        self.wait_for_the_end()
        return self.signal_name() or self.last_words()

    def signal_name(self) -> str:
        """The signal that ended it; empty where none did."""
        code = self.process.poll()
        with contextlib.suppress(ValueError):
            return (
                f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else ""
            )
        return ""

    def last_words(self) -> str:
        """The last line that it wrote, or else its exit code."""
        with contextlib.suppress(OSError, ValueError):
            self.log.seek(max(0, os.fstat(self.log.fileno()).st_size - LAST_WORDS_BYTES))
            lines = self.log.read().decode(errors="replace").strip("\0 \n").splitlines()
            if lines:
                return str(lines[-1])
        return f"exit code {self.process.poll()}"

    def shorten_log(self) -> None:
        """Forget what was printed, where it is long."""
        with contextlib.suppress(OSError, ValueError):
            if os.fstat(self.log.fileno()).st_size > LONGEST_LOG_BYTES:
                self.log.truncate(0)  # what is written next leaves a hole, which takes no space

    def close(self) -> None:
        """Close the control socket: the server kills its children and exits."""
        with contextlib.suppress(OSError):
            self.control.shutdown(socket.SHUT_RDWR)
        self.control.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def kill(self) -> None:
        """Kill it; nothing happens if it has ended."""
        self.process.kill()
        self.process.wait()
        self.control.close()
        self.log.close()


@contextlib.contextmanager
def start_prewarmed_server() -> Iterator[ServerProcess | None]:
    """A fork server that loads torch meanwhile; None where the system has none, or starts none now.

    It is killed at the end.
    """
    server = None
    if HAS_FORK_SERVER:
        with contextlib.suppress(NoProcessError):  # the executor tries again
            server = ServerProcess()
    try:
        yield server
    finally:
        if server is not None:
            server.kill()
