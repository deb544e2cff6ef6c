"""What a person sees in the terminal, for each command that shows how it goes. Never decides anything.

study.py    a line for each (task, cell) with its bar, or few lines in a log
bench.py    one bar over the groups with the time left, and a table at the end
regress.py  a line between blocks, and a table at the end, also as Markdown
selftest.py a line a run, a table of rates, and what to choose
trend.py    the same of a recording, and the change points of a history
"""

from harness.console.bench import BenchConsole, open_bench_console
from harness.console.regress import CompareConsole, open_compare_console
from harness.console.study import StudyConsole, open_console
from harness.console.trend import RecordConsole, open_record_console

__all__ = [
    "BenchConsole",
    "CompareConsole",
    "RecordConsole",
    "StudyConsole",
    "open_bench_console",
    "open_compare_console",
    "open_console",
    "open_record_console",
]
