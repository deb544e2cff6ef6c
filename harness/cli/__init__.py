"""What all commands share: options' errors, the command line as typed, signals and exit codes.

entrypoint.py    runs a command; one-line usage errors, masked passwords
command_line.py  the command as it was typed, and as it is typed to resume
signals.py       Ctrl-C, SIGTERM, and errors as one line with an exit code
"""

from harness.cli.command_line import this_python, typed
from harness.cli.entrypoint import LineCommand, hide_passwords, run
from harness.cli.signals import INTERRUPTED, ONE_SIGNAL_S, errors, signals

__all__ = [
    "INTERRUPTED",
    "ONE_SIGNAL_S",
    "LineCommand",
    "errors",
    "hide_passwords",
    "run",
    "signals",
    "this_python",
    "typed",
]
