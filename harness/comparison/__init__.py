"""Two sides of a regression check, as statistics and data. Nothing in the modules below starts a process or prints.

blocks.py      what one pair of fresh processes measured: the unit of every conclusion
signflip.py    the exact sign-flip test over blocks
rules.py       looks, error budgets, floor and confirmation, fixed before anything is timed
verdicts.py    blocks to verdicts: what to time next, what came out, the exit code
replaying.py   recorded blocks, drawn again and again through the same rule: rates of false alarms, power, advice
history.py     the JSON-lines history of one machine after the other
changes.py     change points of a series
"""
