"""How fast each cell trains: memory against speed, and throughput against hidden size and length."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.rendering import theme
from harness.rendering.document import BulletList, Column, ContentBlock, Picture, Section, Table
from harness.rendering.figures import direct_labels
from harness.rendering.figures.curves import ValueRange
from harness.rendering.figures.shape_panels import (
    Quantity,
    plot_against_shape,
    speed,
    speed_interval,
)
from harness.rendering.figures.ticks import short_number
from harness.study.report.study_context import StudyContext
from harness.study.report.study_summary import Memory


def tradeoff(context: StudyContext) -> Section:
    """Memory span against the speed at which the winners train, a panel for each task and device."""
    messages, summary = context.messages, context.summary
    title = messages("tradeoff.title")
    table = summary.records.throughput
    timed = None if table is None else table[table["tokens_per_second"].notna()]
    winners = None if timed is None else timed[timed["origin"] == "winner"]
    if winners is None or len(winners) == 0 or not summary.memory:
        return context.not_measured("tradeoff", title, messages("tradeoff.absent"))
    panels_of = [
        (task, device)
        for task in summary.tasks
        for device in winners["device"].unique()
        if ((winners["task"] == task) & (winners["device"] == device)).any()
    ]
    drawing, panels = theme.grid(
        len(panels_of), columns=2, height=3.1 if len(panels_of) == 1 else 2.5, sharey=False
    )
    rows, spots = [], {}
    for axes, (task, device) in zip(panels, panels_of, strict=True):
        if len(panels_of) > 1:
            axes.set_title(
                messages("panel", task=task, cell=device) if context.many_tasks else device
            )
        own = winners[(winners["task"] == task) & (winners["device"] == device)]
        texts, spots[axes] = _points(context, axes, task, own)
        rows += texts
        axes.set_xlabel(messages("tradeoff.x"))
    panels[0].set_ylabel(messages("tradeoff.y"))
    direct_labels.label_points(drawing, spots)
    columns = (
        *context.task_columns(),
        Column(messages("column.device")),
        *(context.column(name) for name in ("memory_span", "interval")),
        *(context.column(name) for name in ("tokens_per_second", "interval_speed")),
        *(context.column(name) for name in ("hidden_size", "num_layers", "sequence_length")),
    )
    figure_table = Table(columns, tuple(rows), messages("tradeoff.note"))
    caption = messages("tradeoff.caption")
    description = messages("tradeoff.description")
    return Section(
        "tradeoff", title, (Picture("memory_speed", drawing, description, caption, figure_table),)
    )


def _points(
    context: StudyContext, axes: Axes, task: str, rows: pd.DataFrame
) -> tuple[list[tuple[str, ...]], list[direct_labels.LabelledPoint]]:
    """One point a cell, with its intervals in both directions.

    The rows of the table, and where the names belong.
    """
    texts, spots = [], []
    for cell in context.summary.cells:
        own = rows[rows["cell"] == cell]
        memory = context.summary.memory.get((task, cell))
        if len(own) == 0 or memory is None or memory.span.value is None:
            continue
        row, style = own.iloc[0].to_dict(), context.styles[cell]
        value, low, high = speed(row)
        text = context.messages(
            "tradeoff.point", cell=cell, span=context.span(memory.span, memory.ladder)
        )
        spots.append(span_point(axes, memory, (value, low, high), style, text))
        texts.append(
            (
                *context.task_cells(task, cell),
                str(row["device"]),
                context.span(memory.span, memory.ladder),
                context.span_interval(memory.span, memory.ladder),
                context.number("tokens_per_second", value),
                speed_interval(context, low, high),
                *(
                    context.number(name, row[name])
                    for name in ("hidden_size", "num_layers", "sequence_length")
                ),
            )
        )
    axes.margins(x=0.22, y=0.14)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(context, value)))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    return texts, spots


def span_point(
    axes: Axes, memory: Memory, at: ValueRange, style: theme.SeriesStyle, text: str
) -> direct_labels.LabelledPoint:
    """Draw a measured span at a value of x, with the intervals of both.

    Returns where its text belongs.
    """
    value, low, high = at
    span, interval = memory.span.value or 0.0, memory.span.interval
    ends = (span, span) if interval is None else (interval.low, interval.high)
    bar: dict[str, Any] = {"color": style.colour, "alpha": 0.35, "linewidth": 3}
    axes.plot([low, high], [span, span], **bar)
    if interval is not None:
        axes.plot([value, value], ends, **bar)
        if memory.span.high_is_open:
            axes.annotate(
                "",
                (value, ends[1]),
                xytext=(0, 22),
                textcoords="offset points",
                arrowprops={"arrowstyle": "<-", "color": style.colour, "alpha": 0.6},
            )
    axes.plot(value, span, marker=style.marker, color=style.colour, markersize=9, clip_on=False)
    return direct_labels.LabelledPoint(value, span, *ends, text, style.colour)


def throughput(context: StudyContext) -> Section:
    """Tokens per second against hidden size and against length, a row of panels for each device."""
    messages, summary = context.messages, context.summary
    title = messages("throughput.title")
    table = summary.records.throughput
    if table is None or len(table) == 0:
        enabled = summary.records.spec.throughput.enabled
        reason = messages("throughput.absent" if enabled else "throughput.disabled")
        return context.not_measured("throughput", title, reason)
    timed = table[table["tokens_per_second"].notna()]
    failed = table[table["tokens_per_second"].isna()]
    lines = tuple(
        messages("throughput.failed", benchmark=row["benchmark"], reason=row["reason"])
        for row in failed.to_dict("records")
    )
    tail: tuple[ContentBlock, ...] = (BulletList(lines),) if lines else ()
    numbers = _timed(context, timed)
    grid = timed[timed["origin"] == "grid"]
    task = next((task for task in summary.tasks if (grid["task"] == task).any()), None)
    if task is None:
        return Section("throughput", title, (numbers, *tail) if len(timed) else tail)
    grid = grid[grid["task"] == task]
    picture = Picture(
        "throughput",
        plot_against_shape(context, grid, Quantity(speed, messages("throughput.y"))),
        messages("throughput.description"),
        messages("throughput.caption", machine=str(grid["device_name"].iloc[0]), task=task),
        numbers,
    )
    return Section("throughput", title, (picture, *tail))


def _timed(context: StudyContext, table: pd.DataFrame) -> Table:
    """Every timed benchmark."""
    messages = context.messages
    rows = []
    for row in table.to_dict("records"):
        _, low, high = speed(row)
        rows.append(
            (
                *context.task_cells(str(row["task"]), str(row["cell"])),
                str(row["device"]),
                messages.of("origin", str(row["origin"])),
                *(
                    context.number(name, row[name])
                    for name in ("hidden_size", "num_layers", "sequence_length", "batch_size")
                ),
                context.number("step_time_s", row["step_time_s"]),
                context.number("tokens_per_second", row["tokens_per_second"]),
                speed_interval(context, low, high),
                context.number("gflops_per_second", row["gflops_per_second"]),
                context.number("fraction_of_peak", row["fraction_of_peak"]),
                context.number("n_blocks", row["n_blocks"]),
            )
        )
    names = ("hidden_size", "num_layers", "sequence_length", "batch_size", "step_time_s")
    more = (
        "tokens_per_second",
        "interval_speed",
        "gflops_per_second",
        "fraction_of_peak",
        "n_blocks",
    )
    columns = (
        *context.task_columns(),
        Column(messages("column.device")),
        Column(messages("column.origin")),
        *(context.column(name) for name in (*names, *more)),
    )
    return Table(columns, tuple(rows), messages("throughput.note"))
