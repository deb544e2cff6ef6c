"""What all commands share: options' errors, the command line as typed, signals and exit codes.

entrypoint.py    runs a command; one-line usage errors, masked passwords
command_line.py  the command as it was typed, and as it is typed to resume
option_values.py values that no option takes, and paths that cannot be a folder or a file
signals.py       Ctrl-C, SIGTERM, and errors as one line with an exit code
"""

from harness.cli.command_line import this_python, typed
from harness.cli.entrypoint import LineCommand, LineGroup, hide_passwords, run
from harness.cli.option_values import history_file, results_folder
from harness.cli.signals import INTERRUPTED, ONE_SIGNAL_S, errors, signals

__all__ = [
    "INTERRUPTED",
    "ONE_SIGNAL_S",
    "LineCommand",
    "LineGroup",
    "errors",
    "hide_passwords",
    "history_file",
    "results_folder",
    "run",
    "signals",
    "this_python",
    "typed",
]
