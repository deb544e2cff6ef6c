"""The fork server: a process that has torch loaded and forks one child for each trial.

Never trains, never touches CUDA.

It ignores SIGINT, so that Ctrl-C stops the coordinator alone. When the coordinator's end of the
control socket closes, it kills its children with all that they have started, and exits. The control
socket carries the list of plug-ins, then messages of a fixed size: a letter and a number; a start
also carries the child's own socket. Modelled on the fork server of Python's multiprocessing.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from typing import NoReturn, Protocol

from harness.errors import InputError
from harness.machine import configure_process, keep_memory
from harness.plugins import load_plugins
from harness.processes.die_with_parent import die_with_parent, outlive_parent
from harness.processes.process_groups import (
    adopt_orphans,
    kill_children,
    kill_group,
    lead_group,
    list_children,
)
from harness.study.execution.prewarmed_server import (
    ANSWER,
    BAD_PLUGIN,
    ENDED,
    KILL,
    LENGTH,
    MESSAGE,
    NOT_FORKED,
    READY,
)
from harness.study.execution.worker import preload, run_request
from harness.study.execution.worker_messages import TrialMessage, TrialRequest, message_to_line


class ChildProcesses(Protocol):
    """What the fork server asks of the system."""

    def fork(self) -> int:
        """As os.fork. Raises OSError where the system starts no process."""
        ...

    def kill(self, child: int) -> None:
        """Kill a child with its group. Nothing happens where it is gone."""
        ...

    def reap(self) -> tuple[int, int] | None:
        """A child that has ended and os.waitpid's status, or None. Kills what it has left."""
        ...


class SystemProcesses:
    """The children of this process."""

    def fork(self) -> int:
        """As os.fork."""
        return os.fork()

    def kill(self, child: int) -> None:
        """Kill a child with its group."""
        kill_group(child)
        with contextlib.suppress(ProcessLookupError):  # it may lead no group yet
            os.kill(child, signal.SIGKILL)

    def reap(self) -> tuple[int, int] | None:
        """A child that has ended and its status, or None."""
        try:
            # Its id is not given to another process before waitpid, so its group is still its own
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return None
        if ended is None:
            return None
        kill_group(ended.si_pid)
        return os.waitpid(ended.si_pid, 0)


class ForkServer:
    """Forks and kills on request. `children` are the running trials by process id.

    `answer` sends an ANSWER to the coordinator; `run_child` is called in each child, with the
    descriptor of its socket, and never returns.
    """

    def __init__(
        self,
        answer: Callable[[bytes], object],
        run_child: Callable[[int], NoReturn],
        system: ChildProcesses,
    ) -> None:
        self.answer, self.run_child, self.system = answer, run_child, system
        self.children: dict[int, int] = {}

    def start(self, number: int, descriptor: int) -> None:
        """Fork a child for a request."""
        try:
            child = self.system.fork()
        except OSError as error:  # no memory or no process left
            self.answer(ANSWER.pack(NOT_FORKED, number, error.errno or 0))
            return
        if child == 0:
            self.run_child(descriptor)
        self.children[child] = number

    def kill(self, number: int) -> None:
        """Kill the child of a request."""
        for child, request_id in self.children.items():
            if request_id == number:
                self.system.kill(child)

    def kill_all(self) -> None:
        """Kill every child."""
        for child in self.children:
            self.system.kill(child)

    def reap(self) -> None:
        """Answer for each child that has ended."""
        while (ended := self.system.reap()) is not None:
            number = self.children.pop(ended[0], None)
            if number is not None:
                self.answer(ANSWER.pack(ENDED, number, ended[1]))


def serve_coordinator(control: socket.socket) -> None:
    """Fork on request until the coordinator is gone, then kill every child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    wakeup, woken = socket.socketpair()
    wakeup.setblocking(False)
    woken.setblocking(False)
    signal.set_wakeup_fd(wakeup.fileno())
    this_process = os.getpid()

    def run_child(descriptor: int) -> NoReturn:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            die_with_parent(this_process)
            lead_group()
            for each in (control, wakeup, woken):
                each.close()
            _trial(descriptor)
            status = 0
        finally:
            os._exit(status)

    def answer(data: bytes) -> None:
        with contextlib.suppress(OSError):  # the coordinator is gone, which `_command` finds
            control.sendall(data)

    server = ForkServer(answer, run_child, SystemProcesses())
    started_by_plugins = list_children()
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    selector.register(woken, selectors.EVENT_READ)
    control.sendall(ANSWER.pack(READY, 0, 0))
    try:
        while True:
            for key, _ in selector.select():
                if key.fileobj is control:
                    if not _command(control, server):
                        return
                else:
                    with contextlib.suppress(BlockingIOError):
                        woken.recv(4096)
                    server.reap()
                    if not server.children:  # otherwise an orphan may be of a trial that runs
                        kill_children(but=started_by_plugins)
    finally:
        server.kill_all()
        kill_children()


def _command(control: socket.socket, server: ForkServer) -> bool:
    """Take one message; False when the coordinator is gone."""
    try:
        data, descriptors, _, _ = socket.recv_fds(control, MESSAGE.size, 1)
    except OSError:
        return False
    if len(data) < MESSAGE.size:
        return False
    letter, number = MESSAGE.unpack(data)
    if letter == KILL:
        server.kill(number)
        return True
    server.start(number, descriptors[0])
    os.close(descriptors[0])
    return True


def _trial(descriptor: int) -> None:
    """Read a request from the child's socket, run it, answer on the same socket."""
    with socket.socket(fileno=descriptor) as connection:
        line = connection.makefile("r", encoding="utf-8").readline()

        def send(message: TrialMessage) -> None:
            connection.sendall(message_to_line(message).encode())

        run_request(TrialRequest.from_line(line), send)


def main() -> None:
    """Serve on the socket whose number is the first argument, after reading the plug-ins.

    The second argument is the coordinator's process.
    """
    control = socket.socket(fileno=int(sys.argv[1]))
    die_with_parent(int(sys.argv[2]))
    configure_process()
    keep_memory()
    preload()
    head = control.recv(LENGTH.size, socket.MSG_WAITALL)
    if len(head) < LENGTH.size:
        return  # not needed after all
    (length,) = LENGTH.unpack(head)
    try:
        load_plugins(json.loads(control.recv(length, socket.MSG_WAITALL)))
    except InputError as error:
        print(error.got, file=sys.stderr, flush=True)
        os._exit(BAD_PLUGIN)
    # From here on the control socket says when the coordinator is gone: then there are trials,
    # whose processes are to be killed first
    outlive_parent()
    adopt_orphans()
    serve_coordinator(control)
    os._exit(0)  # the coordinator waits for it, and to unload torch takes half a second


if __name__ == "__main__":
    main()
