"""Memory spans with their intervals, and the comparison of each pair of cells."""

from __future__ import annotations

import math
from collections import Counter

from harness import stats
from harness.rendering.document import Column, ContentBlock, Paragraph, Section, Table
from harness.study.report.sections import answer
from harness.study.report.study_context import StudyContext
from harness.study.report.study_summary import Memory

# A table with more rows is folded.
_FOLD_ABOVE = 12


def section(context: StudyContext) -> Section:
    """Memory span and reliable span of each cell on each task, and the comparison of each pair."""
    messages, summary = context.messages, context.summary
    title = messages("spans.title")
    if not summary.memory:
        return context.not_measured("spans", title, messages("spans.absent"))
    if not summary.has_ladder:
        at_one_length = (Paragraph(messages("solved.intro")), answer.shares_table(context))
        return Section("spans", messages("solved.title"), at_one_length)
    rows = []
    for task, cell in summary.pairs:
        memory = summary.memory.get((task, cell))
        if memory is None:
            blank = messages("not_measured")
            rows.append(
                (*context.task_cells(task, cell), blank, messages("none"), blank, "0", "0", "")
            )
            continue
        rows.append(
            (
                *context.task_cells(task, cell),
                context.span(memory.span, memory.ladder),
                context.span_interval(memory.span, memory.ladder),
                context.span(memory.reliable, memory.ladder),
                str(memory.span.n_repeats),
                str(memory.span.n_runs),
                _own(context, memory),
            )
        )
    columns = (
        *context.task_columns(),
        *(
            context.column(name)
            for name in ("memory_span", "interval", "reliable_span", "n_searches", "n_runs")
        ),
        Column(messages("column.repeat_spans"), "number"),
    )
    blocks: list[ContentBlock] = [
        Paragraph(messages("spans.intro")),
        Table(columns, tuple(rows), _note(context)),
    ]
    if summary.comparisons and summary.repeats < stats.MINIMUM_REPEATS:
        blocks.append(Paragraph(messages("pairs.few", minimum=stats.MINIMUM_REPEATS), quiet=True))
    elif summary.comparisons:
        blocks += [Paragraph(messages("pairs.intro")), _pairs(context)]
    return Section("spans", title, tuple(blocks))


def _own(context: StudyContext, memory: Memory) -> str:
    """The span of each search, shortest first: "2 × 7, 3 × 15"."""
    texts = []
    for span, n in sorted(Counter(memory.repeat_spans).items()):
        if math.isnan(span):
            continue
        value = context.number("lag", span)
        if span == 0.0:
            value = context.messages(
                "less_than", value=context.number("lag", memory.ladder.lags[0])
            )
        if span == memory.ladder.lags[-1]:
            value = context.messages("at_least", value=value)
        texts.append(context.messages("so_many", n=n, value=value) if n > 1 else value)
    return ", ".join(texts)


def _note(context: StudyContext) -> str:
    intervals = [m.span.interval for m in context.summary.memory.values() if m.span.interval]
    if not intervals:
        return context.messages("spans.note_few", minimum=stats.MINIMUM_REPEATS)
    return context.messages("spans.note", level=context.level(intervals[0]))


def _pairs(context: StudyContext) -> Table:
    """Each pair of cells: how probably the first remembers longer, and whether that is shown."""
    messages = context.messages
    rows = []
    for task, comparisons in context.summary.comparisons.items():
        for one in comparisons:
            value = one.probability.value
            rows.append(
                (
                    *((task,) if context.many_tasks else ()),
                    messages("pairs.pair", first=one.first, second=one.second),
                    messages("not_measured") if value is None else context.percent(value),
                    context.percents(one.probability.interval),
                    messages("none") if one.p_value is None else f"{one.p_value:.3f}",
                    str(min(one.n_first, one.n_second)),
                    messages.of("verdict", one.verdict, longer=one.longer or ""),
                )
            )
    columns = (
        *((context.task_columns()[0],) if context.many_tasks else ()),
        Column(messages("column.pair")),
        *(
            context.column(name)
            for name in ("probability_longer", "interval", "p_value", "n_searches")
        ),
        Column(messages("column.verdict")),
    )
    return Table(columns, tuple(rows), messages("pairs.note"), folded=len(rows) > _FOLD_ABOVE)
