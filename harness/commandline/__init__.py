"""What the commands share: their options' errors, how they were typed, how they end. Decides nothing, measures nothing."""

from harness.commandline.edge import LineCommand, hide_passwords, run
from harness.commandline.ending import INTERRUPTED, ONE_SIGNAL_S, errors, signals
from harness.commandline.words import this_python, typed

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
