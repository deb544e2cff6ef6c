"""The section on inference: latency of one call and bytes of a model, from inference.csv."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from harness.rendering import theme
from harness.rendering.document import BulletList, Column, ContentBlock, Picture, Section, Table
from harness.rendering.figures import direct_labels
from harness.rendering.figures.curves import draw_curve
from harness.rendering.figures.ticks import set_size_axis, short_number
from harness.rendering.report_context import ReportContext

# In this order.
DTYPE_ORDER = ("float32", "bfloat16", "int8")
MEASURE_ORDER = ("step", "sequence")
SHAPE_COLUMNS = ["hidden_size", "num_layers", "sequence_length"]


def inference_section(context: ReportContext, table: pd.DataFrame) -> Section:
    """The section of a bench: times by cell and dtype, and against hidden size if that varies."""
    timed = table[table["median_us"].notna()]
    tail: tuple[ContentBlock, ...] = inference_failures(context, table)
    if len(timed) == 0:
        return Section("inference", context.messages("inference.title"), tail)
    blocks: list[ContentBlock] = [by_dtype(context, timed)]
    if len(timed["hidden_size"].unique()) > 1:
        blocks.append(against_size(context, timed))
    return Section("inference", context.messages("inference.title"), (*blocks, *tail))


def inference_failures(context: ReportContext, table: pd.DataFrame) -> tuple[BulletList, ...]:
    """Each cell and dtype that was not timed, with its reason; empty if all were timed."""
    lines = [
        context.messages(
            "inference.failed",
            cell=row["cell"],
            dtype=context.messages.of("inference.dtype", str(row["dtype"])),
            reason=row["reason"],
        )
        for row in table[table["median_us"].isna()].to_dict("records")
    ]
    return (BulletList(tuple(dict.fromkeys(lines))),) if lines else ()


def inference_table(
    context: ReportContext, table: pd.DataFrame, *, shapes: bool = True, folded: bool = False
) -> Table:
    """Every timed row: times with their intervals, bytes and error.

    `shapes` adds columns for the sizes of the network.
    """
    shape = SHAPE_COLUMNS if shapes else []
    rows = [
        (
            *context.task_cells(str(row["task"]), str(row["cell"])),
            *(context.number(name, row[name]) for name in shape),
            context.messages.of("inference.dtype", str(row["dtype"])),
            context.messages.of("inference.measure", str(row["measure"])),
            *time_texts(context, row, "median"),
            *time_texts(context, row, "p99"),
            *(context.number(name, row[name]) for name in ("weights_bytes", "state_bytes")),
            *(context.number(name, row[name]) for name in ("output_error", "n_calls")),
        )
        for row in table.to_dict("records")
    ]
    columns = (
        *context.task_columns(),
        *(context.column(name) for name in shape),
        Column(context.messages("column.dtype")),
        Column(context.messages("column.measured")),
        *(context.column(name) for name in ("median_us", "interval_median")),
        *(context.column(name) for name in ("p99_us", "interval_p99")),
        *(context.column(name) for name in ("weights_bytes", "state_bytes")),
        *(context.column(name) for name in ("output_error", "n_calls")),
    )
    return Table(columns, tuple(rows), context.messages("inference.note"), folded)


def time_texts(context: ReportContext, row: Mapping[Any, Any], stem: str) -> tuple[str, str]:
    """The texts of a row's time and its interval. `stem` is "median" or "p99"."""
    name = f"{stem}_us"
    low, high = float(row[f"{stem}_low_us"]), float(row[f"{stem}_high_us"])
    if math.isnan(low) or math.isnan(high):
        return context.number(name, row[name]), context.messages("none")
    between = context.messages(
        "range", low=context.number(name, low), high=context.number(name, high)
    )
    return context.number(name, row[name]), between


