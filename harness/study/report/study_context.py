"""The argument of every section of a study's report: its numbers, texts and style.

This module draws nothing.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from harness import stats
from harness.columns import COLUMNS
from harness.records import StudyRecords
from harness.rendering import fonts, theme
from harness.rendering.messages import load_messages
from harness.rendering.report_context import ReportContext, report_command
from harness.study.report.published_summary import PublishedCheck, published_checks
from harness.study.report.study_summary import Summary


@dataclasses.dataclass(frozen=True)
class StudyContext(ReportContext):
    """The numbers, the texts and the style of a study's report."""

    summary: Summary

    @functools.cached_property
    def published(self) -> tuple[PublishedCheck, ...]:
        """Every published number of the study with ours."""
        return published_checks(self.summary)

    def span(self, span: stats.Span, ladder: stats.RunLadder) -> str:
        """A span in steps: 95, "≥ 159" at the top of the ladder, "< 7" below its shortest lag."""
        if span.value is None:
            return self.messages("not_measured")
        if span.state == "at_least":
            return self.messages("at_least", value=COLUMNS["lag"].text(span.value))
        if span.state == "below_ladder":
            return self.messages("less_than", value=COLUMNS["lag"].text(ladder.lags[0]))
        return COLUMNS["lag"].text(span.value)

    def span_interval(self, span: stats.Span, ladder: stats.RunLadder) -> str:
        """The interval of a span over repeats; a dash with too few repeats."""
        if span.interval is None:
            return self.messages("none")
        low, high = (COLUMNS["lag"].text(end) for end in (span.interval.low, span.interval.high))
        if span.interval.high == 0.0 and not span.high_is_open:
            return self.messages("less_than", value=COLUMNS["lag"].text(ladder.lags[0]))
        if span.high_is_open:
            high = self.messages("at_least", value=high)
        if span.interval.low == span.interval.high:
            return high
        return self.messages("range", low=low, high=high)


def study_context(records: StudyRecords, directory: Path, language: str) -> StudyContext:
    """The context of the report in `directory`. Raises InputError for a language without texts."""
    texts = load_messages(language)
    spec = records.spec
    drawn = [
        *spec.compare.tasks,
        *spec.compare.cells,
        *records.trials.columns,
        *texts.texts.values(),
    ]
    if records.throughput is not None:
        drawn += [str(name) for name in records.throughput["device"].unique()]
    drawn += [
        str(option)
        for pair in spec.pairs
        for parameter in spec.parameters(*pair).values()
        for option in parameter.values()
    ]
    return StudyContext(
        messages=texts,
        styles=theme.series_styles(spec.compare.cells),
        fonts=fonts.choose(drawn),
        command=report_command(directory),
        tasks=spec.compare.tasks,
        cells=spec.compare.cells,
        summary=Summary(records),
    )
