"""The fork server: a process that has torch loaded and forks one child for each trial.

Never trains, never touches CUDA.

It ignores SIGINT, so that Ctrl-C stops the coordinator alone. When the coordinator's end of the
control socket closes, it kills its children and exits. The control socket carries the list of
plug-ins, then messages of a fixed size: a letter and a number; a start also carries the child's own
socket. Modelled on the fork server of Python's multiprocessing.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys

from harness.machine import configure_process, keep_memory
from harness.plugins import load_plugins
from harness.processes.die_with_parent import die_with_parent
from harness.study.execution.prewarmed_server import ANSWER, LENGTH, MESSAGE
from harness.study.execution.worker import preload, run_request
from harness.study.execution.worker_messages import (
    TrialOutcome,
    TrialRequest,
    message_to_line,
)
from harness.training.training_loop import Evaluation

COULD_NOT_FORK = 1 << 8  # as os.waitpid says exit code 1


class ForkServer:
    """The server's state: the control socket and the children by process id."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.children: dict[int, int] = {}
        self.wakeup, self.woken = socket.socketpair()

    def serve(self) -> None:
        """Fork on request until the coordinator is gone."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self.wakeup.setblocking(False)
        self.woken.setblocking(False)
        signal.set_wakeup_fd(self.wakeup.fileno())
        self.control.sendall(ANSWER.pack(b"r", 0, 0))
        selector = selectors.DefaultSelector()
        selector.register(self.control, selectors.EVENT_READ)
        selector.register(self.woken, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is self.control:
                    if not self._command():
                        return
                else:
                    with contextlib.suppress(BlockingIOError):
                        self.woken.recv(4096)
                    self._reap()

    def kill_all(self) -> None:
        """Kill every child."""
        for child in self.children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    def _command(self) -> bool:
        """Take one message; False when the coordinator is gone."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self.control, MESSAGE.size, 1)
        except OSError:
            return False
        if len(data) < MESSAGE.size:
            return False
        letter, number = MESSAGE.unpack(data)
        if letter == b"s":
            self._start(number, descriptors[0])
        else:
            for child, request_id in self.children.items():
                if request_id == number:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
        return True

    def _start(self, number: int, descriptor: int) -> None:
        server = os.getpid()
        try:
            child = os.fork()
        except OSError:  # no memory or no process left: this trial's end, not the server's
            os.close(descriptor)
            self.control.sendall(ANSWER.pack(b"e", number, COULD_NOT_FORK))
            return
        if child:
            os.close(descriptor)
            self.children[child] = number
            return
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            die_with_parent(server)
            for each in (self.control, self.wakeup, self.woken):
                each.close()
            _trial(descriptor)
            status = 0
        finally:
            os._exit(status)

    def _reap(self) -> None:
        while self.children:
            try:
                child, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if child == 0:
                return
            number = self.children.pop(child, None)
            if number is not None:
                with contextlib.suppress(OSError):
                    self.control.sendall(ANSWER.pack(b"e", number, status))


def _trial(descriptor: int) -> None:
    """Read a request from the child's socket, run it, answer on the same socket."""
    with socket.socket(fileno=descriptor) as connection:
        line = connection.makefile("r", encoding="utf-8").readline()

        def send(message: Evaluation | TrialOutcome) -> None:
            connection.sendall(message_to_line(message).encode())

        run_request(TrialRequest.from_line(line), send)


def main() -> None:
    """Serve on the socket whose number is the first argument, after reading the plug-ins."""
    control = socket.socket(fileno=int(sys.argv[1]))
    configure_process()
    keep_memory()
    preload()
    head = control.recv(LENGTH.size, socket.MSG_WAITALL)
    if len(head) < LENGTH.size:
        return  # not needed after all
    (length,) = LENGTH.unpack(head)
    load_plugins(json.loads(control.recv(length, socket.MSG_WAITALL)))
    server = ForkServer(control)
    try:
        server.serve()
    finally:
        server.kill_all()
    os._exit(0)  # the coordinator waits for it, and to unload torch takes half a second


if __name__ == "__main__":
    main()
