"""Peak memory of a training step, against hidden size and sequence length."""

from __future__ import annotations

import pandas as pd

from harness.bench.report.bench_context import BenchContext
from harness.bench.report.sections.throughput import drawn
from harness.rendering.document import Column, Picture, Section, Table
from harness.rendering.figures.curves import ValueRange
from harness.rendering.figures.shape_panels import (
    OTHER,
    Quantity,
    TableRow,
    plot_against_shape,
)

MIB = 2.0**20


def section(context: BenchContext) -> Section:
    """A figure if a size was varied; a table of every measured step."""
    messages, timings = context.messages, context.timings
    title = messages("peak_memory.title")
    known = [row for row in timings.steps if row["peak_memory_bytes"] > 0]
    if not known:
        return context.not_measured("peak_memory", title, messages("peak_memory.absent"))
    columns = (
        *context.lead_columns(),
        Column(messages("column.variant")),
        *context.shape_columns(),
        context.column("peak_memory_bytes"),
    )
    texts = tuple(
        (
            *context.lead(str(row["device"]), str(row["cell"])),
            str(row["variant"]),
            *context.shape_cells(row),
            context.number("peak_memory_bytes", row["peak_memory_bytes"]),
        )
        for row in known
    )
    table = Table(columns, texts, messages("peak_memory.note"))
    rows = [row for device in timings.devices for row in timings.comparable(device)]
    rows = drawn(context, [row for row in rows if row["peak_memory_bytes"] > 0])
    sizes = tuple(name for name in OTHER if len({row[name] for row in rows}) > 1)
    if not sizes:
        return Section("peak_memory", title, (table,))
    memory = Quantity(_mebibytes, messages("peak_memory.y"), is_log=False)
    drawing = plot_against_shape(context, pd.DataFrame(rows), memory, sizes)
    caption = messages("peak_memory.caption", variant=rows[0]["variant"])
    picture = Picture("peak_memory", drawing, messages("peak_memory.description"), caption, table)
    return Section("peak_memory", title, (picture,))


def _mebibytes(row: TableRow) -> ValueRange:
    """Peak memory in MiB; one measurement has no interval."""
    value = float(row["peak_memory_bytes"]) / MIB
    return value, value, value
