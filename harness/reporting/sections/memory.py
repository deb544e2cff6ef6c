"""The table behind the answer: spans with their intervals, each pair of cells, and what was claimed."""

from __future__ import annotations

from harness import stats
from harness.reporting.document import Column, Paragraph, Points, Section, Table
from harness.reporting.page import Page
from harness.reporting.summary import ABOUT, ClaimCheck


def section(page: Page) -> Section:
    """Memory span and reliable span of each cell on each task, and the comparison of each pair."""
    words, summary = page.words, page.summary
    title = words("spans.title")
    if not summary.memory:
        return page.not_measured("spans", title, words("spans.absent"))
    rows = []
    for task, cell in summary.pairs:
        memory = summary.memory.get((task, cell))
        if memory is None:
            blank = words("not_measured")
            rows.append((*page.task_cells(task, cell), blank, words("none"), blank, "0", "0", ""))
            continue
        own = [f"{span:g}" if span == span else words("none") for span in memory.repeat_spans]
        rows.append(
            (
                *page.task_cells(task, cell),
                page.span(memory.span, memory.ladder),
                page.span_interval(memory.span, memory.ladder),
                page.span(memory.reliable, memory.ladder),
                str(memory.span.n_repeats),
                str(memory.span.n_runs),
                ", ".join(own),
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
    blocks = [
        Paragraph(words("spans.intro")),
        Table(columns, tuple(rows), _note(page)),
    ]
    if summary.comparisons:
        blocks += [Paragraph(words("pairs.intro")), _pairs(page)]
    return Section("spans", title, tuple(blocks))


def _note(page: Page) -> str:
    intervals = [m.span.interval for m in page.summary.memory.values() if m.span.interval]
    if not intervals:
        return page.words("spans.note_few", minimum=stats.MINIMUM_REPEATS)
    return page.words("spans.note", level=page.level(intervals[0]))


def _pairs(page: Page) -> Table:
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
                    _percents(page, one.probability.interval),
                    words("none") if one.p_value is None else f"{one.p_value:.3f}",
                    str(min(one.n_first, one.n_second)),
                    words.of("verdict", one.verdict, longer=one.longer or ""),
                )
            )
    columns = (
        *((page.task_columns()[0],) if page.many_tasks else ()),
        Column(words("column.pair")),
        *(page.column(name) for name in ("probability_longer", "interval", "p_value", "n_searches")),
        Column(words("column.verdict")),
    )
    return Table(columns, tuple(rows), words("pairs.note"))


def _percents(page: Page, interval: stats.Interval | None) -> str:
    if interval is None:
        return page.words("none")
    low, high = f"{100 * interval.low:.0f}", page.percent(interval.high)
    return page.words("range", low=low, high=high)


def claims(page: Page) -> Section | None:
    """What is in circulation beside what this study found; None if the study names no claim."""
    summary, words = page.summary, page.words
    if not summary.claims:
        return None
    columns = (
        Column(words("column.claim")),
        *page.task_columns(),
        *(page.column(name) for name in ("memory_span", "interval", "runs_at_lag")),
        Column(words("column.verdict")),
    )
    rows, said = [], []
    for check in summary.claims:
        memory = check.memory
        span = page.span(memory.span, memory.ladder) if memory else words("not_measured")
        between = page.span_interval(memory.span, memory.ladder) if memory else words("none")
        verdict = words.of("claim_verdict", check.verdict)
        said.append(
            words(
                "claims.here",
                claim=check.claim.text,
                source=f" ({check.claim.source})" if check.claim.source else "",
                task=check.task,
                cell=check.cell,
                span=span,
                verdict=verdict,
            )
        )
        rows.append(
            (
                check.claim.text,
                *page.task_cells(check.task, check.cell),
                span,
                between,
                _runs(page, check),
                verdict,
            )
        )
    note = words("claims.note", about=f"{ABOUT:g}", minimum=stats.MINIMUM_REPEATS)
    blocks = (Points(tuple(said)), Table(columns, tuple(rows), note))
    return Section("claims", words("claims.title"), blocks)


def _runs(page: Page, check: ClaimCheck) -> str:
    lag = page.number("lag", check.claim.lag)
    if check.runs is None:
        return page.words("claims.not_on_ladder", lag=lag)
    return page.words("claims.runs", lag=lag, k=check.runs.n_solved, n=check.runs.n_runs)
