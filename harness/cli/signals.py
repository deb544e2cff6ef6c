"""How a command ends: errors as one line and an exit code, and what signals do."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator

from harness.errors import PERMISSION_ERRORS, HarnessError, InputError, unusable

INTERRUPTED = 130  # the exit code of a command that was stopped, with everything saved
# `timeout` and schedulers signal the process and then its group: that counts as one signal.
ONE_SIGNAL_S = 0.3


@contextlib.contextmanager
def errors(again: str) -> Iterator[None]:
    """Print a HarnessError as one line and exit with its code; so a path that cannot be used."""
    try:
        yield
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in PERMISSION_ERRORS or not error.filename:
            raise
        print(f"error: {unusable(error.filename, error)}", file=sys.stderr)
        sys.exit(InputError.exit_code)
    except KeyboardInterrupt:  # before there was anything to save
        print(f"interrupted: to start, run\n  {again}", file=sys.stderr)
        sys.exit(INTERRUPTED)


@contextlib.contextmanager
def signals(again: str) -> Iterator[None]:
    """The first SIGINT or SIGTERM saves everything and ends; a second one ends at once.

    Running trials die with the command and run again on resume. An ignored signal, as in a shell's
    background job, stays ignored.
    """
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    heard = [each for each, handler in before.items() if handler is not signal.SIG_IGN]
    # A thread reads signals from a socket: the main thread may be inside a database's C code.
    hearing, told = socket.socketpair()
    told.setblocking(False)
    n_heard = 0

    def once(number: int, frame: object) -> None:
        nonlocal n_heard
        n_heard += 1
        if n_heard == 1:
            raise KeyboardInterrupt

    def wait_for_the_second() -> None:
        first = None
        while numbers := hearing.recv(1):
            now = time.monotonic()
            if numbers[0] not in heard:
                continue
            if first is None:
                first = now
            elif now - first > ONE_SIGNAL_S:
                line = f"stopped at once: what was finished is saved; to go on, run\n  {again}\n"
                os.write(2, line.encode(errors="replace"))
                os._exit(INTERRUPTED)

    waiting = threading.Thread(target=wait_for_the_second, daemon=True)
    waiting.start()
    wakeup = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    for each in heard:
        signal.signal(each, once)
    try:
        yield
    finally:
        for each in heard:
            signal.signal(each, before[each])
        signal.set_wakeup_fd(wakeup)
        told.close()
        waiting.join()
        hearing.close()
