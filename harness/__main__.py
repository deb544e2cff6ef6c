"""`python -m harness`: lists the commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from harness.errors import HarnessError, InputError, nearest

PROGRAMS = ("study", "bench", "regress", "report")
COMMANDS = """\
python -m harness.study [STUDY]   search, confirm, time, report (--help lists its options)
python -m harness.bench [GRID]    time training steps, or inference, over a grid of shapes
python -m harness.regress         compare the speed of two revisions, environments or torch versions
python -m harness.report DIR      render the report of DIR again from what is stored
python -m harness --version       the versions, and which native kernels train on this processor
"""


def main(words: Sequence[str]) -> int:
    """Print the commands, or one line on words that are none of them; returns the exit code."""
    if not words or list(words) == ["--help"]:
        print(COMMANDS, end="")
        return 0
    try:
        if list(words) != ["--version"]:
            raise InputError(
                "python -m harness",
                expected="study, bench, regress or report after a dot, as python -m harness.study",
                got=words[0],
                remedy=nearest(words[0], PROGRAMS),
            )
        print(_version())
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _version() -> str:
    """The versions of harness and torch, and the native kernels in use or why there are none."""
    from importlib.metadata import version

    from harness import __version__
    from harness.cells.native.library import native_status

    return f"harness {__version__}, torch {version('torch')}, native kernels {native_status()}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
