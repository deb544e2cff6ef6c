"""Starts each trial in a spawned process. The next ones load torch meanwhile."""

from __future__ import annotations

import collections
import contextlib
import subprocess
import sys
import threading
from typing import Any

from harness.processes.process_groups import kill_group
from harness.study.execution.launcher import MessageQueue, NotStarted, ProcessExit, forward
from harness.study.execution.prewarmed_server import LAST_WORDS_S
from harness.study.execution.worker_messages import TrialRequest


class SpawnLauncher:
    """Starts each trial in a spawned process. The next ones load torch meanwhile."""

    def __init__(self, messages: MessageQueue, num_workers: int) -> None:
        self.messages = messages
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.readers: dict[int, threading.Thread] = {}
        self.spare: collections.deque[subprocess.Popen[bytes]] = collections.deque()
        self.num_workers = num_workers
        self._prepare()

    def start(self, request: TrialRequest) -> None:
        """Hand the request to a process that waits for one."""
        number = request.request_id
        try:
            process = self.spare.popleft() if self.spare else _spawn()
        except OSError as error:
            self.messages.put((number, NotStarted.from_errno(error.errno or 0)))
            return
        reader = threading.Thread(target=self._read, args=(number, process), daemon=True)
        try:
            reader.start()
        except RuntimeError as error:  # no thread left
            self.spare.append(process)
            self.messages.put((number, NotStarted(str(error))))
            return
        self.processes[number] = process
        self.readers[number] = reader
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.write(request.to_line().encode())
            # It stays open: when it closes, the worker exits
            process.stdin.flush()
        self._prepare()

    def kill(self, request_id: int) -> None:
        """Kill the process with all that it has started."""
        process = self.processes.get(request_id)
        if process is not None:
            _kill(process)

    def close(self) -> None:
        """Kill every process."""
        for process in [*self.processes.values(), *self.spare]:
            _kill(process)
            process.wait()
        for reader in [*self.readers.values()]:
            reader.join(LAST_WORDS_S)
        for process in self.spare:
            _close_streams(process)

    def _prepare(self) -> None:
        """Start the next processes. Where the system starts none, `start` tries again."""
        with contextlib.suppress(OSError):
            while len(self.spare) < self.num_workers:
                self.spare.append(_spawn())

    def _read(self, request_id: int, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            forward(process.stdout, request_id, self.messages)
        code = process.wait()
        kill_group(process.pid)  # what the trial has left behind
        self.messages.put((request_id, ProcessExit(code)))
        _close_streams(process)
        self.processes.pop(request_id, None)
        self.readers.pop(request_id, None)


def _spawn() -> subprocess.Popen[bytes]:
    """A process that leads a session, so a group, of its own. Raises OSError."""
    flags: dict[str, Any] = (
        {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
        if sys.platform == "win32"
        else {"start_new_session": True}
    )
    return subprocess.Popen(
        [sys.executable, "-m", "harness.study.execution.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        **flags,
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:
        kill_group(process.pid)
    process.kill()


def _close_streams(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
