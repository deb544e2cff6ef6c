"""The system's fork, kill and wait as a simulation, and a launcher over the real fork server."""

from __future__ import annotations

import dataclasses
import errno
import os
import queue
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from harness.study.execution.fork_launcher import read_answer
from harness.study.execution.fork_server import ForkServer
from harness.study.execution.launcher import LauncherMessage, MessageQueue, ServerGone, forward
from harness.study.execution.local_executor import MOST_RESTARTS
from harness.study.execution.prewarmed_server import KilledError, NoProcessError
from harness.study.execution.worker_messages import TrialRequest, message_to_line
from harness.training.training_loop import Evaluation
from tests.study.simulator.plan import Faults
from tests.study.simulator.trials import script_of
from tests.study.simulator.world import BrokenPromise, World

MOST_CRASHES = 2  # of one trial by faults, in one life: with the third it would end as crashed
DELIVERY_S = 0.001  # of a signal, a message or an answer
SIGKILL = 9
STOP_S = 1_000.0  # longer than anyone waits
SLACK_S = 3.0  # a limit may be noticed so much later


class Messages:
    """The queue of a life. `occasion` is called at each wait and may raise."""

    def __init__(self, world: World, faults: Faults, occasion: Callable[[], None]) -> None:
        self.world, self.faults, self.occasion = world, faults, occasion
        self.left: list[tuple[int, LauncherMessage]] = []

    def put(self, item: tuple[int, LauncherMessage]) -> None:
        """Put a message."""
        self.left.append(item)

    def get(self, *, timeout: float) -> tuple[int, LauncherMessage]:
        """The next message, after all that happens before it comes."""
        self.occasion()
        if self.world.happens(self.faults.clock_jumps):
            self.world.jump(self.world.lots.choice((30.0, 3_600.0)))
        until = self.world.now_s + timeout
        while not self.left:
            if self.world.next_at() > until:
                self.world.now_s = max(self.world.now_s, until)
                raise queue.Empty
            self.world.step()
        return self.left.pop(0)


@dataclasses.dataclass
class Child:
    """A simulated process. `code` is as os.waitpid gives it, once it has ended."""

    request: TrialRequest
    started_s: float
    deaf_s: float
    killed: bool = False
    started: bool = False  # it has sent its first message
    done: bool = False  # it has sent its outcome
    code: int | None = None


class SimulatedSystem:
    """The processes of one machine, for the real ForkServer. `asked` is the request to fork for."""

    def __init__(self, world: World, workers: int, faults: Faults, limit_s: float | None) -> None:
        self.world, self.workers, self.faults, self.limit_s = world, workers, faults, limit_s
        self.children: dict[int, Child] = {}
        self.ended: list[int] = []
        self.next_pid = 100
        self.no_forks_until = 0.0
        self.asked: TrialRequest | None = None
        self.n_crashes: Counter[str] = Counter()
        self.on_line: Callable[[int, str], None] = lambda number, line: None
        self.on_end: Callable[[], None] = lambda: None

    def fork(self) -> int:
        """A new process for the request that was asked for."""
        if self.world.happens(self.faults.fork_fails):
            lasts_s = self.world.lots.choice((0.05, 1.5, 20.0))
            self.no_forks_until = self.world.now_s + lasts_s
        if self.world.now_s < self.no_forks_until:
            self.world.tell("a fork fails")
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        assert self.asked is not None
        self.next_pid += 1
        child = Child(self.asked, self.world.now_s, self.world.deaf_s)
        self.children[self.next_pid] = child
        self.world.tell(f"process {self.next_pid} for request {child.request.request_id}")
        n_busy = sum(not child.done for child in self.alive())
        if n_busy > self.workers:
            raise BrokenPromise(f"{n_busy} processes of {self.workers} workers")
        self._send_all(self.next_pid, child)
        return self.next_pid

    def kill(self, child: int) -> None:
        """Kill a process, a moment later."""
        if child in self.children:
            self.children[child].killed = True
            self.world.at(DELIVERY_S, partial(self._end, child, SIGKILL))

    def reap(self) -> tuple[int, int] | None:
        """A process that has ended and its status, or None."""
        if not self.ended:
            return None
        pid = self.ended.pop(0)
        code = self.children.pop(pid).code
        assert code is not None
        return pid, code

    def alive(self) -> list[Child]:
        """The processes that run and are not to be killed."""
        return [each for each in self.children.values() if not each.killed and each.code is None]

    def crash_all(self) -> None:
        """Every process dies, as when the fork server is killed."""
        for child in self.children.values():
            child.killed, child.code = True, child.code or SIGKILL
        self.children.clear()
        self.ended.clear()

    def may_crash(self, request: TrialRequest) -> bool:
        """Whether a fault may end this trial once more."""
        return self.n_crashes[key_of(request)] < MOST_CRASHES

    def count_crash(self, request: TrialRequest) -> None:
        """Count a fault that ended a trial."""
        self.n_crashes[key_of(request)] += 1

    def check_limits(self) -> None:
        """No process outlives its time limit, but for the time in which nobody could hear it."""
        for child in self.alive():
            if self.limit_s is None or child.done:
                continue
            age_s = self.world.now_s - child.started_s - (self.world.deaf_s - child.deaf_s)
            if age_s > self.limit_s + SLACK_S:
                number = child.request.request_id
                raise BrokenPromise(f"request {number} runs for {age_s:.1f} s")

    def _send_all(self, pid: int, child: Child) -> None:
        script = script_of(child.request.config, may_hang=self.limit_s is not None)
        lines = [message_to_line(each) for each in script.messages]
        dies_at = None
        if self.world.happens(self.faults.worker_dies) and self.may_crash(child.request):
            dies_at = self.world.lots.randrange(len(lines) + 1)
            self.count_crash(child.request)
        delay_s = DELIVERY_S
        for i, line in enumerate(lines):
            if i == dies_at:
                if self.world.happens(0.5):  # in the middle of a line
                    part = line[: self.world.lots.randrange(len(line))]
                    self.world.at(delay_s, partial(self._line, pid, child, part))
                break
            self.world.at(delay_s, partial(self._line, pid, child, line))
            if isinstance(script.messages[i], Evaluation):
                self._send_again(pid, child, line, delay_s)
            delay_s += script.pause_s
        if dies_at is not None:
            code = self.world.lots.choice((SIGKILL, 7 << 8))
            self.world.at(delay_s + DELIVERY_S, partial(self._end, pid, code))
        elif not script.hangs:
            self.world.at(delay_s + DELIVERY_S, partial(self._end, pid, script.code))

    def _send_again(self, pid: int, child: Child, line: str, delay_s: float) -> None:
        """An evaluation that comes twice: at once, or late, when its process may be gone."""
        if self.world.happens(self.faults.evaluation_twice):
            self.world.at(delay_s, partial(self._line, pid, child, line))
        if self.world.happens(self.faults.evaluation_late):
            late_s = self.world.lots.choice((0.1, 5.0, 100.0))
            number = child.request.request_id
            self.world.at(delay_s + late_s, lambda: self.on_line(number, line))

    def _line(self, pid: int, child: Child, line: str) -> None:
        if self.children.get(pid) is child and child.code is None:
            child.started = True
            child.done = child.done or '"kind": "outcome"' in line
            self.on_line(child.request.request_id, line)

    def _end(self, pid: int, code: int) -> None:
        child = self.children.get(pid)
        if child is None or child.code is not None:
            return
        child.code = code
        self.world.tell(f"process {pid} ends with {code}")
        self.ended.append(pid)
        self.world.at(DELIVERY_S, self.on_end)


