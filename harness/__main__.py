"""`python -m harness`: lists the commands."""

COMMANDS = """\
python -m harness.study [STUDY]   search -> confirm -> time -> report (--help for its options)
python -m harness.report DIR      render the report of DIR again from what is stored
"""

if __name__ == "__main__":
    print(COMMANDS, end="")
