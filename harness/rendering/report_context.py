"""What every section of any report is given, and phrases that several of them use.

Draws nothing and reads no file.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import stats
from harness.columns import COLUMNS
from harness.rendering.document import BulletList, Column, Section
from harness.rendering.fonts import Fonts
from harness.rendering.messages import Messages
from harness.rendering.theme import SeriesStyle


@dataclasses.dataclass(frozen=True)
class ReportContext:
    """The texts, series styles and fonts of one report.

    `command` renders the report again. `tasks` and `cells` are in the order of the result files.
    """

    messages: Messages
    styles: Mapping[str, SeriesStyle]
    fonts: Fonts
    command: str
    tasks: tuple[str, ...]
    cells: tuple[str, ...]

    @property
    def many_tasks(self) -> bool:
        """Whether tables need a column for the task."""
        return len(self.tasks) > 1

    def task_columns(self) -> tuple[Column, ...]:
        """The leading columns of a table with a row for each (task, cell)."""
        cell = Column(self.messages("column.cell"), "cell")
        return (Column(self.messages("column.task"), "group"), cell) if self.many_tasks else (cell,)

    def task_cells(self, task: str, cell: str) -> tuple[str, ...]:
        """The leading texts of such a row."""
        return (task, cell) if self.many_tasks else (cell,)

    def column(self, name: str) -> Column:
        """The column of a number; a language without a text for it has the registry's label."""
        label = self.messages.texts.get(f"column.{name}") or COLUMNS[name].label
        return Column(label, "number")

    def number(self, name: str, value: float | None) -> str:
        """A number in its metric's format; "not measured" for None and NaN."""
        if value is None or math.isnan(value):
            return self.messages("not_measured")
        return COLUMNS[name].text(value)

    def percent(self, share: float) -> str:
        """A share as a whole percentage."""
        return self.messages("percent", value=f"{100 * share:.0f}")

    def percents(self, interval: stats.Interval | None) -> str:
        """The interval of a share as percentages; a dash for None."""
        if interval is None:
            return self.messages("none")
        low, high = f"{100 * interval.low:.0f}", self.percent(interval.high)
        return self.messages("range", low=low, high=high)

    def interval(self, name: str, interval: stats.Interval | None) -> str:
        """An interval in the metric's format; a dash for None."""
        if interval is None:
            return self.messages("none")
        low, high = COLUMNS[name].text(interval.low), COLUMNS[name].text(interval.high)
        return self.messages("range", low=low, high=high) if low != high else low

    def level(self, interval: stats.Interval) -> str:
        """The level of an interval as a percentage, such as 94 % for 0.9375."""
        return self.percent(interval.level)

    def not_measured(self, key: str, title: str, reason: str) -> Section:
        """A section without blocks, with the reason."""
        return Section(key, title, (), reason)

    def left_out(self, absent: Sequence[Section]) -> tuple[Section, ...]:
        """One section that lists what was not measured; none if all was."""
        if not absent:
            return ()
        items = (self.messages("absent.item", title=one.title, reason=one.absent) for one in absent)
        return (Section("absent", self.messages("absent.title"), (BulletList(tuple(items)),)),)

    def listed_pairs(self, pairs: Sequence[tuple[str, str]]) -> str:
        """(task, cell) pairs as a list in a sentence."""
        named = [cell if not self.many_tasks else f"{cell} ({task})" for task, cell in pairs]
        return self.messages.listed(named)


def report_command(directory: Path) -> str:
    """The command that renders the report of a folder again.

    The path is relative if the folder is inside the working directory.
    """
    here, there = Path.cwd().resolve(), directory.resolve()
    path = there.relative_to(here) if there.is_relative_to(here) else directory
    text = path.as_posix()
    plain = all(letter.isalnum() or letter in "/._-+:" for letter in text)
    shown = text if plain else "'" + text.replace("'", "'\\''") + "'"
    return f"python -m harness.report {shown}"
