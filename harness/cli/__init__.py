"""What the commands share: their options' errors, how they were typed, how they end.

Decides nothing, measures nothing.
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
