"""Trials and runs that failed or were pruned: counts by end, with reasons."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness.columns import TrialStatus, whole
from harness.rendering import theme
from harness.rendering.document import Column, ContentBlock, Paragraph, Picture, Section, Table
from harness.study.report.study_context import StudyContext
from harness.study.report.study_summary import EndCount, end_counts, retry_counts

# The files have the other rows.
MOST_REASONS = 200
# A table with more rows is folded.
FEW_REASONS = 12


def section(context: StudyContext) -> Section:
    """Counts by end for each (task, cell), with bars and reasons if any trial did not complete."""
    messages, records = context.messages, context.summary.records
    found = end_counts(records)
    title = messages("ends.title")
    total = sum(one.count for one in found)
    other = sum(one.count for one in found if one.end != TrialStatus.COMPLETE)
    if not found:
        return context.not_measured("ends", title, messages("ends.absent"))
    if other == 0:
        counted = (
            Paragraph(messages("ends.none", n=whole(total))),
            _table(context, found, folded=True),
        )
        return Section("ends", title, (*counted, *_retries(context)))
    blocks: list[ContentBlock] = [
        Paragraph(messages("ends.some", n=whole(total), other=whole(other))),
        Picture(
            "ends",
            _bars(context, found),
            messages("ends.description"),
            messages("ends.caption"),
            _table(context, found),
        ),
    ]
    if any(one.reasons for one in found):
        blocks.append(_reasons(context, found))
    return Section("ends", title, (*blocks, *_retries(context)))


def _rows(found: Sequence[EndCount]) -> list[tuple[str, str, str]]:
    return list(dict.fromkeys((one.phase, one.task, one.cell) for one in found))


def _bars(context: StudyContext, found: Sequence[EndCount]) -> Figure:
    """A panel for each phase with a bar for each (task, cell), divided by end."""
    phases = [p for p in ("search", "confirm") if any(one.phase == p for one in found)]
    names = [row for row in _rows(found) if row[0] == phases[0]]
    drawing, panels = theme.grid(
        len(phases), columns=2, height=0.95 + 0.3 * len(names), sharey=len(phases) > 1
    )
    for axes, phase in zip(panels, phases, strict=True):
        for i, (_, task, cell) in enumerate(names):
            left = 0
            own = [o for o in found if (o.phase, o.task, o.cell) == (phase, task, cell)]
            for end in TrialStatus:
                count = sum(one.count for one in own if one.end == end)
                if count:
                    label = context.messages.of("end", end)
                    colour = theme.STATUS_COLOURS[end].light
                    axes.barh(i, count, left=left, height=0.62, color=colour, label=label)
                    left += count
        axes.set_title(context.messages.of("phase", phase))
        labels = [f"{cell} · {task}" if context.many_tasks else cell for _, task, cell in names]
        axes.set_yticks(range(len(names)), labels)
        axes.tick_params(axis="y", labelcolor=theme.INK.light)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlabel(context.messages.of("ends.x", phase))
    shown: dict[str, Artist] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            shown.setdefault(str(label), handle)
    order = [
        context.messages.of("end", end)
        for end in TrialStatus
        if context.messages.of("end", end) in shown
    ]
    drawing.legend(
        [shown[label] for label in order],
        order,
        loc="outside upper left",
        ncols=min(len(order), 5),
        handlelength=0.9,
        handleheight=0.9,
        columnspacing=1.3,
    )
    return drawing


def _table(context: StudyContext, found: Sequence[EndCount], *, folded: bool = False) -> Table:
    messages = context.messages
    ends = [end for end in TrialStatus if any(one.end == end for one in found)]
    rows = []
    for phase, task, cell in _rows(found):
        own = [o for o in found if (o.phase, o.task, o.cell) == (phase, task, cell)]
        counts = [sum(one.count for one in own if one.end == end) for end in ends]
        lead = (messages.of("phase", phase), *context.task_cells(task, cell))
        rows.append((*lead, str(sum(counts)), *map(str, counts)))
    columns = (
        Column(messages("column.phase"), "group"),
        *context.task_columns(),
        context.column("n_runs"),
        *(Column(messages.of("end", end), "number") for end in ends),
    )
    return Table(columns, tuple(rows), messages("ends.note"), folded)


def _reasons(context: StudyContext, found: Sequence[EndCount]) -> Table:
    messages = context.messages
    rows = []
    for one in found:
        lead = (messages.of("phase", one.phase), *context.task_cells(one.task, one.cell))
        for reason, count in one.reasons:
            rows.append((*lead, messages.of("end", one.end), str(count), shorten(reason)))
    left_out = len(rows) - MOST_REASONS
    note = messages("ends.left_out", n=left_out) if left_out > 0 else ""
    return Table(
        _reason_columns(context), tuple(rows[:MOST_REASONS]), note, folded=len(rows) > FEW_REASONS
    )


def _reason_columns(context: StudyContext) -> tuple[Column, ...]:
    messages = context.messages
    return (
        Column(messages("column.phase"), "group"),
        *context.task_columns(),
        Column(messages("column.end")),
        context.column("count"),
        Column(messages("column.reason")),
    )


def _retries(context: StudyContext) -> tuple[ContentBlock, ...]:
    """The attempts that were lost and made again; empty if there are none."""
    messages, found = context.messages, retry_counts(context.summary.records)
    if not found:
        return ()
    rows = tuple(
        (
            messages.of("phase", one.phase),
            *context.task_cells(one.task, one.cell),
            messages.of("end", one.end),
            str(one.count),
            shorten(one.reason),
        )
        for one in found[:MOST_REASONS]
    )
    total = whole(sum(one.count for one in found))
    table = Table(
        _reason_columns(context),
        rows,
        messages("ends.retries_note"),
        folded=len(rows) > FEW_REASONS,
    )
    return (Paragraph(messages("ends.retried", n=total)), table)


def shorten(text: str, most: int = 160) -> str:
    """The last line of a text (it may be a traceback), cut to at most `most` characters."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    return last if len(last) <= most else last[: most - 1] + "…"
