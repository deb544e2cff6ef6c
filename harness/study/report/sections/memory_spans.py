"""The table behind the answer.

Spans with their intervals, each pair of cells, and what was claimed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from harness import stats
from harness.rendering.document import Block, Column, Paragraph, Section, Table
from harness.study.report.sections import answer
from harness.study.report.study_context import StudyContext
from harness.study.report.study_summary import ABOUT, ClaimCheck, Memory

MOST_ROWS = 12  # a longer table opens on demand


def section(page: StudyContext) -> Section:
    """Memory span and reliable span of each cell on each task, and the comparison of each pair."""
    words, summary = page.words, page.summary
    title = words("spans.title")
    if not summary.memory:
        return page.not_measured("spans", title, words("spans.absent"))
    if not summary.has_ladder:
        at_one_length = (Paragraph(words("solved.intro")), answer.shares_table(page))
        return Section("spans", words("solved.title"), at_one_length)
    rows = []
    for task, cell in summary.pairs:
        memory = summary.memory.get((task, cell))
        if memory is None:
            blank = words("not_measured")
            rows.append((*page.task_cells(task, cell), blank, words("none"), blank, "0", "0", ""))
            continue
        rows.append(
            (
                *page.task_cells(task, cell),
                page.span(memory.span, memory.ladder),
                page.span_interval(memory.span, memory.ladder),
                page.span(memory.reliable, memory.ladder),
                str(memory.span.n_repeats),
                str(memory.span.n_runs),
                _own(page, memory),
            )
        )
    columns = (
        *page.task_columns(),
        *(
            page.column(name)
            for name in ("memory_span", "interval", "reliable_span", "n_searches", "n_runs")
        ),
        Column(words("column.repeat_spans"), "number"),
    )
    blocks: list[Block] = [
        Paragraph(words("spans.intro")),
        Table(columns, tuple(rows), _note(page)),
    ]
    if summary.comparisons and summary.repeats < stats.MINIMUM_REPEATS:
        blocks.append(Paragraph(words("pairs.few", minimum=stats.MINIMUM_REPEATS), quiet=True))
    elif summary.comparisons:
        blocks += [Paragraph(words("pairs.intro")), _pairs(page)]
    return Section("spans", title, tuple(blocks))


def _own(page: StudyContext, memory: Memory) -> str:
    """The span of each search on its own, shortest first: "2 × 7, 3 × 15"."""
    texts = []
    for span, n in sorted(Counter(memory.repeat_spans).items()):
        if math.isnan(span):
            continue
        value = page.number("lag", span)
        if span == 0.0:
            value = page.words("less_than", value=page.number("lag", memory.ladder.lags[0]))
        if span == memory.ladder.lags[-1]:
            value = page.words("at_least", value=value)
        texts.append(page.words("so_many", n=n, value=value) if n > 1 else value)
    return ", ".join(texts)


def _note(page: StudyContext) -> str:
    intervals = [m.span.interval for m in page.summary.memory.values() if m.span.interval]
    if not intervals:
        return page.words("spans.note_few", minimum=stats.MINIMUM_REPEATS)
    return page.words("spans.note", level=page.level(intervals[0]))


def _pairs(page: StudyContext) -> Table:
    """Each pair of cells: how probably the first remembers longer, and whether that is shown."""
    words = page.words
    rows = []
    for task, comparisons in page.summary.comparisons.items():
        for one in comparisons:
            value = one.probability.value
            rows.append(
                (
                    *((task,) if page.many_tasks else ()),
                    words("pairs.pair", first=one.first, second=one.second),
                    words("not_measured") if value is None else page.percent(value),
                    page.percents(one.probability.interval),
                    words("none") if one.p_value is None else f"{one.p_value:.3f}",
                    str(min(one.n_first, one.n_second)),
                    words.of("verdict", one.verdict, longer=one.longer or ""),
                )
            )
    columns = (
        *((page.task_columns()[0],) if page.many_tasks else ()),
        Column(words("column.pair")),
        *(
            page.column(name)
            for name in ("probability_longer", "interval", "p_value", "n_searches")
        ),
        Column(words("column.verdict")),
    )
    return Table(columns, tuple(rows), words("pairs.note"), folded=len(rows) > MOST_ROWS)


def claims(page: StudyContext) -> Section | None:
    """What is in circulation beside what this study found, claim by claim.

    None if the study names no claim.
    """
    summary, words = page.summary, page.words
    if not summary.claims:
        return None
    blocks: list[Block] = []
    for claim in summary.records.spec.claims:
        checks = [check for check in summary.claims if check.claim == claim]
        found = [
            words("claims.found", cell=check.cell, task=check.task, span=_span(page, check))
            for check in checks
        ]
        key = "claims.claimed_source" if claim.source else "claims.claimed"
        said = words(key, claim=claim.text, source=claim.source)
        blocks.append(Paragraph(f"{said} {words('claims.here', found=words.listed(found))}"))
        blocks.append(_checks(page, claim.lag, checks))
    blocks.append(
        Paragraph(
            words("claims.note", about=f"{ABOUT:g}", minimum=stats.MINIMUM_REPEATS), quiet=True
        )
    )
    return Section("claims", words("claims.title"), tuple(blocks))


def _span(page: StudyContext, check: ClaimCheck) -> str:
    if check.memory is None:
        return page.words("not_measured")
    return page.span(check.memory.span, check.memory.ladder)


def _checks(page: StudyContext, lag: float, checks: Sequence[ClaimCheck]) -> Table:
    words = page.words
    rows = []
    for check in checks:
        memory, runs = check.memory, check.runs
        rows.append(
            (
                *page.task_cells(check.task, check.cell),
                _span(page, check),
                page.span_interval(memory.span, memory.ladder) if memory else words("none"),
                words("claims.not_on_ladder")
                if runs is None
                else words("k_of_n", k=runs.n_solved, n=runs.n_runs),
                words.of("claim_verdict", check.verdict),
            )
        )
    columns = (
        *page.task_columns(),
        page.column("memory_span"),
        page.column("interval"),
        Column(words("claims.runs_at", lag=page.number("lag", lag)), "number"),
        Column(words("column.verdict")),
    )
    return Table(columns, tuple(rows))
