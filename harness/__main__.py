"""`python -m harness`: lists the commands."""

import sys

COMMANDS = """\
python -m harness.study [STUDY]   search, confirm, time, report (--help lists its options)
python -m harness.bench [GRID]    time training steps, or inference, over a grid of shapes
python -m harness.regress         compare the speed of two revisions, environments or torch versions
python -m harness.report DIR      render the report of DIR again from what is stored
"""

if __name__ == "__main__":
    print(COMMANDS, end="")
    if sys.argv[1:] not in ([], ["--help"]):
        sys.exit(2)
