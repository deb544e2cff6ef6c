"""What every section of any report is given, and the phrases that several of them use.

Draws nothing, knows no records.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import stats
from harness.columns import METRICS
from harness.rendering.document import BulletList, Column, Section
from harness.rendering.fonts import Fonts
from harness.rendering.messages import Messages
from harness.rendering.theme import SeriesStyle


@dataclasses.dataclass(frozen=True)
class ReportContext:
    """The words and the look of one report.

    `command` renders it again; `tasks` and `cells` are in the order of its files.
    """

    messages: Messages
    styles: Mapping[str, SeriesStyle]
    fonts: Fonts
    command: str
    tasks: tuple[str, ...]
    cells: tuple[str, ...]

    @property
    def many_tasks(self) -> bool:
        """Whether tables need a column that says the task."""
        return len(self.tasks) > 1

    def task_columns(self) -> tuple[Column, ...]:
        """The leading columns of a table with a row for each (task, cell)."""
        cell = Column(self.messages("column.cell"), "cell")
        return (Column(self.messages("column.task"), "group"), cell) if self.many_tasks else (cell,)

    def task_cells(self, task: str, cell: str) -> tuple[str, ...]:
        """The leading texts of such a row."""
        return (task, cell) if self.many_tasks else (cell,)

    def column(self, name: str) -> Column:
        """The column of a number."""
        return Column(self.messages(f"column.{name}"), "number")

    def number(self, name: str, value: float | None) -> str:
        """A number as its metric writes it, or "not measured"."""
        if value is None or math.isnan(value):
            return self.messages("not_measured")
        return METRICS[name].text(value)

    def percent(self, share: float) -> str:
        """A share as a whole percentage."""
        return self.messages("percent", value=f"{100 * share:.0f}")

    def percents(self, interval: stats.Interval | None) -> str:
        """The two ends of the interval of a share; a dash where there is none."""
        if interval is None:
            return self.messages("none")
        low, high = f"{100 * interval.low:.0f}", self.percent(interval.high)
        return self.messages("range", low=low, high=high)

    def interval(self, name: str, interval: stats.Interval | None) -> str:
        """The two ends of an interval, as the metric writes them; a dash where there is none."""
        if interval is None:
            return self.messages("none")
        low, high = METRICS[name].text(interval.low), METRICS[name].text(interval.high)
        return self.messages("range", low=low, high=high) if low != high else low

    def level(self, interval: stats.Interval) -> str:
        """The level of an interval as a percentage.

        94 % for the 0.9375 that five searches can give.
        """
        return self.percent(interval.level)

    def not_measured(self, key: str, title: str, reason: str) -> Section:
        """A section that there is not, and why."""
        return Section(key, title, (), reason)

    def left_out(self, absent: Sequence[Section]) -> tuple[Section, ...]:
        """What was not measured, in one place; nothing where all was."""
        if not absent:
            return ()
        items = (self.messages("absent.item", title=one.title, reason=one.absent) for one in absent)
        return (Section("absent", self.messages("absent.title"), (BulletList(tuple(items)),)),)

    def listed_pairs(self, pairs: Sequence[tuple[str, str]]) -> str:
        """(task, cell) pairs as a sentence has them."""
        named = [cell if not self.many_tasks else f"{cell} ({task})" for task, cell in pairs]
        return self.messages.listed(named)


def report_command(directory: Path) -> str:
    """The command that renders the report of a folder again.

    The folder relative to where we are, if it lies there.
    """
    here, there = Path.cwd().resolve(), directory.resolve()
    path = there.relative_to(here) if there.is_relative_to(here) else directory
    text = path.as_posix()
    plain = all(letter.isalnum() or letter in "/._-+:" for letter in text)
    shown = text if plain else "'" + text.replace("'", "'\\''") + "'"
    return f"python -m harness.report {shown}"