def key_of(request: TrialRequest) -> str:
    """What names a trial over all its attempts."""
    return dataclasses.replace(request, request_id=0).to_line()


class SimulatedLauncher:
    """The launcher of a life: the real ForkServer and the real parsing of what it says."""

    def __init__(self, world: World, messages: MessageQueue, system: SimulatedSystem) -> None:
        self.world, self.messages, self.system = world, messages, system
        self.server = ForkServer(self._answer, _never, system)
        self.is_gone = False
        system.on_line = self._line
        system.on_end = self._reap

    def start(self, request: TrialRequest) -> None:
        """Have the server fork, unless it dies now."""
        if self.is_gone or self._dies():
            return
        self.system.asked = request
        self.server.start(request.request_id, -1)

    def kill(self, request_id: int) -> None:
        """Have the server kill a child."""
        self.server.kill(request_id)

    def close(self) -> None:
        """Kill all."""
        self.is_gone = True
        self.server.kill_all()
        self.system.crash_all()

    def _dies(self) -> bool:
        """Whether the fork server is killed now, with all its trials."""
        lost = [child.request for child in self.system.alive() if child.started]
        dies = self.world.happens(self.system.faults.server_dies)
        if not dies or not all(self.system.may_crash(each) for each in lost):
            return False
        self.world.tell("the fork server is killed")
        for each in lost:
            self.system.count_crash(each)
        self.is_gone = True
        self.system.crash_all()
        self.messages.put((0, ServerGone(self, "the fork server is gone: killed by SIGKILL")))
        return True

    def _line(self, number: int, line: str) -> None:
        if not self.is_gone:
            forward([line], number, self.messages)

    def _reap(self) -> None:
        if not self.is_gone:
            self.server.reap()

    def _answer(self, data: bytes) -> None:
        answer = read_answer(data)
        self.messages.put(answer)


def _never(descriptor: int) -> NoReturn:
    raise AssertionError("a simulated fork has no child's side")


class Launches:
    """Starts launchers, which fails at times, but never so often that the study gives up."""

    def __init__(self, world: World, system: SimulatedSystem) -> None:
        self.world, self.system, self.n_failed = world, system, 0

    def __call__(self, messages: MessageQueue) -> SimulatedLauncher:
        """A launcher that is ready."""
        if (
            self.world.happens(self.system.faults.launch_fails)
            and self.n_failed < MOST_RESTARTS - 2
        ):
            self.n_failed += 1
            if self.world.happens(0.5):
                raise KilledError("no worker can be started: killed by SIGKILL")
            raise NoProcessError("Cannot allocate memory")
        return SimulatedLauncher(self.world, messages, self.system)