def by_dtype(context: ReportContext, timed: pd.DataFrame) -> Picture:
    """Times of a call by cell and dtype, at the shape with the most timed rows.

    One panel for each measure.
    """
    task = str(timed["task"].iloc[0])
    of_task = timed[timed["task"] == task]
    shapes = of_task.groupby(SHAPE_COLUMNS).size()
    shape = shapes[shapes == shapes.max()].index
    middle = shape[len(shape) // 2]
    own = of_task[(of_task[SHAPE_COLUMNS] == list(middle)).all(axis=1)]
    measures = [measure for measure in MEASURE_ORDER if (own["measure"] == measure).any()]
    places = [
        (cell, dtype)
        for cell in context.cells
        for dtype in DTYPE_ORDER
        if ((own["cell"] == cell) & (own["dtype"] == dtype)).any()
    ]
    height = 1.1 + 0.27 * len(places)
    drawing, panels = theme.grid(len(measures), columns=2, height=height, sharey=True)
    for axes, measure in zip(panels, measures, strict=True):
        name = context.messages.of("inference.measure", measure)
        hidden = context.number("hidden_size", middle[0])
        axes.set_title(context.messages("inference.at", measure=name, hidden=hidden))
        _dots(context, axes, own[own["measure"] == measure], places)
        axes.set_xlabel(context.messages("inference.x"))
    texts = [
        context.messages(
            "inference.row", cell=cell, dtype=context.messages.of("inference.dtype", dtype)
        )
        for cell, dtype in places
    ]
    panels[0].set_yticks(range(len(places)), texts)
    panels[0].set_ylim(len(places) - 0.4, -0.6)
    machine = str(own["device_name"].iloc[0])
    return Picture(
        "inference",
        drawing,
        context.messages("inference.description"),
        context.messages("inference.caption", machine=machine),
        inference_table(context, timed),
    )


def _dots(
    context: ReportContext, axes: Axes, rows: pd.DataFrame, places: Sequence[tuple[str, str]]
) -> None:
    axes.set_xscale("log")
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    for row in rows.to_dict("records"):
        style, at = context.styles[row["cell"]], places.index((row["cell"], row["dtype"]))
        draw_p99(axes, row, at, style.colour)
        ends = [row["median_low_us"], row["median_high_us"]]
        axes.plot(ends, [at, at], color=style.colour, alpha=0.4, linewidth=4)
        axes.plot(row["median_us"], at, marker=style.marker, color=style.colour, markersize=7)
    set_time_axis(context, axes)


def draw_p99(axes: Axes, row: Mapping[Any, Any], y: float, colour: str) -> None:
    """Draw a thin line from a row's median to its 99th percentile, if it has one."""
    if math.isnan(row["p99_us"]):
        return
    axes.plot([row["median_us"], row["p99_us"]], [y, y], color=colour, alpha=0.6, linewidth=1)
    axes.plot(row["p99_us"], y, marker="|", color=colour, alpha=0.6, markersize=7)


def set_time_axis(context: ReportContext, axes: Axes) -> None:
    """Label a logarithmic axis of microseconds: at 1, 2 and 5 if they fit, else at powers of 10."""
    low, high = axes.get_xlim()
    subs = (1.0, 2.0, 5.0) if high < 40 * low else (1.0, 3.0) if high < 200 * low else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(10, subs=subs))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(context, value)))


def against_size(context: ReportContext, timed: pd.DataFrame) -> Picture:
    """Time of one step, and bytes, against hidden size: a column of panels for each dtype."""
    steps = timed[timed["measure"] == "step"] if (timed["measure"] == "step").any() else timed
    steps = steps[steps["task"] == steps["task"].iloc[0]]
    widths = steps.groupby(["num_layers", "sequence_length"])["hidden_size"].nunique()
    layers, length = widths[widths == widths.max()].index[0]
    own = steps[(steps["num_layers"] == layers) & (steps["sequence_length"] == length)]
    own = own.assign(bytes_held=(own["weights_bytes"] + own["state_bytes"]) / 1024)
    dtypes = [dtype for dtype in DTYPE_ORDER if (own["dtype"] == dtype).any()]
    n = len(dtypes)
    drawing, panels = theme.grid(2 * n, columns=n, height=2.5, sharey="row", sharex=True)
    placed = {}
    for i, dtype in enumerate(dtypes):
        rows = own[own["dtype"] == dtype]
        panels[i].set_title(context.messages.of("inference.dtype", dtype))
        placed[panels[i]] = _lines(context, panels[i], rows, "median_us")
        placed[panels[n + i]] = _lines(context, panels[n + i], rows, "bytes_held")
        panels[n + i].set_xlabel(context.messages("inference.x_size"))
    panels[0].set_ylabel(context.messages("inference.y_time"))
    panels[n].set_ylabel(context.messages("inference.y_size"))
    direct_labels.label_line_ends(drawing, placed)
    machine = str(own["device_name"].iloc[0])
    return Picture(
        "inference_size",
        drawing,
        context.messages("inference.description_size"),
        context.messages("inference.caption_size", machine=machine),
        inference_table(context, own),
    )


def _lines(
    context: ReportContext, axes: Axes, rows: pd.DataFrame, y: str
) -> list[direct_labels.LineEnd]:
    """Draw a line for each cell; return where their names belong."""
    axes.set_yscale("log")
    set_size_axis(context, axes, "hidden_size", sorted(rows["hidden_size"].unique()), 0.14)
    ends = []
    bounds = ("median_low_us", "median_high_us") if y == "median_us" else None
    for cell in context.cells:
        own = rows[(rows["cell"] == cell) & rows[y].notna()].sort_values("hidden_size")
        points = [
            (row["hidden_size"], (row[y], *(row[end] for end in bounds)))
            if bounds
            else (row["hidden_size"], (row[y], math.nan, math.nan))
            for row in own.drop_duplicates("hidden_size").to_dict("records")
        ]
        if points:
            ends.append(draw_curve(axes, cell, context.styles[cell], points))
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(
        LogLocator(10, subs=(1.0, 2.0, 5.0) if high < 90 * low else (1.0,))
    )
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(context, value)))
    return ends
