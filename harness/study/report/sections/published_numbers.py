"""Published numbers compared with ours, and which of them count as reproduced."""

from __future__ import annotations

import math
from typing import Literal

from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from harness.config import Published
from harness.rendering import theme
from harness.rendering.document import (
    BulletList,
    Column,
    ContentBlock,
    Paragraph,
    Picture,
    Section,
    Table,
)
from harness.study.report.published_summary import confirmed
from harness.study.report.study_context import StudyContext
from harness.study.report.study_summary import ABOUT


def sequences_to_solve(context: StudyContext, task: str, cell: str) -> str | None:
    """Training sequences until solved, median over searches; None for "never"."""
    value = confirmed(context.summary, task, cell, "sequences_to_solve").value
    known = value is not None and math.isfinite(value)
    return context.number("sequences_to_solve", value) if known else None


def sentence(context: StudyContext) -> str:
    """How many published numbers are reproduced, and each of them with our number."""
    found = context.published
    messages = context.messages
    good = sum(check.verdict.startswith("reproduced") for check in found)
    weak = sum(check.verdict == "reproduced_by_value" for check in found)
    key = "published.sentence_weak" if weak else "published.sentence"
    items = [
        messages(
            "published.item",
            name=_name(context, check.row),
            ours=_number(context, check.row, check.ours.value),
            theirs=_number(context, check.row, float(check.row.value)),
        )
        for check in found
    ]
    text = messages(
        key, k=good, n=len(found), weak=weak, items=messages("published.between").join(items)
    )
    unknown = sum(check.verdict == "not_measured" for check in found)
    return f"{text} {messages('published.unknown', n=unknown)}" if unknown else text


def published_picture(context: StudyContext) -> Picture | None:
    """Our number divided by the published one, a line for each; None without published numbers."""
    messages, found = context.messages, context.published
    if not found:
        return None
    drawing = theme.figure(1.25 + 0.42 * len(found))
    axes = drawing.subplots()
    axes.axvline(1.0, color=theme.FAINT.light, linewidth=1.2, zorder=1)
    ratios = [1.0]
    for i, check in enumerate(found):
        theirs, style = float(check.row.value), context.styles[check.row.cell]
        bound = check.row.limit / theirs
        for end in (bound / ABOUT, bound * ABOUT) if check.row.relation == "about" else (bound,):
            axes.plot([end, end], [i - 0.26, i + 0.26], color=theme.MUTED.light, linewidth=1.4)
            ratios.append(end)
        if check.ours.value is None or not 0 < check.ours.value < math.inf:
            continue
        ratio = check.ours.value / theirs
        ends = [ratio, ratio]
        if check.ours.interval is not None:
            ends = [check.ours.interval.low / theirs, check.ours.interval.high / theirs]
        # An end of 0 or infinity leaves the figure.
        ends = [min(max(end, ratio / 30), ratio * 30) for end in ends]
        axes.plot(ends, [i, i], color=style.colour, alpha=0.32, linewidth=4, zorder=2)
        good = check.verdict.startswith("reproduced")
        axes.plot(
            ratio,
            i,
            marker=style.marker,
            color=style.colour,
            markerfacecolor=style.colour if good else "none",
            markeredgewidth=1.6,
            markersize=8,
            zorder=3,
        )
        ratios += [ratio, *ends]
    axes.set_xscale("log")
    axes.set_xlim(min(ratios) / 1.25, max(ratios) * 1.25)
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0), numticks=12))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel(messages("published.x"))
    axes.set_yticks(range(len(found)), [_name(context, check.row) for check in found])
    axes.tick_params(axis="y", labelcolor=theme.INK.light)
    axes.set_ylim(len(found) - 0.45, -0.55)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    return Picture(
        "published",
        drawing,
        messages("published.description"),
        messages("published.caption"),
        _table(context),
    )


def section(context: StudyContext) -> Section | None:
    """What counts as reproduced, and how the published set-ups differ; None without any."""
    if not context.published:
        return None
    messages = context.messages
    blocks: list[ContentBlock] = [Paragraph(messages("published.intro"))]
    notes = dict.fromkeys(
        messages("published.note_of", source=check.row.source, note=check.row.note)
        for check in context.published
        if check.row.note
    )
    if notes:
        blocks.append(BulletList(tuple(notes)))
    return Section("published", messages("published.title"), tuple(blocks))


def _name(context: StudyContext, row: Published) -> str:
    metric = context.messages.of("published.metric", row.metric, parameter=row.parameter)
    return context.messages("published.name", task=row.task, cell=row.cell, metric=metric)


def _number(context: StudyContext, row: Published, value: float | None) -> str:
    if value == math.inf:
        return context.messages("never")
    return context.number(row.metric, value)


def _table(context: StudyContext) -> Table:
    messages, found = context.messages, context.published
    rows = []
    for check in found:
        row, interval = check.row, check.ours.interval
        between = messages("none")
        if interval is not None:
            low, high = (_number(context, row, end) for end in (interval.low, interval.high))
            between = low if low == high else messages("range", low=low, high=high)
        rows.append(
            (
                row.task,
                row.cell,
                messages.of("published.metric", row.metric, parameter=row.parameter),
                _number(context, row, float(row.value)),
                messages.of(
                    "published.relation", row.relation, bound=_number(context, row, row.limit)
                ),
                _number(context, row, check.ours.value),
                between,
                str(check.ours.n),
                messages.of("published.verdict", check.verdict),
                row.source,
            )
        )
    kinds: dict[str, Literal["text", "number", "cell", "group"]] = {
        "task": "group",
        "cell": "cell",
        "metric": "text",
        "published": "number",
        "counts": "text",
        "here": "number",
        "interval": "number",
        "n": "number",
        "verdict": "text",
        "source": "text",
    }
    columns = tuple(
        Column(messages.of("published.column", name), kind) for name, kind in kinds.items()
    )
    levels = sorted({round(c.ours.interval.level, 4) for c in found if c.ours.interval})
    note = messages("published.note_few")
    if levels:
        note = messages(
            "published.note", level=messages.listed(context.percent(each) for each in levels)
        )
    return Table(columns, tuple(rows), note)
