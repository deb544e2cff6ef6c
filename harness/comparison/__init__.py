"""Two sides of a regression check. First as statistics and data, which start no process and print nothing:

blocks.py      what one pair of fresh processes measured: the unit of every conclusion
signflip.py    the exact sign-flip test over blocks
rules.py       looks, error budgets, floor and confirmation, fixed before anything is timed
verdicts.py    blocks to verdicts: what to time next, what came out, the exit code
replaying.py   recorded blocks, drawn again and again through the same rule: rates of false alarms, power, advice
history.py     the JSON-lines history of one machine after the other; lines.py appends to it
changes.py     change points of a series
trends.py      a history as series with levels, machine by machine

What runs:

sides.py       what a user named as base and head
workspace.py   the temporary folder: worktrees and environments
places.py      where a side runs: its Python, its path, its file of steps
side_worker.py the process of one side: one file, torch and the standard library alone; slower.py: what a selftest injects there
talking.py     the line to such a process
rounds.py      slices, rounds and blocks of live processes, until the rules say stop
recording.py   the same of one side alone, for a history
footprints.py  peak memory of both sides
explaining.py  what differs between two sides, and which operators grew
"""
