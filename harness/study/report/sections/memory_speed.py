"""Memory span against the speed at which the winners train."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.rendering import theme
from harness.rendering.document import Column, Picture, Section, Table
from harness.rendering.figures import direct_labels
from harness.rendering.figures.curves import ValueRange
from harness.rendering.figures.shape_panels import (
    speed,
    speed_interval,
)
from harness.rendering.figures.ticks import short_number
from harness.study.report.study_context import StudyContext
from harness.study.report.study_summary import Memory


def section(context: StudyContext) -> Section:
    """Memory span against training speed, a panel for each task and device."""
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
    """Draw one point for each cell; returns the rows of the table and the labels of the points."""
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
    """Draw a measured span against a value of x, with both intervals; returns its label."""
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
