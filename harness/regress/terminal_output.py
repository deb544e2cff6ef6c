"""What the consoles of the four commands share: progress, lines, tables, and their Markdown.

Nothing is drawn while slices are timed: a line changes only between blocks, and no thread draws.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from typing import ClassVar, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from harness.errors import visible, visible_lines
from harness.regress.json_files import EstimateRecord


class ProgressConsole:
    """Shows the progress of a measurement, lines and tables; a TimingProgress.

    On a terminal the line of the progress is printed over.
    """

    verb: ClassVar = "Timing"

    def __init__(self, console: Console) -> None:
        self.console = console
        self.started = time.monotonic()
        self.is_line_open = False  # whether a line is there to be printed over

    def begin(self, names: Sequence[str], missing: Sequence[str]) -> None:
        """Show what is timed, and what head lacks."""
        n = len(names)
        self.print(f"{self.verb} {n} {'benchmark' if n == 1 else 'benchmarks'}")
        for name in missing:
            self.print(f"head lacks {name}")

    def step(self, text: str) -> None:
        """Show what begins, on a terminal."""
        self.show(text)

    def block(self, n_done: int, n_wanted: int, names: Sequence[str]) -> None:
        """Show how many blocks are done: on a terminal each one, in a log every fifth."""
        elapsed_s = time.monotonic() - self.started
        text = f"block {n_done + 1} of {n_wanted}, {len(names)} benchmarks, {elapsed_s:.0f} s"
        self.show(text)
        if not self.console.is_terminal and n_done % 5 == 0:
            self.print(text)

    def note(self, text: str) -> None:
        """Show a remark."""
        self.print(f"note: {text}")

    def close(self) -> None:
        """Clear the line that is printed over."""
        if self.is_line_open:
            self.console.print(" " * (self.console.width - 1), end="\r")
            self.is_line_open = False

    def show(self, text: str) -> None:
        """Print a line that the next one replaces; nothing where there is no terminal."""
        if self.console.is_terminal:
            line = text[: self.console.width - 1].ljust(self.console.width - 1)
            self.console.print(escape(visible(line)), end="\r", highlight=False)
            self.is_line_open = True

    def print(self, text: str) -> None:
        """Print a line that stays."""
        self.close()
        shown = escape(visible_lines(text))
        self.console.print(shown, highlight=False, soft_wrap=not self.console.is_terminal)

    def print_table(
        self, heads: Sequence[str], rows: Iterable[Sequence[str]], styles: Sequence[str] = ()
    ) -> None:
        """Print a table after an empty line; `styles` has one for each row, or none."""
        self.close()
        table = Table(Column(heads[0], overflow="fold"), *heads[1:])
        for i, row in enumerate(rows):
            table.add_row(
                *(escape(visible_lines(each)) for each in row), style=styles[i] if styles else ""
            )
        self.console.print()
        self.console.print(table)


ConsoleType = TypeVar("ConsoleType", bound=ProgressConsole)


def open_progress_console(
    kind: type[ConsoleType], *, on_stderr: bool = False
) -> contextlib.closing[ConsoleType]:
    """A console on standard output or error; its last line is cleared at the end."""
    return contextlib.closing(kind(Console(stderr=on_stderr)))


# --- Texts ------------------------------------------------------------------------------------


def ratio_text(ratio: EstimateRecord) -> str:
    """A ratio of times as a change: +3.2 %."""
    return "not measured" if ratio.value is None else f"{100 * (ratio.value - 1):+.1f} %"


def interval_text(ratio: EstimateRecord) -> str:
    """The interval of a ratio as changes; "" where there is none."""
    if ratio.low is None or ratio.high is None:
        return ""
    return f"{100 * (ratio.low - 1):+.1f} to {100 * (ratio.high - 1):+.1f} %"


def p_text(p_value: float) -> str:
    """A p-value in three digits, a small one as a power of ten."""
    return f"{p_value:.3f}" if p_value >= 0.001 else f"{p_value:.1e}"


def or_none(value: str | None) -> str:
    """A fact of a machine; "none" where it has none."""
    return value or "none"


def n_recordings(n: int) -> str:
    """How many recordings, in words."""
    return "one recording" if n == 1 else f"{n} recordings"


def markdown_table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], n_numbers: int | None = None
) -> list[str]:
    """A table whose first column is text and whose next `n_numbers` (None: all) are numbers."""
    n_right = len(heads) - 1 if n_numbers is None else n_numbers
    rule = ["---", *["---:"] * n_right, *["---"] * (len(heads) - 1 - n_right)]
    texts = [f"| {' | '.join(map(markdown_text, cells))} |" for cells in rows]
    return [f"| {' | '.join(heads)} |", f"| {' | '.join(rule)} |", *texts]


def markdown_text(text: str) -> str:
    """A text that Markdown shows as it is."""
    for letter in "\\`*_[]<>|~#":
        text = text.replace(letter, f"\\{letter}")
    return " ".join(text.split())
