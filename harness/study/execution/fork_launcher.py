"""Starts trials through a fork server that has torch loaded."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Sequence

from harness.processes.process_groups import kill_session
from harness.study.execution.launcher import (
    MessageQueue,
    NotStarted,
    ProcessExit,
    ServerGone,
    forward,
)
from harness.study.execution.prewarmed_server import (
    ANSWER,
    ENDED,
    KILL,
    LAST_WORDS_S,
    MESSAGE,
    START,
    NoProcessError,
    ServerProcess,
)
from harness.study.execution.worker_messages import TrialRequest


class ForkLauncher:
    """Starts trials through a fork server that has torch loaded."""

    def __init__(
        self, messages: MessageQueue, plugins: Sequence[str], server: ServerProcess
    ) -> None:
        self.messages, self.server = messages, server
        self.closing = False
        self.readers: dict[int, threading.Thread] = {}
        server.make_ready(plugins)
        try:
            threading.Thread(target=self._listen, daemon=True).start()
        except RuntimeError as error:  # no thread left
            server.kill()
            raise NoProcessError(str(error)) from error

    def start(self, request: TrialRequest) -> None:
        """Fork a child and hand it the request."""
        number = request.request_id
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            self.messages.put((number, NotStarted.from_errno(error.errno or 0)))
            return
        reader = threading.Thread(target=self._read, args=(number, ours), daemon=True)
        self.readers[number] = reader
        with theirs:
            try:
                # Before the child, which may die at once: its end comes after its messages
                reader.start()
            except RuntimeError as error:  # no thread left
                ours.close()
                del self.readers[number]
                self.messages.put((number, NotStarted(str(error))))
                return
            try:
                message = MESSAGE.pack(START, number)
                socket.send_fds(self.server.control, [message], [theirs.fileno()])
            except OSError:
                self._broken()
                return
        # After the start: a request may be longer than the socket holds, so the child must read
        with contextlib.suppress(OSError):  # it is gone or was not forked, which the server says
            ours.sendall(request.to_line().encode())

    def kill(self, request_id: int) -> None:
        """Have the server kill the child."""
        with contextlib.suppress(OSError):
            self.server.control.sendall(MESSAGE.pack(KILL, request_id))

    def close(self) -> None:
        """Close the control socket: the server kills its children and exits."""
        self.closing = True
        self.server.close()
        kill_session(self.server.process.pid)  # where the server was killed before it could
        for reader in [*self.readers.values()]:
            reader.join(timeout=1)
        self.server.log.close()

    def _read(self, request_id: int, connection: socket.socket) -> None:
        """Put a child's messages until it is gone."""
        with connection, contextlib.suppress(OSError):
            forward(connection.makefile("r", encoding="utf-8"), request_id, self.messages)

    def _listen(self) -> None:
        """Put the end of each child, after all its messages, and the end of the server."""
        while True:
            try:
                data = self.server.control.recv(ANSWER.size, socket.MSG_WAITALL)
            except OSError:
                data = b""
            if len(data) < ANSWER.size:
                if not self.closing:
                    self._broken()
                return
            request_id, message = read_answer(data)
            reader = self.readers.pop(request_id, None)
            if reader is not None:
                reader.join(LAST_WORDS_S)
            self.messages.put((request_id, message))
            self.server.shorten_log()

    def _broken(self) -> None:
        reason = f"the fork server is gone: {self.server.how_it_ended()}"
        self.messages.put((0, ServerGone(self, reason)))


def read_answer(data: bytes) -> tuple[int, ProcessExit | NotStarted]:
    """The id of a request and what the fork server says of it."""
    letter, request_id, number = ANSWER.unpack(data)
    if letter == ENDED:
        return request_id, ProcessExit(os.waitstatus_to_exitcode(number))
    return request_id, NotStarted.from_errno(number)
