"""What every section of a report is given, and the phrases that several of them use. Draws nothing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from harness import stats
from harness.metrics import METRICS
from harness.reporting.catalogue import Words
from harness.reporting.document import Column, Section
from harness.reporting.fonts import Fonts
from harness.reporting.summary import Summary
from harness.reporting.theme import Mark


@dataclasses.dataclass(frozen=True)
class Page:
    """The numbers, the words and the look of one report. `command` renders it again."""

    summary: Summary
    words: Words
    marks: Mapping[str, Mark]
    fonts: Fonts
    command: str

    @property
    def many_tasks(self) -> bool:
        """Whether tables need a column that says the task."""
        return len(self.summary.tasks) > 1

    def task_columns(self) -> tuple[Column, ...]:
        """The leading columns of a table with a row for each (task, cell)."""
        cell = Column(self.words("column.cell"), "cell")
        return (Column(self.words("column.task"), "group"), cell) if self.many_tasks else (cell,)

    def task_cells(self, task: str, cell: str) -> tuple[str, ...]:
        """The leading texts of such a row."""
        return (task, cell) if self.many_tasks else (cell,)

    def column(self, name: str) -> Column:
        """The column of a number."""
        return Column(self.words(f"column.{name}"), "number")

    def number(self, name: str, value: float | None) -> str:
        """A number as its metric writes it, or "not measured"."""
        if value is None or math.isnan(value):
            return self.words("not_measured")
        return METRICS[name].text(value)

    def percent(self, share: float) -> str:
        """A share as a whole percentage."""
        return self.words("percent", value=f"{100 * share:.0f}")

    def percents(self, interval: stats.Interval | None) -> str:
        """The two ends of the interval of a share; a dash where there is none."""
        if interval is None:
            return self.words("none")
        low, high = f"{100 * interval.low:.0f}", self.percent(interval.high)
        return self.words("range", low=low, high=high)

    def interval(self, name: str, interval: stats.Interval | None) -> str:
        """The two ends of an interval, as the metric writes them; a dash where there is none."""
        if interval is None:
            return self.words("none")
        low, high = METRICS[name].text(interval.low), METRICS[name].text(interval.high)
        return self.words("range", low=low, high=high) if low != high else low

    def level(self, interval: stats.Interval) -> str:
        """The level of an interval as a percentage: 94 % for the 0.9375 that five searches can give."""
        return self.percent(interval.level)

    def span(self, span: stats.Span, ladder: stats.Ladder) -> str:
        """A span in steps: 95, "≥ 159" at the ladder's top, "< 7" below its foot."""
        if span.value is None:
            return self.words("not_measured")
        if span.state == "at_least":
            return self.words("at_least", value=METRICS["lag"].text(span.value))
        if span.state == "below_ladder":
            return self.words("less_than", value=METRICS["lag"].text(ladder.lags[0]))
        return METRICS["lag"].text(span.value)

    def span_interval(self, span: stats.Span, ladder: stats.Ladder) -> str:
        """The interval of a span over repeats; a dash with too few of them."""
        if span.interval is None:
            return self.words("none")
        low, high = (METRICS["lag"].text(end) for end in (span.interval.low, span.interval.high))
        if span.interval.high == 0.0 and not span.high_is_open:
            return self.words("less_than", value=METRICS["lag"].text(ladder.lags[0]))
        if span.high_is_open:
            high = self.words("at_least", value=high)
        if span.interval.low == span.interval.high:
            return high
        return self.words("range", low=low, high=high)

    def not_measured(self, key: str, title: str, reason: str) -> Section:
        """A section that there is not, and why."""
        return Section(key, title, (), reason)

    def listed_pairs(self, pairs: Sequence[tuple[str, str]]) -> str:
        """(task, cell) pairs as a sentence has them."""
        named = [cell if not self.many_tasks else f"{cell} ({task})" for task, cell in pairs]
        return self.words.listed(named)
